"""The front door: many requests on one connection, and requests that have to wait."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from realtime_svc.transports.frontdoor import MAX_PIPELINED
from tests.transports.doors import ANSWER, UPGRADE, DoorTestCase, head, post


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
        """While the peer does not read its answers, the next request waits; then it is taken."""
        self.rooms.at_once = False
        door, _ = self.connect()
        door.dataReceived(post("a") + post("b"))
        self.exchange.blocked = True
        self.exchange.answer()
        self.turns()
        self.assertEqual([channel for channel, _ in self.exchange.requests], ["a"])
        self.exchange.blocked = False
        door.unblocked()
        self.turns()
        self.assertEqual([channel for channel, _ in self.exchange.requests], ["a", "b"])

    def test_behind_chunks(self) -> None:
        """What comes behind a chunked body is not handed on with it, and not read without end."""
        self.rooms.at_once = False
        door, socket = self.connect()
        start = head("POST /publish/a HTTP/1.1", "Host: h", "Transfer-Encoding: chunked")
        door.dataReceived(start + b"0\r\n\r\n")
        self.factory.arrivals.end()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        door.dataReceived(b"x" * (MAX_PIPELINED + 1))
        self.assertEqual(socket.producerState, "paused")
        self.assertEqual(self.exchange.received, b"0\r\n\r\n")

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
        self.waiting: Deferred[None] = Deferred()
        self.gate.waiting = self.waiting

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
