"""Server-Sent Events: a session whose transport is the response to a GET that does not end."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.web.http import Request
from zope.interface import implementer

from realtime_svc.core.node import Node
from realtime_svc.core.ports import Frame
from realtime_svc.core.session import Session
from realtime_svc.errors import Disconnect, Refusal
from realtime_svc.model import Identity, RemoteAddress
from realtime_svc.wire.sse import COMMENT, SseDialect

DIALECT = SseDialect()


@implementer(IPushProducer)
class SseLink:
    """The session's transport over one response (`core.ports.Transport`)."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._session: Session | None = None
        self._stopped = False
        self._open = True

    @classmethod
    def open(cls, node: Node, request: Request, identity: Identity, remote: RemoteAddress, channel: str) -> None:
        """Answer with the stream's head and subscribe. Raises `Refusal` 429."""
        if not node.claim_user(identity.user):
            raise Refusal(429, "connections_per_user", "too many connections of this user", {"Retry-After": "10"})
        link = cls(request)
        session = Session(node, DIALECT, link, identity, remote, home=channel, channels=(channel,))
        link._session = session
        request.setHeader(b"content-type", b"text/event-stream; charset=utf-8")
        request.setHeader(b"cache-control", b"no-store")
        request.setHeader(b"x-accel-buffering", b"no")
        request.notifyFinish().addBoth(link._finished)
        request.registerProducer(link, True)
        request.write(COMMENT)
        session.opened()

    def _finished(self, result: object) -> None:
        self._open = False
        assert self._session is not None
        self._session.ended(Disconnect(1006, ""))

    def write(self, frame: Frame) -> None:
        if self._open:
            self._request.write(frame.wire)

    def ping(self) -> bool:
        """A comment: it keeps proxies awake, and shows a dead peer to the kernel. Nobody answers it."""
        if self._open and not self._stopped:
            self._request.write(COMMENT)
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

    def pause_reading(self) -> None:
        """Nothing is read from such a client."""

    def resume_reading(self) -> None:
        """Nothing is read from such a client."""

    def pauseProducing(self) -> None:
        self._stopped = True
        if self._session is not None:
            self._session.blocked()

    def resumeProducing(self) -> None:
        self._stopped = False
        if self._session is not None:
            self._session.unblocked()

    def stopProducing(self) -> None:
        """The connection is gone; `_finished` follows."""
