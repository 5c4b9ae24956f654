"""What the connections of the public ports share, and the seams between the front door and what lies behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from realtime_svc.config import Http
from realtime_svc.core.ports import Clock, Gatekeeper, Run
from realtime_svc.errors import Refusal
from realtime_svc.model import RemoteAddress
from realtime_svc.transports.caps import Caps, Lease
from realtime_svc.wire.forwarded import Networks
from realtime_svc.wire.http_head import HeadLimits, RequestHead
from realtime_svc.wire.routes import BodySizes, Route


class Hall(Protocol):
    """Takes over connections that were upgraded."""

    def open(self, transport: Any, head: RequestHead, route: Route, remote: RemoteAddress, lease: Lease) -> None: ...


class HttpExchange(Protocol):
    """twisted.web's side of a plain HTTP connection. It leaves reading and closing to its visitor."""

    @property
    def blocked(self) -> bool:
        """Does the socket's buffer hold so much that no further request should be answered?"""

    def begin(self, head: RequestHead, route: Route, remote: RemoteAddress, data: bytes) -> None:
        """One request: its rewritten head; its body follows as `body`."""

    def body(self, data: bytes) -> None: ...

    def leave(self) -> None:
        """The connection is about to be closed: nothing more is going to be asked."""

    def lost(self, reason: Failure) -> None: ...


class Visitor(Protocol):
    """The front door's side of a plain HTTP connection, told by the exchange how it goes."""

    def body_received(self) -> None:
        """The request is complete."""

    def responded(self, persistent: bool) -> None:
        """The response is complete; maybe before the request was. `persistent`: another request may follow."""

    def unblocked(self) -> None:
        """The exchange is not `blocked` any more."""


class Web(Protocol):
    """Makes the HTTP side of a connection."""

    def exchange(self, transport: Any, visitor: Visitor) -> HttpExchange: ...


@dataclass(frozen=True, slots=True)
class Entrance:
    """What all connections of the public ports share. `refused` is told of each refusal, with the peer's address."""

    http: Http
    limits: HeadLimits
    trusted: Networks
    clock: Clock
    run: Run
    gate: Gatekeeper
    caps: Caps
    hall: Hall
    web: Web
    refused: Callable[[Refusal, str], None]
    bodies: BodySizes


def half_closes(transport: Any) -> bool:
    """Is an orderly end to half-close the connection, and to read on? TLS says goodbye by itself.

    A TLS layer in memory passes every question it can't answer on to the connection below: its type is asked first.
    """
    return not isinstance(transport, TLSMemoryBIOProtocol) and getattr(transport, "half_closes", True)
