"""OpenSSL's own functions, on a connection that pyOpenSSL made.

pyOpenSSL's methods raise an exception wherever nothing is there yet, and copy what they read twice. This is all that is
used of its private parts (`Connection._ssl`, an `SSL *`) and of the library below it; pinned by
`tests/transports/test_tls_connection.py`. An `Ssl` is freed with the last reference to it. None of these functions
waits, and none leaves an error in OpenSSL's queue, which is one for all connections.
"""

from __future__ import annotations

from typing import Any, Final

from cryptography.hazmat.bindings._rust import _openssl
from OpenSSL import SSL

from realtime_svc.transports.kernel import Outlet

RECORD: Final = 16 * 1024  # bytes of plain text in one record, at most (RFC 8446 5.1)
TURN: Final = 64 * 1024  # bytes that `read` reads, at most

# How a call ended.
DONE, WANTS_READ, WANTS_WRITE, ENDED, FAILED, BROKEN = range(6)
"""DONE: as far as it was asked. WANTS_...: the socket has to be readable, writable. ENDED: by the peer's close_notify.
BROKEN: what the peer sent is against the protocol. FAILED: the connection is gone, or ended without close_notify."""

Ssl = Any

_lib, _ffi = _openssl.lib, _openssl.ffi
_clear, _error, _read, _write = _lib.ERR_clear_error, _lib.SSL_get_error, _lib.SSL_read, _lib.SSL_write
_OUTCOMES = {
    _lib.SSL_ERROR_WANT_READ: WANTS_READ,
    _lib.SSL_ERROR_WANT_WRITE: WANTS_WRITE,
    _lib.SSL_ERROR_ZERO_RETURN: ENDED,
    _lib.SSL_ERROR_SSL: BROKEN,
}
_SSL_WRITE, _ERR_CLEAR_ERROR = (
    int(_ffi.cast("uintptr_t", _ffi.addressof(_lib, name))) for name in ("SSL_write", "ERR_clear_error")
)
_buffer = _ffi.new("char[]", TURN)  # one for all: what is read is taken out at once
_asides = 0  # what `_heard` counted since it was set to 0


@_ffi.callback("void(*)(const SSL *, int, int)")  # type: ignore[untyped-decorator]
def _heard(ssl: object, where: int, value: int) -> None:
    """OpenSSL has dealt with a handshake message, or with an alert."""
    global _asides
    if where & SSL.SSL_CB_ALERT or (where == SSL.SSL_CB_ACCEPT_EXIT and value == 1):
        _asides += 1


def ssl_of(connection: SSL.Connection) -> Ssl:
    """That of a connection on a socket, which has to go on living as long as it is used.

    By itself OpenSSL reads on for as long as records come that bring no data: here it stops after each.
    """
    ssl = connection._ssl
    _lib.SSL_clear_mode(ssl, _lib.SSL_MODE_AUTO_RETRY)
    return ssl


def handshake(ssl: Ssl) -> int:
    """Go on with it."""
    _clear()
    result = _lib.SSL_do_handshake(ssl)
    if result != 1:
        return _outcome(ssl, result)
    _lib.SSL_set_info_callback(ssl, _heard)
    return DONE


def read(ssl: Ssl) -> tuple[bytes, int, int]:
    """What there is, after the handshake: up to `TURN` bytes, how it ended, and how many messages came that were no
    data (KeyUpdate, RFC 8446 4.6.3; a renegotiation, which is refused).

    Afterwards OpenSSL holds nothing back: it reads record by record, and each is taken whole.
    """
    global _asides
    _asides = size = 0
    outcome = DONE
    while size <= TURN - RECORD:
        _clear()
        taken = _read(ssl, _buffer + size, TURN - size)
        if taken <= 0:
            outcome = _outcome(ssl, taken)
            break
        size += taken
    return _ffi.unpack(_buffer, size), outcome, _asides


def write(ssl: Ssl, data: Any, most: int) -> tuple[int, int]:
    """Encrypt and send `data`, a record at a time until `most` bytes are gone: how many were, and how it ended.

    What could not be sent whole is encrypted all the same: the next call has to begin with the same bytes, and as many.
    """
    sent, size = 0, len(data)
    start = _ffi.from_buffer(data)
    while sent < size and sent < most:
        _clear()
        taken = _write(ssl, start + sent, size - sent)
        if taken <= 0:
            return sent, _outcome(ssl, taken)
        sent += taken
    return sent, DONE


def say_goodbye(ssl: Ssl) -> int:
    """Send close_notify. ENDED: the peer has sent its own already."""
    _clear()
    result = _lib.SSL_shutdown(ssl)
    return ENDED if result > 0 else DONE if result == 0 else _outcome(ssl, result)


def bind(ssl: Ssl, outlet: Outlet) -> None:
    """Let a compiled `outlet` encrypt by itself. It has to be closed before `ssl` is freed."""
    outlet.bind_tls(int(_ffi.cast("uintptr_t", ssl)), _SSL_WRITE, _ERR_CLEAR_ERROR)


def _outcome(ssl: Ssl, result: int) -> int:
    outcome = _OUTCOMES.get(_error(ssl, result), FAILED)
    if outcome == BROKEN and _lib.ERR_GET_REASON(_lib.ERR_peek_error()) == _lib.SSL_R_UNEXPECTED_EOF_WHILE_READING:
        outcome = FAILED
    _clear()
    return outcome
