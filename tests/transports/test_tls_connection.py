"""Our TLS connections from the handshake to the end, and what is used of OpenSSL's parts."""

from __future__ import annotations

import gc
import shutil
import socket
import ssl
import subprocess
import weakref
from typing import Any

from cryptography.hazmat.bindings._rust import _openssl
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone

from realtime_svc.config import Tls
from realtime_svc.transports import openssl
from realtime_svc.transports.connection import SOCKET, VEILED
from realtime_svc.transports.kernel import CLOSED
from tests.client.pki import Authority, pem, write_pair
from tests.transports.tls_parties import CLOCK, Talker, TlsCase, echo, read_exactly, read_to_end, read_to_nothing


class CompiledTests(TlsCase):
    """With the compiled kernel."""

    # ---- handshake

    async def test_strangers_are_counted(self) -> None:
        """What is no handshake; not who comes and goes, as health checks do."""

        def client(hello: bytes) -> None:
            with self.connect() as sock:
                sock.sendall(hello)
                sock.shutdown(socket.SHUT_WR)
                read_to_nothing(sock)

        for hello, counted in ((b"", 0), (b"\x16\x03\x01", 0), (b"GET / HTTP/1.1\r\n\r\n", 1), (bytes(50), 1)):
            talker = self.expect()
            self.refusals.clear()
            await self.run_client(client, hello)
            await talker.lost
            self.assertEqual(self.refusals, [("tls_handshake", "127.0.0.1")] * counted, hello)

    async def test_refused_client_gets_the_alert(self) -> None:
        """Also when it has sent more than was read: it is not reset."""
        talker = self.expect()
        sock = self.connect()
        self.addCleanup(sock.close)
        sock.sendall(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\x05" + bytes(30_000))
        await talker.lost
        alert = read_to_end(sock)
        self.assertEqual((alert[:1], alert[5:6]), (b"\x15", b"\x02"))  # an alert, fatal
        self.assertEqual(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), 0)

    async def test_flight_that_waits_for_the_client(self) -> None:
        """The certificates do not fit into what the system buffers, and the client does not read yet."""
        chain = [Authority(f"nobody asked for number {number}") for number in range(150)]
        file = self.folder / "chain.pem"
        file.write_bytes(pem(*(authority.certificate for authority in chain)))
        self.tls.__init__(Tls(**{**self.fields(), "chain": str(file)}))  # type: ignore[misc]
        talker = self.expect(greeting=b"at last")
        stalled: Deferred[None] = Deferred()
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.connect(("127.0.0.1", self.port))
        sock.settimeout(20)
        peer = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
        peer.set_connect_state()
        self.assertRaises(SSL.WantReadError, peer.do_handshake)
        while not talker.log:
            await self.turn()
        talker.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        stall = talker.transport._stall

        def tell() -> None:
            stall()
            if not stalled.called:
                stalled.callback(None)

        talker.transport._stall = tell
        sock.sendall(peer.bio_read(65536))
        await stalled
        self.assertNotIn(talker.transport, CLOCK.getReaders())  # or the loop would spin

        def finish() -> bytes:
            while True:
                try:
                    return peer.recv(100)
                except SSL.WantReadError:
                    try:
                        sock.sendall(peer.bio_read(65536))
                    except SSL.WantReadError:
                        peer.bio_write(sock.recv(65536))

        self.assertEqual(await self.run_client(finish), b"at last")
        self.assertIn(talker.transport, CLOCK.getReaders())
        sock.close()

    def fields(self) -> dict[str, Any]:
        return {name: getattr(self.settings, name) for name in ("certificate", "key")}

    async def test_certificate_of_the_client(self) -> None:
        ca, usage = self.ca, ExtendedKeyUsageOID.CLIENT_AUTH
        certificate, key = self.authority.issue(["me"], usage=usage)
        files = write_pair(self.folder, "client", certificate, key)
        settings = Tls(**self.fields(), client_certificates="required", client_ca=str(ca))
        self.tls.__init__(settings)  # type: ignore[misc]
        context = self.context()
        context.load_cert_chain(*files)
        talker = self.expect()
        talker.answer = echo

        def client() -> None:
            with self.secure(context) as secure:
                secure.sendall(b"x")
                read_exactly(secure, 1)
                read_to_nothing(secure)

        done = self.run_client(client)
        await talker.when_received(1)
        self.assertEqual(talker.transport.getPeerCertificate(), certificate)
        talker.transport.abortConnection()
        await talker.lost
        await self.turn()
        self.assertIsNone(talker.transport.getPeerCertificate())
        await done

    # ---- sessions

    async def test_second_connection_is_resumed(self) -> None:
        """Both versions, by tickets; a reload makes the next handshake a full one, and new tickets."""
        for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
            context = self.context(version)

            def client(
                session: ssl.SSLSession | None, context: ssl.SSLContext = context
            ) -> tuple[ssl.SSLSession | None, bool | None]:
                with self.secure(context, session=session) as secure:
                    secure.sendall(b"x")
                    read_exactly(secure, 1)  # and with it, the tickets of TLS 1.3
                    return secure.session, secure.session_reused

            session, resumed = None, []
            for reload in (False, False, True, False):
                if reload:
                    self.tls.reload()
                self.expect().answer = echo
                session, reused = await self.run_client(client, session)
                resumed.append(reused)
            self.assertEqual(resumed, [False, True, False, True], version)

    # ---- the end

    async def test_nothing_is_left(self) -> None:
        """The outlet is closed before OpenSSL's part is freed, and that is freed at once."""
        talker = self.expect()
        sock = self.connect()

        def client() -> None:
            self.peer(sock).send(b"x")

        await self.run_client(client)
        await talker.when_received(1)
        outlet = talker.transport.outlet
        states: list[int] = []
        gc.disable()
        self.addCleanup(gc.enable)
        watched = weakref.ref(talker.transport._tls, lambda _: states.append(outlet.holds))
        talker.transport.abortConnection()
        await talker.lost
        await self.turn()
        self.assertIsNone(watched())
        self.assertEqual([state & CLOSED for state in states], [CLOSED])
        self.assertRaises(OSError, outlet.send, b"x")
        sock.close()

    async def test_holds(self) -> None:
        """Nothing may be sent straight before the handshake; afterwards it may by the compiled kernel."""
        talker = self.expect()
        sock = self.connect()
        while not talker.log:
            await self.turn()
        self.assertEqual(talker.transport.outlet.holds, VEILED)
        talker.transport.write(b"wait")
        self.assertNotIn(talker.transport, CLOCK.getWriters())  # the socket takes it, OpenSSL does not
        # One KeyUpdate a turn: by itself OpenSSL reads on for as long as something comes.
        mode = _openssl.lib.SSL_set_mode(talker.transport._ssl, 0)
        self.assertFalse(mode & _openssl.lib.SSL_MODE_AUTO_RETRY)

        def client() -> None:
            self.peer(sock).send(b"x")

        await self.run_client(client)
        await talker.when_received(1)
        while talker.transport.outlet.holds & SOCKET:
            await self.turn()
        self.assertEqual(talker.transport.outlet.holds, 0 if self.kind == "compiled" else VEILED)
        talker.transport.write(bytes(20_000_000))
        self.assertTrue(talker.transport.outlet.holds & SOCKET)
        self.assertFalse(talker.transport.half_closes)
        sock.close()

    async def test_errors_of_others(self) -> None:
        """OpenSSL's queue of errors is one for all: what somebody left there is not ours, and we leave nothing."""
        library, context = _openssl.lib, self.tls._context._context
        talker = self.expect()

        def leave_an_error(talker: Talker, data: bytes) -> None:
            library.SSL_CTX_set_cipher_list(context, b"no such thing")
            self.assertNotEqual(library.ERR_peek_error(), 0)
            talker.transport.write(data)
            library.SSL_CTX_set_cipher_list(context, b"no such thing")

        talker.answer = leave_an_error
        sock = self.connect()

        def client() -> None:
            peer = self.peer(sock)
            for number in range(3):
                peer.send(b"%d" % number)
                assert peer.recv(1) == b"%d" % number

        await self.run_client(client)
        self.assertEqual((talker.received, talker.log), (b"012", ["made"]))
        sock.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
        await talker.lost
        self.assertEqual(library.ERR_peek_error(), 0)
        sock.close()

    # ---- somebody else's client

    async def test_openssl(self) -> None:
        """The program of that name: a full handshake and a resumed one, data both ways, a goodbye from each side."""
        program = shutil.which("openssl")
        if program is None:
            self.skipTest("openssl is not installed")
        session = str(self.folder / "session.pem")

        def client(version: str, *options: str) -> str:
            command = [program, "s_client", "-connect", f"127.0.0.1:{self.port}", "-CAfile", str(self.ca), version]
            done = subprocess.run(
                [*command, "-verify_return_error", "-quiet", *options],
                input=b"from the program\n",
                capture_output=True,
                timeout=20,
                check=False,
            )
            return done.stdout.decode() + done.stderr.decode()

        def answer(talker: Talker, data: bytes) -> None:
            talker.transport.write(b"to the program\n")
            talker.transport.loseConnection()

        for version in ("-tls1_3", "-tls1_2"):
            for options in (("-sess_out", session), ("-sess_in", session)):
                talker = self.expect()
                talker.answer = answer
                said = await self.run_client(client, version, *options)
                self.assertIn("to the program", said)
                self.assertIs(await talker.lost, ConnectionDone, said)
                self.assertEqual(talker.received, b"from the program\n")


class PythonTests(CompiledTests):
    """With the kernel in Python."""

    kind = "python"


class PartsTests(TlsCase):
    """What is used of pyOpenSSL and of the library it is built upon, and no public interface promises."""

    kind = "python"

    def test_functions(self) -> None:
        for name in (
            *("SSL_read", "SSL_write", "SSL_do_handshake", "SSL_shutdown", "SSL_get_error"),
            *("SSL_clear_mode", "SSL_set_info_callback", "ERR_clear_error"),
        ):
            self.assertTrue(callable(getattr(_openssl.lib, name)), name)
        self.assertGreater(openssl._SSL_WRITE, 0)
        self.assertNotEqual(openssl._SSL_WRITE, openssl._ERR_CLEAR_ERROR)

    def test_modes(self) -> None:
        """A write that did not get through may be tried again from another place, and in part (SSL_CTX_set_mode(3))."""
        mode = self.tls._context.set_mode(0)
        for wanted in (
            "SSL_MODE_ENABLE_PARTIAL_WRITE",
            "SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER",
            "SSL_MODE_RELEASE_BUFFERS",
        ):
            self.assertTrue(mode & getattr(_openssl.lib, wanted), wanted)
