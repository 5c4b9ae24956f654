"""The server API on the public port: what reaches it, and what comes back."""

from __future__ import annotations

from twisted.internet.protocol import connectionDone

from tests.http.public_web import API_BODY_SIZE, BODY_SIZE, PublicTestCase
from tests.integration.raw_http import chunked


class PublicApiTests(PublicTestCase):
    def call(self, body: bytes, *fields: str, target: str = "/api/publish") -> None:
        self.ask(f"POST {target} HTTP/1.1", f"Content-Length: {len(body)}", *fields, body=body)

    def test_call(self) -> None:
        """Everything the API asks for is handed on, and what it says is the answer."""
        fields = ("X-API-Key: secret", "Content-Type: application/json", "X-Centrifugo-Error-Mode: transport")
        self.call(b"{}", *fields, target="/api/publish?api_key=other")
        (call,) = self.api.calls
        self.assertEqual((call.method, call.key, call.query_key), ("publish", "secret", "other"))
        self.assertEqual((call.content_type, call.transport_errors, call.body), ("application/json", True, b"{}"))
        self.assertEqual(call.remote, "192.0.2.1")
        self.assertEqual(self.transport.value(), b"")
        assert self.api.respond is not None
        self.api.respond(409, {"Content-Type": "application/json", "X-Test": "1"}, b'{"error":{}}')
        (response,) = self.responses()
        self.assertEqual((response.status, response.get("x-test"), response.body), (409, "1", b'{"error":{}}'))
        self.assertEqual(self.visitor.events, ["body", "responded"])

    def test_keys(self) -> None:
        """Two keys are not one of them."""
        self.call(b"{}")
        self.call(b"{}", "X-API-Key: a", "X-API-Key: b")
        self.assertIsNone(self.api.calls[0].key)
        self.assertNotIn(self.api.calls[-1].key, ("a", "b"))

    def test_client_gone_meanwhile(self) -> None:
        self.call(b"{}")
        self.channel.lost(connectionDone)
        assert self.api.respond is not None
        self.api.respond(200, {}, b"{}")
        self.assertEqual((self.transport.value(), self.node.reported), (b"", []))

    def test_body_size(self) -> None:
        """Its own limit, not that of messages."""
        self.ask("POST /api/publish HTTP/1.1", "Transfer-Encoding: chunked", body=chunked(b"x" * (BODY_SIZE + 1)))
        self.assertEqual(len(self.api.calls[0].body), BODY_SIZE + 1)
        self.setUp()
        chunks = chunked(b"x" * API_BODY_SIZE, b"x")
        self.ask("POST /api/publish HTTP/1.1", "Transfer-Encoding: chunked", body=chunks, close=True)
        self.assertEqual(([response.status for response in self.responses()], self.api.calls), ([413], []))

    def test_document(self) -> None:
        self.ask("GET /api/openapi.json HTTP/1.1")
        (response,) = self.responses()
        self.assertEqual((response.status, response.get("content-type")), (200, "application/json"))
        self.assertIn("openapi", response.json())
        self.assertEqual(self.api.calls, [])
