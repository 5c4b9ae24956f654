"""The server API on the internal port, on twisted.web."""

from __future__ import annotations

from collections.abc import Callable

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from realtime_svc import __version__
from realtime_svc.http import openapi
from realtime_svc.http.api import NOT_POST, Api, Respond, api_request
from realtime_svc.http.health import NotFound, ReadOnly

DOCUMENT = b"openapi.json"


class ApiMethod(Resource):
    """`POST /api/<method>`; 405 in JSON for the rest, 404 below it."""

    def __init__(self, api: Api, name: str) -> None:
        super().__init__()
        self._api = api
        self._name = name

    def getChild(self, path: bytes, request: Request) -> Resource:
        return NotFound()

    def render(self, request: Request) -> int:
        if request.method != b"POST":
            respond_to(request)(*self._api.refuse(NOT_POST, host_of(request)))
            return NOT_DONE_YET
        assert request.content is not None
        query = request.uri.partition(b"?")[2].decode("latin-1")
        call = api_request(self._name, _headers(request), query, request.content.read(), host_of(request))
        self._api.call(call, respond_to(request))
        return NOT_DONE_YET


class ApiRoot(NotFound):
    """`/api/`: the methods, and the document that describes them."""

    def __init__(self, api: Api) -> None:
        super().__init__()
        self._api = api
        self._document = openapi.encoded(__version__)

    def getChild(self, path: bytes, request: Request) -> Resource:
        if path == DOCUMENT:
            return ReadOnly(self._describe)
        return ApiMethod(self._api, path.decode("latin-1")) if path else NotFound()

    def _describe(self, request: Request) -> bytes:
        request.setHeader("content-type", "application/json")
        request.setHeader("cache-control", "no-cache")
        return self._document


def host_of(request: Request) -> str:
    """Who calls."""
    return str(getattr(request.getClientAddress(), "host", ""))


def respond_to(request: Request) -> Respond:
    """Write the answer, unless the caller has gone meanwhile."""
    gone: list[object] = []
    request.notifyFinish().addErrback(gone.append)

    def respond(status: int, headers: dict[str, str], body: bytes) -> None:
        if gone:
            return
        request.setResponseCode(status)
        for name, value in headers.items():
            request.setHeader(name.lower(), value)
        request.setHeader("content-length", str(len(body)))
        request.write(body)
        request.finish()

    return respond


def _headers(request: Request) -> Callable[[str], str | None]:
    """Headers as text; a repeated one is as good as none."""

    def header(name: str) -> str | None:
        values = request.requestHeaders.getRawHeaders(name.encode()) or []
        return values[0].decode("latin-1") if len(values) == 1 else None

    return header
