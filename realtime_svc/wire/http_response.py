"""The response to a request that is refused before any framework sees it."""

from __future__ import annotations

import json

from realtime_svc.errors import Refusal

REASONS = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    414: "URI Too Long",
    421: "Misdirected Request",
    426: "Upgrade Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


def refusal_body(refusal: Refusal) -> bytes:
    """`{"error":{"status":401,"cause":"unauthorized","message":"..."}}`"""
    error = {"status": refusal.status, "cause": refusal.cause, "message": refusal.message}
    return json.dumps({"error": error}, separators=(",", ":")).encode() + b"\n"


def refusal_response(refusal: Refusal, *, bodiless: bool = False) -> bytes:
    """A whole HTTP/1.1 response that says that the connection closes. `bodiless`: to HEAD (RFC 9110 9.3.2)."""
    body = refusal_body(refusal)
    lines = [f"HTTP/1.1 {refusal.status} {REASONS[refusal.status]}"]
    lines += [f"{name}: {value}" for name, value in refusal.headers.items()]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}", "Cache-Control: no-store"]
    upgrade = ", Upgrade" if "Upgrade" in refusal.headers else ""  # RFC 9110 7.8
    lines += [f"Connection: close{upgrade}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + (b"" if bodiless else body)
