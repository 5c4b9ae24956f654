"""Connections that come through a proxy which says in a PROXY protocol header who the client is.

The header comes first on the connection, before TLS. Only listeners that are configured for it expect one, and only
from the networks they trust: everybody else, and whoever sends something else, is dropped without an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IProtocolFactory
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from realtime_svc.core.ports import Clock, Timer
from realtime_svc.errors import Refusal, bad_head
from realtime_svc.model import RemoteAddress
from realtime_svc.wire.forwarded import Networks
from realtime_svc.wire.proxy_header import ProxyHeaderError, ProxyHeaderParser


@implementer(IHalfCloseableProtocol)
class ProxiedConnection(ProtocolWrapper):
    """One connection: the wrapped protocol sees what is behind the header, and the client as its peer."""

    factory: ProxiedFactory
    transport: Any

    def __init__(self, factory: ProxiedFactory, wrapped: Any) -> None:
        super().__init__(factory, wrapped)
        self._parser: ProxyHeaderParser | None = ProxyHeaderParser()
        self._client: RemoteAddress | None = None
        self._timer: Timer | None = None

    def makeConnection(self, transport: Any) -> None:
        """The wrapped protocol is connected when the header is there."""
        self.transport = transport
        self.factory.registerProtocol(self)
        if self.factory.sources.contains(getattr(transport.getPeer(), "host", "")):
            self._timer = self.factory.clock.callLater(self.factory.timeout, self._refuse)
        else:
            self._refuse()

    def dataReceived(self, data: bytes) -> None:
        if self._parser is None:
            self.wrappedProtocol.dataReceived(data)
            return
        try:
            parsed = self._parser.feed(data)
        except ProxyHeaderError:
            self._refuse()
            return
        if parsed is not None:
            self._parser = None
            self._stop_timer()
            self._client, rest = parsed
            self.connected = 1
            wrapped: Any = self.wrappedProtocol
            wrapped.makeConnection(self)
            if rest:
                self.wrappedProtocol.dataReceived(rest)

    def getPeer(self) -> IAddress:
        if self._client is None:
            peer: IAddress = self.transport.getPeer()
            return peer
        kind = IPv6Address if ":" in self._client.host else IPv4Address
        return kind("TCP", self._client.host, self._client.port)

    def readConnectionLost(self) -> None:
        """The end of what the peer sends: passed on to a protocol that wants to know; any other is over.

        Its class is asked: Twisted's TLS claims to provide whatever its transport (this) does, and would ask back.
        """
        wrapped: Any = self.wrappedProtocol
        if self._parser is None and IHalfCloseableProtocol.implementedBy(type(wrapped)):
            wrapped.readConnectionLost()
        else:
            self.transport.connectionLost(connectionDone)

    def writeConnectionLost(self) -> None:
        """The wrapped protocol has closed its side."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_timer()
        if self._parser is None:
            super().connectionLost(reason)
        else:
            self.factory.unregisterProtocol(self)

    def _refuse(self) -> None:
        self._stop_timer()
        host = getattr(self.transport.getPeer(), "host", "local")
        self.factory.refused(bad_head("proxy_header", "no PROXY header from a trusted source"), host)
        self.transport.abortConnection()

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None


class ProxiedFactory(WrappingFactory[ProxiedConnection]):
    """Wraps the factory of a listener. `refused` is told of each connection that is dropped."""

    noisy = False
    protocol = ProxiedConnection

    def __init__(
        self,
        wrapped: IProtocolFactory,
        sources: Networks,
        clock: Clock,
        timeout: float,
        refused: Callable[[Refusal, str], None],
    ) -> None:
        super().__init__(wrapped)
        self.sources = sources
        self.clock = clock
        self.timeout = timeout
        self.refused = refused
