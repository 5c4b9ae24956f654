"""The PROXY header in front of a connection, on a clock of its own."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from realtime_svc.errors import Refusal
from realtime_svc.transports.proxied import ProxiedFactory
from realtime_svc.wire.forwarded import Networks

HEADER = b"PROXY TCP4 192.0.2.1 127.0.0.1 5555 8000\r\n"
TIMEOUT = 5.0


class Wrapped(Protocol):
    """Writes down what happens to it."""

    transport: Any

    def __init__(self) -> None:
        self.events: list[Any] = []

    def connectionMade(self) -> None:
        self.events.append(("made", self.transport.getPeer()))

    def dataReceived(self, data: bytes) -> None:
        self.events.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.events.append("lost")


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Wrapped):
    def readConnectionLost(self) -> None:
        self.events.append("read lost")

    def writeConnectionLost(self) -> None:
        self.events.append("write lost")


class Socket(StringTransport):
    """A transport that tells its protocol when it is lost, as a socket does."""

    protocol: Any = None

    def connectionLost(self, reason: Failure) -> None:
        self.protocol.connectionLost(reason)


class ProxiedTests(SynchronousTestCase):
    kind: type[Wrapped] = Wrapped

    def connect(self, host: str = "127.0.0.1", kind: type[Wrapped] = Wrapped) -> tuple[Any, Wrapped, Socket]:
        """The connection, the protocol it wraps, and its socket."""
        self.clock = Clock()
        self.refused: list[tuple[Refusal, str]] = []
        inner = kind()

        class Inner(Factory):
            def buildProtocol(self, addr: object) -> Wrapped:
                return inner

        sources = Networks(["127.0.0.0/30", "2001:db8::/64"])
        factory: Any = ProxiedFactory(
            Inner(), sources, self.clock, TIMEOUT, lambda refusal, peer: self.refused.append((refusal, peer))
        )
        address: Any = (IPv6Address if ":" in host else IPv4Address)("TCP", host, 1)
        connection: Any = factory.buildProtocol(address)
        socket = Socket(peerAddress=address)
        socket.protocol = connection
        connection.makeConnection(socket)
        return connection, inner, socket

    def assert_dropped(self, socket: Socket, inner: Wrapped) -> None:
        """Once, without an answer, and the wrapped protocol never heard of it; no timer is left."""
        self.assertTrue(socket.disconnected)
        self.assertEqual((socket.value(), inner.events), (b"", []))
        self.assertEqual([(refusal.status, refusal.cause) for refusal, _ in self.refused], [(400, "proxy_header")])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.refused[0][1], socket.getPeer().host)

    def test_header(self) -> None:
        """The wrapped protocol is connected when the header is complete, to the client it names."""
        peers = {
            HEADER: IPv4Address("TCP", "192.0.2.1", 5555),
            b"PROXY TCP6 2001:db8::7 ::1 1 2\r\n": IPv6Address("TCP", "2001:db8::7", 1),
            b"PROXY UNKNOWN\r\n": IPv4Address("TCP", "127.0.0.1", 1),
        }
        for header, peer in peers.items():
            for size in (1, 7, 1000):
                connection, inner, _ = self.connect()
                data = header + b"rest"
                for at in range(0, len(data), size):
                    connection.dataReceived(data[at : at + size])
                self.assertEqual(inner.events[0], ("made", peer))
                self.assertEqual(b"".join(inner.events[1:]), b"rest")
                self.assertEqual(self.clock.getDelayedCalls(), [])
                connection.dataReceived(HEADER)
                self.assertEqual(inner.events[-1], HEADER, "a second one is data")

    def test_strangers(self) -> None:
        """Dropped at once, whatever they send."""
        for host in ("127.0.0.4", "192.0.2.1", "2001:db8:0:1::1", "::1"):
            _, inner, socket = self.connect(host)
            self.assert_dropped(socket, inner)
        for host in ("127.0.0.2", "2001:db8::9", "::ffff:127.0.0.1"):
            connection, inner, _ = self.connect(host)
            connection.dataReceived(HEADER)
            self.assertEqual(len(inner.events), 1)

    def test_something_else(self) -> None:
        for data in (b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", b"PROXY TCP4 x x 1 2\r\n", b"PROXY " + b"x" * 200):
            connection, inner, socket = self.connect()
            connection.dataReceived(data)
            self.assert_dropped(socket, inner)
            self.clock.advance(2 * TIMEOUT)
            self.assert_dropped(socket, inner)

    def test_too_late(self) -> None:
        connection, inner, socket = self.connect()
        connection.dataReceived(HEADER[:-1])
        self.clock.advance(TIMEOUT - 0.1)
        self.assertFalse(socket.disconnected)
        self.clock.advance(0.2)
        self.assert_dropped(socket, inner)

    def test_lost(self) -> None:
        """Lost before its header: nothing is left behind. After it: lost for the wrapped protocol too."""
        connection, inner, _ = self.connect()
        connection.connectionLost()
        self.assertEqual((inner.events, self.clock.getDelayedCalls()), ([], []))
        connection, inner, _ = self.connect()
        connection.dataReceived(HEADER)
        connection.connectionLost()
        self.assertEqual(inner.events[1:], ["lost"])

    def test_half_closed(self) -> None:
        """Told to a protocol that takes part; any other has lost its connection, as without a header."""
        for kind, events in ((Wrapped, ["lost"]), (HalfCloseable, ["read lost"])):
            connection, inner, _ = self.connect(kind=kind)
            connection.dataReceived(HEADER)
            connection.readConnectionLost()
            self.assertEqual(inner.events[1:], events)
        connection, inner, _ = self.connect(kind=HalfCloseable)
        connection.readConnectionLost()
        self.assertEqual((inner.events, self.clock.getDelayedCalls()), ([], []))
