"""What only our connections do: send at once, be held, be sent past, be read by somebody else."""

from __future__ import annotations

import errno
import socket
from typing import Any, cast

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from realtime_svc.transports.connection import OVER, SOCKET, Connection
from realtime_svc.transports.kernel import CLOSED, SHORT
from tests.transports.parties import Party, Pushing, TcpTestCase, reactor, take, turns, waiting


class OursTests(TcpTestCase):
    """What only our connections do."""

    kernel_name = "compiled"

    async def test_at_once(self) -> None:
        """Bytes are with the peer when `write` returns, and nobody waits for the socket."""
        server, end = await self.connect_socket()
        for data in (b"now", b"and again"):
            server.transport.write(data)
            self.assertEqual(end.recv(100), data)
        self.assertNotIn(server.transport, reactor.getWriters())
        self.assertEqual(server.transport.outlet.holds, 0)

    async def test_at_once_again(self) -> None:
        """After the buffer was in use, too; while it is, the outlet is held."""
        server, end = await self.connect_socket()
        written = self.fill(server)
        self.assertEqual(server.transport.outlet.holds, SOCKET)
        self.assertEqual(len(await take(end, written)), written)
        self.assertEqual(server.transport.outlet.holds, 0)
        end.setblocking(True)
        server.transport.write(b"now")
        self.assertEqual(end.recv(100), b"now")

    async def test_resumed_producer_writes_at_once(self) -> None:
        """The buffer is empty when the producer is asked, so its bytes go straight."""
        server, end = await self.connect_socket()
        producer = Pushing()
        held: list[int] = []
        producer.resumed = lambda: held.append(server.transport.outlet.holds)
        server.transport.registerProducer(producer, True)
        written = self.fill(server)
        await take(end, written)
        await turns()
        self.assertEqual(held, [0])

    async def test_rest(self) -> None:
        """What others sent past us, in part: the rest goes before all that was written since."""
        server, end = await self.connect_socket()
        server.transport.outlet.holds |= SHORT
        server.transport.write(b"later")
        server.transport.queue_rest(b"rest, ")
        self.assertEqual(server.transport.outlet.holds, SOCKET)
        self.assertEqual(await take(end, 11), b"rest, later")
        self.assertEqual(server.transport.outlet.holds, 0)

    async def test_rest_of_a_group(self) -> None:
        """With a real one: nothing is lost, doubled or out of order when the socket is full."""
        server, end = await self.connect_socket()
        group = self.kernel.Group()
        group.add(server.transport.outlet)
        sent, chunk = b"", bytes(range(256)) * 1024
        while not waiting(server.transport):
            _, _, others = group.send(chunk)
            server.transport.write(b"|")
            sent += chunk + b"|"
            for _, taken in others:
                if taken:
                    server.transport.queue_rest(chunk[taken:])
                else:
                    sent = sent[: -len(chunk) - 1] + b"|"
        self.assertEqual(await take(end, len(sent)), sent)

    async def test_rest_pauses_the_producer(self) -> None:
        server, end = await self.connect_socket()
        producer = Pushing()
        server.transport.registerProducer(producer, True)
        written = self.fill(server)
        producer.told.clear()
        server.transport.queue_rest(b"")
        self.assertEqual(producer.told, [])
        server.transport.queue_rest(bytes(65536))
        self.assertEqual(producer.told, ["pause"])
        self.assertEqual(len(await take(end, written + 65536)), written + 65536)

    async def test_rest_of_the_dead(self) -> None:
        """Neither a connection that was aborted nor one that is gone takes it."""
        server, _end = await self.connect_socket()
        server.transport.outlet.holds |= SHORT
        server.transport.abortConnection()
        server.transport.queue_rest(b"rest")
        self.assertEqual(waiting(server.transport), 0)
        await server.when_lost()
        server.transport.queue_rest(b"rest")
        self.assertEqual(waiting(server.transport), 0)

    async def test_outlet_of_the_dead(self) -> None:
        """Nothing goes past a connection that ends."""
        server, _end = await self.connect_socket()
        outlet = server.transport.outlet
        server.transport.abortConnection()
        self.assertTrue(outlet.holds & OVER)
        await server.when_lost()
        self.assertTrue(outlet.holds & CLOSED)
        self.assertEqual(outlet.fd, -1)

    async def test_held_outlet(self) -> None:
        """Others' reasons to hold the outlet are not ours: the connection itself writes."""
        server, end = await self.connect_socket()
        server.transport.outlet.holds |= 1
        server.transport.write(b"x")
        self.assertEqual(end.recv(1), b"x")
        self.assertEqual(server.transport.outlet.holds, 1)

    async def test_finished(self) -> None:
        """Behind FIN nothing goes out by the outlet."""
        server, end = await self.connect_socket()
        server.transport.loseWriteConnection()
        await turns()
        self.assertEqual(server.transport.outlet.holds, OVER)
        self.assertEqual(end.recv(1), b"")

    async def test_failing_producer(self) -> None:
        """The protocol is told of the end although its producer fails."""
        server, end = await self.connect_socket()
        producer = Pushing()
        producer.stopProducing = lambda: 1 / 0  # type: ignore[method-assign, assignment]
        server.transport.registerProducer(producer, True)
        end.close()
        await server.when_lost()
        await turns()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(server.events, ["lost"])

    async def test_no_delay(self) -> None:
        """Set from the beginning; and as it is asked for."""
        server, _end = await self.connect_socket()
        transport = server.transport
        for enabled in (True, False, True):
            transport.setTcpNoDelay(enabled)
            self.assertEqual(transport.getTcpNoDelay(), enabled)

    async def test_descriptor_used_again(self) -> None:
        """A new connection on the descriptor of an old one is nobody's but its own."""
        server, end = await self.connect_socket()
        descriptor = server.transport.fileno()
        outlet = server.transport.outlet
        end.close()
        await server.when_lost()
        found: list[Party] = []
        while descriptor not in [other.transport.fileno() for other in found]:
            found.append((await self.connect_socket())[0])
        with self.assertRaises(OSError) as raised:
            outlet.send(b"x")
        self.assertEqual(raised.exception.errno, errno.EBADF)
        server.transport.loseConnection()
        server.transport.stopReading()
        server.transport.startWriting()
        server.transport.connectionLost(Failure(ConnectionDone()))
        await turns()
        self.assertEqual([other.events for other in found], [[]] * len(found))

    async def test_what_it_is_called(self) -> None:
        """Without the peer's address, alive or not."""
        server, end = await self.connect_socket()
        self.assertEqual(repr(server.transport), "<Connection of Party>")
        end.close()
        await server.when_lost()
        self.assertEqual(repr(server.transport), "<Connection of NoneType>")
        self.assertEqual(server.transport.logPrefix(), "connection")

    async def test_peer_of_an_attached(self) -> None:
        """Its address is asked for then."""
        server, end = await self.connect_socket()
        server.transport.attach(self.poller)
        self.assertEqual(server.transport.getPeer().port, end.getsockname()[1])

    async def test_made_by_hand(self) -> None:
        """As Twisted makes them, with the address as `accept` gives it: of two or of four parts."""
        for family, there in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            listening = socket.create_server((there, 0), family=family)
            end = socket.create_connection(listening.getsockname()[:2])
            accepted, address = listening.accept()
            party = Party()
            connection = Connection(accepted, party, address, None, 0, reactor)
            party.makeConnection(cast(Any, connection))
            peer, host = connection.getPeer(), connection.getHost()
            self.assertEqual((peer.host, peer.port), end.getsockname()[:2])
            self.assertEqual((host.host, host.port), listening.getsockname()[:2])
            end.sendall(b"x")
            await party.when_received(1)
            end.close()
            await party.when_lost()
            listening.close()
