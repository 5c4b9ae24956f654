"""The front door: how long it waits, and how a connection ends."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone

from realtime_svc.transports.frontdoor import BODY_RATE, LINGER, MAX_PIPELINED, FrontDoorFactory
from realtime_svc.wire.routes import BodySizes
from tests.transports.doors import ANSWER, FIELDS, HTTP, UPGRADE, DoorTestCase, Socket, head, post


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

    def test_bodies(self) -> None:
        """What is declared is held against the limit of its address; the API is there only where it has one."""
        self.entrance = replace(self.entrance, bodies=BodySizes(100, 5000))
        self.factory = FrontDoorFactory(self.entrance)
        for path, limit in (("publish/a", 100), ("connection/http_stream", 100), ("emulation", 1224), ("api/x", 5000)):
            for size, refused in ((limit, []), (limit + 1, [413])):
                self.refused.clear()
                door, _ = self.connect()
                door.dataReceived(head(f"POST /{path} HTTP/1.1", "Host: h", f"Content-Length: {size}"))
                self.assertEqual(self.statuses(), refused, (path, size))
                door.connectionLost()
        self.refused.clear()
        self.setUp()
        self.connect()[0].dataReceived(head("POST /api/x HTTP/1.1", "Host: h", "Content-Length: 0"))
        self.assertEqual(self.statuses(), [404])

    def test_no_password_is_waited_for(self) -> None:
        """Where a secret of another kind counts, what stands in Authorization costs nothing."""
        self.gate.waiting = Deferred()
        for path, waits in (("emulation", False), ("publish/a", True), ("connection/http_stream", True)):
            self.rooms.exchanges.clear()
            door, _ = self.connect()
            door.dataReceived(head(f"POST /{path} HTTP/1.1", "Host: h", "Content-Length: 0"))
            self.assertEqual(len(self.rooms.exchanges), 0 if waits else 1, path)

    def test_nothing_else(self) -> None:
        """A request that is complete has all the time it needs: for its answer, and for its password to be checked."""
        self.rooms.at_once = False
        doors = [self.connect()[0] for _ in range(2)]
        doors[0].dataReceived(post("a", b"1"))
        self.gate.waiting = Deferred()
        doors[1].dataReceived(UPGRADE)
        self.clock.advance(1000)
        self.assertEqual((self.refused, self.clock.getDelayedCalls()), ([], []))

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
        for request in ("GET /sse/a", "GET /connection/sse", "POST /connection/http_stream"):
            self.rooms.exchanges.clear()
            door, socket = self.connect()
            door.dataReceived(head(f"{request} HTTP/1.1", "Host: h"))
            door.readConnectionLost()
            self.assertTrue(socket.disconnected, request)
            door.connectionLost(connectionDone)
            self.assertEqual(self.exchange.ended, ["lost"])

    def test_half_closed_preflight(self) -> None:
        """Asking whether one may is no stream: it is answered."""
        self.rooms.at_once = False
        door, socket = self.connect()
        door.dataReceived(head("OPTIONS /connection/http_stream HTTP/1.1", "Host: h"))
        door.readConnectionLost()
        self.assertFalse(socket.disconnected)
        self.exchange.answer()
        self.assertEqual(socket.value(), ANSWER)

    def test_half_closed_by_both(self) -> None:
        """Behind a refusal, the peer's end is the end."""
        door, socket = self.connect()
        door.dataReceived(b"canary\r\n\r\n")
        self.assertFalse(socket.disconnecting)
        door.readConnectionLost()
        self.assertTrue(socket.disconnecting)

    def test_no_half(self) -> None:
        """Where there is no half of a connection (TLS), a refusal ends with a goodbye."""
        door, socket = self.connect()
        socket.half_closes = False
        door.dataReceived(b"canary\r\n\r\n")
        self.assertEqual((socket.half_closed, socket.disconnecting), (False, True))

    def test_one_timer(self) -> None:
        """However many have just come, and none when the last one has been closed."""
        doors = [self.connect()[0] for _ in range(5)]
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        for door in doors:
            door.dataReceived(UPGRADE)
        self.factory.close_all()
        self.assertEqual(self.clock.getDelayedCalls(), [])

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
            self.connect(f"192.0.2.{number}")
        door, socket = self.connect()
        self.assertTrue(socket.disconnected)
        door.dataReceived(UPGRADE)
        door.connectionLost()
        self.assertEqual((socket.value(), self.statuses()[-1], self.caps.open), (b"", 503, 110))
