"""Ports: what each kind of listener is made of."""

from __future__ import annotations

from typing import Any

from twisted.internet import tcp
from twisted.internet.error import CannotListenError

from realtime_svc.config import Listener
from realtime_svc.errors import ConfigError
from realtime_svc.transports.connection import Connection, connection_type
from realtime_svc.transports.entrance import Entrance
from realtime_svc.transports.frontdoor import FrontDoorFactory
from realtime_svc.transports.kernel import Kernel
from realtime_svc.transports.port import PatientPort
from realtime_svc.transports.proxied import ProxiedFactory
from realtime_svc.transports.tls import ServerTls
from realtime_svc.transports.tls_connection import tls_connection_type
from realtime_svc.wire.forwarded import Networks


class Listening:
    """Binds ports. `kernel`: None for Twisted's own connections. `doors` are the front doors that were made."""

    def __init__(
        self, entrance: Entrance, backlog: int, tls: ServerTls | None, kernel: Kernel | None, reactor: Any
    ) -> None:
        self.doors: list[FrontDoorFactory] = []
        self._entrance = entrance
        self._backlog = backlog
        self._tls = tls
        self._kernel = kernel
        self._reactor = reactor

    def public(self, name: str, listener: Listener) -> Any:
        """The front door, behind TLS and a PROXY header where the listener has them. Raises `ConfigError`."""
        factory, connections = self._made_of(listener)
        return self.bind(f"listeners.{name}.port", listener.host, listener.port, factory, connections)

    def _made_of(self, listener: Listener) -> tuple[Any, type[tcp.Server]]:
        """Behind a PROXY header TLS begins in the middle of a connection, and is Twisted's."""
        door = FrontDoorFactory(self._entrance)
        self.doors.append(door)
        factory: Any = door
        tls = self._tls if listener.tls else None
        if tls is not None and (listener.proxy_protocol or self._kernel is None):
            factory = tls.wrap(factory, self._reactor)
            factory.noisy = False
        if listener.proxy_protocol:
            sources, timeout = Networks(listener.proxy_sources), self._entrance.http.head_timeout
            return ProxiedFactory(factory, sources, self._reactor, timeout, self._entrance.refused), tcp.Server
        if self._kernel is None:
            return factory, tcp.Server
        if tls is not None:
            return factory, tls_connection_type(self._kernel, tls, self._entrance.refused)
        return factory, connection_type(self._kernel, Connection)

    def bind(self, key: str, host: str, port: int, factory: Any, connections: type[tcp.Server] = tcp.Server) -> Any:
        """Listen. Raises `ConfigError` at `key`."""
        try:
            listening = PatientPort(port, factory, self._backlog, host, self._reactor, connections)
            listening.startListening()
            return listening
        except CannotListenError as error:
            reason = getattr(error.socketError, "strerror", None) or error.socketError
            raise ConfigError("", key, f"can't listen on {host}:{port}: {reason}") from None
