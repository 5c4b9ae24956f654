"""What is measured: one entry a figure, in the order of the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.compare.ours import OURS, PROBE
from bench.compare.servers import CEILINGS, OTHERS, Server

SERVERS: dict[str, Server] = {server.name: server for server in (*OURS, *CEILINGS, *OTHERS)}
PEERS = tuple(server.name for server in OTHERS)
TLS_PEERS = ("socketify", "ws", "picows", "websockets", "autobahn")
VARIANTS = ("realtime_svc/python", "realtime_svc/stock")
OWN_WAYS = ("realtime_svc", "realtime_svc/schema", *VARIANTS)
SLOW = ("python-socketio", "channels")  # one publication to 10,000 takes them seconds
SLOWEST = ("channels",)  # so does opening 10,000


@dataclass(frozen=True)
class Figure:
    """`group`: figures that are measured on one server process, one after the other. `mode`, `arguments`: of the load
    generator. `route`: of the server. `who`: names of servers, in order. `kind`: how they are started: plain, deflate,
    rsa or p256. `ceiling`: the server whose rate is 1. `probe`: the address of another channel, of ours only.
    """

    name: str
    group: str
    title: str
    unit: str
    mode: str
    who: tuple[str, ...]
    route: str = "broadcast"
    arguments: tuple[str, ...] = ()
    size: int = 128
    connections: int = 0
    kind: str = "plain"
    ceiling: str = ""
    probe: str = ""

    def servers(self) -> list[Server]:
        """Those of `who` that can do this at all."""
        found = [SERVERS[name] for name in self.who]
        deflate, tls = self.kind == "deflate", self.kind in ("rsa", "p256")
        return [server for server in found if (server.deflate or not deflate) and (server.tls or not tls)]


def _fanout(name: str, group: str, title: str, window: int, **more: Any) -> Figure:
    size, connections = more.pop("size", 128), more.pop("connections", 1_000)
    how = "one publication at a time" if window == 1 else f"{window} outstanding"
    payload = "1 KiB" if size == 1024 else f"{size} B"
    return Figure(
        name=name,
        group=group,
        title=f"{title}: {connections:,} subscribers, {payload}, {how}",
        unit="deliveries",
        mode="fanout",
        arguments=("--window", str(window)),
        size=size,
        connections=connections,
        **more,
    )


def _publish(name: str, title: str, channel: str, who: tuple[str, ...]) -> Figure:
    return Figure(
        name=name,
        group="publish",
        title=f"Publishing, Centrifugo's protocol in JSON, schema on, {title}: 100 connections, 16 outstanding",
        unit="acknowledged",
        mode="publish",
        who=who,
        route="publish",
        arguments=("--window", "16", "--protocol", "centrifugo", "--channel", channel),
        connections=100,
    )


def _accept(name: str, title: str, who: tuple[str, ...], *arguments: str, kind: str = "plain") -> Figure:
    return Figure(
        name=name,
        group="accept" if kind == "plain" else "accept-tls",
        title=title,
        unit="accepted",
        mode="connect",
        who=(*who, "ceiling"),
        arguments=arguments,
        kind=kind,
        ceiling="ceiling",
    )


def _idle(name: str, connections: int, scheme: str, who: tuple[str, ...], kind: str) -> Figure:
    title = f"Memory of idle connections: {connections:,} held, {scheme}"
    return Figure(name, name, title, "idle", "idle", who, connections=connections, kind=kind)


def figures(quick: bool) -> list[Figure]:
    """All of them; `quick`: fewer connections where 10,000 are meant, fewer peers over TLS, fewer variants of ours."""
    many = 1_000 if quick else 10_000
    send, batched = ("ceiling",), ("ceiling", "ceiling-batched")
    own = ("realtime_svc",) if quick else ("realtime_svc", *VARIANTS)
    secure = ("realtime_svc", *(TLS_PEERS[:2] if quick else TLS_PEERS))
    tls = "Accepting TLS connections"
    return [
        _fanout("fanout1", "fanout", "Fan-out", 1, who=(*OWN_WAYS, *send, *PEERS), ceiling="ceiling"),
        _fanout("fanout16", "fanout", "Fan-out", 16, who=(*OWN_WAYS, *batched, *PEERS), ceiling="ceiling-batched"),
        _fanout(
            "fanout10k",
            "fanout10k",
            "Fan-out",
            1,
            connections=many,
            who=(*own, *send, *(name for name in PEERS if name not in SLOW)),
            ceiling="ceiling",
            probe=PROBE,
        ),
        Figure(
            "echo",
            "echo",
            "Echo: 100 connections, 128 B",
            "echoes",
            "echo",
            (*own, "realtime_svc/schema", *send, *PEERS),
            route="echo",
            connections=100,
            ceiling="ceiling",
        ),
        _publish("publish", "no history", "checked:bench{n}", own),
        _publish("publish-history", "history of 100", "kept:bench{n}", own),
        _accept("accept", "Accepting connections", (*own, *PEERS)),
        _accept("accept-rsa", f"{tls}: RSA-2048, full handshakes", secure, kind="rsa"),
        _accept("accept-resumed", f"{tls}: RSA-2048, resumed", secure, "--resume", "--warmup", "0.5", kind="rsa"),
        _accept("accept-p256", f"{tls}: P-256, full handshakes", secure, kind="p256"),
        _idle("idle", many, "ws", (*own, *send, *(name for name in PEERS if name not in SLOWEST)), "plain"),
        _idle("idle-tls", many, "wss", (*secure, *send), "p256"),
        _fanout(
            "deflate",
            "deflate",
            "Fan-out, permessage-deflate",
            4,
            size=1024,
            who=("realtime_svc", "realtime_svc/schema", *PEERS),
            kind="deflate",
        ),
        _fanout("tls1", "tls", "Fan-out over TLS", 1, who=(*secure, *send, "nats"), kind="rsa", ceiling="ceiling"),
        _fanout(
            "tls16",
            "tls",
            "Fan-out over TLS",
            16,
            who=(*secure, *batched, "nats"),
            kind="rsa",
            ceiling="ceiling-batched",
        ),
    ]


def chosen(quick: bool, only: set[str]) -> list[Figure]:
    """The figures whose name or group is in `only` (empty: all). Raises `KeyError`: nothing has that name."""
    found = figures(quick)
    for name in only:
        if not any(name in (figure.name, figure.group) for figure in found):
            raise KeyError(name)
    return [figure for figure in found if not only or {figure.name, figure.group} & only]
