"""Certificates for development: an authority of one's own, and a server certificate signed by it.

Browsers and clients that are told to trust `ca.pem` accept the server; nobody else does.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from realtime_svc.errors import ConfigError

DEFAULT_NAMES = ("localhost", "127.0.0.1", "::1")
AUTHORITY_NAME = "realtime_svc development CA"
AUTHORITY_DAYS = 365
LEAF_DAYS = 397  # what browsers take at most (CA/Browser Forum, Baseline Requirements 6.3.2)

_DNS_NAME = re.compile(r"(\*\.)?([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)*[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.I)


class DevCertificates(NamedTuple):
    """The files: `ca` for clients to trust, `certificate` and `key` for the server's configuration."""

    ca: Path
    certificate: Path
    key: Path


class _Pair(NamedTuple):
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def make_dev_certificates(folder: Path, names: Sequence[str] = DEFAULT_NAMES) -> DevCertificates:
    """Write `ca.pem`, `ca-key.pem`, `server.pem`, `server-key.pem` into `folder`; keys are for their owner only (0600).

    `names` are DNS names and IP addresses the certificate is good for. An authority made here before is used again
    while it is valid; the server certificate is made anew each time. Raises `ConfigError` for a name that can't be in
    a certificate, a folder that can't be written, and a file of that name that was not made here: then no file changes.
    """
    now = datetime.datetime.now(datetime.UTC)
    alternatives = [_general_name(name) for name in names or DEFAULT_NAMES]
    paths = DevCertificates(folder / "ca.pem", folder / "server.pem", folder / "server-key.pem")
    authority_key = folder / "ca-key.pem"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        authority = _existing_authority(paths.ca, authority_key)
        _check_replaceable(paths, authority)
        if authority is None or authority.certificate.not_valid_after_utc <= now:
            authority = _make_authority(now)
            _write_pair(paths.ca, authority_key, authority)
        _write_pair(paths.certificate, paths.key, _make_leaf(authority, alternatives, now))
    except OSError as error:
        raise ConfigError(str(error.filename or folder), "", f"can't be used: {error.strerror}") from None
    return paths


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    if len(name) > 253 or not _DNS_NAME.fullmatch(name):
        raise ConfigError("", "names", "a name is neither a DNS name (in ASCII) nor an IP address")
    return x509.DNSName(name.lower())


def _make_authority(now: datetime.datetime) -> _Pair:
    """Self-signed; it may sign certificates of servers, but no further authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, AUTHORITY_NAME)])
    builder = _builder(name, name, key, now, now + datetime.timedelta(days=AUTHORITY_DAYS))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(authority=True), critical=True)
    return _Pair(builder.sign(key, hashes.SHA256()), key)


def _make_leaf(authority: _Pair, names: Sequence[x509.GeneralName], now: datetime.datetime) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "realtime_svc development server")])
    until = min(now + datetime.timedelta(days=LEAF_DAYS, hours=-1), authority.certificate.not_valid_after_utc)
    builder = _builder(subject, authority.certificate.subject, key, now, until)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(authority=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    builder = builder.add_extension(issuer, critical=False)
    return _Pair(builder.sign(authority.key, hashes.SHA256()), key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
    until: datetime.datetime,
) -> x509.CertificateBuilder:
    """Valid from an hour ago: clocks of development machines and containers differ."""
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(until)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _existing_authority(certificate_file: Path, key_file: Path) -> _Pair | None:
    """What an earlier run left, or None. Anything else in these two files is not ours to use or to replace."""
    if not os.path.lexists(certificate_file) and not os.path.lexists(key_file):
        return None
    pair = _read_pair(certificate_file, key_file)
    if pair is None or pair.certificate.subject.rfc4514_string() != f"CN={AUTHORITY_NAME}" or not _signed(pair, pair):
        raise _foreign(certificate_file if os.path.lexists(certificate_file) else key_file)
    return pair


def _check_replaceable(paths: DevCertificates, authority: _Pair | None) -> None:
    """A server certificate is replaced only where our authority signed it."""
    if not os.path.lexists(paths.certificate) and not os.path.lexists(paths.key):
        return
    pair = _read_pair(paths.certificate, paths.key)
    if authority is None or pair is None or not _signed(pair, authority):
        raise _foreign(paths.certificate if os.path.lexists(paths.certificate) else paths.key)


def _foreign(path: Path) -> ConfigError:
    return ConfigError(str(path), "", "was not made by realtime_svc, or its other half is missing; move it away first")


def _signed(pair: _Pair, authority: _Pair) -> bool:
    try:
        pair.certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _read_pair(certificate_file: Path, key_file: Path) -> _Pair | None:
    """A certificate and its key, or None where the files hold anything else."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        key = load_pem_private_key(key_file.read_bytes(), password=None)
    except (ValueError, TypeError, FileNotFoundError):
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or certificate.public_key() != key.public_key():
        return None
    return _Pair(certificate, key)


def _write_pair(certificate_file: Path, key_file: Path, pair: _Pair) -> None:
    key = pair.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write(key_file, key, 0o600)
    _write(certificate_file, pair.certificate.public_bytes(Encoding.PEM), 0o644)


def _write(path: Path, data: bytes, mode: int) -> None:
    """Whole or not at all, and never readable for others on the way."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
