"""The server API on the internal port, through real sockets: bodies, methods, headers, callers who leave."""

from __future__ import annotations

import json
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from realtime_svc import __version__, config
from realtime_svc.core.node import Node
from realtime_svc.http import openapi
from realtime_svc.http.api import Api
from realtime_svc.http.api_keys import hash_of
from realtime_svc.http.internal import LINGER, internal_site
from realtime_svc.model import PublishResult
from tests.http.fake_node import FakeNode

KEY = "key-0123456789"
ROOM = 1024
BODY = b'{"channel":"x","data":1}'
CHUNKED = "Transfer-Encoding: chunked\r\n"


def make_api(node: FakeNode, **options: Any) -> Api:
    keys = {"k": config.ApiKey(hash=hash_of(KEY))}
    return Api(cast(Node, node), config.Api(keys=keys, body_size=ROOM, **options))


class Caller(Protocol):
    """Sends `request`, collects everything until the server closes."""

    def __init__(self, request: bytes, until: bytes | None = None) -> None:
        """`until`: it leaves when it has read that."""
        self.request = request
        self.until = until
        self.answer = b""
        self.done: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self.request)

    def dataReceived(self, data: bytes) -> None:
        self.answer += data
        if self.until is not None and self.until in self.answer:
            assert self.transport is not None
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.done.callback(self.answer)


class ApiResourceTests(TestCase):
    def setUp(self) -> None:
        self.node = FakeNode()
        self.serve(make_api(self.node))

    def serve(self, api: Api | None) -> None:
        site: Any = internal_site(lambda: None, lambda: b"", cast(Any, reactor), api)
        self.port: Any = cast(Any, reactor).listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)

    async def ask(
        self, path: str, body: bytes = BODY, more: str = f"X-API-Key: {KEY}\r\n", method: str = "POST", length: int = -1
    ) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, body) of one request; `length` 0: it declares none."""
        if length:
            more += f"Content-Length: {len(body) if length < 0 else length}\r\n"
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n"
        caller = await self.connect(head.encode() + body)
        return parse(await caller.done)

    async def connect(self, request: bytes, until: bytes | None = None) -> Caller:
        caller = Caller(request, until)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port)
        await connectProtocol(endpoint, caller)
        return caller

    async def test_a_call(self) -> None:
        status, headers, body = await self.ask("/api/publish")
        self.assertEqual((200, {"result": {"offset": 7, "epoch": "ep"}}), (status, json.loads(body)))
        self.assertEqual(("application/json", str(len(body))), (headers["content-type"], headers["content-length"]))
        self.assertNotIn("server", headers)

    async def test_where_the_key_may_stand(self) -> None:
        for path, more, expected in (
            ("/api/publish", f"X-API-Key: {KEY}\r\n", 200),
            ("/api/publish", f"Authorization: apikey {KEY}\r\n", 200),
            ("/api/publish", f"Authorization: Bearer {KEY}\r\n", 200),
            ("/api/publish", "", 401),
            ("/api/publish", f"X-API-Key: {KEY}\r\nX-API-Key: {KEY}\r\n", 401),
            ("/api/publish", f"Cookie: api_key={KEY}\r\n", 401),
            (f"/api/publish?api_key={KEY}", "", 401),
            (f"/api/publish?api_key={KEY}", f"X-API-Key: {KEY}\r\n", 401),
        ):
            status, _, _ = await self.ask(path, more=more)
            self.assertEqual(expected, status, (path, more))

    async def test_key_in_the_address_where_that_is_on(self) -> None:
        self.serve(make_api(self.node, query_key=True))
        status, _, _ = await self.ask(f"/api/publish?api_key={KEY}", more="")
        self.assertEqual(200, status)

    async def test_nothing_of_a_request_is_logged(self) -> None:
        events: list[LogEvent] = []
        watch = cast(ILogObserver, events.append)
        globalLogPublisher.addObserver(watch)
        self.addCleanup(globalLogPublisher.removeObserver, watch)
        for path, more in ((f"/api/publish?api_key={KEY}", ""), ("/api/disconnect", f"X-API-Key: {KEY}\r\n")):
            await self.ask(path, b'{"user":"u-canary"}', more=more)
        self.assertEqual([], [event for event in events if KEY in repr(event) or "canary" in repr(event)])
        self.assertTrue([event for event in events if event.get("text") == "API key k: disconnect"])

    async def test_other_http_methods(self) -> None:
        for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"):
            status, headers, body = await self.ask("/api/publish", b"", method=method)
            self.assertEqual((405, "POST"), (status, headers["allow"]), method)
            if method != "HEAD":
                self.assertEqual(107, json.loads(body)["error"]["code"])

    async def test_what_is_not_there(self) -> None:
        for path, code in (("/api/nope", 104), ("/api/", None), ("/api", None), ("/api/publish/x", None)):
            status, _, body = await self.ask(path)
            self.assertEqual(404, status, path)
            if code is not None:
                self.assertEqual(code, json.loads(body)["error"]["code"])

    async def test_without_api(self) -> None:
        self.serve(None)
        for path in ("/api/publish", "/api/openapi.json", "/api"):
            self.assertEqual(404, (await self.ask(path, b"x" * 5000))[0], path)

    async def test_form_types_are_no_forms(self) -> None:
        for kind in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "multipart/form-data"):
            more = f"X-API-Key: {KEY}\r\nContent-Type: {kind}\r\n"
            self.assertEqual(200, (await self.ask("/api/publish", more=more))[0], kind)

    async def test_body_that_fits_exactly(self) -> None:
        body = BODY + b" " * (ROOM - len(BODY))
        self.assertEqual(200, (await self.ask("/api/publish", body))[0])
        self.assertEqual(413, (await self.ask("/api/publish", body + b" "))[0])
        self.assertEqual(200, (await self.ask("/api/publish", chunks(body), self.key(CHUNKED), length=0))[0])
        self.assertEqual(413, (await self.ask("/api/publish", chunks(body + b" "), self.key(CHUNKED), length=0))[0])
        self.assertEqual([(413, "body_too_big", "127.0.0.1")] * 2, self.node.refusals)
        self.assertEqual(2, len(self.node.calls))

    async def test_too_big_is_said_in_the_words_of_the_api_and_ends_the_connection(self) -> None:
        status, headers, body = await self.ask("/api/publish", b" " * (ROOM + 1))
        self.assertEqual((413, "close", 106), (status, headers["connection"], json.loads(body)["error"]["code"]))
        self.assertNotIn("server", headers)

    async def test_too_big_is_said_before_the_body_is_sent(self) -> None:
        """At the declared length, without `100 Continue`, to a caller that waits for it."""
        more = self.key("Expect: 100-continue\r\n") + f"Content-Length: {10**12}\r\n"
        caller = await self.connect(f"POST /api/publish HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode(), b"}}")
        self.assertEqual(413, parse(await caller.done)[0])

    async def test_a_caller_that_fits_is_told_to_go_on(self) -> None:
        more = self.key("Expect: 100-continue\r\n")
        caller = await self.connect(b"")
        head = f"POST /api/publish HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(BODY)}\r\n"
        assert caller.transport is not None
        caller.transport.write(f"{head}{more}\r\n".encode() + BODY)
        answer = await caller.done
        self.assertTrue(answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"), answer)

    async def test_bodies_for_other_addresses_are_not_kept(self) -> None:
        self.assertEqual(405, (await self.ask("/metrics", b"x" * 5000))[0])

    async def test_a_caller_that_leaves_before_the_answer(self) -> None:
        """Nothing is written to nobody; the next caller is answered."""
        waiting: Deferred[PublishResult] = Deferred()
        self.node.outcomes["publish"] = waiting
        asked: Deferred[None] = Deferred()
        self.patch(self.node, "_called", announcing(self.node, asked))
        head = f"POST /api/publish HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {KEY}\r\nContent-Length: {len(BODY)}\r\n"
        caller = await self.connect(head.encode() + b"\r\n" + BODY)
        await asked
        cast(Any, caller.transport).abortConnection()
        await caller.done
        self.node.outcomes.clear()
        self.assertEqual(200, (await self.ask("/api/publish"))[0])
        waiting.callback(PublishResult(None))
        self.assertEqual(200, (await self.ask("/api/publish"))[0])

    async def test_the_document(self) -> None:
        status, headers, body = await self.ask("/api/openapi.json", b"", "", "GET")
        self.assertEqual((200, "application/json"), (status, headers["content-type"]))
        self.assertEqual(openapi.encoded(__version__), body)
        self.assertEqual(405, (await self.ask("/api/openapi.json"))[0])

    def key(self, more: str) -> str:
        return f"X-API-Key: {KEY}\r\n{more}"


class LingerTests(SynchronousTestCase):
    """What happens to a connection whose body is too big."""

    def setUp(self) -> None:
        self.clock = Clock()
        site = internal_site(lambda: None, lambda: b"", self.clock, make_api(FakeNode()))
        site.doStart()
        channel = site.buildProtocol(None)
        assert channel is not None
        self.channel: Any = channel
        self.transport = StringTransport()
        channel.makeConnection(self.transport)
        head = f"POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: {ROOM + 100}\r\n\r\n"
        self.channel.dataReceived(head.encode())

    def test_answered_at_once_and_closed_when_all_has_come(self) -> None:
        self.assertTrue(self.transport.value().startswith(b"HTTP/1.1 413 "))
        self.channel.dataReceived(b"x" * (ROOM + 99))
        self.assertFalse(self.transport.disconnecting)
        self.channel.dataReceived(b"x")
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(1, self.transport.value().count(b"HTTP/1.1"))

    def test_closed_after_a_while_though_it_still_sends(self) -> None:
        self.clock.advance(LINGER - 0.1)
        self.channel.dataReceived(b"x")
        self.assertFalse(self.transport.disconnecting)
        self.clock.advance(0.1)
        self.assertTrue(self.transport.disconnecting)

    def test_caller_has_gone(self) -> None:
        self.channel.connectionLost(Failure(connectionDone.value))
        self.clock.advance(LINGER)
        self.assertEqual([], self.flushLoggedErrors())


def announcing(node: FakeNode, asked: Deferred[None]) -> Any:
    """The node's way to answer, which says first that it was asked."""
    called = node._called

    async def announced(*args: Any, **kwargs: Any) -> Any:
        if not asked.called:
            asked.callback(None)
        return await called(*args, **kwargs)

    return announced


def chunks(body: bytes) -> bytes:
    """In chunks of 100 bytes (RFC 9112 7.1)."""
    parts = [body[start : start + 100] for start in range(0, len(body), 100)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def parse(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(status.split()[1]), headers, body
