"""The internal port, through real sockets: health, metrics, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from realtime_svc.http.internal import TIMEOUT, internal_site


class Exchange(Protocol):
    """Sends one request, collects everything until the server closes."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.answer = b""
        self.done: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self.request)

    def dataReceived(self, data: bytes) -> None:
        self.answer += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.done.callback(self.answer)


class InternalTests(TestCase):
    def setUp(self) -> None:
        self.reason: str | None = None
        self.text: bytes | Exception = b"up 1\n"
        site: Any = internal_site(lambda: self.reason, self.metrics, reactor)
        self.port: Any = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)

    def metrics(self) -> bytes:
        if isinstance(self.text, Exception):
            raise self.text
        return self.text

    def ask(
        self, path: str, method: str = "GET", more: str = "", body: bytes = b""
    ) -> Deferred[tuple[int, dict[str, str], bytes]]:
        """(status, headers, body) of one request."""
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n"
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port)
        exchange = Exchange(head.encode() + body)
        connected: Deferred[Any] = connectProtocol(endpoint, exchange)
        return connected.addCallback(lambda _: exchange.done).addCallback(parse)

    @inlineCallbacks
    def test_live(self) -> Generator[Deferred[Any], Any, None]:
        self.reason = "draining"
        status, headers, body = yield self.ask("/health/live")
        self.assertEqual((200, {"status": "live"}), (status, json.loads(body)))
        self.assertEqual(("application/json", "no-store"), (headers["content-type"], headers["cache-control"]))

    @inlineCallbacks
    def test_ready_and_why_not(self) -> Generator[Deferred[Any], Any, None]:
        status, _, body = yield self.ask("/health/ready")
        self.assertEqual((200, {"status": "ready"}), (status, json.loads(body)))
        self.reason = "draining"
        status, _, body = yield self.ask("/health/ready")
        self.assertEqual((503, {"status": "not ready", "reason": "draining"}), (status, json.loads(body)))

    @inlineCallbacks
    def test_metrics(self) -> Generator[Deferred[Any], Any, None]:
        status, headers, body = yield self.ask("/metrics")
        self.assertEqual((200, b"up 1\n"), (status, body))
        self.assertEqual("text/plain; version=0.0.4; charset=utf-8", headers["content-type"])

    @inlineCallbacks
    def test_everything_else_is_404_in_json(self) -> Generator[Deferred[Any], Any, None]:
        for path in ("/", "/health", "/health/", "/health/x", "/health/x/live", "/health/live/x", "/metrics/x", "/x?y"):
            status, headers, body = yield self.ask(path)
            self.assertEqual((404, "not_found"), (status, json.loads(body)["code"]), path)
            self.assertEqual("application/json", headers["content-type"])

    @inlineCallbacks
    def test_methods(self) -> Generator[Deferred[Any], Any, None]:
        for path in ("/health/live", "/health/ready", "/metrics"):
            status, headers, body = yield self.ask(path, "HEAD")
            self.assertEqual((200, b""), (status, body))
            self.assertGreater(int(headers["content-length"]), 0)
            for method in ("POST", "PUT", "DELETE", "OPTIONS", "BREW"):
                status, headers, body = yield self.ask(path, method)
                self.assertEqual((405, "GET, HEAD"), (status, headers["allow"]), f"{method} {path}")
                self.assertEqual("method_not_allowed", json.loads(body)["code"])

    @inlineCallbacks
    def test_body_is_not_kept(self) -> Generator[Deferred[Any], Any, None]:
        kept: list[bytes] = []
        self.text = b""
        site = self.port.factory

        class Watching(site.requestFactory):  # type: ignore[name-defined, misc]
            def process(self) -> None:
                kept.append(self.content.read())
                super().process()

        site.requestFactory = Watching
        for more, body in (
            ("Content-Length: 200000\r\n", b"x" * 200000),
            ("Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n"),
        ):
            status, _, _ = yield self.ask("/metrics", "POST", more, body)
            self.assertEqual(405, status)
        self.assertEqual([b"", b""], kept)

    @inlineCallbacks
    def test_answers_do_not_name_the_software(self) -> Generator[Deferred[Any], Any, None]:
        for path in ("/health/live", "/metrics", "/nothing"):
            _, headers, body = yield self.ask(path)
            self.assertNotIn("server", headers)
            self.assertNotIn(b"wisted", body)

    @inlineCallbacks
    def test_failing_metrics_are_500_without_a_traceback(self) -> Generator[Deferred[Any], Any, None]:
        self.text = RuntimeError("secret detail")
        status, _, body = yield self.ask("/metrics")
        self.assertEqual(500, status)
        self.assertNotIn(b"secret detail", body)
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))

    @inlineCallbacks
    def test_requests_are_not_logged(self) -> Generator[Deferred[Any], Any, None]:
        events: list[LogEvent] = []
        watch = cast(ILogObserver, events.append)
        globalLogPublisher.addObserver(watch)
        self.addCleanup(globalLogPublisher.removeObserver, watch)
        yield self.ask("/health/live")
        self.assertEqual([], [event for event in events if "health" in repr(event)])


class TimeTests(SynchronousTestCase):
    def test_silent_connection_is_closed(self) -> None:
        clock = Clock()
        site = internal_site(lambda: None, lambda: b"", clock)
        site.doStart()
        self.assertEqual([], clock.getDelayedCalls(), "no clock ticks for an access log that isn't there")
        channel = site.buildProtocol(None)
        assert channel is not None
        transport = StringTransport()
        channel.makeConnection(transport)
        clock.advance(TIMEOUT - 1)
        self.assertFalse(transport.disconnecting)
        clock.advance(1)
        self.assertTrue(transport.disconnecting)
        channel.connectionLost(Failure(connectionDone.value))


def parse(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(status.split()[1]), headers, body
