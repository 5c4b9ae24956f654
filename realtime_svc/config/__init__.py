"""The configuration as types: one frozen struct a section, defaults and limits beside each key.

The JSON Schema of the configuration, the documented sample `etc/realtime_svc.toml` and the text of
`realtime-svc config show` all come from here. Loading, merging and checking is `configfile.py`.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from realtime_svc.config.access import Api, ApiKey, Auth, Jwt
from realtime_svc.config.channels import Namespace, Schemas, Streams
from realtime_svc.config.fields import DURATION_PATTERN, SIZE_PATTERN, Section
from realtime_svc.config.network import Deflate, Http, Internal, Limits, Listener, Tls, Websocket
from realtime_svc.config.process import Handlers, Log, Shutdown, Sockets, Webhooks

__all__ = [
    "DURATION_PATTERN",
    "SIZE_PATTERN",
    "Api",
    "ApiKey",
    "Auth",
    "Config",
    "Deflate",
    "Handlers",
    "Http",
    "Internal",
    "Jwt",
    "Limits",
    "Listener",
    "Log",
    "Namespace",
    "Schemas",
    "Section",
    "Shutdown",
    "Sockets",
    "Streams",
    "Tls",
    "Webhooks",
    "Websocket",
    "json_schema",
]


class Config(Section, frozen=True):
    """The whole configuration."""

    listeners: Annotated[
        dict[str, Listener], Meta(description="Public ports by name. `public` is always there unless it is disabled.")
    ] = msgspec.field(default_factory=lambda: {"public": Listener()})
    internal: Internal = Internal()
    http: Http = Http()
    websocket: Websocket = Websocket()
    limits: Limits = Limits()
    streams: Streams = Streams()
    auth: Auth = Auth()
    namespaces: Annotated[
        dict[str, Namespace],
        Meta(description="Options by namespace. `default` holds for channels without a `:` in their name."),
    ] = msgspec.field(default_factory=lambda: {"default": Namespace()})
    schemas: Schemas = Schemas()
    tls: Tls = Tls()
    handlers: Handlers = Handlers()
    api: Api = Api()
    webhooks: Webhooks = Webhooks()
    log: Log = Log()
    shutdown: Shutdown = Shutdown()
    sockets: Sockets = Sockets()


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a configuration document."""
    schema = msgspec.json.decode(msgspec.json.encode(msgspec.json.schema(Config)))
    _allow_units(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "realtime_svc configuration", **schema}


def _allow_units(node: Any) -> None:
    """Durations and sizes may be text with a unit: msgspec knows them as plain numbers only."""
    if isinstance(node, dict):
        if node.get("format") in ("duration", "size") and isinstance(node.get("type"), str):
            node["type"] = [node["type"], "string"]
        for child in node.values():
            _allow_units(child)
    elif isinstance(node, list):
        for child in node:
            _allow_units(child)
