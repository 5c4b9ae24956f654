"""Responses that do not end, and `POST /emulation`, by which their clients speak."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from twisted.python.failure import Failure

from realtime_svc.core.ports import Admitted
from realtime_svc.errors import Refusal, bad_head
from realtime_svc.wire.emulation import parse_emulation
from realtime_svc.wire.routes import Endpoint

if TYPE_CHECKING:
    from realtime_svc.http.request import PublicRequest

OCTETS = "application/octet-stream"  # a body of this type is Protobuf
CONNECT = "cf_connect"


def open_stream(request: PublicRequest, admitted: Admitted) -> None:
    """Raises `Refusal`."""
    endpoint, commands, protobuf = request.route.endpoint, b"", False
    if endpoint is Endpoint.CENTRIFUGE_SSE:
        commands = _connect_command(request)
    elif endpoint is Endpoint.HTTP_STREAM:
        commands, protobuf = request.body(), request.kind == OCTETS
    request.web.streams.open(request, request.route, admitted, request.channel.remote, commands, protobuf)


def _connect_command(request: PublicRequest) -> bytes:
    given = [value for name, value in request.head.query_items() if name == CONNECT]
    if len(given) != 1:
        raise bad_head("no_connect", "cf_connect is missing, or there are several: it is the first command")
    return given[0].encode()


def emulate(request: PublicRequest, admitted: Admitted) -> None:
    """Answered with 204 when the session has taken the commands; what they come to is told down its stream.

    Raises `Refusal` 400, 404, 413, 429 or 500.
    """
    web, protobuf = request.web, request.kind == OCTETS
    said = parse_emulation(request.body(), protobuf=protobuf)
    if len(said.data) > web.bodies.message:
        raise Refusal(413, "body_too_big", "the commands are too long")
    taken = web.streams.deliver(said.node, said.session, said.data, protobuf)
    taken.addCallback(partial(_taken, request)).addErrback(partial(_failed, request))


def _taken(request: PublicRequest, result: None) -> None:
    if not request.gone:
        request.send(204, {"Cache-Control": "no-store"})


def _failed(request: PublicRequest, failure: Failure) -> None:
    if not request.gone and failure.value is not None:
        request.failed(failure.value)
