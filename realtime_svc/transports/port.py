"""A listening port that accepts in slices, and does not spin when the system has nothing left for new connections."""

from __future__ import annotations

import socket
import time
from typing import Any

from twisted.internet import tcp
from twisted.logger import LogEvent, Logger, globalLogPublisher

from realtime_svc.transports.connection import NOBODY, Connection

PAUSE = 0.1  # seconds without accepting after accept(2) failed
SLICE = 0.004  # seconds of accepting, in one turn of the reactor

_log = Logger()


class PatientPort(tcp.Port):
    """Makes each connection with `connections`, which takes what Twisted's `Server` does.

    A `Connection` is accepted without Twisted's detours, and read at once: where many come, their requests wait with
    them already. When that has taken a slice of time, others have their turn.

    Where `accept` fails (ENFILE, ENOMEM, ENOBUFS), Twisted logs it and returns, but the port stays readable. The event
    loop would call it again at once, for ever: so it pauses. EMFILE is another matter: there Twisted keeps a descriptor
    in reserve, with which it closes the connections that wait.
    """

    def __init__(
        self,
        port: int,
        factory: Any,
        backlog: int = 50,
        interface: str = "",
        reactor: Any = None,
        connections: type[tcp.Server] = tcp.Server,
    ) -> None:
        super().__init__(port, factory, backlog, interface, reactor)
        self.transport = connections
        self._straight = issubclass(connections, Connection)
        self._failed = False
        self._asked = False
        observer: Any = self._observe
        self._logger = Logger("twisted.internet.tcp.Port", observer=observer)

    def _observe(self, event: LogEvent) -> None:
        """A failure shows in what is logged only."""
        self._failed = self._failed or "acceptError" in event
        globalLogPublisher(event)

    def startListening(self) -> None:  # noqa: N802 (Twisted)
        """What is accepted inherits TCP_NODELAY (tcp(7) does not say so; a test does)."""
        super().startListening()
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)

    def doRead(self) -> None:  # noqa: N802 (Twisted)
        """In this turn descriptors may have been closed whose events are still to be handed out: a connection that got
        one of their numbers would be told of them. So the accepting is done before the reactor looks again."""
        if not self._straight:
            self._accept_as_twisted_does()
        elif not self._asked:
            self._asked = True
            clock: Any = self.reactor
            clock.callLater(0, self._accept)

    def _accept(self) -> None:
        self._asked = False
        if self.connected and not self._accept_all():
            self._accept_as_twisted_does()

    def _accept_as_twisted_does(self) -> None:
        self._failed = False
        super().doRead()
        if self._failed and self.connected:
            self.stopReading()
            clock: Any = self.reactor
            clock.callLater(PAUSE, self._go_on)

    def _go_on(self) -> None:
        if self.connected:
            self.startReading()

    # ---- without detours

    def _accept_all(self) -> bool:
        """Those that wait, for a slice of time. False: something is wrong, which Twisted's own way is to find out."""
        listening: Any = self.socket
        accept = listening._accept  # `accept` takes as long again to find out what kind of socket it is
        kind = int(listening.family), int(listening.type), listening.proto
        end = time.monotonic() + SLICE
        while self.connected and not self.disconnecting:
            try:
                descriptor, address = accept()
            except BlockingIOError:
                return True
            except OSError:
                return False
            self._welcome(socket.SocketType(*kind, descriptor), address)
            if time.monotonic() >= end:
                return True
        return True

    def _welcome(self, accepted: Any, address: Any) -> None:
        """An exception is logged, and the end of this connection."""
        try:
            if len(address) == 4 and address[3]:  # the scope of a link-local address is part of its name
                flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
                address = (socket.getnameinfo(address, flags)[0], *address[1:])
            factory: Any = self.factory
            peer = self._buildAddr(address)
            protocol = factory.buildProtocol(peer)
            if protocol is None:
                accepted.close()
                return
            make: Any = self.transport
            connection: Connection = make(accepted, protocol, peer, self, 0, self.reactor, NOBODY)
        except BaseException:
            _log.failure("a connection was not accepted")
            accepted.close()
        else:
            connection.begin()
