"""Requests that open a stream, and POST /emulation, by which its client speaks."""

from __future__ import annotations

import json

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone

from realtime_svc.errors import Refusal
from realtime_svc.wire.centrifuge_pb2 import EmulationRequest
from realtime_svc.wire.routes import Endpoint
from tests.http.public_web import BODY_SIZE, PublicTestCase
from tests.integration.raw_http import chunked

OCTETS = "Content-Type: application/octet-stream"


class StreamTests(PublicTestCase):
    def test_sse(self) -> None:
        self.ask("GET /sse/a HTTP/1.1")
        self.assertEqual(self.streams.opened, [(Endpoint.SSE, "a", b"", False)])
        self.assertIn(b"stream", self.transport.value())
        self.assertEqual(self.visitor.events, ["body"])

    def test_centrifuge_sse(self) -> None:
        """The first command is in the address, and is there once."""
        self.ask("GET /connection/sse?cf_connect=%7B%22id%22%3A1%2C+%22connect%22%3A%7B%7D%7D HTTP/1.1")
        expected = (Endpoint.CENTRIFUGE_SSE, "", b'{"id":1, "connect":{}}', False)
        self.assertEqual(self.streams.opened, [expected])
        for query in ("", "?x=1", "?cf_connect=a&cf_connect=b"):
            self.setUp()
            self.ask(f"GET /connection/sse{query} HTTP/1.1")
            self.assertEqual((self.responses()[0].status, self.streams.opened), (400, []), query)

    def test_http_stream(self) -> None:
        """The body are the first commands; its type says which form they have."""
        for fields, protobuf in (([], False), (["Content-Type: application/json"], False), ([OCTETS], True)):
            self.setUp()
            self.ask("POST /connection/http_stream HTTP/1.1", "Content-Length: 2", *fields, body=b"{}")
            self.assertEqual(self.streams.opened, [(Endpoint.HTTP_STREAM, "", b"{}", protobuf)])
            self.assertEqual(self.visitor.events, ["body"])

    def test_refused(self) -> None:
        self.streams.refusal = Refusal(429, "connections_per_user", "no")
        self.ask("GET /sse/a HTTP/1.1")
        self.assertEqual([response.status for response in self.responses()], [429])
        self.assertTrue(self.transport.value().startswith(b"HTTP/1.1 429 Too Many Requests\r\n"))


class EmulationTests(PublicTestCase):
    def emulate(self, data: str, *fields: str) -> None:
        body = json.dumps({"session": "s", "node": "n", "data": data}).encode()
        self.ask("POST /emulation HTTP/1.1", f"Content-Length: {len(body)}", *fields, body=body)

    def test_json(self) -> None:
        self.emulate('{"id":2}\n{"id":3}', "Content-Type: application/json")
        self.assertEqual(self.streams.delivered, [("n", "s", b'{"id":2}\n{"id":3}', False)])
        (response,) = self.responses()
        self.assertEqual((response.status, response.body, response.get("content-length")), (204, b"", None))
        self.assertEqual(self.visitor.events, ["body", "responded"])

    def test_protobuf(self) -> None:
        body = EmulationRequest(node="n", session="s", data=b"\x00").SerializeToString()
        self.ask("POST /emulation HTTP/1.1", f"Content-Length: {len(body)}", OCTETS, body=body)
        self.assertEqual(self.streams.delivered, [("n", "s", b"\x00", True)])

    def test_waits(self) -> None:
        """The answer comes when the commands were taken; who has left meanwhile gets none."""
        for leaves in (False, True):
            self.setUp()
            self.streams.waiting = Deferred()
            self.emulate("{}")
            self.assertEqual(self.transport.value(), b"")
            if leaves:
                self.channel.lost(connectionDone)
            self.streams.waiting.callback(None)
            self.assertEqual(self.transport.value().startswith(b"HTTP/1.1 204 "), not leaves)
            self.assertEqual(self.node.reported, [])

    def test_refused(self) -> None:
        """The refusals of the streams keep their status; nothing is reported, and no key is repeated."""
        for status in (404, 429, 500):
            self.setUp()
            self.streams.refusal = Refusal(status, "test", "no")
            self.emulate("{}")
            (response,) = self.responses()
            self.assertEqual((response.status, self.node.refusals), (status, [(status, "192.0.2.1")]))
            self.assertEqual(self.node.reported, [])

    def test_sizes(self) -> None:
        """The commands are bounded as a message is; the body around them a little wider, in chunks, too."""
        for size, status in ((BODY_SIZE, 204), (BODY_SIZE + 1, 413)):
            self.setUp()
            self.emulate("x" * size)
            self.assertEqual([response.status for response in self.responses()], [status])
        self.setUp()
        self.ask("POST /emulation HTTP/1.1", "Transfer-Encoding: chunked", body=chunked(*[b"x" * 500] * 3), close=True)
        self.assertEqual([response.status for response in self.responses()], [413])

    def test_malformed(self) -> None:
        self.ask("POST /emulation HTTP/1.1", "Content-Length: 6", body=b"canary")
        (response,) = self.responses()
        self.assertEqual((response.status, response.json()["error"]["cause"]), (400, "bad_emulation"))
        self.assertEqual(self.streams.delivered, [])

    def test_failure(self) -> None:
        """One nobody expected is reported, and is 500."""
        self.streams.waiting = Deferred()
        self.emulate("{}")
        self.streams.waiting.errback(RuntimeError("canary"))
        self.assertEqual([response.status for response in self.responses()], [500])
        self.assertEqual(self.node.reported, [("an HTTP request failed", "canary")])
        self.assertNotIn(b"canary", self.transport.value())
