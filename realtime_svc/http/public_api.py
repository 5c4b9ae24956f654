"""The server API on the public port: `POST /api/<method>`, and the document that describes it."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

from realtime_svc import __version__
from realtime_svc.core.ports import Admitted
from realtime_svc.http import openapi
from realtime_svc.http.api import api_request
from realtime_svc.wire.routes import OPENAPI

if TYPE_CHECKING:
    from realtime_svc.http.request import PublicRequest


def call_api(request: PublicRequest, admitted: Admitted) -> None:
    """A key is asked for by the API itself; the description has no secrets."""
    if request.route.method == OPENAPI:
        request.send(200, {"Content-Type": "application/json"}, _document())
        return
    api, head = request.web.api, request.head
    assert api is not None
    call = api_request(request.route.method, head.get, head.query, request.body(), request.channel.remote.host)
    api.call(call, partial(_respond, request))


@cache
def _document() -> bytes:
    return openapi.encoded(__version__)


def _respond(request: PublicRequest, status: int, headers: dict[str, str], body: bytes) -> None:
    if not request.gone:
        request.send(status, headers, body)
