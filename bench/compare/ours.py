"""realtime_svc as it is compared: its real front door, bearer tokens, metrics on, and the ways it can be set up."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from bench.compare.install import Installed
from bench.compare.servers import Route, Server, Setting
from realtime_svc.transports.kernel import choose

TOKEN = "bench-token-0123456789"
BEARER = (f"Authorization: Bearer {TOKEN}",)
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"text": {"type": "string", "maxLength": 4096}},
    "required": ["text"],
    "additionalProperties": False,
}
CONFIG = """\
[listeners.public]
host = "127.0.0.1"
port = {port}
tls = {tls}
[internal]
port = 0
[limits]
connections_per_address = 0
connections_per_user = 0
messages_per_second = 0
frames_per_second = 0
[auth.tokens]
bench = "{token}"
[namespaces.default]
echo = true
[namespaces.checked]
echo = true
schema = true
[namespaces.kept]
schema = true
history_size = 100
history_ttl = "10m"
[schemas]
folder = "schemas"
[websocket.deflate]
enabled = {deflate}
[sockets]
path = "{path}"
"""
TLS = """\
[tls]
certificate = "{certificate}"
key = "{key}"
"""


def config(setting: Setting, path: str) -> str:
    """The configuration file; `path` is sockets.path."""
    text = CONFIG.format(
        port=setting.port,
        tls="true" if setting.certificate else "false",
        token=TOKEN,
        deflate="true" if setting.deflate else "false",
        path=path,
    )
    return text + (TLS.format(certificate=setting.certificate, key=setting.key) if setting.certificate else "")


def _command(path: str) -> Callable[[Installed, Setting], list[str]]:
    def command(installed: Installed, setting: Setting) -> list[str]:
        for namespace in ("checked", "kept"):
            folder = setting.folder / "schemas" / namespace
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "message.json").write_text(json.dumps(SCHEMA))
        file = setting.folder / "server.toml"
        file.write_text(config(setting, path))
        twistd = Path(sys.executable).parent / "twistd"
        return [str(twistd), "-n", "--pidfile=", "realtime_svc", "--config", str(file)]

    return command


def _routes(channel: str) -> dict[str, Route]:
    return {
        "broadcast": Route(f"/raw/{channel}bench", BEARER),
        "echo": Route(f"/raw/{channel}echo{{n}}?echo=1", BEARER),
        "publish": Route("/connection/websocket", BEARER),
    }


def _ours(name: str, title: str, path: str = "auto", channel: str = "") -> Server:
    return Server(name, title, _command(path), _routes(channel), collects=True)


PROBE = "/raw/probe"
# The first takes the compiled part where it is installed, as it comes; its title says which it is.
OURS = (
    _ours("realtime_svc", f"realtime_svc ({choose('auto').name})"),
    _ours("realtime_svc/schema", "realtime_svc, schema on", channel="checked:"),
    _ours("realtime_svc/python", 'realtime_svc, sockets.path = "python"', "python"),
    _ours("realtime_svc/stock", 'realtime_svc, sockets.path = "stock"', "stock"),
)
