"""Which endpoint a request is for, and whether it fits it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.errors import Refusal
from realtime_svc.wire.http_head import HeadLimits, HeadParser, RequestHead
from realtime_svc.wire.routes import BodySizes, Endpoint, Route, route

UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def head(request: str, *fields: str) -> RequestHead:
    data = "\r\n".join((f"{request} HTTP/1.1", "Host: h", *fields, "", "")).encode()
    parsed = HeadParser(HeadLimits()).feed(data)
    assert parsed is not None
    return parsed[0]


FOUND = (
    ("GET /ws", UPGRADE, Route(Endpoint.PLAIN, "")),
    ("GET /ws?channel=x", UPGRADE, Route(Endpoint.PLAIN, "")),
    ("GET /raw/chat", UPGRADE, Route(Endpoint.RAW, "chat")),
    ("GET /raw/chat:room.1?echo=1", UPGRADE, Route(Endpoint.RAW, "chat:room.1")),
    ("GET /raw/%2342", UPGRADE, Route(Endpoint.RAW, "#42")),
    ("GET ws://h/raw/x", UPGRADE, Route(Endpoint.RAW, "x")),
    ("GET /sse/chat", (), Route(Endpoint.SSE, "chat")),
    ("OPTIONS /sse/chat", (), Route(Endpoint.SSE, "chat")),
    ("POST /publish/chat", ("Content-Length: 1",), Route(Endpoint.PUBLISH, "chat")),
    ("POST /publish/chat", ("Transfer-Encoding: chunked",), Route(Endpoint.PUBLISH, "chat")),
    ("OPTIONS /publish/chat", (), Route(Endpoint.PUBLISH, "chat")),
    ("GET /connection/websocket", UPGRADE, Route(Endpoint.CENTRIFUGE, "")),
    ("GET /connection/websocket?cf_protocol_version=v2&x", UPGRADE, Route(Endpoint.CENTRIFUGE, "")),
    ("POST /connection/http_stream", ("Content-Length: 1",), Route(Endpoint.HTTP_STREAM, "")),
    ("POST /connection/http_stream", ("Transfer-Encoding: chunked",), Route(Endpoint.HTTP_STREAM, "")),
    ("OPTIONS /connection/http_stream", (), Route(Endpoint.HTTP_STREAM, "")),
    ("GET /connection/sse?cf_connect=%7B%7D", (), Route(Endpoint.CENTRIFUGE_SSE, "")),
    ("OPTIONS /connection/sse", (), Route(Endpoint.CENTRIFUGE_SSE, "")),
    ("POST /emulation", ("Content-Length: 1",), Route(Endpoint.EMULATION, "")),
    ("OPTIONS /emulation", (), Route(Endpoint.EMULATION, "")),
)
API = (
    ("POST /api/publish", Route(Endpoint.API, "", "publish")),
    ("POST /api/no_such_method", Route(Endpoint.API, "", "no_such_method")),
    ("OPTIONS /api/publish", Route(Endpoint.API, "", "publish")),
    ("GET /api/openapi.json", Route(Endpoint.API, "", "openapi.json")),
)
REFUSED = (
    ("GET /", (), 404, "not_found"),
    ("GET /", UPGRADE, 404, "not_found"),
    ("GET /ws/", UPGRADE, 404, "not_found"),
    ("GET /WS", UPGRADE, 404, "not_found"),
    ("GET /ws/chat", UPGRADE, 404, "not_found"),
    ("GET /raw", UPGRADE, 404, "not_found"),
    ("GET /raw/a/b", UPGRADE, 404, "not_found"),
    ("GET /metrics", (), 404, "not_found"),
    ("GET /health/live", (), 404, "not_found"),
    ("OPTIONS *", (), 404, "not_found"),
    ("GET /ws", (), 426, "upgrade_required"),
    ("GET /raw/x", (), 426, "upgrade_required"),
    ("HEAD /ws", (), 405, "method_not_allowed"),
    ("POST /raw/x", (), 405, "method_not_allowed"),
    ("POST /sse/x", (), 405, "method_not_allowed"),
    ("GET /publish/x", (), 405, "method_not_allowed"),
    ("HEAD /sse/x", (), 405, "method_not_allowed"),
    ("GET /sse/x", UPGRADE, 400, "no_websocket_here"),
    ("GET /publish/x", UPGRADE, 400, "no_websocket_here"),
    ("GET /sse/x", ("Content-Length: 1",), 400, "unexpected_body"),
    ("GET /sse/x", ("Transfer-Encoding: chunked",), 400, "unexpected_body"),
    ("GET /raw/", UPGRADE, 400, "bad_channel"),
    ("GET /raw/a%20b", UPGRADE, 400, "bad_channel"),
    ("GET /raw/a%2Fb", UPGRADE, 400, "bad_channel"),
    ("GET /raw/%C3%A9", UPGRADE, 400, "bad_channel"),
    ("GET /raw/" + "x" * 256, UPGRADE, 400, "bad_channel"),
    ("GET /sse/:x", (), 400, "bad_channel"),
    ("POST /publish/x:", (), 400, "bad_channel"),
    ("GET /connection", UPGRADE, 404, "not_found"),
    ("GET /connection/", UPGRADE, 404, "not_found"),
    ("GET /connection/websocket/", UPGRADE, 404, "not_found"),
    ("GET /connection/ws", UPGRADE, 404, "not_found"),
    ("GET /connection%2Fwebsocket", UPGRADE, 404, "not_found"),
    ("GET /connection/websocket", (), 426, "upgrade_required"),
    ("POST /connection/websocket", (), 405, "method_not_allowed"),
    ("GET /connection/http_stream", (), 405, "method_not_allowed"),
    ("POST /connection/http_stream", UPGRADE, 400, "no_websocket_here"),
    ("POST /connection/sse", (), 405, "method_not_allowed"),
    ("GET /connection/sse", UPGRADE, 400, "no_websocket_here"),
    ("GET /connection/sse", ("Content-Length: 1",), 400, "unexpected_body"),
    ("GET /emulation", (), 405, "method_not_allowed"),
    ("POST /emulation/x", (), 404, "not_found"),
    ("POST /api/publish", (), 404, "not_found"),
    ("GET /api/openapi.json", (), 404, "not_found"),
)


class RouteTests(SynchronousTestCase):
    """The addresses of the public port."""

    def refusal(self, request: str, *fields: str) -> Refusal:
        refusal: Refusal = self.assertRaises(Refusal, route, head(request, *fields))
        return refusal

    def test_found(self) -> None:
        for request, fields, expected in FOUND:
            self.assertEqual(expected, route(head(request, *fields)), request)

    def test_refused(self) -> None:
        for request, fields, status, cause in REFUSED:
            refusal = self.refusal(request, *fields)
            self.assertEqual((status, cause), (refusal.status, refusal.cause), request[:40])

    def test_api(self) -> None:
        """Below /api there is something only where it is public."""
        for request, expected in API:
            self.assertEqual(expected, route(head(request), api=True), request)
        for request, status in (
            ("GET /api/publish", 405),
            ("POST /api/openapi.json", 405),
            ("POST /api", 404),
            ("POST /api/", 404),
            ("POST /api/a/b", 404),
        ):
            refusal = self.assertRaises(Refusal, route, head(request), api=True)
            assert isinstance(refusal, Refusal)
            self.assertEqual(status, refusal.status, request)

    def test_what_there_is(self) -> None:
        """A 404 lists the addresses, that of the API only where it is public."""
        message = self.refusal("GET /").message
        for endpoint in Endpoint:
            self.assertEqual(endpoint is not Endpoint.API, f"/{endpoint.value}" in message, endpoint)
        public = self.assertRaises(Refusal, route, head("GET /"), api=True)
        assert isinstance(public, Refusal)
        self.assertIn("/api/<method>", public.message)

    def test_body_sizes(self) -> None:
        """Commands in a JSON string may take twice their bytes; the API has a limit of its own."""
        sizes = BodySizes(1000, 5000)
        for endpoint in Endpoint:
            expected = {Endpoint.API: 5000, Endpoint.EMULATION: 3024}.get(endpoint, 1000)
            self.assertEqual(expected, sizes.limit(endpoint), endpoint)

    def test_refusals_say_what_is_wanted(self) -> None:
        """RFC 9110: 405 names the methods, 426 the protocol."""
        self.assertEqual({"Allow": "GET"}, self.refusal("POST /ws").headers)
        self.assertEqual({"Allow": "POST, OPTIONS"}, self.refusal("GET /publish/x").headers)
        self.assertEqual({"Upgrade": "websocket", "Sec-WebSocket-Version": "13"}, self.refusal("GET /ws").headers)

    def test_websocket_endpoints(self) -> None:
        found = {endpoint for endpoint in Endpoint if endpoint.is_websocket}
        self.assertEqual({Endpoint.PLAIN, Endpoint.RAW, Endpoint.CENTRIFUGE}, found)

    def test_streams(self) -> None:
        found = {endpoint for endpoint in Endpoint if endpoint.is_stream}
        self.assertEqual({Endpoint.SSE, Endpoint.CENTRIFUGE_SSE, Endpoint.HTTP_STREAM}, found)
