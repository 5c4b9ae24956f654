"""Development certificates: what is in them, who may read the keys, and what is never overwritten."""

from __future__ import annotations

import datetime
import ipaddress
import stat
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc import devcert
from realtime_svc.config import Tls
from realtime_svc.devcert import DevCertificates, make_dev_certificates
from realtime_svc.errors import ConfigError
from realtime_svc.transports.tls import ServerTls
from tests.client.pki import Authority, key_pem, new_key, pem


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def names_of(certificate: x509.Certificate) -> list[object]:
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return [name.value for name in extension.value]


class DevcertCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()) / "deep"

    def make(self, *names: str) -> DevCertificates:
        return make_dev_certificates(self.folder, names or devcert.DEFAULT_NAMES)

    def contents(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}

    def assert_refused(self, name: str) -> None:
        """One line that names the file; and no file has changed."""
        before = self.contents()
        error = self.assertRaises(ConfigError, self.make)
        self.assertEqual(error.where, str(self.folder / name))
        self.assertEqual(self.contents(), before)


class ContentTests(DevcertCase):
    def test_independent_verifier_accepts_it(self) -> None:
        """For every default name, by cryptography's implementation of the WebPKI rules; for no other name."""
        files = self.make()
        builder = PolicyBuilder().store(Store([load(files.ca)]))
        subjects: list[x509.DNSName | x509.IPAddress] = [x509.DNSName("localhost")]
        subjects += [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]
        for subject in subjects:
            builder.build_server_verifier(subject).verify(load(files.certificate), [])
        with self.assertRaises(VerificationError):
            builder.build_server_verifier(x509.DNSName("example.org")).verify(load(files.certificate), [])

    def test_server_takes_them(self) -> None:
        files = self.make()
        ServerTls(Tls(certificate=str(files.certificate), key=str(files.key)))

    def test_names(self) -> None:
        files = self.make("Example.ORG", "*.example.org", "192.0.2.7", "2001:db8::1", "a-b")
        expected = [
            "example.org",
            "*.example.org",
            ipaddress.ip_address("192.0.2.7"),
            ipaddress.ip_address("2001:db8::1"),
        ]
        self.assertEqual(names_of(load(files.certificate)), [*expected, "a-b"])

    def test_names_that_can_not_be(self) -> None:
        for name in (
            "",
            " ",
            "a b",
            "-a",
            "a-",
            "a..b",
            ".a",
            "a.",
            "*",
            "a.*",
            "ä.org",
            "x" * 64,
            "a." * 127 + "aa",
            "a\nb",
        ):
            error = self.assertRaises(ConfigError, self.make, name)
            self.assertEqual(error.key, "names", name)
            self.assertFalse(self.folder.exists())

    def test_validity(self) -> None:
        """From an hour ago; the authority for a year, the leaf no longer than that and than 397 days."""
        files = self.make()
        now = datetime.datetime.now(datetime.UTC)
        authority, leaf = load(files.ca), load(files.certificate)
        for certificate in (authority, leaf):
            ago = now - certificate.not_valid_before_utc
            self.assertTrue(datetime.timedelta(minutes=59) < ago < datetime.timedelta(minutes=61))
            self.assertGreater(certificate.not_valid_after_utc, now + datetime.timedelta(days=364))
        self.assertLessEqual(leaf.not_valid_after_utc, authority.not_valid_after_utc)
        self.assertLessEqual(leaf.not_valid_after_utc - leaf.not_valid_before_utc, datetime.timedelta(days=397))

    def test_constraints(self) -> None:
        """The authority can't make another one, the leaf can't sign, and serves servers only."""
        files = self.make()
        constraints = load(files.ca).extensions.get_extension_for_class(x509.BasicConstraints)
        self.assertEqual((constraints.critical, constraints.value.ca, constraints.value.path_length), (True, True, 0))
        leaf = load(files.certificate).extensions
        self.assertFalse(leaf.get_extension_for_class(x509.BasicConstraints).value.ca)
        self.assertFalse(leaf.get_extension_for_class(x509.KeyUsage).value.key_cert_sign)
        usage = leaf.get_extension_for_class(x509.ExtendedKeyUsage).value
        self.assertEqual(list(usage), [ExtendedKeyUsageOID.SERVER_AUTH])

    def test_keys(self) -> None:
        """Only their owner may read them; each belongs to its certificate; nothing else is left in the folder."""
        files = self.make()
        self.assertEqual(set(self.contents()), {"ca.pem", "ca-key.pem", "server.pem", "server-key.pem"})
        for certificate, key in ((files.ca, self.folder / "ca-key.pem"), (files.certificate, files.key)):
            self.assertEqual(stat.S_IMODE(key.stat().st_mode), 0o600)
            self.assertEqual(stat.S_IMODE(certificate.stat().st_mode), 0o644)
            public = load_pem_private_key(key.read_bytes(), None).public_key()
            self.assertEqual(public, load(certificate).public_key())


class AgainTests(DevcertCase):
    def test_authority_is_kept(self) -> None:
        """Who trusts it, trusts the next server certificate as well."""
        first = self.make()
        before = self.contents()
        second = self.make("example.org")
        after = self.contents()
        self.assertEqual(first, second)
        self.assertEqual(after["ca.pem"], before["ca.pem"])
        self.assertEqual(after["ca-key.pem"], before["ca-key.pem"])
        self.assertNotEqual(after["server-key.pem"], before["server-key.pem"])
        self.assertEqual(names_of(load(second.certificate)), ["example.org"])
        load(second.certificate).verify_directly_issued_by(load(second.ca))

    def test_expired_authority_is_replaced(self) -> None:
        self.patch(devcert, "AUTHORITY_DAYS", 0)
        before = load(self.make().ca)
        self.patch(devcert, "AUTHORITY_DAYS", 365)
        files = self.make()
        self.assertNotEqual(load(files.ca), before)
        load(files.certificate).verify_directly_issued_by(load(files.ca))

    def test_foreign_authority(self) -> None:
        """One from elsewhere is neither used nor replaced, even with its key beside it."""
        self.folder.mkdir(parents=True)
        other = Authority("company")
        (self.folder / "ca.pem").write_bytes(pem(other.certificate))
        (self.folder / "ca-key.pem").write_bytes(key_pem(other.key))
        self.assert_refused("ca.pem")

    def test_foreign_server_certificate(self) -> None:
        self.folder.mkdir(parents=True)
        Authority("company").write(self.folder, "server")
        self.assert_refused("server.pem")
        (self.folder / "server.pem").unlink()
        self.assert_refused("server-key.pem")

    def test_halves_and_rubbish(self) -> None:
        """Whatever was put in the place of a file we made stays."""
        for name, reported in (
            ("ca.pem", "ca.pem"),
            ("ca-key.pem", "ca.pem"),
            ("server.pem", "server.pem"),
            ("server-key.pem", "server.pem"),
        ):
            for replacement in (
                b"rubbish",
                b"",
                key_pem(new_key()),
                key_pem(new_key(), b"password"),
                pem(Authority("x").certificate),
            ):
                self.folder = Path(self.mktemp())
                self.make()
                (self.folder / name).write_bytes(replacement)
                self.assert_refused(reported)

    def test_links_are_not_followed(self) -> None:
        """A dangling link in the place of a file is somebody's, too."""
        self.folder.mkdir(parents=True)
        (self.folder / "server.pem").symlink_to(self.folder / "elsewhere")
        self.assertRaises(ConfigError, self.make)
        self.assertFalse((self.folder / "elsewhere").exists())

    def test_folder_that_can_not_be(self) -> None:
        self.folder.parent.mkdir()
        self.folder.write_bytes(b"a file")
        self.assertIn(str(self.folder), str(self.assertRaises(ConfigError, self.make)))
