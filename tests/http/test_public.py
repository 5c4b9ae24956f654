"""twisted.web behind the front door: it answers requests, and leaves reading and closing alone."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.core.instruments import Instruments
from realtime_svc.core.ports import Admitted
from realtime_svc.driver import run
from realtime_svc.errors import ErrorCode, Refusal, ReplyError, unauthorized
from realtime_svc.http.public import PublicWeb
from realtime_svc.model import Identity, RemoteAddress
from realtime_svc.wire.http_head import HeadLimits, HeadParser, RequestHead, rewrite_http_head
from realtime_svc.wire.routes import Route, route
from tests.integration.raw_http import Response, chunked, head, parse

REMOTE = RemoteAddress("192.0.2.1", 1)
BODY_SIZE = 100


class Node:
    """Accepts publications as the test says: at once, when `waiting` fires, or with `error`."""

    def __init__(self) -> None:
        self.instruments = Instruments()
        self.published: list[tuple[str, bytes, bool, Any]] = []
        self.reported: list[tuple[str, str]] = []
        self.refusals: list[tuple[int, str]] = []
        self.errors: list[int] = []
        self.waiting: Deferred[None] | None = None
        self.error: Exception | None = None

    async def publish(self, command: Any, *, identity: Identity, publisher: Any) -> None:
        self.published.append((command.channel, command.data, command.binary, command.tags))
        if self.waiting is not None:
            await self.waiting
        if self.error is not None:
            raise self.error

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


class Visitor:
    def __init__(self) -> None:
        self.events: list[str] = []

    def body_received(self) -> None:
        self.events.append("body")

    def responded(self, persistent: bool) -> None:
        self.events.append("responded" if persistent else "last")

    def unblocked(self) -> None:
        self.events.append("unblocked")


class PublicTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.node = Node()
        self.gate = Gate()
        self.visitor = Visitor()
        self.transport = StringTransport()
        clock: Any = Clock()
        node: Any = self.node
        gate: Any = self.gate
        web = PublicWeb(node, gate, run, clock, BODY_SIZE, self.open_stream)
        self.channel = web.exchange(self.transport, self.visitor)

    def open_stream(self, node: Any, request: Any, identity: Identity, remote: RemoteAddress, channel: str) -> None:
        request.write(f"{channel} for {identity.user}".encode())

    def ask(self, line: str, *fields: str, body: bytes = b"", close: bool = False) -> None:
        """As the front door does: the head rewritten, then the body."""
        parsed = HeadParser(HeadLimits()).feed(head(line, "Host: h", *fields))
        assert parsed is not None
        request = parsed[0]
        self.channel.begin(request, route(request), REMOTE, rewrite_http_head(request, close=close))
        if body:
            self.channel.body(body)

    def publish(self, body: bytes, *fields: str, channel: str = "a") -> None:
        self.ask(f"POST /publish/{channel} HTTP/1.1", f"Content-Length: {len(body)}", *fields, body=body)

    def responses(self) -> list[Response]:
        return parse(self.transport.value())

    def test_publish(self) -> None:
        """The body is the payload; text and JSON are text where they are UTF-8, everything else is binary."""
        cases = [
            ("", b"1", True),
            ("Content-Type: application/json", b"1", False),
            ("Content-Type: Text/Plain; charset=utf-8", b"caf\xc3\xa9", False),
            ("Content-Type: application/cloudevents+json", b"{}", False),
            ("Content-Type: text/plain", b"\xff", True),
            ("Content-Type: application/octet-stream", b"1", True),
            ("Content-Type: multipart/form-data; boundary=x", b"--x", True),
            ("Content-Type: application/x-www-form-urlencoded", b"a=b", True),
        ]
        for field, body, _ in cases:
            self.publish(body, *([field] if field else []))
        self.assertEqual(self.node.published, [("a", body, binary, None) for _, body, binary in cases])
        self.assertEqual(
            [response.json() for response in self.responses()], [{"ok": "publish", "channel": "a"}] * len(cases)
        )
        self.assertEqual(self.visitor.events, ["body", "responded"] * len(cases))

    def test_event(self) -> None:
        """The event of the address is a tag; one that is too long is refused."""
        self.gate.event = "joined"
        self.publish(b"1")
        self.assertEqual(self.node.published[0][3], {"event": "joined"})
        self.gate.event = "x" * 65
        self.publish(b"1")
        self.assertEqual((self.responses()[1].status, self.visitor.events[-1]), (400, "last"))

    def test_refused_publication(self) -> None:
        """An error of the core has its status and the connection stays; one nobody expected is reported, and is 500."""
        errors: list[tuple[Exception, int, int]] = [
            (ReplyError(ErrorCode.BAD_REQUEST, "Invalid JSON"), 400, 107),
            (ReplyError(ErrorCode.PERMISSION_DENIED), 403, 103),
            (ReplyError(ErrorCode.UNKNOWN_CHANNEL), 404, 102),
            (ReplyError(ErrorCode.TOO_MANY_REQUESTS), 429, 111),
            (ReplyError(ErrorCode.NOT_AVAILABLE), 503, 108),
            (RuntimeError("canary"), 500, 100),
        ]
        for error, _, _ in errors:
            self.node.error = error
            self.publish(b"1")
        answers = [(response.status, response.json()["error"]["code"]) for response in self.responses()]
        self.assertEqual(answers, [(status, code) for _, status, code in errors])
        self.assertEqual(self.visitor.events[1::2], ["responded"] * len(errors))
        self.assertEqual(self.node.reported, [("a publication failed", "canary")])
        self.assertNotIn(b"canary", self.transport.value())

    def test_client_gone_meanwhile(self) -> None:
        """Who left before the answer gets none, and nothing is said about it."""
        self.node.waiting = Deferred()
        self.publish(b"1")
        self.channel.lost(connectionDone)
        self.node.waiting.callback(None)
        self.assertEqual((self.transport.value(), self.visitor.events, self.node.reported), (b"", ["body"], []))

    def test_who_may_not_is_not_read(self) -> None:
        """The refusal comes with the head; the body, and what comes behind it, goes nowhere."""
        framings = ["Content-Length: 5", "Transfer-Encoding: chunked", "Content-Length: 0"]
        for framing in framings:
            for refusal, status in ((unauthorized(basic=False), 401), (RuntimeError("canary"), 500)):
                self.setUp()
                self.gate.refusal = refusal
                self.ask("POST /publish/a HTTP/1.1", framing, "Expect: 100-continue")
                (response,) = self.responses()
                self.assertEqual(
                    (response.status, response.version, response.get("connection")), (status, "1.1", "close")
                )
                self.assertEqual((response.get("www-authenticate") is not None), status == 401)
                self.assertEqual((self.visitor.events, self.node.published), (["last"], []))
                self.assertEqual(self.node.refusals, [(status, "192.0.2.1")])
                self.assertEqual(len(self.node.reported), status == 500)
                self.assertFalse(self.transport.disconnecting, "the front door closes")

    def test_chunks(self) -> None:
        """Counted as they come; too many, or no chunks at all, are refused once, and the front door closes."""
        bodies = {
            chunked(b"x" * BODY_SIZE): 200,
            chunked(b"x" * BODY_SIZE, b"x"): 413,
            chunked(*[b"x"] * (BODY_SIZE + 1)): 413,
            chunked(*[b"x" * 60] * 20): 413,
            b"%x\r\n" % 2**40 + b"x" * (BODY_SIZE + 1): 413,
            b"canary\r\n": 400,
            chunked(b"x" * BODY_SIZE, b"x")[:-5] + b"canary\r\n": 413,
        }
        for body, status in bodies.items():
            self.setUp()
            self.ask("POST /publish/a HTTP/1.1", "Transfer-Encoding: chunked", body=body, close=True)
            (response,) = self.responses()
            self.assertEqual((response.status, response.version), (status, "1.1"), body)
            self.assertEqual(self.visitor.events, ["body", "last"] if status == 200 else ["last"])
            self.assertFalse(self.transport.disconnecting)
            self.assertNotIn(b"canary", self.transport.value())

    def test_expect(self) -> None:
        self.ask("POST /publish/a HTTP/1.1", "Content-Length: 1", "Expect: 100-continue")
        self.assertEqual(self.transport.value(), b"HTTP/1.1 100 Continue\r\n\r\n")
        self.channel.body(b"1")
        self.assertEqual([response.status for response in self.responses()], [100, 200])

    def test_reading_is_not_touched(self) -> None:
        """Whether the socket is read is for the front door to say, also when an answer is complete or was taken."""
        self.transport.pauseProducing()
        self.publish(b"1")
        self.assertEqual(self.transport.producerState, "paused")
        self.channel.pauseProducing()
        self.channel.resumeProducing()
        self.assertEqual(self.transport.producerState, "paused")
        self.transport.resumeProducing()
        self.channel.pauseProducing()
        self.assertEqual(self.transport.producerState, "producing")

    def test_blocked(self) -> None:
        """Told by the socket, and told on."""
        self.assertFalse(self.channel.blocked)
        self.channel.pauseProducing()
        self.assertTrue(self.channel.blocked)
        self.channel.resumeProducing()
        self.assertEqual((self.channel.blocked, self.visitor.events), (False, ["unblocked"]))

    def test_leave(self) -> None:
        """The socket has no producer any more: TLS would wait for it."""
        self.assertIs(self.transport.producer, self.channel)
        self.channel.leave()
        self.assertIsNone(self.transport.producer)

    def test_preflight(self) -> None:
        self.gate.refusal = AssertionError("nobody is asked who he is")
        self.ask("OPTIONS /publish/a HTTP/1.1", "Origin: https://h")
        (response,) = self.responses()
        self.assertEqual((response.status, response.body), (204, b""))
        self.assertEqual(response.get("access-control-allow-origin"), "https://h")
        self.assertEqual(response.get("vary"), "Origin")

    def test_stream(self) -> None:
        self.ask("GET /sse/a HTTP/1.1")
        self.assertIn(b"a for alice", self.transport.value())
        self.assertEqual(self.visitor.events, ["body"])

    def test_answers_are_json(self) -> None:
        self.publish(b"1", channel="a.b")
        (response,) = self.responses()
        self.assertEqual(response.get("content-type"), "application/json")
        self.assertEqual(response.get("cache-control"), "no-store")
        self.assertEqual(json.loads(response.body)["channel"], "a.b")
