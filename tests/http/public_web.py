"""twisted.web behind the front door with everything around it faked: a node, a gate, a visitor, streams, an API."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.core.instruments import Instruments
from realtime_svc.core.ports import Admitted
from realtime_svc.driver import run
from realtime_svc.errors import Refusal, ReplyError
from realtime_svc.http.api import ApiRequest, Respond
from realtime_svc.http.public import PublicWeb
from realtime_svc.model import Identity, PublishResult, RemoteAddress, StreamPosition
from realtime_svc.wire.http_head import HeadLimits, HeadParser, RequestHead, rewrite_http_head
from realtime_svc.wire.routes import BodySizes, Endpoint, Route, route
from tests.integration.raw_http import Response, head, parse

REMOTE = RemoteAddress("192.0.2.1", 1)
BODY_SIZE = 100
API_BODY_SIZE = 300


class Node:
    """Accepts publications as the test says: at once, when `waiting` fires, or with `error`."""

    def __init__(self) -> None:
        self.instruments = Instruments()
        self.published: list[tuple[str, bytes, bool, Any]] = []
        self.keys: list[str] = []
        self.position: StreamPosition | None = None
        self.reported: list[tuple[str, str]] = []
        self.refusals: list[tuple[int, str]] = []
        self.errors: list[int] = []
        self.waiting: Deferred[None] | None = None
        self.error: Exception | None = None

    @property
    def publishing(self) -> Node:
        return self

    async def publish(self, command: Any, *, identity: Identity, publisher: Any) -> PublishResult:
        self.published.append((command.channel, command.data, command.binary, command.tags))
        self.keys.append(command.key)
        if self.waiting is not None:
            await self.waiting
        if self.error is not None:
            raise self.error
        return PublishResult(self.position)

    def refused(self, refusal: Refusal, host: str) -> None:
        self.refusals.append((refusal.status, host))

    def report(self, what: str, error: BaseException) -> None:
        self.reported.append((what, str(error)))

    def count_error(self, error: ReplyError) -> None:
        self.errors.append(error.number)


class Gate:
    """Lets alice in, unless `refusal`."""

    def __init__(self) -> None:
        self.refusal: Exception | None = None
        self.event: str | None = None

    def admit(self, head: RequestHead, route: Route) -> Admitted:
        if self.refusal is not None:
            raise self.refusal
        return Admitted(Identity("alice"), None, (), False, self.event)


class Streams:
    """Remembers what it was asked. `opened` are streams, `delivered` what their clients said later: taken at once, when
    `waiting` fires, or refused."""

    def __init__(self) -> None:
        self.opened: list[tuple[Endpoint, str, bytes, bool]] = []
        self.delivered: list[tuple[str, str, bytes, bool]] = []
        self.waiting: Deferred[None] | None = None
        self.refusal: Refusal | None = None

    def open(
        self,
        request: Any,
        route: Route,
        admitted: Admitted,
        remote: RemoteAddress,
        commands: bytes = b"",
        protobuf: bool = False,
    ) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.opened.append((route.endpoint, route.channel, commands, protobuf))
        request.write(b"stream")

    def deliver(self, node: str, key: str, data: bytes, protobuf: bool) -> Deferred[None]:
        if self.refusal is not None:
            raise self.refusal
        self.delivered.append((node, key, data, protobuf))
        return self.waiting or succeed(None)


class Api:
    """Remembers calls; the test answers them with `respond`."""

    def __init__(self) -> None:
        self.calls: list[ApiRequest] = []
        self.respond: Respond | None = None

    def call(self, request: ApiRequest, respond: Respond) -> None:
        self.calls.append(request)
        self.respond = respond


class Visitor:
    def __init__(self) -> None:
        self.events: list[str] = []

    def body_received(self) -> None:
        self.events.append("body")

    def responded(self, persistent: bool) -> None:
        self.events.append("responded" if persistent else "last")

    def unblocked(self) -> None:
        self.events.append("unblocked")


class PublicTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.node = Node()
        self.gate = Gate()
        self.visitor = Visitor()
        self.transport = StringTransport()
        clock: Any = Clock()
        node: Any = self.node
        gate: Any = self.gate
        self.streams = Streams()
        self.api = Api()
        api: Any = self.api
        web = PublicWeb(node, gate, run, clock, BodySizes(BODY_SIZE, API_BODY_SIZE), self.streams, api)
        self.channel = web.exchange(self.transport, self.visitor)

    def ask(self, line: str, *fields: str, body: bytes = b"", close: bool = False) -> None:
        """As the front door does: the head rewritten, then the body."""
        parsed = HeadParser(HeadLimits()).feed(head(line, "Host: h", *fields))
        assert parsed is not None
        request = parsed[0]
        self.channel.begin(request, route(request, api=True), REMOTE, rewrite_http_head(request, close=close))
        if body:
            self.channel.body(body)

    def publish(self, body: bytes, *fields: str, channel: str = "a") -> None:
        self.ask(f"POST /publish/{channel} HTTP/1.1", f"Content-Length: {len(body)}", *fields, body=body)

    def responses(self) -> list[Response]:
        return parse(self.transport.value())
