"""How TLS connections end is the same over our own connections, with either kernel, and over Twisted's TLS."""

from __future__ import annotations

import os
import socket
import ssl

from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.logger import capturedLogs

from tests.transports.tls_parties import VERSIONS, Talker, TlsCase, read_to_end, read_to_nothing


class WrappedTests(TlsCase):
    """The cases, over Twisted's TLS."""

    kind = "wrapped"
    aborted: tuple[type[BaseException], ...] = (ConnectionAborted, ConnectionLost)

    async def test_goodbye_of_the_client(self) -> None:
        """close_notify is answered by close_notify, and the end is a clean one."""
        for version in VERSIONS:
            talker = self.expect()

            def client(version: ssl.TLSVersion = version) -> None:
                secure = self.secure(self.context(version))
                secure.sendall(b"last words")
                secure.unwrap().close()

            await self.run_client(client)
            self.assertIs(await talker.lost, ConnectionDone)
            self.assertEqual((talker.received, talker.log), (b"last words", ["made", "lost"]))

    async def test_truncation(self) -> None:
        """A FIN without close_notify may be anybody's."""
        talker = self.expect()

        def client() -> None:
            sock = self.connect()
            peer = self.peer(sock)
            peer.send(b"half of it")
            sock.close()

        await self.run_client(client)
        self.assertIs(await talker.lost, ConnectionLost)
        self.assertEqual((talker.received, talker.log), (b"half of it", ["made", "lost"]))

    async def test_goodbye_of_ours(self) -> None:
        """Everything that was written arrives, then close_notify."""
        data = os.urandom(3_000_000)
        for version in VERSIONS:
            talker = self.expect()

            def say_all(talker: Talker, _: bytes) -> None:
                talker.transport.write(data)
                talker.transport.loseConnection()
                talker.transport.loseConnection()

            talker.answer = say_all

            def client(version: ssl.TLSVersion = version) -> bytes:
                secure = self.secure(self.context(version))
                secure.sendall(b"?")
                got = read_to_end(secure)
                secure.unwrap().close()
                return got

            self.assertEqual(await self.run_client(client), data)
            self.assertIs(await talker.lost, ConnectionDone)
            self.assertEqual(talker.log, ["made", "lost"])

    async def test_abort(self) -> None:
        """At once, whatever waits; the client sees no clean end."""
        talker = self.expect()

        def abort(talker: Talker, _: bytes) -> None:
            talker.transport.write(bytes(10_000_000))
            talker.transport.abortConnection()
            talker.transport.abortConnection()

        talker.answer = abort

        def client() -> None:
            secure = self.secure()
            secure.sendall(b"?")
            if type(self).__name__.startswith("Wrapped"):  # Twisted may say goodbye all the same
                read_to_nothing(secure)
            else:
                self.assertRaises((ssl.SSLError, ConnectionResetError), read_to_end, secure)
            secure.close()

        await self.run_client(client)
        self.assertIn(await talker.lost, self.aborted)
        self.assertEqual((talker.received, talker.log), (b"?", ["made", "lost"]))

    async def test_writing_after_the_end(self) -> None:
        """Nothing happens."""
        talker = self.expect()
        await self.run_client(lambda: self.secure().unwrap().close())
        await talker.lost
        talker.transport.write(b"hello?")
        talker.transport.loseConnection()
        if self.kind != "wrapped":  # there it fails
            talker.transport.abortConnection()

    # ---- what is no TLS

    async def test_no_handshake(self) -> None:
        """Whatever a stranger sends instead of a handshake ends the connection, once, and nothing is logged."""
        hellos = (
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            os.urandom(3000),
            b"\x16\x03\x01\xff\xff" + bytes(100),  # a record that is too long
            b"\x15\x03\x03\x00\x02\x02\x28",  # an alert: handshake_failure
            b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",  # half of a ClientHello
            b"\x80\x2e\x01\x00\x02",  # SSL 2
            b"",
        )

        def client(hello: bytes) -> None:
            with self.connect() as sock:
                sock.sendall(hello)
                sock.shutdown(socket.SHUT_WR)
                read_to_nothing(sock)

        with capturedLogs() as events:
            for hello in hellos:
                talker = self.expect()
                await self.run_client(client, hello)
                await talker.lost
                self.assertEqual((talker.received, talker.log), (b"", ["made", "lost"]), hello)
        self.assertEqual([event for event in events if event["log_level"].name != "info"], [])

    async def test_refused_certificate(self) -> None:
        """The client does not know who signed it: it says so, and that is all."""
        talker = self.expect()

        def client() -> None:
            self.assertRaises(ssl.SSLCertVerificationError, self.secure, ssl.create_default_context())

        await self.run_client(client)
        await talker.lost
        self.assertEqual(talker.log, ["made", "lost"])

    async def test_aborted_handshake(self) -> None:
        """The front door gives up on a client that says nothing."""
        talker = self.expect()
        sock = self.connect()
        self.addCleanup(sock.close)
        await self.until_made(talker)
        talker.transport.abortConnection()
        self.assertIn(await talker.lost, self.aborted)
        self.assertEqual(talker.log, ["made", "lost"])

    async def test_lost_before_the_handshake(self) -> None:
        """There is nobody to say goodbye to."""
        talker = self.expect()
        sock = self.connect()
        self.addCleanup(sock.close)
        await self.until_made(talker)
        talker.transport.loseConnection()
        await talker.lost
        self.assertEqual(talker.log, ["made", "lost"])

    async def until_made(self, talker: Talker) -> None:
        while not talker.log:
            await self.turn()

    async def test_wrong_record(self) -> None:
        """Bytes of somebody in between: the client gets an alert, the protocol a lost connection."""
        for version in (None, SSL.TLS1_2_VERSION):
            talker = self.expect()

            def client(version: int | None = version) -> None:
                sock = self.connect()
                peer = self.peer(sock, version)
                peer.send(b"good")
                sock.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
                self.assertRaises(SSL.Error, peer.recv, 100)
                sock.close()

            await self.run_client(client)
            self.assertIn(await talker.lost, (ConnectionLost, SSL.Error))
            self.assertEqual((talker.received, talker.log), (b"good", ["made", "lost"]))


class CompiledTests(WrappedTests):
    """Over our connections with the compiled kernel."""

    kind = "compiled"
    aborted = (ConnectionAborted,)


class PythonTests(WrappedTests):
    """Over our connections with the kernel in Python."""

    kind = "python"
    aborted = (ConnectionAborted,)
