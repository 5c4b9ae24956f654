"""Certificates for tests: authorities, and what they sign, in files of a folder."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
DAY = datetime.timedelta(days=1)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: Key, password: bytes | None = None) -> bytes:
    lock: KeySerializationEncryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock)


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


class Authority:
    """Signs with a key of its own; `issuer` makes it an intermediate one."""

    def __init__(self, name: str, issuer: Authority | None = None) -> None:
        self.key = new_key()
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer, signer_name = (issuer.key, issuer.name) if issuer else (self.key, self.name)
        builder = _builder(self.name, signer_name, self.key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.certificate = builder.sign(signer, hashes.SHA256())

    def issue(
        self,
        names: Sequence[str] = ("localhost", "127.0.0.1"),
        *,
        key: Key | None = None,
        usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
        begins: datetime.timedelta = -DAY,
        ends: datetime.timedelta = DAY,
    ) -> tuple[x509.Certificate, Key]:
        key = key or new_key()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leaf")])
        builder = _builder(subject, self.name, key, begins, ends)
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        return builder.sign(self.key, hashes.SHA256()), key

    def write(self, folder: Path, stem: str, names: Sequence[str] = ("localhost", "127.0.0.1")) -> tuple[str, str]:
        """A server certificate and its key as files; their paths."""
        return write_pair(folder, stem, *self.issue(names))

    def write_client(self, folder: Path, stem: str) -> tuple[str, str]:
        return write_pair(folder, stem, *self.issue(["client"], usage=ExtendedKeyUsageOID.CLIENT_AUTH))


def write_pair(folder: Path, stem: str, certificate: x509.Certificate, key: Key) -> tuple[str, str]:
    certificate_file, key_file = folder / f"{stem}.pem", folder / f"{stem}-key.pem"
    certificate_file.write_bytes(pem(certificate))
    key_file.write_bytes(key_pem(key))
    return str(certificate_file), str(key_file)


def write_file(folder: Path, name: str, data: bytes) -> str:
    path = folder / name
    path.write_bytes(data)
    return str(path)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: Key,
    begins: datetime.timedelta = -DAY,
    ends: datetime.timedelta = DAY,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now + begins).not_valid_after(now + ends)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
