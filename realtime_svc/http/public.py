"""The HTTP side of the public port: `/sse/<channel>` and `POST /publish/<channel>`.

twisted.web gets one checked request at a time from the front door. There is no tree of resources: the front door has
found the route already.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web import http

from realtime_svc.core.messages import Publish
from realtime_svc.core.node import EVENT_TAG, Node
from realtime_svc.core.ports import Admitted, Gatekeeper, Run
from realtime_svc.errors import ErrorCode, Refusal, ReplyError, bad_head
from realtime_svc.model import ClientInfo, Identity, RemoteAddress
from realtime_svc.wire.http_head import RequestHead
from realtime_svc.wire.http_response import refusal_body
from realtime_svc.wire.routes import Endpoint, Route

STATUS = {
    ErrorCode.BAD_REQUEST: 400,
    ErrorCode.PERMISSION_DENIED: 403,
    ErrorCode.UNKNOWN_CHANNEL: 404,
    ErrorCode.TOO_MANY_REQUESTS: 429,
    ErrorCode.INTERNAL: 500,
}
MAX_EVENT = 64


class Visitor(Protocol):
    """Whose connection it is, and who decides when it is read and closed: the front door."""

    def body_received(self) -> None: ...
    def responded(self, persistent: bool) -> None: ...
    def unblocked(self) -> None: ...


OpenStream = Callable[[Node, http.Request, Identity, RemoteAddress, str], None]


class PublicWeb:
    """What all HTTP connections share. `open_stream` answers an /sse request and keeps it."""

    def __init__(
        self, node: Node, gate: Gatekeeper, run: Run, reactor: IReactorTime, body_size: int, open_stream: OpenStream
    ) -> None:
        self.node = node
        self.gate = gate
        self.run = run
        self.body_size = body_size
        self.open_stream = open_stream
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


class PublicRequest(http.Request):
    """One request."""

    channel: PublicChannel
    admitted: Admitted | None = None

    def parseCookies(self) -> None:  # noqa: N802 (Twisted)
        """The gatekeeper has read them."""

    def admit(self) -> bool:
        """May it come in? False: it was answered."""
        try:
            self._allow_origin()
            if self.channel.head.method != "OPTIONS":
                self.admitted = self.channel.web.gate.admit(self.channel.head, self.channel.route)
        except Refusal as refusal:
            self.refuse(refusal)
        except Exception as error:
            self._failed(error)
        return not self.finished

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802 (Twisted)
        """The request is complete. A body is a payload, whatever its type says: nothing is parsed as a form."""
        assert self.content is not None
        self.content.seek(0)
        self.method, self.uri, self.clientproto = command, path, version
        self.process()

    def gotLength(self, length: int | None) -> None:  # noqa: N802 (Twisted)
        """In memory, whatever its length: it is bounded. Twisted would open a temporary file, a descriptor more."""
        self.content = io.BytesIO()

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 (Twisted)
        """A chunked body has no length beforehand: count it."""
        if self.finished:
            return
        assert self.content is not None
        if self.content.tell() + len(data) <= self.channel.web.body_size:
            super().handleContentChunk(data)
        else:
            self.refuse(Refusal(413, "body_too_big", "the body is too big"))

    def process(self) -> None:
        try:
            self._answer()
        except Refusal as refusal:
            self.refuse(refusal)
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self.channel.web.node.report("an HTTP request failed", error)
        self.refuse(Refusal(500, "internal", "internal error"))

    def _answer(self) -> None:
        web, channel, admitted = self.channel.web, self.channel, self.admitted
        if admitted is None:
            self._preflight()
            return
        assert admitted.identity is not None
        if channel.route.endpoint is Endpoint.SSE:
            web.open_stream(web.node, self, admitted.identity, channel.remote, channel.route.channel)
        else:
            self._publish(admitted, admitted.identity)

    def _publish(self, admitted: Admitted, identity: Identity) -> None:
        assert self.content is not None
        data = self.content.read()
        kind = (self.channel.head.get("content-type") or "").partition(";")[0].strip().lower()
        textual = kind.startswith("text/") or kind == "application/json" or kind.endswith("+json")
        if admitted.event is not None and len(admitted.event) > MAX_EVENT:
            raise Refusal(400, "bad_event", "the event name is too long")
        tags = {EVENT_TAG: admitted.event} if admitted.event else None
        node = self.channel.web.node
        node.instruments.messages_in["http"] += 1
        node.instruments.bytes_in += len(data)
        command = Publish(self.channel.route.channel, data, not (textual and _is_utf8(data)), tags)
        publisher = ClientInfo("", identity.user, identity.info)
        self.channel.web.run(node.publish(command, identity=identity, publisher=publisher), self._published)

    def _published(self, result: object, error: BaseException | None) -> None:
        if self._disconnected:
            return
        if error is None:
            self._send(200, {"ok": "publish", "channel": self.channel.route.channel})
            return
        if not isinstance(error, ReplyError):
            self.channel.web.node.report("a publication failed", error)
            error = ReplyError(ErrorCode.INTERNAL)
        self.channel.web.node.count_error(error)
        status, cause = STATUS.get(error.code, 503), error.code.name.lower()
        body = {"status": status, "cause": cause, "code": error.number, "message": error.message}
        self._send(status, {"error": {**body, "temporary": error.temporary}})

    # ---- answers

    def _allow_origin(self) -> None:
        """Fetch standard, CORS: the gatekeeper has let this origin through, so its page may read the answer."""
        origin = self.channel.head.get("origin")
        if origin is not None:
            self.setHeader(b"access-control-allow-origin", origin.encode("latin-1"))
            self.setHeader(b"access-control-allow-credentials", b"true")
            self.setHeader(b"vary", b"Origin")

    def _preflight(self) -> None:
        self.setResponseCode(204)
        self.setHeader(b"access-control-allow-methods", b"GET, POST")
        self.setHeader(b"access-control-allow-headers", b"Authorization, Content-Type, Last-Event-ID")
        self.setHeader(b"access-control-max-age", b"600")
        self.finish()

    def _send(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body, separators=(",", ":")).encode() + b"\n"
        self.setResponseCode(status)
        self.setHeader(b"content-type", b"application/json")
        self.setHeader(b"content-length", str(len(data)).encode())
        self.setHeader(b"cache-control", b"no-store")
        self.write(data)
        self.finish()

    def refuse(self, refusal: Refusal) -> None:
        """The status, a JSON body, and no further request on this connection."""
        self.channel.web.node.refused(refusal, self.channel.remote.host)
        data = refusal_body(refusal)
        self.setResponseCode(refusal.status)
        for name, value in refusal.headers.items():
            self.setHeader(name.encode(), value.encode())
        self.setHeader(b"content-type", b"application/json")
        self.setHeader(b"content-length", str(len(data)).encode())
        self.setHeader(b"cache-control", b"no-store")
        self.setHeader(b"connection", b"close")
        self.channel.persistent = False
        self.write(data)
        self.finish()


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
