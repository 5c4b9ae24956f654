"""The HTTP side of the public port, for what is no WebSocket.

twisted.web gets one checked request at a time from the front door. There is no tree of resources: the front door has
found the route already.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web import http

from realtime_svc.core.node import Node
from realtime_svc.core.ports import Admitted, Gatekeeper, Run
from realtime_svc.errors import bad_head
from realtime_svc.http.api import Api
from realtime_svc.http.request import PublicRequest
from realtime_svc.model import RemoteAddress
from realtime_svc.wire.http_head import RequestHead
from realtime_svc.wire.routes import BodySizes, Route


class Visitor(Protocol):
    """Whose connection it is, and who decides when it is read and closed: the front door."""

    def body_received(self) -> None: ...
    def responded(self, persistent: bool) -> None: ...
    def unblocked(self) -> None: ...


class Streams(Protocol):
    """Responses that do not end."""

    def open(
        self,
        request: http.Request,
        route: Route,
        admitted: Admitted,
        remote: RemoteAddress,
        commands: bytes = b"",
        protobuf: bool = False,
    ) -> None:
        """Answer, and keep the request. `commands` is what the client says first. Raises `Refusal`."""

    def deliver(self, node: str, key: str, data: bytes, protobuf: bool) -> Deferred[None]:
        """What the client of a stream says later. Fires when it was taken. Raises `Refusal`."""


class PublicWeb:
    """What all HTTP connections share. `api` is the server API, where it is public."""

    def __init__(
        self,
        node: Node,
        gate: Gatekeeper,
        run: Run,
        reactor: IReactorTime,
        bodies: BodySizes,
        streams: Streams,
        api: Api | None = None,
    ) -> None:
        self.node = node
        self.gate = gate
        self.run = run
        self.bodies = bodies
        self.streams = streams
        self.api = api
        self.factory = _QuietFactory(reactor=reactor)

    def exchange(self, transport: Any, visitor: Visitor) -> PublicChannel:
        """The HTTP side of one connection."""
        channel = PublicChannel()
        channel.web = self
        channel.factory = self.factory
        channel.requestFactory = PublicRequest
        channel.timeOut = None  # the front door watches the time
        channel.visitor = visitor
        channel.makeConnection(transport)
        return channel


class _QuietFactory(http.HTTPFactory):
    def log(self, request: object) -> None:
        """No access log: addresses may hold secrets, and metrics count requests."""


class PublicChannel(http.HTTPChannel):
    """One connection, fed by the front door, whose bounds hold: those of twisted.web are out of the way."""

    totalHeadersSize = MAX_LENGTH = 2**22  # noqa: N815 (Twisted)
    web: PublicWeb
    visitor: Visitor
    head: RequestHead
    route: Route
    remote: RemoteAddress

    @property
    def blocked(self) -> bool:
        """Does the socket's buffer hold so much that no further request should be answered?"""
        return bool(self._waitingForTransport)

    def begin(self, head: RequestHead, route: Route, remote: RemoteAddress, data: bytes) -> None:
        self.head, self.route, self.remote = head, route, remote
        self.dataReceived(data)

    def body(self, data: bytes) -> None:
        self.dataReceived(data)

    def leave(self) -> None:
        """The connection is about to be closed: TLS waits for its producer to go."""
        transport: Any = self.transport
        transport.unregisterProducer()

    def lost(self, reason: Failure) -> None:
        self.connectionLost(reason)

    # ---- what twisted.web does to the connection is left to the front door

    def connectionMade(self) -> None:
        super().connectionMade()
        self._networkProducer = http._NoPushProducer()  # what it is asked to pause and resume

    def allHeadersReceived(self) -> None:  # noqa: N802 (Twisted)
        """Nobody who may not come in has his body read, or is told to send it (Expect: 100-continue)."""
        request = self.requests[-1]
        request.clientproto = self._version
        self.persistent = self.checkPersistence(request, self._version)
        if request.admit():
            super().allHeadersReceived()

    def allContentReceived(self) -> None:  # noqa: N802 (Twisted)
        if self.requests:  # else it was answered before it was complete
            self.visitor.body_received()
            super().allContentReceived()

    def requestDone(self, request: http.Request) -> None:  # noqa: N802 (Twisted)
        super().requestDone(request)
        self.visitor.responded(bool(self.persistent))

    def resumeProducing(self) -> None:
        super().resumeProducing()
        self.visitor.unblocked()

    def loseConnection(self) -> None:
        """The front door does, when the response is complete."""

    def _respondToBadRequestAndDisconnect(self) -> None:  # noqa: N802 (Twisted)
        """The head was checked, so this is about the chunks of a body."""
        if self.requests:
            self.requests[0].refuse(bad_head("bad_chunk", "the body is not in chunks as RFC 9112 7.1 has them"))
