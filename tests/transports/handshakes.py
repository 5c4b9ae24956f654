"""TLS handshakes in memory, with a plain pyOpenSSL client."""

from __future__ import annotations

from typing import Any

from cryptography import x509
from OpenSSL import SSL, crypto

from realtime_svc.transports.tls import ServerTls
from tests.client.pki import Authority


def client_context(
    authority: Authority,
    *,
    most: int | None = None,
    ciphers: bytes | None = None,
    alpn: list[bytes] | None = None,
    groups: bytes | None = None,
    identity: tuple[x509.Certificate, Any] | None = None,
) -> SSL.Context:
    """A client that checks the server's certificate against `authority` and can do nearly anything else."""
    context = SSL.Context(SSL.TLS_METHOD)
    if most is not None:
        context.set_max_proto_version(most)
    if ciphers is not None:
        context.set_cipher_list(ciphers + b":@SECLEVEL=0")
    if alpn is not None:
        context.set_alpn_protos(alpn)
    if groups is not None:
        assert SSL._lib.SSL_CTX_set1_curves_list(context._context, groups) == 1  # type: ignore[attr-defined]
    if identity is not None:
        context.use_certificate(identity[0])
        context.use_privatekey(identity[1])
    store = context.get_cert_store()
    assert store is not None
    store.add_cert(crypto.X509.from_cryptography(authority.certificate))
    context.set_verify(SSL.VERIFY_PEER, lambda *arguments: bool(arguments[-1]))
    return context


def pump(client: SSL.Connection, server: SSL.Connection) -> None:
    """Carry what each side has to say to the other, until both are silent."""
    moved = True
    while moved:
        moved = False
        for source, target in ((client, server), (server, client)):
            try:
                target.bio_write(source.bio_read(65536))
                moved = True
            except SSL.WantReadError:
                continue
            try:
                target.recv(1)
            except (SSL.WantReadError, SSL.ZeroReturnError):
                continue


def handshake(
    tls: ServerTls, context: SSL.Context, session: SSL.Session | None = None
) -> tuple[SSL.Connection, SSL.Connection]:
    """Client and server after a finished handshake; raises `SSL.Error` where one of them refuses."""
    server = tls.serverConnectionForTLS(None)  # type: ignore[arg-type]
    server.set_accept_state()
    client = SSL.Connection(context, None)
    client.set_connect_state()
    if session is not None:
        client.set_session(session)
    for side in (client, server):
        try:
            side.do_handshake()
        except SSL.WantReadError:
            continue
    pump(client, server)
    for side in (client, server):
        side.do_handshake()
    return client, server


def is_resumed(connection: SSL.Connection) -> bool:
    return bool(SSL._lib.SSL_session_reused(connection._ssl))  # type: ignore[attr-defined]
