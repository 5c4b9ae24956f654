"""TLS on the server side: one certificate, Mozilla's intermediate settings, reload without dropping anyone.

Versions, suites and groups follow https://wiki.mozilla.org/Security/Server_Side_TLS (intermediate; its finite-field DH
suites are left out). The context is built by hand because `ssl.CertificateOptions` of Twisted knows neither session
tickets nor a session id context, and its default suites and groups are wider.
"""

from __future__ import annotations

import datetime
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IProtocolFactory, IReactorTime
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from realtime_svc.config import Tls
from realtime_svc.errors import ConfigError

CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"  # TLS 1.2; those of 1.3 are all good, OpenSSL's defaults stand
GROUPS = b"?X25519MLKEM768:X25519:P-256:P-384"  # "?": only where this OpenSSL has it
PROTOCOL = b"http/1.1"
SESSION_TIMEOUT = 2 * 3600  # seconds a ticket may be used
TICKET_KEY_LIFETIME = 24 * 3600.0  # seconds; a stolen ticket key opens the TLS 1.2 sessions of that time
SESSION_ID_CONTEXT = b"realtime_svc"  # OpenSSL refuses to resume a session with a client certificate without one

_log = Logger()
_Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey | rsa.RSAPrivateKey

_VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}
_VERIFY = {
    "off": SSL.VERIFY_NONE,
    "optional": SSL.VERIFY_PEER,
    "required": SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
}


@dataclass(frozen=True, slots=True)
class _Material:
    """What the files held: all of it parsed, and the key known to belong to the certificate."""

    certificate: x509.Certificate
    key: _Key
    chain: list[x509.Certificate]
    client_authorities: list[x509.Certificate]


@implementer(IOpenSSLServerConnectionCreator)
class ServerTls:
    """The server's side of TLS handshakes, for any number of listeners.

    Raises `ConfigError` (file, `tls.<key>`, reason) when a file can't be used. A handshake that does not end is for the
    transport around it to time out.
    """

    def __init__(self, settings: Tls, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._monotonic = monotonic
        self.reload()

    def reload(self) -> None:
        """Read the files again. New connections get what they hold now; open connections go on as they are.

        Raises `ConfigError` when a file can't be used; then everything stays as it was. Session tickets that were given
        out before lead to a full handshake.
        """
        material = _load(self._settings)
        self._context = _context(self._settings, material)
        self._made_at = self._monotonic()
        self._material = material

    def connection(self, sock: socket.socket | None) -> SSL.Connection:
        """One connection, before its handshake: on a socket, or (None) in memory.

        OpenSSL keeps one ticket key a context: a new context is a new key.
        """
        if self._monotonic() - self._made_at > TICKET_KEY_LIFETIME:
            self._context = _context(self._settings, self._material)
            self._made_at = self._monotonic()
        made = SSL.Connection(self._context, sock)
        made.set_accept_state()
        return made

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: N802, N803 (Twisted)
        """The same, as Twisted asks for it."""
        return self.connection(None)

    def wrap(self, factory: IProtocolFactory, clock: IReactorTime | None = None) -> TLSMemoryBIOFactory:
        """A factory that speaks TLS on whatever stream it is given and hands what is inside to `factory`.

        `clock` joins small writes; None is Twisted's global reactor.
        """
        return TLSMemoryBIOFactory(self, False, factory, clock)


def _context(settings: Tls, material: _Material) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(_VERSIONS[settings.minimum_version])
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_cipher_list(CIPHERS)
    _set_groups(context)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)  # tickets need no memory here
    context.set_session_id(SESSION_ID_CONTEXT)
    context.set_timeout(SESSION_TIMEOUT)
    context.set_alpn_select_callback(_select_protocol)
    _use_certificate(context, settings, material)
    context.set_verify(_VERIFY[settings.client_certificates], _verified)
    if settings.client_certificates != "off":
        store = context.get_cert_store()
        for authority in material.client_authorities:
            if store is not None:
                store.add_cert(crypto.X509.from_cryptography(authority))
            context.add_client_ca(authority)
    return context


def _set_groups(context: SSL.Context) -> None:
    """pyOpenSSL has no public call that takes more than one group. Where its private parts have moved, OpenSSL's own
    list stands: these groups, and P-521 and X448 besides."""
    set_list = getattr(getattr(SSL, "_lib", None), "SSL_CTX_set1_curves_list", None)
    handle = getattr(context, "_context", None)
    if set_list is not None and handle is not None:
        set_list(handle, GROUPS)


def _use_certificate(context: SSL.Context, settings: Tls, material: _Material) -> None:
    """OpenSSL has the last word: its security level may refuse what parses well (a short RSA key, an old hash)."""
    try:
        context.use_certificate(material.certificate)
        context.use_privatekey(material.key)
        context.check_privatekey()
    except SSL.Error as error:
        raise ConfigError(settings.certificate, "tls.certificate", _refused(error)) from None
    try:
        for certificate in material.chain:
            context.add_extra_chain_cert(certificate)
    except SSL.Error as error:
        key = "chain" if settings.chain else "certificate"
        raise ConfigError(getattr(settings, key), f"tls.{key}", _refused(error)) from None


def _refused(error: SSL.Error) -> str:
    reasons = [entry[-1] for entry in error.args[0]] if error.args else []
    return "OpenSSL refuses it: " + (", ".join(reasons) or "no reason given")


def _select_protocol(connection: SSL.Connection, offered: list[bytes]) -> Any:
    """WebSocket and our HTTP are HTTP/1.1. A client that offers something else only is not refused: RFC 7301 lets the
    server stay silent, and the request head decides."""
    return PROTOCOL if PROTOCOL in offered else SSL.NO_OVERLAPPING_PROTOCOLS


def _verified(connection: SSL.Connection, certificate: crypto.X509, code: int, depth: int, good: int) -> bool:
    """What OpenSSL found (chain, dates, purpose) is the answer."""
    return bool(good)


def _load(settings: Tls) -> _Material:
    certificates = _read_certificates(settings.certificate, "tls.certificate")
    key = _read_key(settings.key)
    if certificates[0].public_key() != key.public_key():
        raise ConfigError(settings.key, "tls.key", "does not belong to the certificate in tls.certificate")
    chain = certificates[1:]
    if settings.chain:
        chain += _read_certificates(settings.chain, "tls.chain")
    authorities: list[x509.Certificate] = []
    if settings.client_certificates != "off":
        authorities = _read_certificates(settings.client_ca, "tls.client_ca")
    _warn_of_dates(settings.certificate, certificates[0])
    return _Material(certificates[0], key, chain, authorities)


def _read(path: str, key: str) -> bytes:
    if not path:
        raise ConfigError("", key, "a file is needed")
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no file can have this name"
        raise ConfigError(path, key, f"can't be read: {reason}") from None


def _read_certificates(path: str, key: str) -> list[x509.Certificate]:
    """At least one certificate."""
    try:
        return x509.load_pem_x509_certificates(_read(path, key))
    except ValueError:
        raise ConfigError(path, key, "holds no PEM certificate, or a broken one") from None


def _read_key(path: str) -> _Key:
    data = _read(path, "tls.key")
    try:
        key = load_pem_private_key(data, password=None)
    except TypeError:
        raise ConfigError(path, "tls.key", "is encrypted; a key without a passphrase is needed") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(path, "tls.key", "holds no PEM private key, or a broken one") from None
    if not isinstance(key, _Key):
        raise ConfigError(path, "tls.key", "holds no RSA, EC or Ed25519 key")
    return key


def _warn_of_dates(path: str, certificate: x509.Certificate) -> None:
    """Only a warning: a server with an expired certificate is of more use than none."""
    now = datetime.datetime.now(datetime.UTC)
    if now >= certificate.not_valid_after_utc:
        _log.warn("the certificate in {path} expired at {date}", path=path, date=str(certificate.not_valid_after_utc))
    elif now < certificate.not_valid_before_utc:
        date = str(certificate.not_valid_before_utc)
        _log.warn("the certificate in {path} is not valid before {date}", path=path, date=date)
