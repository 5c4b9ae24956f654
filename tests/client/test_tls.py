"""wss:// end to end, on loopback sockets: our client, our server's TLS, an echo server inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.protocol import Factory, Protocol

from realtime_svc.client import ClientTls, Connection, ConnectionFailed, client_tls, connect
from realtime_svc.config import Tls
from realtime_svc.devcert import make_dev_certificates
from realtime_svc.errors import ConfigError
from realtime_svc.transports.tls import ServerTls
from tests.client.pki import Authority, key_pem, new_key, pem, write_file
from tests.client.servers import SocketCase


class TlsCase(SocketCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp())
        self.files = make_dev_certificates(self.folder)
        self.trusting = client_tls(self.files.ca)

    def server(self, **changes: Any) -> ServerTls:
        return ServerTls(Tls(**{"certificate": str(self.files.certificate), "key": str(self.files.key), **changes}))

    def serve(self, tls: ServerTls) -> int:
        return self.listen(tls.wrap(self.echo, self.reactor))

    async def echo_through(self, port: int, tls: ClientTls | None, host: str = "127.0.0.1") -> Connection:
        connection = await connect(self.reactor, f"wss://{host}:{port}/", tls=tls, token="secret")
        connection.send("inside")
        self.assertEqual(await connection.receive(), "inside")
        return connection

    async def refusal(self, port: int, tls: ClientTls | None, host: str = "127.0.0.1") -> str:
        """Why; nothing of the request was seen by the server."""
        before = len(self.echo.requests)
        opening = connect(self.reactor, f"wss://{host}:{port}/", tls=tls, token="secret")
        error = await self.failure(opening, ConnectionFailed)
        self.assertEqual(len(self.echo.requests), before)
        return str(error)


class TrustTests(TlsCase):
    async def test_trusted(self) -> None:
        """By address and by name; the token travels inside."""
        port = self.serve(self.server())
        for host in ("127.0.0.1", "localhost"):
            await self.echo_through(port, self.trusting, host)
        self.assertEqual(self.echo.requests[0].headers["authorization"], "Bearer secret")

    async def test_unknown_authority(self) -> None:
        """The system's authorities, and another one in a file, do not vouch for this certificate."""
        port = self.serve(self.server())
        other = write_file(self.folder, "other.pem", pem(Authority("other").certificate))
        for tls in (None, client_tls(other)):
            self.assertIn("verify failed", await self.refusal(port, tls))

    async def test_wrong_name(self) -> None:
        """The authority is trusted, but the certificate is for somebody else."""
        files = make_dev_certificates(self.folder, ["example.org", "192.0.2.1"])
        self.assertEqual(files, self.files)
        port = self.serve(self.server())
        for host in ("127.0.0.1", "localhost"):
            self.assertEqual(
                await self.refusal(port, self.trusting, host), "TLS: the server's certificate is for another name"
            )

    async def test_not_tls(self) -> None:
        """What answers a ClientHello with HTTP."""

        class Http(Protocol):
            def dataReceived(self, data: bytes) -> None:
                assert self.transport is not None
                self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        factory = Factory.forProtocol(Http)
        factory.noisy = False
        self.assertIn("TLS", await self.refusal(self.listen(factory), self.trusting))

    async def test_plain_client_at_a_tls_port(self) -> None:
        port = self.serve(self.server())
        await self.assertFailure(connect(self.reactor, f"ws://127.0.0.1:{port}/"), ConnectionFailed)


class ClientCertificateTests(TlsCase):
    async def test_required(self) -> None:
        """Known: in. None, or one of another authority: out, before a request is read."""
        people, strangers = Authority("people"), Authority("strangers")
        ca = write_file(self.folder, "people.pem", pem(people.certificate))
        port = self.serve(self.server(client_certificates="required", client_ca=ca))
        known = client_tls(self.files.ca, *people.write_client(self.folder, "known"))
        foreign = client_tls(self.files.ca, *strangers.write_client(self.folder, "foreign"))
        await self.echo_through(port, known)
        for tls in (self.trusting, foreign):
            self.assertIn("TLS", await self.refusal(port, tls))

    async def test_chain_is_shown(self) -> None:
        """A certificate of an intermediate authority comes with that authority's certificate."""
        root = Authority("root")
        middle = Authority("middle", root)
        ca = write_file(self.folder, "root.pem", pem(root.certificate))
        port = self.serve(self.server(client_certificates="required", client_ca=ca))
        certificate, key = middle.write_client(self.folder, "member")
        self.assertIn("TLS", await self.refusal(port, client_tls(self.files.ca, certificate, key)))
        Path(certificate).write_bytes(Path(certificate).read_bytes() + pem(middle.certificate))
        await self.echo_through(port, client_tls(self.files.ca, certificate, key))


class ReloadTests(TlsCase):
    async def test_old_connections_go_on(self) -> None:
        """After a reload new connections get the new certificate; the old one keeps talking."""
        tls = self.server()
        port = self.serve(tls)
        old = await self.echo_through(port, self.trusting)
        next_authority = Authority("next")
        certificate, key = next_authority.write(self.folder, "next")
        self.files.certificate.write_bytes(Path(certificate).read_bytes())
        self.files.key.write_bytes(Path(key).read_bytes())
        tls.reload()
        self.assertIn("verify failed", await self.refusal(port, self.trusting))
        trusts_next = client_tls(write_file(self.folder, "next-ca.pem", pem(next_authority.certificate)))
        await self.echo_through(port, trusts_next)
        old.send("still here")
        self.assertEqual(await old.receive(), "still here")

    async def test_bad_file_changes_nothing(self) -> None:
        tls = self.server()
        port = self.serve(tls)
        self.files.key.write_bytes(key_pem(new_key()))
        self.assertRaises(ConfigError, tls.reload)
        await self.echo_through(port, self.trusting)


class BadFileTests(TlsCase):
    def test_table(self) -> None:
        """The file is named, and why it is of no use; nothing of what is in it."""
        authority = Authority("a")
        certificate, key = authority.write_client(self.folder, "me")
        rubbish = write_file(self.folder, "rubbish.pem", b"SECRET")
        foreign = write_file(self.folder, "foreign.pem", key_pem(new_key()))
        locked = write_file(self.folder, "locked.pem", key_pem(new_key(), b"SECRET"))
        missing = str(self.folder / "missing.pem")
        table: tuple[tuple[tuple[str | None, str | None, str | None], str, str], ...] = (
            ((missing, None, None), missing, "No such file"),
            ((rubbish, None, None), rubbish, "no PEM certificate"),
            ((None, certificate, None), "", "together"),
            ((None, None, key), "", "together"),
            ((None, rubbish, key), rubbish, "no PEM certificate"),
            ((None, certificate, rubbish), rubbish, "no PEM private key"),
            ((None, certificate, foreign), foreign, "does not belong"),
            ((None, certificate, locked), locked, "encrypted"),
        )
        for arguments, where, reason in table:
            error = self.assertRaises(ConfigError, client_tls, *arguments)
            self.assertEqual(error.where, where)
            self.assertIn(reason, error.reason)
            self.assertNotIn("SECRET", str(error))

    def test_repr_shows_no_key(self) -> None:
        certificate, key = Authority("a").write_client(self.folder, "me")
        self.assertEqual(repr(client_tls(None, certificate, key)), "ClientTls()")
