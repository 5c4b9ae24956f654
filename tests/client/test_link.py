"""What is timed and bounded in one connection, without sockets and without waiting."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.client import ConnectionClosed, ConnectionFailed, HandshakeRefused, SendBufferFull, connect
from realtime_svc.client.link import Limits, Link
from realtime_svc.client.protocol import ClientFactory, ClientProtocol
from realtime_svc.client.request import make_request

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class PausingTransport(StringTransport):
    """Counts how often reading was paused; `aborting` tells that the connection was cut."""

    aborting = False

    def abortConnection(self) -> None:
        self.aborting = True


def server_frame(payload: bytes, opcode: int = 1) -> bytes:
    return bytes((0x80 | opcode, len(payload))) + payload


class LinkCase(SynchronousTestCase):
    limits = Limits(max_size=1000, max_queue=300, ping_interval=25.0, ping_timeout=10.0, close_timeout=5.0)

    def setUp(self) -> None:
        self.clock = Clock()
        self.link = Link(self.clock, self.limits)
        self.transport = PausingTransport()
        factory = ClientFactory(self.clock, self.link, make_request("ws://127.0.0.1/"))
        self.protocol: ClientProtocol = factory.buildProtocol(None)
        self.protocol.makeConnection(self.transport)

    def open(self) -> None:
        key = next(
            line.split(b": ")[1]
            for line in self.transport.value().split(b"\r\n")
            if line.startswith(b"Sec-WebSocket-Key")
        )
        proof = base64.b64encode(hashlib.sha1(key + GUID).digest())
        head = b"HTTP/1.1 101 Ok\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + proof
        self.protocol.dataReceived(head + b"\r\n\r\n")
        self.successResultOf(self.link.opening)
        self.transport.clear()

    def producer(self) -> Any:
        """What the transport tells when the server does not read."""
        return self.transport.producer

    def lose(self) -> None:
        self.protocol.connectionLost()

    def opcodes(self) -> list[int]:
        """Of the (short) frames that were written since the last look."""
        data, found = self.transport.value(), []
        self.transport.clear()
        while data:
            found.append(data[0] & 15)
            data = data[6 + (data[1] & 127) :]
        return found


class LivenessTests(LinkCase):
    def test_ping_after_the_interval(self) -> None:
        """And again an interval after the answer came."""
        self.open()
        for _ in range(3):
            self.clock.advance(24.9)
            self.assertEqual(self.opcodes(), [])
            self.clock.advance(0.1)
            self.assertEqual(self.opcodes(), [9])
            self.protocol.dataReceived(server_frame(b"", 10))
            self.clock.advance(10)
        self.assertFalse(self.transport.aborting)

    def test_no_answer_ends_the_connection(self) -> None:
        self.open()
        closed = self.link.when_closed()
        self.clock.advance(25)
        self.clock.advance(10)
        self.assertTrue(self.transport.aborting)
        self.lose()
        self.assertEqual(self.successResultOf(closed), (1006, "the server does not answer"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_not_while_reading_is_paused_here(self) -> None:
        self.open()
        for _ in range(4):
            self.protocol.dataReceived(server_frame(b"x" * 100))
        self.assertEqual(self.transport.producerState, "paused")
        self.clock.advance(25)
        self.clock.advance(10)
        self.assertFalse(self.transport.aborting)


class ClosingTests(LinkCase):
    def test_server_gets_some_time(self) -> None:
        """It neither answers our Close nor ends the connection."""
        self.open()
        self.link.close(1000, b"")
        self.clock.advance(4.9)
        self.assertFalse(self.transport.aborting)
        self.clock.advance(0.1)
        self.assertTrue(self.transport.aborting)

    def test_server_closes_but_stays(self) -> None:
        """Its code counts all the same."""
        self.open()
        self.protocol.dataReceived(server_frame(b"\x0d\xac", 8))
        self.assertEqual(self.opcodes(), [8])
        self.clock.advance(5)
        self.assertTrue(self.transport.aborting)
        self.lose()
        self.assertEqual(self.successResultOf(self.link.when_closed()), (3500, ""))

    def test_close_goes_on_reading(self) -> None:
        """Else the server's Close would never be seen; what it still sends is dropped."""
        self.open()
        for _ in range(4):
            self.protocol.dataReceived(server_frame(b"x" * 100))
        self.link.close(1000, b"")
        self.assertEqual(self.transport.producerState, "producing")
        self.protocol.dataReceived(server_frame(b"dropped") + server_frame(b"\x03\xe8", 8))
        self.lose()
        kept = [self.successResultOf(self.link.receive()) for _ in range(4)]
        self.assertEqual(set(kept), {"x" * 100})
        self.failureResultOf(self.link.receive(), ConnectionClosed)

    def test_drain_keeps_what_comes_before_the_servers_close(self) -> None:
        """Bounded as ever: reading pauses while nobody takes it. What is behind the Close does not count."""
        self.open()
        self.link.close(1000, b"", drain=True)
        self.assertEqual(self.opcodes(), [8])
        for number in range(4):
            self.protocol.dataReceived(server_frame(b"%d" % number + b"x" * 100))
        self.assertEqual(self.transport.producerState, "paused")
        taken = [self.successResultOf(self.link.receive()) for _ in range(4)]
        self.assertEqual([str(message)[0] for message in taken], ["0", "1", "2", "3"])
        self.assertEqual(self.transport.producerState, "producing")
        self.protocol.dataReceived(server_frame(b"last") + server_frame(b"\x03\xe8", 8) + server_frame(b"behind"))
        self.lose()
        self.assertEqual(self.successResultOf(self.link.receive()), "last")
        self.assertEqual(self.failureResultOf(self.link.receive(), ConnectionClosed).value.code, 1000)

    def test_drain_has_an_end(self) -> None:
        """However much the server says, it has its time for the Close and no more."""
        self.open()
        self.link.close(1000, b"", drain=True)
        for _ in range(5):
            self.assertFalse(self.transport.aborting)
            self.protocol.dataReceived(server_frame(b"more"))
            self.clock.advance(1)
        self.assertTrue(self.transport.aborting)

    def test_second_close_ends_the_draining(self) -> None:
        """Nobody has to take what has come for the server's Close to be seen."""
        self.open()
        self.link.close(1000, b"", drain=True)
        for _ in range(4):
            self.protocol.dataReceived(server_frame(b"x" * 100))
        self.link.close(1000, b"")
        self.assertEqual((self.transport.producerState, self.opcodes()), ("producing", [8]))
        self.protocol.dataReceived(server_frame(b"dropped") + server_frame(b"\x03\xe8", 8))
        self.lose()
        self.assertEqual({self.successResultOf(self.link.receive()) for _ in range(4)}, {"x" * 100})
        self.failureResultOf(self.link.receive(), ConnectionClosed)


class BrokenTests(LinkCase):
    def test_exception_in_autobahn(self) -> None:
        """Logged, and the connection ends; it does not get out into the reactor."""
        self.open()
        closed = self.link.when_closed()
        self.patch(self.protocol, "processData", lambda: 1 // 0)
        self.protocol.dataReceived(server_frame(b"x"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(self.transport.aborting)
        self.lose()
        self.assertEqual(self.successResultOf(closed), (1006, "what the server sends can't be read"))

    def test_tls_errors_of_every_shape(self) -> None:
        """With and without entries in OpenSSL's queue."""
        table = (
            (SSL.Error([("SSL routines", "", "certificate verify failed")]), "TLS: certificate verify failed"),
            (SSL.Error([]), "TLS: the handshake failed"),
            (SSL.Error(), "TLS: the handshake failed"),
            (SSL.SysCallError(-1, "Unexpected EOF"), "TLS: the handshake failed"),
        )
        for error, text in table:
            self.setUp()
            self.protocol.connectionLost(Failure(error))
            self.assertEqual(str(self.failureResultOf(self.link.opening, ConnectionFailed).value), text)


class FlowTests(LinkCase):
    def test_reading_pauses_and_goes_on(self) -> None:
        """Above `max_queue` it pauses; at half of it, it goes on."""
        self.open()
        states = []
        for _ in range(3):
            self.protocol.dataReceived(server_frame(b"x" * 50))
            states.append(self.transport.producerState)
        for _ in range(3):
            self.successResultOf(self.link.receive())
            states.append(self.transport.producerState)
        self.assertEqual(states, ["producing", "producing", "paused", "paused", "producing", "producing"])

    def test_sending_is_refused_when_too_much_waits(self) -> None:
        self.open()
        producer = self.producer()
        self.link.send(b"x" * 900, binary=True)
        producer.pauseProducing()
        self.link.send(b"x" * 900, binary=True)
        self.assertRaises(SendBufferFull, self.link.send, b"x", binary=True)
        producer.resumeProducing()
        self.link.send(b"x", binary=True)

    def test_only_the_newest_ping_is_answered_while_the_server_does_not_read(self) -> None:
        self.open()
        producer = self.producer()
        self.protocol.dataReceived(server_frame(b"1", 9))
        self.assertEqual(self.opcodes(), [10])
        producer.pauseProducing()
        for payload in (b"2", b"3", b"4"):
            self.protocol.dataReceived(server_frame(payload, 9))
        self.assertEqual(self.opcodes(), [])
        producer.resumeProducing()
        self.assertEqual(self.opcodes(), [10])
        producer.resumeProducing()
        self.assertEqual(self.opcodes(), [])

    def test_no_pong_after_a_close(self) -> None:
        self.open()
        producer = self.producer()
        producer.pauseProducing()
        self.protocol.dataReceived(server_frame(b"1", 9))
        self.link.close(1000, b"")
        self.opcodes()
        producer.resumeProducing()
        self.assertEqual(self.opcodes(), [])

    def test_each_who_asks_gets_the_end(self) -> None:
        """One who changes its result, or stops waiting, changes nothing for the others."""
        self.open()
        first, second, third = (self.link.when_closed() for _ in range(3))
        first.addCallback(lambda _: None)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.lose()
        self.assertEqual(self.successResultOf(third)[0], 1006)


class OpeningTests(SynchronousTestCase):
    """`connect` with a reactor whose time is ours."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.opening = connect(self.reactor, "ws://127.0.0.1:8000/", open_timeout=10.0)

    def connected(self) -> tuple[Any, PausingTransport]:
        transport = PausingTransport()
        protocol: Any = self.reactor.tcpClients[0][2].buildProtocol(None)
        protocol.makeConnection(transport)
        return protocol, transport

    def test_no_connection_in_time(self) -> None:
        self.reactor.advance(10)
        self.assertIn("in time", str(self.failureResultOf(self.opening, ConnectionFailed).value))

    def test_no_answer_in_time(self) -> None:
        _, transport = self.connected()
        self.reactor.advance(9.9)
        self.assertNoResult(self.opening)
        self.reactor.advance(0.1)
        self.failureResultOf(self.opening, ConnectionFailed)
        self.assertTrue(transport.aborting)

    def test_refusal_whose_body_does_not_end(self) -> None:
        """The status came in time, and counts."""
        protocol, transport = self.connected()
        protocol.dataReceived(b"HTTP/1.1 403 No\r\nContent-Length: 100\r\n\r\n{")
        self.reactor.advance(10)
        self.assertEqual(self.failureResultOf(self.opening, HandshakeRefused).value.status, 403)
        self.assertTrue(transport.aborting)

    def test_cancelled_before_there_is_a_connection(self) -> None:
        self.opening.cancel()
        self.failureResultOf(self.opening, CancelledError)

    def test_failure_of_the_network_is_told(self) -> None:
        factory: Any = self.reactor.tcpClients[0][2]
        factory.clientConnectionFailed(None, Failure(OSError("no route")))
        self.reactor.advance(1)
        self.failureResultOf(self.opening, ConnectionFailed)
