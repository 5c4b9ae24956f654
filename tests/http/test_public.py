"""twisted.web behind the front door: it answers requests, and leaves reading and closing alone."""

from __future__ import annotations

import json

from realtime_svc.errors import unauthorized
from tests.http.public_web import BODY_SIZE, PublicTestCase
from tests.integration.raw_http import chunked


class PublicTests(PublicTestCase):
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
        paths = ("/publish/a", "/sse/a", "/connection/sse", "/connection/http_stream", "/emulation", "/api/publish")
        for path in paths:
            self.setUp()
            self.gate.refusal = AssertionError("nobody is asked who he is")
            self.ask(f"OPTIONS {path} HTTP/1.1", "Origin: https://h")
            (response,) = self.responses()
            self.assertEqual((response.status, response.body), (204, b""), path)
            self.assertIsNone(response.get("content-length"))
            self.assertEqual(response.get("access-control-allow-origin"), "https://h")
            self.assertEqual(response.get("access-control-allow-credentials"), "true")
            self.assertEqual(response.get("vary"), "Origin")
            allowed = (response.get("access-control-allow-headers") or "").split(", ")
            self.assertLessEqual({"Content-Type", "Authorization", "X-Requested-With", "Last-Event-ID"}, set(allowed))

    def test_answers_are_json(self) -> None:
        self.publish(b"1", channel="a.b")
        (response,) = self.responses()
        self.assertEqual(response.get("content-type"), "application/json")
        self.assertEqual(response.get("cache-control"), "no-store")
        self.assertEqual(json.loads(response.body)["channel"], "a.b")
