"""TLS on the client side: whom to trust, and who we are. Names are always checked (service_identity)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from OpenSSL import crypto
from twisted.internet import ssl
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator

from realtime_svc.errors import ConfigError

PROTOCOL = b"http/1.1"


@dataclass(frozen=True, slots=True)
class ClientTls:
    """Made by `client_tls`."""

    _authorities: list[x509.Certificate] | None = field(repr=False)
    _identity: ssl.PrivateCertificate | None = field(repr=False)
    _chain: list[x509.Certificate] = field(repr=False)

    def creator(self, host: str) -> IOpenSSLClientConnectionCreator:
        """For handshakes with a server whose certificate must be good for `host`, a DNS name or an IP address."""
        trust = None
        if self._authorities is not None:
            wrapped = [ssl.Certificate(crypto.X509.from_cryptography(authority)) for authority in self._authorities]
            trust = ssl.trustRootFromCertificates(wrapped)
        options: dict[str, Any] = {}
        if self._chain:
            options["extraCertChain"] = [crypto.X509.from_cryptography(certificate) for certificate in self._chain]
        return ssl.optionsForClientTLS(
            host, trust, self._identity, acceptableProtocols=[PROTOCOL], extraCertificateOptions=options
        )


def client_tls(
    ca: str | Path | None = None, certificate: str | Path | None = None, key: str | Path | None = None
) -> ClientTls:
    """Trust the authorities in the PEM file `ca`, or those of the system; show `certificate` (and its chain) if asked.

    Raises `ConfigError` that names the file which can't be used.
    """
    if (certificate is None) != (key is None):
        raise ConfigError("", "key" if key is None else "certificate", "certificate and key are needed together")
    authorities = None if ca is None else _read_certificates(ca)
    if certificate is None or key is None:
        return ClientTls(authorities, None, [])
    own, *chain = _read_certificates(certificate)
    return ClientTls(authorities, _identity(own, key), chain)


def _identity(certificate: x509.Certificate, key_file: str | Path) -> ssl.PrivateCertificate:
    try:
        key = load_pem_private_key(_read(key_file), password=None)
    except TypeError:
        raise ConfigError(str(key_file), "", "is encrypted; a key without a passphrase is needed") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(str(key_file), "", "holds no PEM private key, or a broken one") from None
    if key.public_key() != certificate.public_key():
        raise ConfigError(str(key_file), "", "does not belong to the certificate")
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    identity: ssl.PrivateCertificate = ssl.PrivateCertificate.loadPEM(certificate.public_bytes(Encoding.PEM) + pem)
    return identity


def _read_certificates(path: str | Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read(path))
    except ValueError:
        raise ConfigError(str(path), "", "holds no PEM certificate, or a broken one") from None


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no file can have this name"
        raise ConfigError(str(path), "", f"can't be read: {reason}") from None
