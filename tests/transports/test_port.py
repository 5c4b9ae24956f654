"""Listening ports: whose `accept` fails, and who are accepted how."""

from __future__ import annotations

import errno
import socket
from typing import Any

from twisted.internet import tcp
from twisted.internet.address import IPv6Address
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.transports import port
from realtime_svc.transports.connection import Connection
from realtime_svc.transports.port import PAUSE, PatientPort
from tests.transports.parties import Party, TcpTestCase, reactor, take, turns


class Socket:
    """A listening socket that fails as it is told; `accepted` is how often it was asked.

    `waiting` are connections that are there from the second time on.
    """

    def __init__(self, real: Any, error: int) -> None:
        self.real = real
        self.error = error
        self.accepted = 0
        self.waiting: list[Any] = []

    def accept(self) -> Any:
        self.accepted += 1
        if self.waiting and self.accepted > 1:
            return self.waiting.pop(), ("127.0.0.1", 1)
        raise OSError(self.error, "")

    def _accept(self) -> Any:
        raise OSError(self.error, "")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class PatientPortTests(SynchronousTestCase):
    connections: type[tcp.Server] = tcp.Server

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        factory = Factory.forProtocol(Protocol)
        factory.noisy = False
        self.port: Any = PatientPort(0, factory, 50, "127.0.0.1", self.reactor, self.connections)
        self.port.startListening()
        self.addCleanup(self.port.connectionLost, None)

    def read(self) -> None:
        """The reactor finds the port readable, and turns."""
        self.port.doRead()
        self.reactor.advance(0)

    def test_failing(self) -> None:
        """Where accept fails, the port is not asked again for a while; then it is."""
        for error in (errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
            self.port.socket = Socket(self.port.socket, error)
            self.assertIn(self.port, self.reactor.readers)
            self.read()
            self.assertNotIn(self.port, self.reactor.readers)
            self.reactor.advance(PAUSE / 2)
            self.assertNotIn(self.port, self.reactor.readers)
            self.reactor.advance(PAUSE)
            self.assertIn(self.port, self.reactor.readers)
            self.assertEqual(self.port.socket.accepted, 1)
            self.port.socket = self.port.socket.real

    def test_nobody_there(self) -> None:
        """A connection that was gone before it was accepted costs no pause."""
        for error in (errno.EAGAIN, errno.EPERM):
            self.port.socket = Socket(self.port.socket, error)
            self.read()
            self.assertIn(self.port, self.reactor.readers, errno.errorcode[error])
            self.port.socket = self.port.socket.real

    def test_no_descriptors(self) -> None:
        """Twisted closes what waits with the descriptor it keeps in reserve: it has to be let."""
        here, there = socket.socketpair()
        self.addCleanup(here.close)
        stub = self.port.socket = Socket(self.port.socket, errno.EMFILE)
        stub.waiting.append(there)
        self.port.numberAccepts = 1
        self.read()
        self.assertEqual((stub.accepted, there.fileno()), (2, -1))
        self.assertIn(self.port, self.reactor.readers)

    def test_stopped_meanwhile(self) -> None:
        """A port that was closed during the pause stays closed."""
        self.port.socket = Socket(self.port.socket, errno.ENFILE)
        self.read()
        self.port.connected = False
        self.reactor.advance(PAUSE)
        self.assertNotIn(self.port, self.reactor.readers)


class StraightPortTests(PatientPortTests):
    """The same where connections are accepted without Twisted's detours."""

    connections = Connection


class AcceptingTests(TcpTestCase):
    """With real connections, of our kind."""

    kernel_name = "compiled"

    async def test_read_at_once(self) -> None:
        """What came along is there before the reactor has read anything."""
        told: list[bool] = []

        def build(address: object) -> Party:
            server = Party()
            server.on_data = lambda data: told.append(server.transport in reactor.getReaders())
            self.servers.append(server)
            return server

        self.port.factory.buildProtocol = build  # type: ignore[method-assign, union-attr]
        end = socket.create_connection(self.address)
        end.sendall(b"x")
        server = await self.accepted()
        self.assertEqual((server.received, told), (b"x", [False]))
        self.assertIn(server.transport, reactor.getReaders())
        end.close()
        await server.when_lost()

    async def test_many(self) -> None:
        """A crowd is accepted over several turns, nobody is left out."""
        self.patch(port, "SLICE", 1e-9)
        ends = [socket.create_connection(self.address) for _ in range(20)]
        while len(self.servers) < 20:
            before = len(self.servers)
            await turns(1)
            self.assertLessEqual(len(self.servers), before + 1)
        for server, end in zip(self.servers, ends, strict=True):
            end.close()
            await server.when_lost()

    async def test_refused_or_failing(self) -> None:
        """A factory that wants none or fails, a protocol that fails at once: the connection is closed, the next is
        accepted."""

        def fail(*arguments: object) -> Any:
            raise ValueError

        broken = Party()
        broken.connectionMade = fail  # type: ignore[method-assign]
        factory: Any = self.port.factory
        for build, logged in ((lambda address: None, 0), (fail, 1), (lambda address: broken, 1)):
            factory.buildProtocol = build
            end = socket.create_connection(self.address)
            self.assertEqual(await take(end, 1), b"")
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), logged)
            end.close()
        self.assertEqual(broken.events, ["lost"])
        factory.buildProtocol = self.build
        server, _ = await self.connect()
        self.assertEqual(server.events, [])

    async def test_ended_while_it_is_accepted(self) -> None:
        """A protocol that aborts, pauses or closes when it is connected gets nothing of what came along."""
        for action in ("abortConnection", "loseConnection", "pauseProducing"):
            built: Any = Party()
            built.connectionMade = lambda built=built, do=action: getattr(built.transport, do)()
            factory: Any = self.port.factory
            factory.buildProtocol = lambda address, built=built: built
            end = socket.create_connection(self.address)
            end.sendall(b"x")
            await turns(10)
            self.assertEqual(built.received, b"", action)
            if action == "pauseProducing":
                built.transport.resumeProducing()
                await built.when_received(1)
                built.transport.loseConnection()
            await built.when_lost()
            end.close()

    async def test_stopped_while_it_accepts(self) -> None:
        """Whoever waits behind the connection that stopped it is not accepted."""
        stopped: list[Any] = []

        def build(address: object) -> Party:
            stopped.append(self.port.stopListening())
            self.servers.append(Party())
            return self.servers[-1]

        self.port.factory.buildProtocol = build  # type: ignore[method-assign, union-attr]
        ends = [socket.create_connection(self.address) for _ in range(3)]
        await turns()
        self.assertEqual(len(self.servers), 1)
        for end in ends:
            end.close()
        await self.servers[0].when_lost()
        await stopped[0]

    async def test_no_delay(self) -> None:
        """TCP_NODELAY is inherited, so nobody has to set it."""
        server, _ = await self.connect()
        self.assertTrue(server.transport.getTcpNoDelay())

    async def test_version_6(self) -> None:
        factory: Any = self.port.factory
        six = PatientPort(0, factory, 50, "::1", reactor, Connection)
        six.startListening()
        self.addCleanup(six.stopListening)
        end = socket.create_connection(("::1", six.getHost().port))
        server = await self.accepted()
        peer = server.transport.getPeer()
        self.assertEqual((type(peer), peer.host, peer.port), (IPv6Address, *end.getsockname()[:2]))
        end.close()
        await server.when_lost()

    def test_link_local(self) -> None:
        """The scope is part of the name."""
        addresses: list[Any] = []
        factory: Any = self.port.factory
        factory.buildProtocol = addresses.append
        self.port._addressType = IPv6Address
        loopback = socket.if_nametoindex("lo")
        for scope in (0, loopback):
            here, _there = socket.socketpair()
            self.port._welcome(here, ("fe80::1", 1, 0, scope))
            self.assertEqual(here.fileno(), -1)
        self.assertEqual([address.host for address in addresses], ["fe80::1", "fe80::1%lo"])
