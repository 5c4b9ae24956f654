"""The site of the internal port: `/health/live`, `/health/ready`, `/metrics`; 404 for the rest."""

from __future__ import annotations

import io
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from realtime_svc.http.health import NotFound, Readiness, ReadOnly, health_resource

TIMEOUT = 10
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class InternalRequest(Request):
    """Says nothing about the software that answers, and keeps no body: nothing here takes one."""

    def gotLength(self, length: int | None) -> None:  # noqa: N802 (Twisted)
        self.content = io.BytesIO()

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 (Twisted)
        pass

    def render(self, resrc: IResource) -> None:
        self.responseHeaders.removeHeader(b"server")
        super().render(resrc)


class InternalSite(Site):
    """Without an access log: probes and scrapes come every few seconds. (Its date would be the reactor's clock, which
    is monotonic here and no time of day.)"""

    displayTracebacks = False  # noqa: N815 (Twisted)
    noisy = False

    def startFactory(self) -> None:
        pass

    def stopFactory(self) -> None:
        pass

    def log(self, request: object) -> None:
        pass


def internal_site(readiness: Readiness, metrics: Callable[[], bytes], reactor: IReactorTime) -> Site:
    """`readiness`: None, or why this process is not to get connections. `metrics`: the text of an exposition."""

    def scrape(request: Request) -> bytes:
        request.setHeader("content-type", METRICS_TYPE)
        request.setHeader("cache-control", "no-store")
        return metrics()

    root = NotFound()
    root.putChild(b"health", health_resource(readiness))
    root.putChild(b"metrics", ReadOnly(scrape))
    return InternalSite(root, requestFactory=InternalRequest, timeout=TIMEOUT, reactor=reactor)
