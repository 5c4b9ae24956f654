"""The server's side of TLS: what is spoken, what is refused, what a reload changes; peers are plain pyOpenSSL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from realtime_svc.config import Tls
from realtime_svc.errors import ConfigError
from realtime_svc.transports.tls import TICKET_KEY_LIFETIME, ServerTls
from tests.client.pki import DAY, Authority, key_pem, new_key, pem, write_file, write_pair
from tests.transports.handshakes import client_context, handshake, is_resumed, pump

PROTOCOL_VERSION_ALERT = bytes((2, 70))  # RFC 8446 6: fatal, protocol_version


class TlsCase(SynchronousTestCase):
    """An authority, and a server certificate of its in files."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.authority = Authority("test authority")
        self.certificate, self.key = self.authority.write(self.folder, "server")

    def settings(self, **changes: Any) -> Tls:
        return Tls(**{"certificate": self.certificate, "key": self.key, **changes})

    def file(self, name: str, data: bytes) -> str:
        return write_file(self.folder, name, data)

    def failure_of(self, settings: Tls) -> ConfigError:
        error: ConfigError = self.assertRaises(ConfigError, ServerTls, settings)
        return error


class SpokenTests(TlsCase):
    """Mozilla's intermediate configuration."""

    def test_versions(self) -> None:
        """1.3 where both can, 1.2 where the client can do no better; with a minimum of 1.3 such a client is refused."""
        tls = ServerTls(self.settings())
        for most, spoken in ((None, "TLSv1.3"), (SSL.TLS1_2_VERSION, "TLSv1.2")):
            client, _ = handshake(tls, client_context(self.authority, most=most))
            self.assertEqual(client.get_protocol_version_name(), spoken)
        strict = ServerTls(self.settings(minimum_version="1.3"))
        handshake(strict, client_context(self.authority))
        with self.assertRaises(SSL.Error):
            handshake(strict, client_context(self.authority, most=SSL.TLS1_2_VERSION))

    def test_old_version_is_refused_with_an_alert(self) -> None:
        """A ClientHello of TLS 1.1 or 1.0, written by hand: today's libraries can't send one."""
        for minor in (1, 2):
            suites = bytes.fromhex("c013c009002f0035")
            body = bytes((3, minor)) + bytes(32) + b"\0" + len(suites).to_bytes(2, "big") + suites + b"\1\0"
            hello = b"\1" + len(body).to_bytes(3, "big") + body
            server = ServerTls(self.settings()).serverConnectionForTLS(None)  # type: ignore[arg-type]
            server.set_accept_state()
            server.bio_write(bytes((22, 3, 1)) + len(hello).to_bytes(2, "big") + hello)
            with self.assertRaises(SSL.Error):
                server.do_handshake()
            self.assertEqual(server.bio_read(100)[-2:], PROTOCOL_VERSION_ALERT)

    def test_suites(self) -> None:
        """Forward secrecy and AEAD, or nothing; with both kinds of key."""
        key = rsa.generate_private_key(65537, 2048)
        certificate, key_file = write_pair(self.folder, "rsa", *self.authority.issue(key=key))
        tls = {
            "ECDSA": ServerTls(self.settings()),
            "RSA": ServerTls(self.settings(certificate=certificate, key=key_file)),
        }
        good = ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
        weak = [
            *(f"ECDHE-{kind}-{rest}" for kind in tls for rest in ("AES128-SHA", "AES256-SHA", "AES128-SHA256")),
            *("ECDHE-ECDSA-AES128-CCM", "ECDHE-ECDSA-AES256-CCM8", "AES128-SHA", "AES128-GCM-SHA256", "AES256-SHA256"),
            *("DHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES256-SHA"),
        ]
        for kind, server in tls.items():
            for rest in good:
                context = client_context(
                    self.authority, most=SSL.TLS1_2_VERSION, ciphers=f"ECDHE-{kind}-{rest}".encode()
                )
                client, _ = handshake(server, context)
                self.assertEqual(client.get_cipher_name(), f"ECDHE-{kind}-{rest}")
        for suite in weak:
            server = tls["ECDSA" if "ECDSA" in suite else "RSA"]
            context = client_context(self.authority, most=SSL.TLS1_2_VERSION, ciphers=suite.encode())
            with self.assertRaises(SSL.Error, msg=suite):
                handshake(server, context)

    def test_groups(self) -> None:
        tls = ServerTls(self.settings())
        for group in (b"X25519MLKEM768", b"X25519", b"P-256", b"P-384"):
            handshake(tls, client_context(self.authority, groups=group))
        for group in (b"P-521", b"X448"):
            with self.assertRaises(SSL.Error, msg=group.decode()):
                handshake(tls, client_context(self.authority, groups=group))

    def test_alpn(self) -> None:
        """http/1.1 is selected where it is offered; what else is offered is left unanswered, not refused."""
        tls = ServerTls(self.settings())
        table = (([b"h2", b"http/1.1"], b"http/1.1"), ([b"http/1.1"], b"http/1.1"), ([b"h2"], b""), (None, b""))
        for offered, selected in table:
            client, _ = handshake(tls, client_context(self.authority, alpn=offered))
            self.assertEqual(client.get_alpn_proto_negotiated(), selected)

    def test_renegotiation_is_refused(self) -> None:
        client, server = handshake(ServerTls(self.settings()), client_context(self.authority, most=SSL.TLS1_2_VERSION))
        client.renegotiate()
        with self.assertRaises(SSL.WantReadError):
            client.do_handshake()
        with self.assertRaises(SSL.Error):
            pump(client, server)
            client.do_handshake()
        self.assertEqual(server.total_renegotiations(), 0)

    def test_chain(self) -> None:
        """Intermediate certificates are sent, whether they come in the certificate's file or in one of their own."""
        middle = Authority("intermediate", self.authority)
        certificate, key = middle.issue()
        key_file = self.file("key.pem", key_pem(key))
        alone = self.file("alone.pem", pem(certificate))
        with self.assertRaises(SSL.Error):
            handshake(ServerTls(Tls(certificate=alone, key=key_file)), client_context(self.authority))
        joined = self.file("joined.pem", pem(certificate, middle.certificate))
        handshake(ServerTls(Tls(certificate=joined, key=key_file)), client_context(self.authority))
        chain = self.file("chain.pem", pem(middle.certificate))
        handshake(ServerTls(Tls(certificate=alone, key=key_file, chain=chain)), client_context(self.authority))

    def test_wrapped_factory(self) -> None:
        """`wrap` gives a factory whose protocols speak TLS on any stream and hand on what is inside."""
        received: list[bytes] = []

        class Inner(Protocol):
            def dataReceived(self, data: bytes) -> None:
                received.append(data)

        tls = ServerTls(self.settings())
        verifyObject(IOpenSSLServerConnectionCreator, tls)
        wrapper = tls.wrap(Factory.forProtocol(Inner), Clock()).buildProtocol(None)
        transport = StringTransport()
        assert wrapper is not None
        wrapper.makeConnection(transport)
        client = SSL.Connection(client_context(self.authority), None)
        client.set_connect_state()
        for _ in range(3):
            try:
                client.do_handshake()
            except SSL.WantReadError:
                wrapper.dataReceived(client.bio_read(65536))
                client.bio_write(transport.value())
                transport.clear()
        client.send(b"inside")
        wrapper.dataReceived(client.bio_read(65536))
        self.assertEqual(received, [b"inside"])


class SessionTests(TlsCase):
    """Tickets: after a mass reconnect most handshakes are short ones."""

    def resume(self, tls: ServerTls, context: SSL.Context, session: SSL.Session | None) -> bool:
        client, server = handshake(tls, context, session)
        self.assertEqual(is_resumed(client), is_resumed(server))
        return is_resumed(client)

    def test_ticket_resumes(self) -> None:
        tls = ServerTls(self.settings())
        for most in (SSL.TLS1_3_VERSION, SSL.TLS1_2_VERSION):
            context = client_context(self.authority, most=most)
            client, _ = handshake(tls, context)
            self.assertFalse(is_resumed(client))
            self.assertTrue(self.resume(tls, context, client.get_session()))

    def test_ticket_resumes_with_a_client_certificate(self) -> None:
        """The resumed session knows the certificate that was shown in the first."""
        ca = self.file("ca.pem", pem(self.authority.certificate))
        tls = ServerTls(self.settings(client_certificates="required", client_ca=ca))
        usage = ExtendedKeyUsageOID.CLIENT_AUTH
        context = client_context(self.authority, identity=self.authority.issue(["me"], usage=usage))
        client, _ = handshake(tls, context)
        _, server = handshake(tls, context, client.get_session())
        self.assertTrue(is_resumed(server))
        self.assertIsNotNone(server.get_peer_certificate())

    def test_reload_ends_tickets_without_harm(self) -> None:
        tls = ServerTls(self.settings())
        context = client_context(self.authority)
        client, _ = handshake(tls, context)
        session = client.get_session()
        tls.reload()
        self.assertFalse(self.resume(tls, context, session))

    def test_ticket_key_is_replaced(self) -> None:
        """At the next handshake after a day; tickets of the old key lead to a full handshake."""
        clock = Clock()
        tls = ServerTls(self.settings(), clock.seconds)
        context = client_context(self.authority)
        client, _ = handshake(tls, context)
        clock.advance(TICKET_KEY_LIFETIME)
        self.assertTrue(self.resume(tls, context, client.get_session()))
        client, _ = handshake(tls, context)
        clock.advance(1)
        self.assertFalse(self.resume(tls, context, client.get_session()))


class ClientCertificateTests(TlsCase):
    def setUp(self) -> None:
        super().setUp()
        self.ca = self.file("ca.pem", pem(self.authority.certificate))
        usage = ExtendedKeyUsageOID.CLIENT_AUTH
        self.good = self.authority.issue(["me"], usage=usage)
        self.foreign = Authority("another authority").issue(["me"], usage=usage)
        self.expired = self.authority.issue(["me"], usage=usage, begins=-2 * DAY, ends=-DAY)
        self.server_only = self.authority.issue(["me"])

    def outcome(self, mode: str, identity: tuple[x509.Certificate, Any] | None) -> str:
        tls = ServerTls(self.settings(client_certificates=mode, client_ca=self.ca))
        try:
            _, server = handshake(tls, client_context(self.authority, identity=identity))
        except SSL.Error:
            return "refused"
        return "anonymous" if server.get_peer_certificate() is None else "known"

    def test_table(self) -> None:
        table = (
            ("off", None, "anonymous"),
            ("off", self.good, "anonymous"),
            ("optional", None, "anonymous"),
            ("optional", self.good, "known"),
            ("optional", self.foreign, "refused"),
            ("optional", self.expired, "refused"),
            ("required", None, "refused"),
            ("required", self.good, "known"),
            ("required", self.foreign, "refused"),
            ("required", self.expired, "refused"),
            ("required", self.server_only, "refused"),
        )
        for mode, identity, expected in table:
            self.assertEqual(self.outcome(mode, identity), expected, (mode, table.index((mode, identity, expected))))


class ReloadTests(TlsCase):
    def served_by(self, tls: ServerTls, authority: Authority) -> bytes:
        client, _ = handshake(tls, client_context(authority))
        certificate = client.get_peer_certificate()
        assert certificate is not None
        return certificate.to_cryptography().public_bytes(Encoding.PEM)

    def test_new_connections_get_the_new_certificate(self) -> None:
        tls = ServerTls(self.settings())
        client, server = handshake(tls, client_context(self.authority))
        other = Authority("next authority")
        other.write(self.folder, "server")
        tls.reload()
        self.assertEqual(self.served_by(tls, other), Path(self.certificate).read_bytes())
        client.send(b"still here")
        server.bio_write(client.bio_read(65536))
        self.assertEqual(server.recv(100), b"still here")

    def test_bad_file_keeps_the_old_certificate(self) -> None:
        tls = ServerTls(self.settings())
        before = Path(self.certificate).read_bytes()
        Path(self.key).write_bytes(key_pem(new_key()))
        self.assertEqual(self.assertRaises(ConfigError, tls.reload).key, "tls.key")
        self.assertEqual(self.served_by(tls, self.authority), before)
        Path(self.certificate).write_bytes(b"rubbish")
        self.assertEqual(self.assertRaises(ConfigError, tls.reload).key, "tls.certificate")
        self.assertEqual(self.served_by(tls, self.authority), before)


class BadFileTests(TlsCase):
    """One line each: which file, which key, why; nothing of what is in the file."""

    def test_table(self) -> None:
        missing = str(self.folder / "missing.pem")
        rubbish = self.file("rubbish.pem", b"rubbish SECRET")
        broken = self.file("broken.pem", b"-----BEGIN CERTIFICATE-----\nSECRET\n-----END CERTIFICATE-----\n")
        foreign = self.file("foreign-key.pem", key_pem(new_key()))
        encrypted = self.file("encrypted.pem", key_pem(new_key(), b"SECRET"))
        exchange = x25519.X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        unusable = self.file("x25519.pem", exchange)
        short = rsa.generate_private_key(65537, 1024)
        short_file, short_key = write_pair(self.folder, "short", *self.authority.issue(key=short))
        table: tuple[tuple[dict[str, str], str, str, str], ...] = (
            ({"certificate": ""}, "", "tls.certificate", "needed"),
            ({"key": ""}, "", "tls.key", "needed"),
            ({"certificate": missing}, missing, "tls.certificate", "No such file"),
            ({"key": missing}, missing, "tls.key", "No such file"),
            ({"chain": missing}, missing, "tls.chain", "No such file"),
            ({"certificate": str(self.folder)}, str(self.folder), "tls.certificate", "can't be read"),
            ({"key": "a\0b"}, "a\0b", "tls.key", "can't be read"),
            ({"certificate": rubbish}, rubbish, "tls.certificate", "no PEM certificate"),
            ({"certificate": broken}, broken, "tls.certificate", "no PEM certificate"),
            ({"certificate": self.key}, self.key, "tls.certificate", "no PEM certificate"),
            ({"chain": rubbish}, rubbish, "tls.chain", "no PEM certificate"),
            ({"key": rubbish}, rubbish, "tls.key", "no PEM private key"),
            ({"key": self.certificate}, self.certificate, "tls.key", "no PEM private key"),
            ({"key": encrypted}, encrypted, "tls.key", "encrypted"),
            ({"key": unusable}, unusable, "tls.key", "no RSA, EC or Ed25519 key"),
            ({"key": foreign}, foreign, "tls.key", "does not belong"),
            ({"certificate": short_file, "key": short_key}, short_file, "tls.certificate", "OpenSSL refuses"),
            ({"client_certificates": "required"}, "", "tls.client_ca", "needed"),
            ({"client_certificates": "optional", "client_ca": rubbish}, rubbish, "tls.client_ca", "no PEM certificate"),
        )
        for changes, where, key, reason in table:
            error = self.failure_of(self.settings(**changes))
            self.assertEqual((error.where, error.key), (where, key), changes)
            self.assertIn(reason, error.reason)
            self.assertNotIn("SECRET", str(error))

    def test_dates_are_only_warned_of(self) -> None:
        for begins, ends, word in ((-2 * DAY, -DAY, "expired"), (DAY, 2 * DAY, "not valid before")):
            certificate, key = write_pair(self.folder, "dated", *self.authority.issue(begins=begins, ends=ends))
            with capturedLogs() as events:
                ServerTls(Tls(certificate=certificate, key=key))
            self.assertEqual([word in event["log_format"] for event in events], [True])
        with capturedLogs() as events:
            ServerTls(self.settings())
        self.assertEqual(events, [])
