"""The front door with everything behind it faked: an exchange, a hall, a gate, a socket, a clock."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.config import Http
from realtime_svc.driver import run
from realtime_svc.errors import Refusal
from realtime_svc.model import RemoteAddress
from realtime_svc.transports.caps import Caps, Lease
from realtime_svc.transports.entrance import Entrance, Visitor
from realtime_svc.transports.frontdoor import FrontDoor, FrontDoorFactory
from realtime_svc.wire.forwarded import Networks
from realtime_svc.wire.http_head import HeadLimits, RequestHead
from realtime_svc.wire.routes import BodySizes, Route

KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
FIELDS = ("Host: h", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", KEY)
HTTP = Http(head_timeout=5.0, idle_timeout=10.0)
ANSWER = b"<answer>"


def head(line: str, *fields: str) -> bytes:
    return "\r\n".join((line, *fields, "", "")).encode()


UPGRADE = head("GET /raw/a HTTP/1.1", *FIELDS)


def post(channel: str, body: bytes = b"", *fields: str) -> bytes:
    return head(f"POST /publish/{channel} HTTP/1.1", "Host: h", f"Content-Length: {len(body)}", *fields) + body


class Socket(StringTransport):
    """`half_closed`: we have closed our side."""

    half_closed = False
    half_closes = True

    def loseWriteConnection(self) -> None:  # noqa: N802 (Twisted)
        self.half_closed = True


class Gate:
    """Lets everybody in; `waiting` is what a request has to wait for."""

    def __init__(self) -> None:
        self.waiting: Deferred[None] | None = None

    def check(self, head: RequestHead) -> None:
        if head.get("x-refuse"):
            raise Refusal(403, "test", "test")

    def prepare(self, head: RequestHead) -> Awaitable[None] | None:
        return self.waiting

    def admit(self, head: RequestHead, route: Route) -> Any:
        raise AssertionError("this is what the rooms behind do")


class Exchange:
    """Plain HTTP: complete requests are `requests` as (channel, body); the test answers them, or `at_once`."""

    def __init__(self, transport: Any, visitor: Visitor) -> None:
        self.transport = transport
        self.visitor = visitor
        self.blocked = False
        self.at_once = True
        self.requests: list[tuple[str, bytes]] = []
        self.ended: list[str] = []
        self._channel = ""
        self._left = 0
        self.received = b""

    def begin(self, head: RequestHead, route: Route, remote: RemoteAddress, data: bytes) -> None:
        self._channel, self._left, self.received = route.channel, head.content_length or 0, b""
        if head.chunked:
            self._left = -1
        if not self._left:
            self._complete()

    def body(self, data: bytes) -> None:
        self.received += data
        done = data.endswith(b"0\r\n\r\n") if self._left < 0 else len(self.received) == self._left
        if done:
            self._complete()

    def _complete(self) -> None:
        self.visitor.body_received()
        self.requests.append((self._channel, self.received))
        if self.at_once:
            self.answer()

    def answer(self, *, persistent: bool = True) -> None:
        self.transport.write(ANSWER)
        self.visitor.responded(persistent)

    def leave(self) -> None:
        self.ended.append("leave")

    def lost(self, reason: Failure) -> None:
        self.ended.append("lost")


class Rooms:
    """Web and Hall: `exchange` is the HTTP side, `opened` are the WebSockets."""

    def __init__(self) -> None:
        self.at_once = True
        self.exchanges: list[Exchange] = []
        self.opened: list[tuple[RemoteAddress, Lease]] = []

    def exchange(self, transport: Any, visitor: Visitor) -> Exchange:
        exchange = Exchange(transport, visitor)
        exchange.at_once = self.at_once
        self.exchanges.append(exchange)
        return exchange

    def open(self, transport: Any, head: RequestHead, route: Route, remote: RemoteAddress, lease: Lease) -> None:
        self.opened.append((remote, lease))


class DoorTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.gate = Gate()
        self.rooms = Rooms()
        self.caps = Caps(10, 5)
        self.refused: list[tuple[int, str, str]] = []
        self.entrance = Entrance(
            http=HTTP,
            limits=HeadLimits(),
            trusted=Networks(["10.0.0.0/8"]),
            clock=self.clock,
            run=run,
            gate=self.gate,
            caps=self.caps,
            hall=self.rooms,
            web=self.rooms,
            refused=lambda refusal, host: self.refused.append((refusal.status, refusal.cause, host)),
            bodies=BodySizes(64 * 1024),
        )
        self.factory = FrontDoorFactory(self.entrance)

    def connect(self, host: str = "192.0.2.1") -> tuple[FrontDoor, Socket]:
        door = self.factory.buildProtocol(None)
        socket = Socket(peerAddress=IPv4Address("TCP", host, 1))
        door.makeConnection(socket)
        return door, socket

    def statuses(self) -> list[int]:
        return [status for status, _, _ in self.refused]

    @property
    def exchange(self) -> Exchange:
        (exchange,) = self.rooms.exchanges
        return exchange

    def turns(self) -> None:
        """Let everything happen that takes no time."""
        for _ in range(100):
            self.clock.advance(0)
