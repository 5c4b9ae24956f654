"""Connections that are the response to one HTTP request, and do not end: Server-Sent Events and HTTP streams.

    /sse/<channel>             the client only listens
    /connection/sse            Centrifugo client protocol; what the client says comes by
    /connection/http_stream    other requests, POST /emulation, which name the session (emulation)

What comes by POST waits in line while the session does not read, and each POST is answered when its commands were
taken. The line is bounded: one POST more gets 429.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.web.http import Request
from zope.interface import implementer

from realtime_svc import errors
from realtime_svc.core.node import Node
from realtime_svc.core.ports import Admitted, Dialect, Frame, Outlet
from realtime_svc.core.session import Session
from realtime_svc.errors import Disconnect, Refusal
from realtime_svc.model import RemoteAddress
from realtime_svc.wire import centrifuge_json, centrifuge_protobuf
from realtime_svc.wire.routes import Endpoint, Route
from realtime_svc.wire.sse import COMMENT, SseDialect

MOST_WAITING = 16  # POSTs a session may have in line

DIALECTS: dict[tuple[Endpoint, bool], Dialect] = {
    (Endpoint.SSE, False): SseDialect(),
    (Endpoint.CENTRIFUGE_SSE, False): centrifuge_json.SSE,
    (Endpoint.HTTP_STREAM, False): centrifuge_json.HTTP_STREAM,
    (Endpoint.HTTP_STREAM, True): centrifuge_protobuf.HTTP_STREAM,
}  # by endpoint, and whether it is to be Protobuf


class _Form(NamedTuple):
    """What a stream looks like. `first` goes out with the head; `comment` is what keeps an idle one alive."""

    content_type: bytes
    first: bytes
    comment: bytes = b""


_EVENTS = b"text/event-stream; charset=utf-8"
_FORMS = {
    Endpoint.SSE: _Form(_EVENTS, COMMENT, COMMENT),
    Endpoint.CENTRIFUGE_SSE: _Form(_EVENTS, b"\r\n"),
    Endpoint.HTTP_STREAM: _Form(b"application/octet-stream", b""),
}


class Streams:
    """All streams of a node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def open(
        self,
        request: Request,
        route: Route,
        admitted: Admitted,
        remote: RemoteAddress,
        commands: bytes = b"",
        protobuf: bool = False,
    ) -> None:
        """Answer with the stream's head, and open a session whose first message is `commands`. Raises `Refusal` 429."""
        node, identity, form = self._node, admitted.identity, _FORMS[route.endpoint]
        if identity is not None and not node.claim_user(identity.user):
            raise Refusal(429, "connections_per_user", "too many connections of this user", {"Retry-After": "10"})
        link = StreamLink(request, form.comment, node.new_outlet())
        session = link.session = Session(
            node,
            DIALECTS[route.endpoint, protobuf],
            link,
            identity,
            remote,
            home=route.channel,
            channels=(route.channel,) if route.channel else (),
            since=admitted.since,
            last=admitted.last,
            emulated=route.endpoint.connects,
        )
        request.setHeader(b"content-type", form.content_type)
        request.setHeader(b"cache-control", b"no-store")
        request.setHeader(b"x-accel-buffering", b"no")
        request.notifyFinish().addBoth(link.finished)
        request.registerProducer(link, True)
        request.write(form.first)
        link.guarded(session.opened)
        if route.endpoint.connects:
            link.take(commands, protobuf)

    def deliver(self, node: str, key: str, data: bytes, protobuf: bool) -> Deferred[None]:
        """Commands for the session with this key. Fires when they were taken, or when the session has ended.

        Raises `Refusal`: 404 for another node, 500 for an unknown session, 429 for one whose line is full.
        """
        if node != self._node.uid:
            raise Refusal(404, "unknown_node", "there is no such node")
        session = self._node.emulated(key) if key else None
        if session is None:
            raise Refusal(500, "unknown_session", "there is no such session")
        link = session.transport
        assert isinstance(link, StreamLink)
        return link.take(data, protobuf)


class _Waiting(NamedTuple):
    data: bytes
    binary: bool
    taken: Deferred[None]


@implementer(IPushProducer)
class StreamLink:
    """The session's transport over one response (`core.ports.Transport`)."""

    session: Session

    deflation = None

    def __init__(self, request: Request, comment: bytes, outlet: Outlet) -> None:
        self.outlet = outlet
        self._request = request
        self._comment = comment
        self._line: deque[_Waiting] = deque()
        self._reads = True
        self._giving = False
        self._stopped = False
        self._open = True

    def finished(self, result: object) -> None:
        """The response is complete, or the connection is gone."""
        self._open = False
        self.session.ended(Disconnect(1006, ""))
        self.resume_reading()

    # ---- what the client says by other requests

    def take(self, data: bytes, binary: bool) -> Deferred[None]:
        """One message; fires when the session got it. Raises `Refusal` 429."""
        if len(self._line) >= MOST_WAITING:
            raise Refusal(429, "emulation_line", "too many requests of this session are waiting", {"Retry-After": "1"})
        waiting = _Waiting(data, binary, Deferred())
        self._line.append(waiting)
        self._give()
        return waiting.taken

    def _give(self) -> None:
        """In a loop: the session may pause and resume reading while it is given something."""
        if self._giving:
            return
        self._giving = True
        while self._line and self._reads:
            waiting = self._line.popleft()
            self.guarded(self.session.receive, waiting.data, waiting.binary)
            waiting.taken.callback(None)
        self._giving = False

    def guarded(self, call: Callable[..., None], *args: Any) -> None:
        """An exception ends this connection and nothing else."""
        try:
            call(*args)
        except Exception as error:
            self.session.node.report("a stream failed", error)
            self.session.close(errors.INTERNAL)

    def pause_reading(self) -> None:
        self._reads = False

    def resume_reading(self) -> None:
        self._reads = True
        self._give()

    # ---- core.ports.Transport

    def write(self, frame: Frame) -> None:
        if self._open:
            self._request.write(frame.wire)

    def write_all(self, frames: Sequence[Frame]) -> None:
        if self._open:
            self._request.write(b"".join([frame.wire for frame in frames]))

    def write_rest(self, data: bytes) -> None:
        """Nothing goes straight to the outlet."""

    def ping(self) -> bool:
        """A comment: it keeps proxies awake, and shows a dead peer to the kernel. Nobody answers it."""
        if self._open and not self._stopped:
            self._request.write(self._comment)
        return False

    def close(self, disconnect: Disconnect) -> None:
        if self._open:
            self._open = False
            self._request.unregisterProducer()
            self._request.finish()

    def abort(self) -> None:
        channel: Any = self._request.channel
        if channel is not None:
            channel.transport.abortConnection()

    # ---- IPushProducer: the socket's buffer says when it has enough

    def pauseProducing(self) -> None:
        self._stopped = True
        self.session.blocked()

    def resumeProducing(self) -> None:
        self._stopped = False
        self.session.unblocked()

    def stopProducing(self) -> None:
        """The connection is gone; `finished` follows."""
