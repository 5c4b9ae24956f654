"""The site of the internal port: `/health/live`, `/health/ready`, `/metrics`, `/api/<method>`; 404 for the rest."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from realtime_svc.http.api import TOO_BIG, Api
from realtime_svc.http.api_resource import ApiRoot, host_of
from realtime_svc.http.health import NotFound, Readiness, ReadOnly, health_resource

TIMEOUT = 10
LINGER = 2.0  # seconds for a caller to notice that his body is too big, and to read why
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class InternalRequest(Request):
    """Says nothing about the software that answers. A body is kept for the API only, in memory and within its bound;
    nothing is parsed as a form."""

    channel: Any  # an HTTPChannel, and the site it belongs to
    _room = 0  # bytes of body that are kept
    _lingering: IDelayedCall | None = None  # the answer was 413; what still comes is thrown away until then

    def gotLength(self, length: int | None) -> None:  # noqa: N802 (Twisted)
        self.content = io.BytesIO()
        self._room = self.channel.site.room_for(self.channel._command, self.channel._path)
        if self._room and length is not None and length > self._room:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 (Twisted)
        """A chunked body has no length beforehand: count it."""
        if not self._room:
            return
        assert self.content is not None
        if self.content.tell() + len(data) > self._room:
            self._refuse()
        else:
            self.content.write(data)

    def _refuse(self) -> None:
        """Answer now. Closing now would reset the connection under a caller who is still sending, answer included."""
        self._room = 0
        self.content = io.BytesIO()
        self.requestHeaders.removeHeader(b"expect")  # he is not to go on (RFC 9110 10.1.1)
        self.clientproto = self.channel._version
        self.method = b"POST"
        self.channel.persistent = False
        self.responseHeaders.removeHeader(b"server")
        status, headers, body = self.channel.site.api.refuse(TOO_BIG, host_of(self))
        self.setResponseCode(status)
        for name, value in {**headers, "content-length": str(len(body)), "connection": "close"}.items():
            self.setHeader(name.lower(), value)
        self.write(body)
        self._lingering = self.channel.callLater(LINGER, self.finish)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802 (Twisted)
        if self._lingering is not None:
            if self._lingering.active():
                self._lingering.cancel()
                self.finish()
            return
        assert self.content is not None
        self.content.seek(0)
        self.args: dict[bytes, list[bytes]] = {}
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.partition(b"?")[0]
        self.process()

    def connectionLost(self, reason: Failure) -> None:
        if self._lingering is not None and self._lingering.active():
            self._lingering.cancel()
        super().connectionLost(reason)

    def render(self, resrc: IResource) -> None:
        self.responseHeaders.removeHeader(b"server")
        super().render(resrc)


class InternalSite(Site):
    """Without an access log: probes and scrapes come every few seconds. (Its date would be the reactor's clock, which
    is monotonic here and no time of day.)"""

    displayTracebacks = False  # noqa: N815 (Twisted)
    noisy = False
    api: Api | None = None

    def room_for(self, method: bytes, path: bytes) -> int:
        """How much of a request's body is kept."""
        return self.api.body_size if self.api is not None and method == b"POST" and path.startswith(b"/api/") else 0

    def startFactory(self) -> None:
        pass

    def stopFactory(self) -> None:
        pass

    def log(self, request: object) -> None:
        pass


def internal_site(
    readiness: Readiness, metrics: Callable[[], bytes], reactor: IReactorTime, api: Api | None = None
) -> Site:
    """`readiness`: None, or why this process is not to get connections. `metrics`: the text of an exposition. `api`:
    None where it is off."""

    def scrape(request: Request) -> bytes:
        request.setHeader("content-type", METRICS_TYPE)
        request.setHeader("cache-control", "no-store")
        return metrics()

    root = NotFound()
    root.putChild(b"health", health_resource(readiness))
    root.putChild(b"metrics", ReadOnly(scrape))
    if api is not None:
        root.putChild(b"api", ApiRoot(api))
    site = InternalSite(root, requestFactory=InternalRequest, timeout=TIMEOUT, reactor=reactor)
    site.api = api
    return site
