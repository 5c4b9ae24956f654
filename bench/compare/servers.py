"""The servers that are compared: how each is started, and how the load generator talks to it."""

from __future__ import annotations

import os
import string
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.compare.install import PEERS, ROOT, Installed
from bench.load import FOLDER

COLLECTING = Path(__file__).parent / "collecting"
CEILING = FOLDER / "build" / "ceiling"


@dataclass(frozen=True)
class Setting:
    """What a server is started with. `folder` is its own; `certificate` and `key` are "" without TLS."""

    port: int
    folder: Path
    deflate: bool = False
    certificate: str = ""
    key: str = ""

    @property
    def scheme(self) -> str:
        return "wss" if self.certificate else "ws"


@dataclass(frozen=True)
class Route:
    """How the load generator reaches one thing a server does, in its words (bench/load/README.md). `{size}` in an
    envelope is the size of the payload; `{n}` the number of the connection.
    """

    path: str
    headers: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    joined: str = ""
    joined_frames: int = 0
    answers: tuple[str, ...] = ()
    envelope: str = "{payload}"
    binary: bool = False

    def arguments(self, size: int) -> list[str]:
        made = ["--path", self.path, "--envelope", self.envelope.replace("{size}", str(size))]
        for name, values in (("header", self.headers), ("first", self.first), ("answer", self.answers)):
            for value in values:
                made += [f"--{name}", value]
        if self.joined:
            made += ["--joined", self.joined]
        if self.joined_frames:
            made += ["--joined-frames", str(self.joined_frames)]
        return [*made, *(["--binary"] if self.binary else [])]


@dataclass(frozen=True, eq=False)
class Server:
    """One that is compared. `routes` by name: broadcast, echo, and what only ours has. `collects`: it collects garbage
    at SIGWINCH. `peer`: what has to be installed for it ("": nothing). `processes`: how many it consists of.
    """

    name: str
    title: str
    command: Callable[[Installed, Setting], list[str]]
    routes: dict[str, Route]
    peer: str = ""
    tls: bool = True
    deflate: bool = True
    collects: bool = False
    cwd: Path = ROOT
    processes: int = 1

    def can(self, setting: Setting) -> bool:
        return (self.tls or not setting.certificate) and (self.deflate or not setting.deflate)


def environment(installed: Installed) -> dict[str, str]:
    """What servers are started with: the Node packages, and the collector for Python."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REALTIME_SVC_")}
    return {**kept, "NODE_PATH": str(installed.node_modules), "PYTHONPATH": str(COLLECTING)}


def _flags(setting: Setting) -> list[str]:
    flags = ["--port", str(setting.port), *(["--deflate"] if setting.deflate else [])]
    if setting.certificate:
        flags += ["--certificate", setting.certificate, "--key", setting.key]
    return flags


def _python(file: str) -> Callable[[Installed, Setting], list[str]]:
    return lambda installed, setting: [str(installed.python), str(PEERS / file), *_flags(setting)]


def _node(file: str) -> Callable[[Installed, Setting], list[str]]:
    collector = ["--expose-gc", "--require", str(COLLECTING / "collect.js")]
    return lambda installed, setting: [installed.node, *collector, str(PEERS / file), *_flags(setting)]


def _channels(installed: Installed, setting: Setting) -> list[str]:
    kind = "tcp:"
    if setting.certificate:
        kind = f"ssl:privateKey={setting.key}:certKey={setting.certificate}:"
    endpoint = f"{kind}port={setting.port}:interface=127.0.0.1:backlog=4096"
    return [str(installed.python), "-m", "daphne", "-v", "0", "-e", endpoint, "channels_server:application"]


def _filled(template: str, setting: Setting, **values: str) -> str:
    """A configuration file made of one of bench/peers, in the server's own folder."""
    text = string.Template((PEERS / template).read_text())
    path = setting.folder / template
    path.write_text(text.safe_substitute(PORT=str(setting.port), FOLDER=str(setting.folder), **values))
    return str(path)


def _nchan(installed: Installed, setting: Setting) -> list[str]:
    certificate = f"ssl_certificate {setting.certificate}; ssl_certificate_key {setting.key};"
    path = _filled(
        "nchan.conf",
        setting,
        MODULES=str(installed.nginx_modules),
        USER="" if os.geteuid() else "user root;",  # else the worker could not use the folder
        SSL="ssl" if setting.certificate else "",
        CERTIFICATE=certificate if setting.certificate else "",
        DEFLATE="nchan_deflate_message_for_websocket on;" if setting.deflate else "",
    )
    return [str(installed.nginx), "-p", str(setting.folder), "-c", path]


def _nats(installed: Installed, setting: Setting) -> list[str]:
    tls = f'tls {{ cert_file: "{setting.certificate}", key_file: "{setting.key}" }}'
    path = _filled(
        "nats.conf",
        setting,
        DEFLATE="true" if setting.deflate else "false",
        TLS=tls if setting.certificate else "no_tls: true",
    )
    return [str(installed.nats), "-c", path]


def _ceiling(*more: str) -> Callable[[Installed, Setting], list[str]]:
    def command(installed: Installed, setting: Setting) -> list[str]:
        tls = ["--tls", setting.certificate, setting.key] if setting.certificate else []
        return [str(CEILING), "--port", str(setting.port), *more, *tls]

    return command


PLAIN = {"broadcast": Route("/broadcast"), "echo": Route("/echo")}


def _socketio(event: str) -> Route:
    return Route(
        "/socket.io/?EIO=4&transport=websocket",
        first=("40",),
        joined_frames=2,  # not its text "40{": python-socketio compresses that
        answers=("2=3",),
        envelope=f'42["{event}",{{payload}}]',
    )


def _nats_route(subject: str, echo: bool) -> Route:
    connect = f'CONNECT {{"verbose":false,"pedantic":false,"echo":{"true" if echo else "false"}}}\\r\\n'
    return Route(
        "/",
        first=(f"{connect}SUB {subject} 1\\r\\nPING\\r\\n",),
        joined="PONG",
        envelope=f"PUB {subject} {{size}}\\r\\n{{payload}}\\r\\n",
        binary=True,
    )


SOCKETIO = {"broadcast": _socketio("message"), "echo": _socketio("echo")}
NCHAN = {"broadcast": Route("/broadcast"), "echo": Route("/echo/{n}")}
NATS = {"broadcast": _nats_route("all", echo=False), "echo": _nats_route("echo{n}", echo=True)}

CEILINGS = (
    Server("ceiling", "ceiling: C, one send() each", _ceiling(), PLAIN, deflate=False),
    Server("ceiling-batched", "ceiling: C, batched", _ceiling("--batched"), PLAIN, deflate=False),
)
OTHERS = (
    Server("socketify", "socketify (uWebSockets)", _python("socketify_server.py"), PLAIN, "socketify", collects=True),
    Server("picows", "picows", _python("picows_server.py"), PLAIN, "picows", deflate=False, collects=True),
    Server("nchan", "nginx + nchan", _nchan, NCHAN, "nchan", processes=2),
    Server("nats", "nats-server", _nats, NATS, "nats"),
    Server("ws", "ws (Node)", _node("ws_server.js"), PLAIN, "ws", collects=True),
    Server("websockets", "websockets", _python("websockets_server.py"), PLAIN, "websockets", collects=True),
    Server("socket.io", "socket.io (Node)", _node("socketio_server.js"), SOCKETIO, "socket.io", collects=True),
    Server("autobahn", "Autobahn on Twisted", _python("autobahn_server.py"), PLAIN, "autobahn", collects=True),
    Server(
        "python-socketio",
        "python-socketio (uvicorn)",
        _python("python_socketio_server.py"),
        SOCKETIO,
        "python-socketio",
        collects=True,
    ),
    Server("channels", "Channels (daphne)", _channels, PLAIN, "channels", deflate=False, collects=True, cwd=PEERS),
)
