"""How our TLS connections write, and what the compiled part sends past them."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any

from OpenSSL import SSL
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IPullProducer
from zope.interface import implementer

from realtime_svc.transports import openssl
from realtime_svc.transports.kernel import SHORT
from tests.transports.tls_parties import CLOCK, Talker, TlsCase, read_to_end


class CompiledTests(TlsCase):
    """With the compiled kernel."""

    async def test_writes_at_once(self) -> None:
        """Nothing waits for the event loop where the system takes it."""
        talker = self.expect()
        got: list[bytes] = []
        sock = self.connect()

        def client() -> SSL.Connection:
            peer = self.peer(sock)
            peer.send(b"x")
            return peer

        peer = await self.run_client(client)
        await talker.when_received(1)
        talker.transport.write(b"straight")
        got.append(peer.recv(100))  # blocks: were it to wait for a turn, this would wait for ever
        self.assertEqual(got, [b"straight"])
        self.assertNotIn(talker.transport, CLOCK.getWriters())
        sock.close()

    async def test_write_that_fails(self) -> None:
        """The connection is lost: here because OpenSSL writes nothing any more."""
        talker = self.expect()
        sock = self.connect()
        peer = await self.run_client(self.peer, sock)
        peer.send(b"x")
        await talker.when_received(1)
        openssl.say_goodbye(talker.transport._ssl)
        talker.transport.write(b"too late")
        self.assertIs(await talker.lost, ConnectionLost)
        sock.close()

    async def test_group_sends_through_it(self) -> None:
        """The same bytes to many, some of whom read slowly: each gets all, in order, with what was written besides."""
        rounds = 120
        talkers, group, slow = [], self.kernel.Group(), threading.Event()

        def client(number: int) -> bytes:
            with self.secure() as secure:
                secure.sendall(b"x")
                if number % 2:
                    slow.wait(20)
                return read_to_end(secure)

        done, expected = [], [b""] * 4
        for number in range(4):
            talker = self.expect()
            done.append(self.run_client(client, number))
            await talker.when_received(1)
            talker.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
            talker.transport.outlet.owner = talker
            talkers.append(talker)
            group.add(talker.transport.outlet)
        for turn in range(rounds):
            data = os.urandom(1 + turn * 300 % 40_000)
            besides = self.spread(group, data)
            for number, talker in enumerate(talkers):
                expected[number] += data + besides.get(talker, b"")
            if turn == 2 * rounds // 3:
                slow.set()
            await self.turn()
        for talker in talkers:
            talker.transport.loseConnection()
        for number, got in enumerate(done):
            self.assertEqual(await got, expected[number], number)
            await talkers[number].lost
        if self.kind == "compiled":
            self.assertGreater(self.in_part, 1)

    in_part = 0  # how often an outlet took a part, or was tried and took nothing

    def spread(self, group: Any, data: bytes) -> dict[Talker, bytes]:
        """As the core does it; who was written to besides, and what."""
        besides = {}
        for outlet, taken in group.send(data)[2]:
            transport = outlet.owner.transport
            if taken:
                self.in_part += 1
                transport.write(b"(behind)")  # it may not pass by
                transport.queue_rest(data[taken:])
                besides[outlet.owner] = b"(behind)"
            elif not outlet.holds:
                self.in_part += 1
                transport.queue_rest(data)
            else:
                transport.write(data)
        return besides

    async def test_group_meets_one_that_is_gone(self) -> None:
        """The connection finds out itself, the others are served."""
        talker = self.expect()
        sock = self.connect()

        def client() -> None:
            self.peer(sock).send(b"x")

        await self.run_client(client)
        await talker.when_received(1)
        talker.transport.pauseProducing()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()
        group = self.kernel.Group()
        group.add(talker.transport.outlet)
        for _ in range(3):
            others = group.send(b"are you there?")[2]
            for outlet, taken in others:
                self.assertEqual(taken, 0)
                talker.transport.queue_rest(b"are you there?")
                self.assertEqual(outlet.holds & SHORT, 0)
        self.assertIs(await talker.lost, ConnectionLost)

    async def test_producer_that_is_pulled(self) -> None:
        @implementer(IPullProducer)
        class Puller:
            def __init__(self, transport: Any) -> None:
                self.left, self.transport = 20, transport

            def resumeProducing(self) -> None:
                self.left -= 1
                if self.left:
                    self.transport.write(bytes(50_000))
                else:
                    self.transport.unregisterProducer()
                    self.transport.loseConnection()

            def stopProducing(self) -> None:
                raise AssertionError("it has ended by itself")

        talker = self.expect()
        talker.answer = lambda talker, data: talker.transport.registerProducer(Puller(talker.transport), False)

        def client() -> int:
            with self.secure() as secure:
                secure.sendall(b"x")
                return len(read_to_end(secure))

        self.assertEqual(await self.run_client(client), 19 * 50_000)
        await talker.lost


class PythonTests(CompiledTests):
    """With the kernel in Python."""

    kind = "python"
