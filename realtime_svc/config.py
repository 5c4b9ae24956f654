"""The configuration as types: one frozen struct a section, defaults and limits beside each key.

The JSON Schema of the configuration, the documented sample `etc/realtime_svc.toml` and the text of
`realtime-svc config show` all come from here. Loading, merging and checking is `configfile.py`.

Durations are seconds (float) and sizes are bytes (int) once loaded; in a file they may also be text such as "25s",
"500ms", "2m", "64KiB", "1MiB".
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

DURATION_PATTERN = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$"
SIZE_PATTERN = r"^[0-9]+(B|KiB|MiB|GiB)?$"


def duration(description: str, *, least: float = 0.0, most: float = 86400.0) -> Meta:
    """A key that holds seconds, or text with a unit (ms, s, m, h)."""
    extra = {"format": "duration", "pattern": DURATION_PATTERN}
    return Meta(description=description, ge=least, le=most, extra_json_schema=extra)


def size(description: str, *, least: int = 0, most: int = 2**31 - 1) -> Meta:
    """A key that holds bytes, or text with a unit (B, KiB, MiB, GiB)."""
    extra = {"format": "size", "pattern": SIZE_PATTERN}
    return Meta(description=description, ge=least, le=most, extra_json_schema=extra)


def secret(description: str, *, least: int | None = None) -> Meta:
    """A key whose value is never shown: `config show` masks it; the environment may name a file for it (`_FILE`)."""
    return Meta(description=description, min_length=least, extra_json_schema={"writeOnly": True})


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The base of all sections. Its repr shows no values: some are secrets."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Listener(Section, frozen=True):
    """One public port. WebSocket, SSE and HTTP publishing share it."""

    enabled: Annotated[bool, Meta(description="Listen here.")] = True
    host: Annotated[str, Meta(description="Address to bind: an IPv4 or IPv6 address.", min_length=1)] = "0.0.0.0"
    port: Annotated[int, Meta(description="TCP port; 0 takes a free one.", ge=0, le=65535)] = 8000
    tls: Annotated[bool, Meta(description="Speak TLS here (section `tls` holds the certificate).")] = False
    proxy_protocol: Annotated[
        bool,
        Meta(
            description="Each connection starts with a PROXY protocol header (v1 or v2), before TLS. No other is taken."
        ),
    ] = False
    proxy_sources: Annotated[
        tuple[str, ...],
        Meta(description="Networks (CIDR) whose PROXY header is believed; a connection from elsewhere is dropped."),
    ] = ()


class Internal(Section, frozen=True):
    """The internal port: health, metrics. Keep it off the public network."""

    enabled: Annotated[bool, Meta(description="Listen here.")] = True
    host: Annotated[str, Meta(description="Address to bind.", min_length=1)] = "127.0.0.1"
    port: Annotated[int, Meta(description="TCP port; 0 takes a free one.", ge=0, le=65535)] = 9000


class Http(Section, frozen=True):
    """The request head, its bounds, and who may ask."""

    allowed_origins: Annotated[
        tuple[str, ...],
        Meta(
            description="Origins a browser page may connect from, exactly as sent (`https://example.com`); `*` allows "
            "all. Empty: only pages whose origin is the address they connect to."
        ),
    ] = ()
    allowed_hosts: Annotated[
        tuple[str, ...],
        Meta(description="Host names (without port) this server answers to; others get 421. Empty: any."),
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(description="Networks (CIDR) whose X-Forwarded-For header is believed."),
    ] = ()
    head_size: Annotated[int, size("Largest request head; more is 431.", least=1024, most=2**20)] = 16 * 1024
    request_line_size: Annotated[int, size("Longest request line; more is 414.", least=256, most=2**20)] = 8 * 1024
    headers: Annotated[int, Meta(description="Most headers in a request; more is 431.", ge=8, le=1000)] = 64
    head_timeout: Annotated[float, duration("Time to finish TLS and the request head.", least=0.1, most=300)] = 5.0
    idle_timeout: Annotated[
        float, duration("A plain HTTP connection with no request under way is closed after this.", least=0.1, most=3600)
    ] = 10.0
    backlog: Annotated[int, Meta(description="Connections the kernel may hold before they are accepted.", ge=1)] = 4096


class Deflate(Section, frozen=True):
    """permessage-deflate (RFC 7692). Off by default: it costs memory and CPU for each connection."""

    enabled: Annotated[bool, Meta(description="Accept the extension when a client offers it.")] = False
    window_bits: Annotated[int, Meta(description="LZ77 window of what the server sends.", ge=9, le=15)] = 12
    memory_level: Annotated[int, Meta(description="zlib memory level.", ge=1, le=9)] = 5
    context_takeover: Annotated[
        bool, Meta(description="Keep the window between messages: smaller messages, more memory a connection.")
    ] = False


class Websocket(Section, frozen=True):
    """Liveness and closing of WebSocket connections."""

    ping_interval: Annotated[float, duration("A ping frame goes to each client this often; 0 is never.", most=3600)] = (
        25.0
    )
    ping_timeout: Annotated[float, duration("Time to answer a ping.", least=0.1, most=3600)] = 10.0
    close_timeout: Annotated[
        float, duration("Time a peer gets to finish a close before its connection is cut.", least=0.1, most=300)
    ] = 5.0
    fragment_timeout: Annotated[
        float, duration("Time to complete a fragmented message; then close 1008.", least=0.1, most=3600)
    ] = 10.0
    deflate: Deflate = Deflate()


class Limits(Section, frozen=True):
    """What one client, one address, one user may use."""

    connections: Annotated[
        int,
        Meta(description="Most connections in this process; more get 503. 0: as many as file descriptors allow.", ge=0),
    ] = 0
    connections_per_address: Annotated[
        int, Meta(description="Most connections from one address (IPv6: one /64); more get 429. 0: no limit.", ge=0)
    ] = 1000
    connections_per_user: Annotated[
        int, Meta(description="Most connections of one authenticated user; more get 429. 0: no limit.", ge=0)
    ] = 100
    message_size: Annotated[
        int, size("Largest message a client may send, decompressed; more closes with 1009.", least=128, most=2**30)
    ] = 64 * 1024
    queue_size: Annotated[
        int, size("What may wait for one client; more closes with 3008.", least=4096, most=2**31 - 1)
    ] = 1024 * 1024
    stall_timeout: Annotated[
        float, duration("A client that takes nothing for this long while data waits is closed with 3008.", least=0.1)
    ] = 15.0
    auth_timeout: Annotated[
        float, duration("Time for a first `auth` message on /ws; then close 3502.", least=0.1, most=3600)
    ] = 10.0
    channels_per_client: Annotated[int, Meta(description="Most subscriptions of one client.", ge=1)] = 128
    messages_per_second: Annotated[
        float,
        Meta(
            description="Messages a second a client may send, on average; reading pauses above it. 0: no limit.", ge=0
        ),
    ] = 500.0
    frames_per_second: Annotated[
        float, Meta(description="WebSocket frames a second, control frames included; as above. 0: no limit.", ge=0)
    ] = 2000.0
    flood_patience: Annotated[
        float,
        duration(
            "A client that keeps above a rate for this long is closed (3013 for messages, 1008 for frames).", least=0.1
        ),
    ] = 10.0
    errors_per_minute: Annotated[
        int,
        Meta(
            description="Refused messages a minute: above half of it each costs a pause, above it the client is closed "
            "with 3509. 0: no limit.",
            ge=0,
        ),
    ] = 120


class Jwt(Section, frozen=True):
    """JSON Web Tokens (RFC 7519). On when `algorithms` is not empty."""

    algorithms: Annotated[
        tuple[Literal["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA"], ...],
        Meta(description="Algorithms that are accepted. A token can't choose another. A single key takes one family."),
    ] = ()
    secret: Annotated[str, secret("Shared secret for HS256 (at least 32 bytes), HS384 (48) and HS512 (64).")] = ""
    key_file: Annotated[
        str, Meta(description="File with the key: a PEM public key or certificate, or the shared secret.")
    ] = ""
    jwks_file: Annotated[str, Meta(description="File with a JSON Web Key Set (RFC 7517).")] = ""
    jwks_url: Annotated[
        str, Meta(description="https address of a JSON Web Key Set, fetched at start and refreshed in the background.")
    ] = ""
    jwks_ca: Annotated[
        str, Meta(description="PEM file with the authorities that may sign for jwks_url. Empty: the system's.")
    ] = ""
    jwks_refresh: Annotated[float, duration("Time between two refreshes of jwks_url.", least=1.0)] = 300.0
    audience: Annotated[
        tuple[str, ...], Meta(description="`aud` must hold one of these. Empty: `aud` is not looked at.")
    ] = ()
    issuer: Annotated[str, Meta(description="`iss` must be this. Empty: `iss` is not looked at.")] = ""
    require_expiry: Annotated[bool, Meta(description="A token without `exp` is refused.")] = True
    leeway: Annotated[float, duration("Clock difference that is forgiven for `exp`, `nbf`, `iat`.", most=300)] = 0.0


class Auth(Section, frozen=True):
    """Who may connect, and how they prove who they are."""

    anonymous: Annotated[
        bool, Meta(description="Clients without credentials may connect (namespaces still decide what they may do).")
    ] = False
    tokens: Annotated[
        dict[str, Annotated[str, secret("The token of this user.", least=16)]],
        Meta(description="Static tokens, user = token. For development and for machines you run yourself."),
    ] = {}
    passwords_file: Annotated[
        str, Meta(description="Password file for Basic authentication, made by `realtime-svc passwd`.")
    ] = ""
    cookie: Annotated[
        str, Meta(description="Name of a cookie that holds a token. Empty: cookies are not looked at.")
    ] = ""
    query_token: Annotated[
        bool, Meta(description="Accept `?token=` in the address. Proxies and browsers log addresses: leave it off.")
    ] = False
    jwt: Jwt = Jwt()


class Namespace(Section, frozen=True):
    """What holds for the channels of one namespace: the text before the first `:` of a channel's name."""

    subscribe: Annotated[
        tuple[str, ...],
        Meta(
            description='Who may subscribe: "anonymous" (everybody), "authenticated", "user:<id>". Empty: no client. '
            "A channel with `#` in its name (`#42`, `room#42,43`) is besides open to the users named there only."
        ),
    ] = ("authenticated",)
    publish: Annotated[tuple[str, ...], Meta(description="Who may publish, in the same words.")] = ("authenticated",)
    payload: Annotated[
        Literal["json", "bytes"],
        Meta(description='"json": one JSON value of depth 32 at most. "bytes": anything, unchanged.'),
    ] = "json"
    echo: Annotated[bool, Meta(description="A raw client may ask for its own messages with `?echo=1`.")] = False
    schema: Annotated[
        bool,
        Meta(description="Payloads are checked against the schemas of folder `<schemas.folder>/<namespace>/`."),
    ] = False
    unknown_events: Annotated[
        Literal["refuse", "allow"],
        Meta(description="What happens, where `schema` is on, to an event that has no schema file."),
    ] = "refuse"


class Schemas(Section, frozen=True):
    """JSON Schema (draft 2020-12) files for payloads."""

    folder: Annotated[
        str,
        Meta(
            description="Folder of schema files: `<namespace>/<event>.json`, and what they refer to. References never "
            "leave it."
        ),
    ] = ""


class Tls(Section, frozen=True):
    """The certificate of listeners with `tls = true`. Read again at SIGHUP."""

    certificate: Annotated[str, Meta(description="PEM file with the certificate, and after it its chain if any.")] = ""
    key: Annotated[str, Meta(description="PEM file with the private key.")] = ""
    chain: Annotated[
        str, Meta(description="PEM file with intermediate certificates, if they are in a file of their own.")
    ] = ""
    minimum_version: Annotated[Literal["1.2", "1.3"], Meta(description="Oldest TLS version that is spoken.")] = "1.2"
    client_certificates: Annotated[
        Literal["off", "optional", "required"], Meta(description="Ask clients for a certificate signed by client_ca.")
    ] = "off"
    client_ca: Annotated[str, Meta(description="PEM file with the authorities of client certificates.")] = ""


class Handlers(Section, frozen=True):
    """Python code that runs in the server's process."""

    object: Annotated[
        str,
        Meta(description="`package.module:name` of a class or an object with handlers. Empty: none."),
    ] = ""
    timeout: Annotated[
        float, duration("Time an asynchronous handler gets; then it is cancelled, an internal error.", least=0.1)
    ] = 30.0
    path: Annotated[
        str, Meta(description="Folder in which Python looks for that module first. Empty: only where it looks anyway.")
    ] = ""


class Log(Section, frozen=True):
    """What is logged, and how."""

    format: Annotated[Literal["text", "json"], Meta(description="`text` for people, `json` for machines.")] = "text"
    level: Annotated[Literal["debug", "info", "warn", "error"], Meta(description="Lowest level that is written.")] = (
        "info"
    )
    burst: Annotated[
        int,
        Meta(description="Lines of one kind in 10 s that strangers can cause; the rest is counted in one line.", ge=1),
    ] = 20


class Shutdown(Section, frozen=True):
    """What happens at SIGTERM."""

    drain_timeout: Annotated[
        float,
        duration(
            "Time to deliver what is queued and to close all clients; then the rest is cut.", least=0.1, most=3600
        ),
    ] = 10.0


class Config(Section, frozen=True):
    """The whole configuration."""

    listeners: Annotated[
        dict[str, Listener], Meta(description="Public ports by name. `public` is always there unless it is disabled.")
    ] = msgspec.field(default_factory=lambda: {"public": Listener()})
    internal: Internal = Internal()
    http: Http = Http()
    websocket: Websocket = Websocket()
    limits: Limits = Limits()
    auth: Auth = Auth()
    namespaces: Annotated[
        dict[str, Namespace],
        Meta(description="Options by namespace. `default` holds for channels without a `:` in their name."),
    ] = msgspec.field(default_factory=lambda: {"default": Namespace()})
    schemas: Schemas = Schemas()
    tls: Tls = Tls()
    handlers: Handlers = Handlers()
    log: Log = Log()
    shutdown: Shutdown = Shutdown()


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
