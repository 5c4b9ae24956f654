"""Which endpoint a request is for, and whether it fits it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.errors import Refusal
from realtime_svc.wire.http_head import HeadLimits, HeadParser, RequestHead
from realtime_svc.wire.routes import Endpoint, Route, route

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

    def test_refusals_say_what_is_wanted(self) -> None:
        """RFC 9110: 405 names the methods, 426 the protocol."""
        self.assertEqual({"Allow": "GET"}, self.refusal("POST /ws").headers)
        self.assertEqual({"Allow": "POST, OPTIONS"}, self.refusal("GET /publish/x").headers)
        self.assertEqual({"Upgrade": "websocket", "Sec-WebSocket-Version": "13"}, self.refusal("GET /ws").headers)

    def test_websocket_endpoints(self) -> None:
        self.assertEqual([True, True, False, False], [endpoint.is_websocket for endpoint in Endpoint])
