"""TCP connections that send at once, are read by a poller where they last, and cost little while nothing happens.

As Twisted's in all that a protocol sees of them (`ITCPTransport`, `IConsumer`, `IPushProducer`), but

* `write` tries the socket before it buffers: what leaves at once costs one system call, and no turn of the reactor;
* what goes to many is sent past it, through its `outlet`: `Outlet.holds` says when that must not be;
* nothing is kept that can be asked for later, or that all connections share.

`startTLS` is not for them: see `tls_connection`.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any, ClassVar, Protocol, TypeVar

from twisted.internet import main, tcp
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IProducer
from twisted.logger import Logger
from twisted.python.failure import Failure

from realtime_svc.transports.kernel import CLOSED, SHORT, Kernel, Outlet

# Why nothing may be sent straight, in `Outlet.holds`.
SOCKET = 1 << 28  # bytes wait in the connection's buffer
OVER = 1 << 26  # it was aborted, or FIN was sent
PULLED = 1 << 25  # a producer gives something whenever the buffer is empty: each write goes through the buffer
VEILED = 1 << 24  # over TLS, and what is sent straight would go out as it is

_HELD = SOCKET | SHORT | CLOSED | OVER | PULLED | VEILED
_DONE = Failure(main.CONNECTION_DONE)
_LOST = Failure(main.CONNECTION_LOST)

_log = Logger()


class Readers(Protocol):
    """Whoever tells connections that they can be read: the reactor, or a `Poller`."""

    def addReader(self, reader: Any) -> object: ...  # noqa: N802 (Twisted)

    def removeReader(self, reader: Any) -> object: ...  # noqa: N802 (Twisted)


class _Nobody:
    """Whoever reads a connection that was accepted a moment ago."""

    def addReader(self, reader: object) -> None:  # noqa: N802 (Twisted)
        """`Connection.begin` follows."""

    removeReader = addReader  # noqa: N815 (Twisted)


NOBODY: Readers = _Nobody()


class Connection(tcp.Server):
    """See the module. `half_closes`: an orderly end begins with `loseWriteConnection`; where it is False,
    `loseConnection` says goodbye by itself. `straight`: a poller may receive for it. `reads`: it is to be told by its
    `readers` what comes.
    """

    half_closes: ClassVar[bool] = True
    straight: ClassVar[bool] = True
    new_outlet: ClassVar[type[Outlet]] = Outlet
    no_delay = False  # is TCP_NODELAY known to be set?
    logstr = "connection"

    protocol: Any
    reactor: Any
    client: Any  # see `__init__`; None: the socket knows it
    outlet: Outlet
    readers: Readers
    reads = False
    # Twisted's buffer, which most connections never need.
    _tempDataBuffer: list[bytes] = []  # noqa: N815, RUF012 (replaced, not changed)
    _tempDataLen = 0  # noqa: N815

    def __init__(
        self,
        sock: socket.socket,
        protocol: Any,
        client: Any,
        server: object,
        sessionno: int,
        reactor: Any,
        readers: Readers | None = None,
    ) -> None:
        """As Twisted's. `client`: the peer, an address or what `accept` gives. `readers`: who reads it; the reactor, if
        not given."""
        sock.setblocking(False)
        self.socket = sock
        self.protocol = protocol
        self.client = client
        self.outlet = self.new_outlet(sock.fileno())
        self.reactor = reactor
        self.readers = reactor if readers is None else readers
        self.connected = self.reads = True
        self.readers.addReader(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {type(getattr(self, 'protocol', None)).__name__}>"

    # ---- reading

    def begin(self) -> None:
        """It was accepted, with `NOBODY` to read it: tell its protocol, read what came along with it, then let the
        reactor read. Never raises."""
        try:
            self.protocol.makeConnection(self)
        except BaseException:
            self._fail(Failure())
        if self.reads:
            self.received(None)
        if self.connected and self.readers is NOBODY:
            self._move(self.reactor)

    def attach(self, poller: Readers) -> None:
        """It is going to last: from now on `poller` reads it."""
        self.client = None
        self._move(poller)

    def _move(self, readers: Readers) -> None:
        before, self.readers = self.readers, readers
        if self.reads:
            before.removeReader(self)
            readers.addReader(self)

    def received(self, data: bytes | int | None) -> None:
        """What was received: bytes, b"" at their end, an errno; None: something is there. Never raises: a failure is
        logged, and the end of this connection."""
        try:
            if data.__class__ is bytes and data:
                self.protocol.dataReceived(data)
                return
            why = self.doRead() if data is None else main.CONNECTION_LOST if data else main.CONNECTION_DONE
            if why is not None:
                self._end_reading(why)
        except BaseException:
            self._fail(Failure())

    def _end_reading(self, why: Exception) -> None:
        """As the reactor does with what `doRead` returns."""
        self.stopReading()
        if why is main.CONNECTION_DONE:
            self.readConnectionLost(_DONE)
        else:
            self.connectionLost(_LOST if why is main.CONNECTION_LOST else Failure(why))

    def _fail(self, failure: Failure) -> None:
        _log.failure("a connection failed", failure)
        try:
            self.connectionLost(failure)
        except BaseException:
            _log.failure("a connection failed to end")

    def readConnectionLost(self, reason: Failure) -> None:
        self.reads = False  # the reactor has stopped by itself
        super().readConnectionLost(reason)

    def startReading(self) -> None:  # noqa: N802 (Twisted)
        if not self.reads and self.connected and not self._aborting:
            self.reads = True
            self.readers.addReader(self)

    def stopReading(self) -> None:  # noqa: N802 (Twisted)
        self.reads = False
        if self.outlet.fd >= 0:
            self.readers.removeReader(self)

    # ---- writing

    def write(self, data: bytes) -> None:
        """Send what the socket takes now, the rest when it takes more. An error is met again by the reactor, and is the
        end of the connection then."""
        outlet = self.outlet
        if not outlet.holds & _HELD and data:
            try:
                taken = outlet.send(data)
            except OSError:
                taken = 0
            if taken == len(data):
                return
            data = data[taken:]
        elif not isinstance(data, bytes):
            raise TypeError("Data must be bytes")
        if data and self._may_write():
            self._tempDataBuffer = self._tempDataBuffer or []
            self._tempDataBuffer.append(data)
            self._wait_for_socket(len(data))

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        self.write(b"".join(iovec))

    def queue_rest(self, data: bytes) -> None:
        """The rest of what was sent past us, in part: it goes before all that was written since."""
        self.outlet.holds &= ~SHORT
        if data and self._may_write():
            self._tempDataBuffer = [data, *self._tempDataBuffer]
            self._wait_for_socket(len(data))

    def _may_write(self) -> bool:
        return bool(self.connected) and not self.outlet.holds & OVER

    def _wait_for_socket(self, more: int) -> None:
        self.outlet.holds |= SOCKET
        self._tempDataLen += more
        self._maybePauseProducer()
        self.startWriting()

    def doWrite(self) -> Any:  # noqa: N802 (Twisted)
        return super().doWrite() if self.connected and not self._aborting else None

    def startWriting(self) -> None:  # noqa: N802 (Twisted)
        if self.connected:
            super().startWriting()

    def stopWriting(self) -> None:  # noqa: N802 (Twisted)
        """`doWrite` says so when the buffer is empty, before it asks a producer for more."""
        if self.outlet.fd >= 0:
            super().stopWriting()
        if not self.dataBuffer and not self._tempDataLen:
            self._forget_buffer()
            self.outlet.holds &= ~SOCKET

    def _forget_buffer(self) -> None:
        self.dataBuffer = b""
        self._tempDataBuffer = Connection._tempDataBuffer
        self._tempDataLen = self.offset = 0

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        if self.producer is None and not streaming and self.connected:
            self.outlet.holds |= PULLED
        super().registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        self.outlet.holds &= ~PULLED
        super().unregisterProducer()

    # ---- ending

    def _closeWriteConnection(self) -> None:  # noqa: N802 (Twisted)
        self.outlet.holds |= OVER
        super()._closeWriteConnection()

    def abortConnection(self) -> None:
        """At once, whatever waits; the protocol is told in a turn of its own."""
        if self.disconnected or self._aborting:
            return
        self._aborting = True
        self.outlet.holds |= OVER
        self.stopReading()
        self.stopWriting()
        self.reactor.callLater(0, self.connectionLost, Failure(ConnectionAborted()))

    def connectionLost(self, reason: Failure) -> None:
        """The end, of which the protocol is told once, however many find it."""
        if self.outlet.fd < 0:
            return
        self.disconnected, self.connected = 1, 0
        self.stopReading()
        self.stopWriting()
        protocol, producer = self.protocol, self.producer
        self.outlet.close()
        self._closeSocket(not reason.check(ConnectionAborted))
        self._forget_buffer()
        self.producer = None
        del self.protocol, self.socket
        try:
            if producer is not None:
                producer.stopProducing()
        finally:
            protocol.connectionLost(reason)

    # ---- what it is

    def fileno(self) -> int:
        return self.outlet.fd

    def getHost(self) -> IPv4Address | IPv6Address:
        return _address(self.socket.getsockname())

    def getPeer(self) -> IPv4Address | IPv6Address:
        return _address(self.client or self.socket.getpeername())

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: N802 (Twisted)
        if enabled != self.no_delay:
            super().setTcpNoDelay(enabled)
            self.no_delay = enabled


def _address(found: Any) -> IPv4Address | IPv6Address:
    if not isinstance(found, tuple):
        return found  # type: ignore[no-any-return]
    return IPv4Address("TCP", *found) if len(found) == 2 else IPv6Address("TCP", *found)


C = TypeVar("C", bound=Connection)


def connection_type(kernel: Kernel, base: type[C]) -> type[C]:
    """`base` for the listeners of one process: its outlets are the kernel's, and a `PatientPort` gives it sockets that
    were born with TCP_NODELAY."""
    made: type[C] = type(base.__name__, (base,), {"new_outlet": kernel.Outlet, "no_delay": True})
    return made
