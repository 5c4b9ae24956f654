"""`/health/live` and `/health/ready`: is the process alive, and is it to get new connections?

Live: the event loop turns, or there would be no answer. Ready: the node says so; while it starts or drains it gives a
reason instead, and a load balancer looks elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import Request

Readiness = Callable[[], str | None]
"""None: ready. Otherwise why not, in a few words."""


def answer(request: Request, status: int, body: dict[str, Any]) -> bytes:
    """Set status and headers of a JSON answer that must not be stored; returns the body."""
    request.setResponseCode(status)
    request.setHeader("content-type", "application/json")
    request.setHeader("cache-control", "no-store")
    request.setHeader("x-content-type-options", "nosniff")
    return json.dumps(body).encode() + b"\n"


class NotFound(Resource):
    """404 in JSON, for this path and everything below it but the children that were put there."""

    def getChild(self, path: bytes, request: Request) -> Resource:
        return NotFound()

    def render(self, request: Request) -> bytes:
        return answer(request, 404, {"code": "not_found", "message": "there is nothing here"})


class ReadOnly(NotFound):
    """Takes GET and HEAD; 405 in JSON for the rest, 404 below it."""

    def __init__(self, respond: Callable[[Request], bytes]) -> None:
        super().__init__()
        self._respond = respond

    def render(self, request: Request) -> bytes:
        if request.method in (b"GET", b"HEAD"):
            return self._respond(request)
        request.setHeader("allow", "GET, HEAD")
        return answer(request, 405, {"code": "method_not_allowed", "message": "only GET and HEAD are allowed here"})


def health_resource(readiness: Readiness) -> Resource:
    """`live` and `ready`, to be put at `/health`."""

    def live(request: Request) -> bytes:
        return answer(request, 200, {"status": "live"})

    def ready(request: Request) -> bytes:
        reason = readiness()
        if reason is None:
            return answer(request, 200, {"status": "ready"})
        return answer(request, 503, {"status": "not ready", "reason": reason})

    health = NotFound()
    health.putChild(b"live", ReadOnly(live))
    health.putChild(b"ready", ReadOnly(ready))
    return health
