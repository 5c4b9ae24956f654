"""What costs a TLS connection time and brings no data: KeyUpdates and renegotiations."""

from __future__ import annotations

import ctypes
import ctypes.util
import socket

from OpenSSL import SSL
from twisted.internet.error import ConnectionLost

from realtime_svc.transports.tls_connection import MOST_ASIDES
from tests.transports.tls_parties import TlsCase, echo


class Newest:
    """A client by the system's own OpenSSL, for what no Python binding offers: KeyUpdate (RFC 8446 4.6.3)."""

    def __init__(self, case: TlsCase, sock: socket.socket) -> None:
        name = ctypes.util.find_library("ssl")
        if name is None or not hasattr(ctypes.CDLL(name), "SSL_key_update"):
            case.skipTest("no OpenSSL of the system's own")
        self._library = library = ctypes.CDLL(name)
        for function in ("TLS_client_method", "SSL_CTX_new", "SSL_new"):
            getattr(library, function).restype = ctypes.c_void_p
        context = ctypes.c_void_p(library.SSL_CTX_new(ctypes.c_void_p(library.TLS_client_method())))
        self._ssl = ctypes.c_void_p(library.SSL_new(context))
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        library.SSL_set_fd(self._ssl, sock.fileno())
        assert library.SSL_connect(self._ssl) == 1
        case.addCleanup(library.SSL_CTX_free, context)
        case.addCleanup(library.SSL_free, self._ssl)

    def update_key(self, ask: bool) -> bool:
        """Send KeyUpdate, and `ask` for one; can it be sent?"""
        self._library.SSL_key_update(self._ssl, int(ask))
        done: int = self._library.SSL_do_handshake(self._ssl)
        return done == 1

    def send(self, data: bytes) -> bool:
        sent: int = self._library.SSL_write(self._ssl, data, len(data))
        return sent == len(data)

    def receive(self, size: int) -> bytes:
        """Exactly so much."""
        data, space = b"", ctypes.create_string_buffer(size)
        while len(data) < size:
            taken = self._library.SSL_read(self._ssl, space, size - len(data))
            assert taken > 0
            data += space.raw[:taken]
        return data


class CompiledTests(TlsCase):
    """With the compiled kernel."""

    async def test_key_updates(self) -> None:
        """The keys may change at any time, on both sides."""
        talker = self.expect()
        talker.answer = echo

        def client() -> None:
            sock = self.connect()
            newest = Newest(self, sock)
            for number in range(2 * MOST_ASIDES):
                assert newest.update_key(ask=bool(number % 2))
                assert newest.send(b"%05d" % number)
                assert newest.receive(5) == b"%05d" % number
            sock.close()

        await self.run_client(client)
        await talker.lost

    async def test_flood_of_key_updates(self) -> None:
        """One a turn, and not many in a row."""
        for ask in (False, True):
            talker = self.expect()

            def client(ask: bool = ask) -> int:
                sock = self.connect()
                newest = Newest(self, sock)
                assert newest.send(b"x")
                sent = 0
                while sent < 100_000 and newest.update_key(ask):
                    sent += 1
                sock.close()
                return sent

            self.assertLess(await self.run_client(client), 100_000)
            self.assertIs(await talker.lost, ConnectionLost)
            self.assertEqual((talker.received, talker.log), (b"x", ["made", "lost"]))

    async def test_flood_of_renegotiations(self) -> None:
        """Each is refused; nobody may ask for ever."""
        talker = self.expect()

        def client() -> int:
            sock = self.connect()
            peer = self.peer(sock, SSL.TLS1_2_VERSION)
            peer.send(b"x")
            asked = 0
            try:
                while asked < 10_000:
                    peer.renegotiate()
                    peer.do_handshake()
                    asked += 1
            except SSL.Error:
                sock.close()
            return asked

        self.assertLess(await self.run_client(client), 10_000)
        await talker.lost
        self.assertEqual(talker.received, b"x")


class PythonTests(CompiledTests):
    """With the kernel in Python."""

    kind = "python"
