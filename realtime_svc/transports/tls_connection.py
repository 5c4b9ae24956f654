"""TLS connections on the socket itself: OpenSSL reads and writes it, no bytes are carried between buffers in memory.

What a protocol sees is what it sees over Twisted's `TLSMemoryBIOProtocol`: it is connected when the socket is accepted,
what it writes before the end of the handshake waits, and the peer's close_notify is the end of what the peer sends.
Handshakes that fail and records that are wrong end the connection and nothing else; nothing is logged.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, ClassVar

from cryptography.x509 import Certificate
from OpenSSL import SSL
from twisted.internet import main
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from realtime_svc.errors import Refusal, bad_head
from realtime_svc.transports import openssl
from realtime_svc.transports.connection import OVER, PULLED, SOCKET, VEILED, Connection, Readers, connection_type
from realtime_svc.transports.kernel import CLOSED, SHORT, Kernel
from realtime_svc.transports.openssl import BROKEN, DONE, ENDED, WANTS_READ, WANTS_WRITE
from realtime_svc.transports.tls import ServerTls

MOST_ASIDES = 32
"""KeyUpdates and renegotiations that a peer may send in a row, with no data between them. Each costs as much as a small
message, and no other limit counts them."""


class TlsConnection(Connection):
    """See the module. `tls` makes the server's side of it; `refused` is told of each handshake that was not one."""

    half_closes: ClassVar[bool] = False
    straight: ClassVar[bool] = False
    tls: ClassVar[ServerTls]
    refused: ClassVar[staticmethod[[Refusal, str], None]]

    _shaking = True  # the handshake is not finished
    _stalled = False  # OpenSSL has to write before it can read on
    _said_goodbye = False  # close_notify is sent
    _end: Any = None  # the peer sends no more: what `doRead` returns for that
    _asides = 0

    def __init__(
        self,
        sock: socket.socket,
        protocol: Any,
        client: tuple[Any, ...],
        server: object,
        sessionno: int,
        reactor: Any,
        readers: Readers | None = None,
    ) -> None:
        self._tls: SSL.Connection | None = self.tls.connection(sock)
        self._ssl: openssl.Ssl = openssl.ssl_of(self._tls)
        super().__init__(sock, protocol, client, server, sessionno, reactor, readers)
        self.outlet.holds |= VEILED

    def getPeerCertificate(self) -> Certificate | None:  # noqa: N802 (Twisted)
        """What the client has shown, and was checked; None without a certificate, and once the connection is gone."""
        return None if self._tls is None else self._tls.get_peer_certificate(as_cryptography=True)

    # ---- handshake

    def _shake(self) -> Any:
        """Go on with the handshake; returns why the connection is over, if it is."""
        outcome = openssl.handshake(self._ssl)
        if outcome == DONE:
            self._open()
            return None
        if outcome == BROKEN:
            self.refused(bad_head("tls_handshake", "the TLS handshake failed"), self.getPeer().host)
            self._throw_away()
        return self._ending(outcome)

    def _throw_away(self) -> None:
        """What the peer sent and was not read: closing upon it resets the connection, and takes our alert along."""
        try:
            self.socket.recv(openssl.TURN)
        except OSError:
            return

    def _open(self) -> None:
        """The handshake is finished."""
        self._shaking = False
        self._bind()
        if self._tempDataLen or self.disconnecting:
            self.startWriting()

    def _bind(self) -> None:
        """From now on the outlet encrypts by itself."""
        openssl.bind(self._ssl, self.outlet)
        self.outlet.holds &= ~VEILED

    # ---- reading

    def doRead(self) -> Any:  # noqa: N802 (Twisted)
        """One turn: handshake, then data as far as it is there, `openssl.TURN` bytes at most. What there is more makes
        the socket readable again."""
        if self._shaking:
            why = self._shake()
            if self._shaking:
                return why
        data = self._receive() if self._end is None else b""
        if data and not self.disconnecting:
            self.protocol.dataReceived(data)
            if not self.reads:  # so it is not told of the end either, until it reads again
                return None
        if self._end is not None and self._said_goodbye:
            return main.CONNECTION_DONE  # few answer a goodbye
        return self._end

    def _receive(self) -> bytes:
        """What there is, and in `_end` whether that was all."""
        data, outcome, asides = openssl.read(self._ssl)
        if outcome != DONE:
            why = self._ending(outcome)
            if why is not None:
                self._end = why
        if data:
            if self._asides:
                self._asides = 0
        elif asides:
            self._asides += asides
            if self._asides > MOST_ASIDES:
                self._end = main.CONNECTION_LOST
        return data

    def _ending(self, outcome: int) -> Any:
        """What `doRead` returns where OpenSSL does not go on: None if there is nothing to do but wait.

        An end without close_notify may be somebody else's doing: it is a lost connection (RFC 8446 6.1).
        """
        if outcome == WANTS_READ:
            return None
        if outcome == WANTS_WRITE:
            self._stall()
            return None
        return main.CONNECTION_DONE if outcome == ENDED else main.CONNECTION_LOST

    def _stall(self) -> None:
        self._stalled = True
        self.readers.removeReader(self)
        self.startWriting()

    def startReading(self) -> None:  # noqa: N802 (Twisted)
        if self._stalled:
            self.reads = bool(self.connected) and not self._aborting
            return
        super().startReading()
        if self._end is not None and self.reads:
            clock: Any = self.reactor
            clock.callLater(0, self._tell_end)

    def _tell_end(self) -> None:
        """Nothing but this makes a connection readable whose peer has said goodbye and did not close."""
        if self.reads and self.connected:
            self.received(None)

    def readConnectionLost(self, reason: Failure) -> None:
        """Where we are about to end the connection as well, what is buffered goes out first."""
        self.reads = False
        if self._said_goodbye:
            self.connectionLost(reason)
        elif not self.disconnecting:
            super().readConnectionLost(reason)

    # ---- writing

    def startWriting(self) -> None:  # noqa: N802 (Twisted)
        if not self._shaking or self._stalled:
            super().startWriting()

    def doWrite(self) -> Any:  # noqa: N802 (Twisted)
        if self._stalled:
            self._stalled = False
            if self.reads:
                self.readers.addReader(self)
                self.received(None)
            if self._stalled or not self.connected:
                return None
        if self._shaking:
            self.stopWriting()
            return None
        return super().doWrite()

    def writeSomeData(self, data: Any) -> Any:  # noqa: N802 (Twisted)
        """Bytes that were encrypted and sent, or why the connection is lost.

        What OpenSSL was given and did not take stays at the head of the buffer, as it has to.
        """
        if not len(data):
            return 0
        sent, outcome = openssl.write(self._ssl, data, self.SEND_LIMIT)
        return sent if sent or outcome == WANTS_WRITE else main.CONNECTION_LOST

    # ---- ending

    def loseConnection(self) -> None:
        """Send what is buffered and close_notify, and close when the peer has closed.

        What still comes is thrown away; how long the peer may take is for the caller to say (`abortConnection`).
        Before the end of the handshake there is nothing to say goodbye to.
        """
        if not self.connected or self.disconnecting:
            return
        if self._shaking and not self._tempDataLen:
            self.abortConnection()
            return
        self.disconnecting = 1
        if self._end is None:
            self.startReading()
        self.startWriting()

    def loseWriteConnection(self) -> None:  # noqa: N802 (Twisted)
        self.loseConnection()

    def _postLoseConnection(self) -> Any:  # noqa: N802 (Twisted)
        """Everything is sent: close_notify and FIN."""
        if self._said_goodbye:
            return None
        self.outlet.holds |= OVER
        outcome = openssl.say_goodbye(self._ssl)
        if outcome == WANTS_WRITE:
            self.startWriting()
            return None
        if outcome != DONE or self._end is not None:
            return main.CONNECTION_DONE
        self._said_goodbye = True
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            return main.CONNECTION_LOST
        return None

    def connectionLost(self, reason: Failure) -> None:
        """As Twisted's. Nobody can reach OpenSSL's part any more before it is freed."""
        if self._tls is None:
            return
        everything_sent = not (self._shaking or self.outlet.holds & (SOCKET | SHORT | OVER))
        if everything_sent and isinstance(reason.value, ConnectionDone):  # the answer to the peer's goodbye
            openssl.say_goodbye(self._ssl)
        try:
            super().connectionLost(reason)
        finally:
            self._tls = self._ssl = None


class _PythonTlsConnection(TlsConnection):
    """Where no outlet can encrypt by itself."""

    def _bind(self) -> None:
        """Whatever is sent past us is held up, and comes by `write`."""

    def write(self, data: bytes) -> None:
        if data and not (self._shaking or self.outlet.holds & (SOCKET | SHORT | CLOSED | OVER | PULLED)):
            sent = self.writeSomeData(data)
            if isinstance(sent, int):
                data = data[sent:]
        super().write(data)


def tls_connection_type(kernel: Kernel, tls: ServerTls, refused: Callable[[Refusal, str], None]) -> type[TlsConnection]:
    """Connections for a `PatientPort`. `refused` is told of each handshake that was not one, and whose it was."""
    made = connection_type(kernel, TlsConnection if kernel.name == "compiled" else _PythonTlsConnection)
    made.tls = tls
    made.refused = staticmethod(refused)
    return made
