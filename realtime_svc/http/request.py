"""One request on the public port: it is let in, read within its bounds, and given to what answers its address."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from twisted.web import http

from realtime_svc.core.ports import Admitted
from realtime_svc.errors import Refusal
from realtime_svc.http.emulation import emulate, open_stream
from realtime_svc.http.public_api import call_api
from realtime_svc.http.publishing import publish
from realtime_svc.wire.http_head import RequestHead
from realtime_svc.wire.http_response import REASONS, refusal_body
from realtime_svc.wire.routes import Endpoint, Route

if TYPE_CHECKING:
    from realtime_svc.http.public import PublicChannel, PublicWeb

JSON = {"Content-Type": "application/json", "Cache-Control": "no-store"}
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Requested-With",
    "Access-Control-Max-Age": "600",
}


class PublicRequest(http.Request):
    """See the module. What answers it may raise `Refusal`."""

    channel: PublicChannel
    admitted: Admitted | None = None

    @property
    def web(self) -> PublicWeb:
        return self.channel.web

    @property
    def head(self) -> RequestHead:
        return self.channel.head

    @property
    def route(self) -> Route:
        return self.channel.route

    @property
    def kind(self) -> str:
        """The content type without parameters, in lower case."""
        return (self.head.get("content-type") or "").partition(";")[0].strip().lower()

    @property
    def gone(self) -> bool:
        """Did the client leave? Nothing can be answered then."""
        return bool(self._disconnected)

    def body(self) -> bytes:
        assert self.content is not None
        data: bytes = self.content.read()
        return data

    # ---- reading

    def parseCookies(self) -> None:  # noqa: N802 (Twisted)
        """The gatekeeper has read them."""

    def admit(self) -> bool:
        """May it come in? False: it was answered."""
        try:
            self._allow_origin()
            if self.head.method != "OPTIONS":
                self.admitted = self.web.gate.admit(self.head, self.route)
        except Refusal as refusal:
            self.refuse(refusal)
        except Exception as error:
            self.failed(error)
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
        if self.content.tell() + len(data) <= self.web.bodies.limit(self.route.endpoint):
            super().handleContentChunk(data)
        else:
            self.refuse(Refusal(413, "body_too_big", "the body is too big"))

    def process(self) -> None:
        try:
            if self.admitted is None:
                self._preflight()
            else:
                _ANSWERS[self.route.endpoint](self, self.admitted)
        except Refusal as refusal:
            self.refuse(refusal)
        except Exception as error:
            self.failed(error)

    # ---- answers

    def failed(self, error: BaseException) -> None:
        """Something nobody expected: report it, and answer 500."""
        self.web.node.report("an HTTP request failed", error)
        self.refuse(Refusal(500, "internal", "internal error"))

    def _allow_origin(self) -> None:
        """Fetch standard, CORS: the gatekeeper has let this origin through, so its page may read the answer."""
        origin = self.head.get("origin")
        if origin is not None:
            self.setHeader(b"access-control-allow-origin", origin.encode("latin-1"))
            self.setHeader(b"access-control-allow-credentials", b"true")
            self.setHeader(b"vary", b"Origin")

    def _preflight(self) -> None:
        self.send(204, _PREFLIGHT)

    def send_json(self, status: int, body: Mapping[str, Any]) -> None:
        self.send(status, JSON, json.dumps(body, separators=(",", ":")).encode() + b"\n")

    def send(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        """A whole answer. One with status 204 has no body, nor a length of it (RFC 9110 8.6)."""
        reason = REASONS.get(status)  # some are unknown to Twisted
        self.setResponseCode(status, reason.encode() if reason else None)
        for name, value in headers.items():
            self.setHeader(name.encode(), value.encode())
        if status != 204:
            self.setHeader(b"content-length", str(len(body)).encode())
            self.write(body)
        self.finish()

    def refuse(self, refusal: Refusal) -> None:
        """The status, a JSON body, and no further request on this connection."""
        self.web.node.refused(refusal, self.channel.remote.host)
        self.channel.persistent = False
        self.send(refusal.status, {**refusal.headers, **JSON, "Connection": "close"}, refusal_body(refusal))


_ANSWERS: dict[Endpoint, Callable[[PublicRequest, Admitted], None]] = {
    Endpoint.SSE: open_stream,
    Endpoint.CENTRIFUGE_SSE: open_stream,
    Endpoint.HTTP_STREAM: open_stream,
    Endpoint.EMULATION: emulate,
    Endpoint.PUBLISH: publish,
    Endpoint.API: call_api,
}
