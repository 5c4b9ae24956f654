"""The front door with everything behind it faked: times, order of requests, and how a connection ends."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
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
from realtime_svc.transports.frontdoor import BODY_RATE, LINGER, MAX_PIPELINED, FrontDoor, FrontDoorFactory
from realtime_svc.wire.forwarded import Networks
from realtime_svc.wire.http_head import HeadLimits, RequestHead
from realtime_svc.wire.routes import Route

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
        self._body = b""

    def begin(self, head: RequestHead, route: Route, remote: RemoteAddress, data: bytes) -> None:
        self._channel, self._left, self._body = route.channel, head.content_length or 0, b""
        if head.chunked:
            self._left = -1
        if not self._left:
            self._complete()

    def body(self, data: bytes) -> None:
        self._body += data
        done = data.endswith(b"0\r\n\r\n") if self._left < 0 else len(self._body) == self._left
        if done:
            self._complete()

    def _complete(self) -> None:
        self.visitor.body_received()
        self.requests.append((self._channel, self._body))
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
            body_size=64 * 1024,
        )
        self.factory = FrontDoorFactory(self.entrance)

    def connect(self, host: str = "192.0.2.1") -> tuple[FrontDoor, Socket]:
        door = self.factory.buildProtocol(None)
        socket = Socket(peerAddress=IPv4Address("TCP", host, 1))  # type: ignore[no-untyped-call]
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


class Times(DoorTestCase):
    def assert_cut(self, socket: Socket, seconds: float, cause: str = "too_slow") -> None:
        """Not before `seconds`, but then, without an answer."""
        before = socket.value()
        self.clock.advance(seconds - 0.01)
        self.assertFalse(socket.disconnected)
        self.clock.advance(0.02)
        self.assertTrue(socket.disconnected)
        self.assertEqual((socket.value(), self.refused), (before, [(408, cause, "192.0.2.1")]))

    def test_head(self) -> None:
        """The whole head has one time, however it dribbles."""
        door, socket = self.connect()
        for byte in UPGRADE[:40]:
            door.dataReceived(bytes([byte]))
            self.clock.advance(0.1)
        self.assert_cut(socket, HTTP.head_timeout - 4)

    def test_body(self) -> None:
        """So has a body: by its length, or by the most it may be."""
        door, socket = self.connect()
        door.dataReceived(post("a", b"x" * BODY_RATE)[:-BODY_RATE])
        for _ in range(50):
            door.dataReceived(b"x")
            self.clock.advance(0.1)
        self.assert_cut(socket, HTTP.head_timeout + 1 - 5)

    def test_chunked_body(self) -> None:
        door, socket = self.connect()
        door.dataReceived(head("POST /publish/a HTTP/1.1", "Host: h", "Transfer-Encoding: chunked"))
        self.assert_cut(socket, HTTP.head_timeout + 64 * 1024 / BODY_RATE)

    def test_nothing_else(self) -> None:
        """A request that is complete has all the time it needs: for its answer, and for its password to be checked."""
        self.rooms.at_once = False
        doors = [self.connect()[0] for _ in range(2)]
        doors[0].dataReceived(post("a", b"1"))
        self.gate.waiting = Deferred()
        doors[1].dataReceived(UPGRADE)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_between_requests(self) -> None:
        """Idle: a good end. Half a request: the time of a head, counted from its first byte, then cut."""
        for start in (b"", b"POST"):
            self.setUp()
            door, socket = self.connect()
            door.dataReceived(post("a"))
            self.clock.advance(HTTP.idle_timeout - 1)
            if start:
                door.dataReceived(start)
                self.assert_cut(socket, HTTP.head_timeout)
            else:
                self.clock.advance(1)
                self.assertEqual((socket.half_closed, socket.disconnecting, self.refused), (True, False, []))
                self.clock.advance(LINGER)
                self.assertTrue(socket.disconnected)

    def test_answers_are_not_read(self) -> None:
        """The next request waits for the socket's buffer, and is read no further; after a time it is over."""
        door, socket = self.connect()
        door.dataReceived(post("a"))
        self.exchange.blocked = True
        door.dataReceived(post("b") * 10)
        self.turns()
        self.assertEqual(self.exchange.requests, [("a", b"")])
        door.dataReceived(b"x" * MAX_PIPELINED)
        self.assertEqual(socket.producerState, "paused")
        self.assert_cut(socket, HTTP.idle_timeout, "not_read")

    def test_refused(self) -> None:
        """A refusal: answer, close our side, throw away what comes, and cut who does not leave."""
        door, socket = self.connect()
        door.dataReceived(head("GET /nowhere HTTP/1.1", "Host: h") + UPGRADE)
        answer = socket.value()
        door.dataReceived(UPGRADE)
        self.assertTrue(answer.startswith(b"HTTP/1.1 404 "))
        self.assertEqual((socket.value(), socket.half_closed, socket.disconnecting), (answer, True, False))
        self.clock.advance(LINGER)
        self.assertTrue(socket.disconnected)
        self.assertEqual(self.refused, [(404, "not_found", "192.0.2.1")])


class Order(DoorTestCase):
    """Many requests on one connection."""

    def test_pipeline(self) -> None:
        """In order, each behind the answer to the one before, however the reads are cut."""
        data = b"".join(post(f"c{number}", b"x" * number) for number in range(20))
        expected = [(f"c{number}", b"x" * number) for number in range(20)]
        for size in (1, 13, 100, len(data)):
            self.rooms.exchanges.clear()
            door, socket = self.connect()
            for at in range(0, len(data), size):
                door.dataReceived(data[at : at + size])
                self.clock.advance(0)
            self.turns()
            self.assertEqual(self.exchange.requests, expected, size)
            self.assertEqual(socket.value(), ANSWER * 20)
            door.connectionLost()

    def test_slow_answers(self) -> None:
        """What comes while an answer is worked on waits, also what comes between two turns behind it."""
        self.rooms.at_once = False
        door, _ = self.connect()
        door.dataReceived(post("a") + post("b")[:30])
        self.turns()
        self.assertEqual(self.exchange.requests, [("a", b"")])
        self.exchange.answer()
        door.dataReceived(post("b")[30:] + post("c"))  # before the event loop has turned
        self.turns()
        self.assertEqual(self.exchange.requests, [("a", b""), ("b", b"")])
        self.exchange.answer()
        self.turns()
        self.assertEqual([channel for channel, _ in self.exchange.requests], ["a", "b", "c"])

    def test_bounded(self) -> None:
        """Behind a request under way, only so much is read; it goes on when that is worked off."""
        self.rooms.at_once = False
        door, socket = self.connect()
        request = post("b", b"x" * 1000)
        door.dataReceived(post("a") + request * (MAX_PIPELINED // len(request) + 1))
        self.assertEqual(socket.producerState, "paused")
        self.exchange.at_once = True
        self.exchange.answer()
        self.turns()
        self.assertEqual(socket.producerState, "producing")
        self.assertEqual(len(self.exchange.requests), MAX_PIPELINED // len(request) + 2)

    def test_unblocked(self) -> None:
        """When the peer reads again, the next request is taken."""
        door, _ = self.connect()
        door.dataReceived(post("a"))
        self.exchange.blocked = True
        door.dataReceived(post("b"))
        self.turns()
        self.exchange.blocked = False
        door.unblocked()
        self.turns()
        self.assertEqual([channel for channel, _ in self.exchange.requests], ["a", "b"])

    def test_last(self) -> None:
        """Behind a request that is the last, nothing is read: HTTP/1.0, close, chunks, an answer that says so."""
        lasts = [
            head("POST /publish/a HTTP/1.0", "Content-Length: 0"),
            post("a", b"", "Connection: close"),
            head("POST /publish/a HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        ]
        for last in lasts:
            self.rooms.exchanges.clear()
            door, socket = self.connect()
            door.dataReceived(last)
            door.dataReceived(post("b"))
            self.turns()
            self.assertEqual(len(self.exchange.requests), 1, last)
            self.assertEqual((socket.value(), socket.half_closed), (ANSWER, True))
            self.assertEqual(self.exchange.ended, ["leave"])
            door.connectionLost()

    def test_answered_early(self) -> None:
        """An answer before the body is complete: the rest of it is not taken for a request."""
        door, socket = self.connect()
        door.dataReceived(post("a", b"x" * 100)[:-50])
        self.exchange.answer(persistent=False)
        door.dataReceived(b"x" * 50 + post("b"))
        self.turns()
        self.assertEqual((self.exchange.requests, socket.half_closed), ([], True))

    def test_refused_behind_a_good_one(self) -> None:
        door, socket = self.connect()
        door.dataReceived(post("a") + post("b", b"", "X-Refuse: 1") + post("c"))
        self.turns()
        self.assertEqual(self.exchange.requests, [("a", b"")])
        self.assertTrue(socket.value().startswith(ANSWER + b"HTTP/1.1 403 "))
        self.assertEqual(self.statuses(), [403])

    def test_late_upgrade(self) -> None:
        door, _ = self.connect()
        door.dataReceived(post("a") + UPGRADE)
        self.turns()
        self.assertEqual((self.rooms.opened, self.statuses()), ([], [400]))


class Waiting(DoorTestCase):
    """A password is being checked."""

    def setUp(self) -> None:
        super().setUp()
        self.gate.waiting = self.waiting = Deferred()

    def test_upgrade(self) -> None:
        """The socket is not read meanwhile; then the WebSocket opens."""
        door, socket = self.connect()
        door.dataReceived(UPGRADE)
        self.assertEqual((self.rooms.opened, socket.producerState), ([], "paused"))
        self.waiting.callback(None)
        self.assertEqual((len(self.rooms.opened), socket.producerState), (1, "producing"))
        self.assertEqual(self.factory.waiting, set())

    def test_early_data(self) -> None:
        """Bytes that came in all the same are as wrong as those that come with the head."""
        door, socket = self.connect()
        door.dataReceived(UPGRADE)
        door.dataReceived(b"\x81\x80\0\0\0\0")
        self.waiting.callback(None)
        self.assertEqual((self.rooms.opened, self.statuses()), ([], [400]))
        self.assertIn(b"early_data", socket.value())

    def test_body(self) -> None:
        """A body that came meanwhile is that of its request."""
        door, _ = self.connect()
        data = post("a", b"12345")
        door.dataReceived(data[:-3])
        door.dataReceived(data[-3:] + post("b"))
        self.gate.waiting = None
        self.waiting.callback(None)
        self.turns()
        self.assertEqual(self.exchange.requests, [("a", b"12345"), ("b", b"")])

    def test_gone(self) -> None:
        """The client left: nothing is opened."""
        door, socket = self.connect()
        door.dataReceived(UPGRADE)
        socket.connected = False
        door.connectionLost()
        self.waiting.callback(None)
        self.assertEqual((self.rooms.opened, self.caps.open), ([], 0))

    def test_drained(self) -> None:
        """No WebSocket is opened any more once the server shuts down; a publication is still carried out."""
        door, socket = self.connect()
        door.dataReceived(UPGRADE)
        other, _ = self.connect()
        other.dataReceived(post("a"))
        self.factory.close_all()
        self.assertFalse(socket.half_closed)
        self.waiting.callback(None)
        self.assertEqual((self.rooms.opened, self.statuses()), ([], [503]))
        self.assertTrue(socket.value().startswith(b"HTTP/1.1 503 "))
        self.assertEqual(self.exchange.requests, [("a", b"")])


class Ends(DoorTestCase):
    def test_drain(self) -> None:
        """Idle connections are closed, busy ones behind their answer."""
        self.rooms.at_once = False
        fresh, idle, busy = (self.connect() for _ in range(3))
        idle[0].dataReceived(post("a"))
        self.rooms.exchanges[0].answer()
        busy[0].dataReceived(post("b"))
        self.factory.close_all()
        self.assertEqual([socket.half_closed for _, socket in (fresh, idle, busy)], [True, True, False])
        self.rooms.exchanges[1].answer()
        self.assertTrue(busy[1].half_closed)
        self.factory.abort_all()
        self.assertTrue(all(socket.disconnected for _, socket in (fresh, idle, busy)))

    def test_half_closed(self) -> None:
        """A peer that sends nothing more gets the answers to what it asked; then the connection ends."""
        self.rooms.at_once = False
        door, socket = self.connect()
        door.dataReceived(post("a") + post("b") + b"POST /half")
        door.readConnectionLost()
        for _ in range(2):
            self.assertFalse(socket.disconnecting)
            self.exchange.answer()
            self.turns()
        self.assertEqual([channel for channel, _ in self.exchange.requests], ["a", "b"])
        self.assertTrue(socket.disconnecting)

    def test_half_closed_at_once(self) -> None:
        """Where there is nothing to answer, it ends at once: no request, half a head, half a body."""
        for data in (b"", b"GET", post("a", b"12")[:-1]):
            door, socket = self.connect()
            door.dataReceived(data)
            door.readConnectionLost()
            self.assertTrue(socket.disconnecting, data)
            door.connectionLost()

    def test_half_closed_stream(self) -> None:
        """A stream would never end: its reader is taken for gone."""
        self.rooms.at_once = False
        door, socket = self.connect()
        door.dataReceived(head("GET /sse/a HTTP/1.1", "Host: h"))
        door.readConnectionLost()
        self.assertTrue(socket.disconnected)
        door.connectionLost(connectionDone)
        self.assertEqual(self.exchange.ended, ["lost"])

    def test_half_closed_by_both(self) -> None:
        """Behind a refusal, the peer's end is the end."""
        door, socket = self.connect()
        door.dataReceived(b"canary\r\n\r\n")
        self.assertFalse(socket.disconnecting)
        door.readConnectionLost()
        self.assertTrue(socket.disconnecting)

    def test_places(self) -> None:
        """A place is taken at accept, and given back at the end; a WebSocket keeps its own."""
        doors = [self.connect()[0] for _ in range(6)]
        for door in doors:
            door.dataReceived(UPGRADE)
        self.assertEqual((len(self.rooms.opened), self.statuses(), self.caps.open), (5, [429], 6))
        doors[5].connectionLost()
        self.assertEqual(self.caps.open, 5)
        for _, lease in self.rooms.opened:
            lease.release()
        self.assertEqual(self.caps.open, 0)

    def test_places_behind_a_proxy(self) -> None:
        """Who the proxy names has the place, and is the one in the logs."""
        for number in range(7):
            door, _ = self.connect("10.0.0.1")
            client = "192.0.2.7" if number < 6 else "192.0.2.8"
            door.dataReceived(head("GET /raw/a HTTP/1.1", *FIELDS, f"X-Forwarded-For: {client}"))
        hosts = [remote.host for remote, _ in self.rooms.opened]
        self.assertEqual(hosts, ["192.0.2.7"] * 5 + ["192.0.2.8"])
        self.assertEqual(self.refused, [(429, "connections_per_address", "192.0.2.7")])

    def test_dropped(self) -> None:
        """Too many to be answered: cut at accept, and whatever they send is not looked at."""
        for number in range(200):
            door, socket = self.connect(f"192.0.2.{number}")
        self.assertTrue(socket.disconnected)
        door.dataReceived(UPGRADE)
        door.connectionLost()
        self.assertEqual((socket.value(), self.statuses()[-1], self.caps.open), (b"", 503, 110))
