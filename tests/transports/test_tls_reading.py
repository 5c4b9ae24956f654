"""How our TLS connections read: turns, pauses, and ends of either side."""

from __future__ import annotations

import os
import socket
import threading

from cryptography.hazmat.bindings._rust import _openssl
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone

from realtime_svc.transports.openssl import RECORD, TURN
from realtime_svc.transports.poller import Poller
from tests.transports.tls_parties import CLOCK, HalfTalker, Talker, TlsCase, echo, read_exactly


class CompiledTests(TlsCase):
    """With the compiled kernel."""

    async def test_turns_are_bounded(self) -> None:
        """What is there is read in turns of so much, in as few as possible, and OpenSSL holds nothing back."""
        talker = self.expect()
        sock = self.connect()

        def client() -> None:
            peer = self.peer(sock)
            peer.send(b"x")
            written.wait(20)
            for _ in range(50):
                peer.send(bytes(10_000))  # a record, of which no whole number fills a turn

        written = threading.Event()
        done = self.run_client(client)
        await talker.when_received(1)
        talker.transport.pauseProducing()
        held: list[int] = []
        talker.answer = lambda talker, data: held.append(_openssl.lib.SSL_pending(talker.transport._ssl))
        talker.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**21)
        written.set()
        await done
        talker.transport.resumeProducing()
        await talker.when_received(500_001)
        self.assertEqual(max(talker.sizes), 50_000)
        self.assertLessEqual(50_000, TURN - RECORD + 10_000)
        self.assertEqual(set(held), {0})
        sock.close()

    async def test_end_waits_while_reading_is_paused(self) -> None:
        """The last data and close_notify come together; whoever pauses is told of the end when it reads again, though
        the socket has nothing more to say."""
        for kind in (Talker, HalfTalker):
            talker = self.expect(kind)
            sock = self.connect()

            def client(sock: socket.socket = sock) -> None:
                peer = self.peer(sock)
                memory = b"the last"
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
                peer.send(memory)
                peer.shutdown()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)

            def pause(talker: Talker, data: bytes) -> None:
                talker.transport.pauseProducing()

            talker.answer = pause
            await self.run_client(client)
            await talker.when_received(8)
            for _ in range(5):
                await self.turn()
            self.assertEqual(talker.log, ["made"])
            talker.transport.resumeProducing()
            await talker.when(lambda talker=talker: len(talker.log) == 2)  # type: ignore[misc]
            self.assertEqual(talker.log[1:], ["read lost" if kind is HalfTalker else "lost"])
            if kind is HalfTalker:
                talker.transport.loseConnection()
            self.assertIs(await talker.lost, ConnectionDone)
            sock.close()

    async def test_half_closed(self) -> None:
        """A client that has said goodbye still gets its answer, however long, and ours."""
        talker = self.expect(HalfTalker)
        answer = os.urandom(2_000_000)

        def client() -> bytes:
            sock = self.connect()
            peer = self.peer(sock)
            peer.send(b"question")
            peer.shutdown()
            data = b""
            while True:
                try:
                    data += peer.recv(65536)
                except SSL.ZeroReturnError:
                    sock.close()
                    return data

        done = self.run_client(client)
        await talker.when(lambda: "read lost" in talker.log)
        talker.transport.resumeProducing()  # as often as one likes
        talker.transport.write(answer)
        talker.transport.loseConnection()
        self.assertEqual(await done, answer)
        self.assertIs(await talker.lost, ConnectionDone)
        self.assertEqual((talker.received, talker.log[0], talker.log[-1]), (b"question", "made", "lost"))

    async def test_what_comes_after_our_goodbye_is_thrown_away(self) -> None:
        """So that the client is not reset while it reads what we said."""
        talker = self.expect()
        talker.answer = lambda talker, data: (talker.transport.write(bytes(500_000)), talker.transport.loseConnection())

        def client() -> int:
            peer = self.peer(self.connect())
            peer.send(b"?")
            for _ in range(100):
                peer.send(bytes(10_000))
            got = 0
            while True:
                try:
                    got += len(peer.recv(65536))
                except SSL.ZeroReturnError:
                    peer.get_context()
                    peer.sock_shutdown(socket.SHUT_RDWR)
                    return got

        self.assertEqual(await self.run_client(client), 500_000)
        self.assertIs(await talker.lost, ConnectionDone)
        self.assertEqual(talker.received[:1], b"?")
        self.assertLess(len(talker.received), 100_001)

    async def test_goodbyes_that_meet(self) -> None:
        """The client says it while our last words are on their way: they arrive."""
        talker = self.expect()

        def answer(talker: Talker, data: bytes) -> None:
            talker.transport.write(bytes(5_000_000))
            talker.transport.loseConnection()

        talker.answer = answer
        sock = self.connect()
        peer = await self.run_client(self.peer, sock)
        peer.send(b"?")
        await talker.when_received(1)
        peer.shutdown()
        while talker.transport.reads:
            await self.turn()

        def client() -> int:
            got = 0
            while True:
                try:
                    got += len(peer.recv(65536))
                except SSL.ZeroReturnError:
                    return got

        self.assertEqual(await self.run_client(client), 5_000_000)
        self.assertIs(await talker.lost, ConnectionDone)
        sock.close()

    async def test_nothing_is_written_after_our_goodbye(self) -> None:
        talker = self.expect()
        talker.answer = lambda talker, data: talker.transport.loseConnection()
        sock = self.connect()
        peer = await self.run_client(self.peer, sock)
        peer.send(b"?")
        await talker.when_received(1)
        with self.assertRaises(SSL.ZeroReturnError):
            await self.run_client(peer.recv, 1)
        talker.transport.write(b"one more thing")
        talker.transport.loseConnection()
        for _ in range(3):
            await self.turn()
        self.assertEqual(talker.log, ["made"])
        sock.close()
        self.assertIs(await talker.lost, ConnectionDone)

    async def test_poller_reads(self) -> None:
        """As the reactor does: data, pauses, the end."""
        poller = Poller(CLOCK, self.kernel)
        poller.start()
        self.addCleanup(poller.stop)
        talker = self.expect()

        def settle(talker: Talker, data: bytes) -> None:
            talker.answer = echo
            talker.transport.attach(poller)
            echo(talker, data)

        talker.answer = settle
        data = os.urandom(400_000)

        def client() -> bytes:
            secure = self.secure()
            secure.sendall(b"!")
            got = read_exactly(secure, 1)
            for at in range(0, len(data), 50_000):  # OpenSSL's connections are not for two threads at a time
                secure.sendall(data[at : at + 50_000])
                got += read_exactly(secure, len(data[at : at + 50_000]))
            secure.unwrap().close()
            return got

        done = self.run_client(client)
        await talker.when_received(1)
        self.assertNotIn(talker.transport, CLOCK.getReaders())
        talker.transport.pauseProducing()
        await self.turn()
        talker.transport.resumeProducing()
        self.assertEqual(await done, b"!" + data)
        self.assertIs(await talker.lost, ConnectionDone)


class PythonTests(CompiledTests):
    """With the kernel in Python."""

    kind = "python"
