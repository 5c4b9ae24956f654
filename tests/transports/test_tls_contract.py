"""What a protocol sees of TLS is the same over our own connections, with either kernel, and over Twisted's TLS."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from tests.transports.tls_parties import CLOCK, TIMEOUT, VERSIONS, Talker, TlsCase, echo, read_exactly, read_to_nothing


class WrappedTests(TlsCase):
    """The cases, over Twisted's TLS."""

    kind = "wrapped"

    async def test_echo(self) -> None:
        """All sizes around those of a record, both versions, and more than the buffers of the system hold."""
        sizes = (1, 2**14 - 1, 2**14, 2**14 + 1, 3 * 2**16 + 7, 2**20)

        def client(version: ssl.TLSVersion) -> str | None:
            with self.secure(self.context(version)) as secure:
                for size in sizes:
                    data = os.urandom(size)
                    secure.sendall(data)
                    assert read_exactly(secure, size) == data
                return secure.version()

        for version, name in zip(VERSIONS, ("TLSv1.3", "TLSv1.2"), strict=True):
            self.expect().answer = echo
            self.assertEqual(await self.run_client(client, version), name)

    async def test_written_before_the_handshake(self) -> None:
        """It waits, goes first, and never as it is."""
        talker = self.expect(greeting=b"in clear?")
        talker.answer = echo

        def client() -> tuple[bytes, bytes]:
            sock = self.connect()
            peer = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
            peer.set_connect_state()
            first = self.shake_hands(sock, peer)
            peer.send(b" later")
            sock.sendall(peer.bio_read(65536))
            return first, self.read_through(sock, peer, 15)

        first, read = await self.run_client(client)
        self.assertEqual(first[:2], b"\x16\x03")  # a record with a handshake message
        self.assertEqual(read, b"in clear? later")

    def shake_hands(self, sock: socket.socket, peer: SSL.Connection, most: int = 65536) -> bytes:
        """A handshake of a client in memory, which sends `most` bytes at once; what the server sent first."""
        first = b""
        while True:
            try:
                peer.do_handshake()
                self.drip(sock, peer, most)
                return first
            except SSL.WantReadError:
                self.drip(sock, peer, most)
                data = sock.recv(65536)
                first = first or data
                peer.bio_write(data)

    def read_through(self, sock: socket.socket, peer: SSL.Connection, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                data += peer.recv(size - len(data))
            except SSL.WantReadError:
                peer.bio_write(sock.recv(65536))
        return data

    def drip(self, sock: socket.socket, peer: SSL.Connection, most: int) -> None:
        try:
            data = peer.bio_read(65536)
        except SSL.WantReadError:
            return
        for at in range(0, len(data), most):
            sock.sendall(data[at : at + most])

    async def test_bytewise(self) -> None:
        """Handshake and data arrive a byte at a time."""
        talker = self.expect()

        def client() -> None:
            sock = self.connect()
            peer = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
            peer.set_connect_state()
            self.shake_hands(sock, peer, 1)
            peer.send(b"drop by drop")
            self.drip(sock, peer, 1)
            read_to_nothing(sock)

        done = self.run_client(client)
        await talker.when_received(12)
        self.assertEqual(talker.received, b"drop by drop")
        talker.transport.abortConnection()
        await done

    async def test_pause(self) -> None:
        """Nothing is told while reading is paused; everything when it is resumed."""
        talker = self.expect()
        total = 300_000

        def pause(talker: Talker, data: bytes) -> None:
            talker.transport.pauseProducing()

        talker.answer = pause

        def client() -> None:
            with self.secure() as secure:
                secure.sendall(bytes(total))
                read_to_nothing(secure)

        done = self.run_client(client)
        while len(talker.received) < total:
            before = len(talker.sizes)
            await talker.when(lambda before=before: len(talker.sizes) > before)  # type: ignore[misc]
            told = len(talker.received)
            await self.turn(10)
            if self.kind != "wrapped":  # Twisted's goes on with what it has got already
                self.assertEqual(len(talker.received), told)
            talker.transport.resumeProducing()
        talker.transport.abortConnection()
        await done

    async def test_producer(self) -> None:
        """It is paused when the buffer is full, and resumed when the peer has read."""

        @implementer(IPushProducer)
        class Producer:
            def __init__(self) -> None:
                self.log: list[str] = []
                self.paused = threading.Event()
                self.resumed: Deferred[None] = Deferred()

            def pauseProducing(self) -> None:
                self.log.append("pause")
                self.paused.set()

            def resumeProducing(self) -> None:
                self.log.append("resume")
                if not self.resumed.called:
                    self.resumed.callback(None)

            def stopProducing(self) -> None:
                self.log.append("stop")

        producer = Producer()
        talker = self.expect()
        total = 0

        def start(talker: Talker, data: bytes) -> None:
            nonlocal total
            talker.answer = None
            talker.transport.registerProducer(producer, True)
            self.addCleanup(setattr, talker, "answer", None)
            self.fill(talker, producer)

        talker.answer = start

        def client() -> int:
            with self.secure() as secure:
                secure.sendall(b"go")
                producer.paused.wait(TIMEOUT)
                got = 0
                while data := secure.recv(65536):
                    got += len(data)
                    if data.endswith(b"."):
                        return got
                return got

        done = self.run_client(client)
        await producer.resumed
        self.assertEqual(producer.log[:2], ["pause", "resume"])
        talker.transport.write(b".")
        self.assertGreater(await done, 0)
        await talker.lost
        self.assertEqual(producer.log[-1], "stop")

    def fill(self, talker: Talker, producer: Any) -> None:
        """Write until it is enough."""
        if not producer.log and talker.transport.connected:
            talker.transport.write(bytes(100_000))
            CLOCK.callLater(0, self.fill, talker, producer)


class CompiledTests(WrappedTests):
    """Over our connections with the compiled kernel."""

    kind = "compiled"


class PythonTests(WrappedTests):
    """Over our connections with the kernel in Python."""

    kind = "python"
