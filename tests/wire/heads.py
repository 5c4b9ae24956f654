"""Request heads, good and bad, and what has to come of each."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from hypothesis import settings

from realtime_svc.errors import Refusal
from realtime_svc.wire.http_head import (
    HeadLimits,
    HeadParser,
    RequestHead,
)

LIMITS = HeadLimits(head_size=1024, request_line_size=256, headers=16)
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = ("Host: h", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", KEY)
ALLOW = {"Allow": "GET, HEAD, OPTIONS, POST"}
CANARY = "canary"

thorough = settings(max_examples=150, deadline=None, derandomize=True, database=None)


def raw(line: str, *fields: str) -> bytes:
    """A head whose lines end as they should; the text is latin-1."""
    return "\r\n".join((line, *fields, "", "")).encode("latin-1")


def get(*fields: str) -> bytes:
    return raw("GET / HTTP/1.1", *fields)


def asking(target: str) -> bytes:
    return raw(f"GET {target} HTTP/1.1", "Host: h")


@dataclass(frozen=True)
class Refused:
    status: int
    cause: str
    message: str
    headers: tuple[tuple[str, str], ...]


def outcome(chunks: list[bytes], limits: HeadLimits = LIMITS) -> tuple[RequestHead, bytes] | Refused | None:
    """What a parser says to these reads; what it was not given any more counts as rest."""
    parser = HeadParser(limits)
    for number, chunk in enumerate(chunks, 1):
        try:
            result = parser.feed(chunk)
        except Refusal as refusal:
            return Refused(refusal.status, refusal.cause, refusal.message, tuple(refusal.headers.items()))
        if result is not None:
            return result[0], result[1] + b"".join(chunks[number:])
    return None


def splits(data: bytes, rng: random.Random) -> list[list[bytes]]:
    """`data` whole, byte by byte, and in three random ways."""
    ways = [[data], [data[i : i + 1] for i in range(len(data))]]
    for _ in range(3):
        cuts = sorted(rng.choices(range(len(data) + 1), k=rng.randint(1, 8)))
        ways.append([data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)])
    return ways


def parse(data: bytes) -> RequestHead:
    result = HeadParser(HeadLimits()).feed(data)
    assert result is not None
    return result[0]


# name, head, what its attributes have to be
GOOD: list[tuple[str, bytes, dict[str, Any]]] = [
    ("minimal", get("Host: h"), {"method": "GET", "path": "/", "query": "", "version": "1.1", "segments": ("",)}),
    ("one empty line first", b"\r\n" + get("Host: h"), {"path": "/"}),
    ("HTTP/1.0 without Host", raw("GET / HTTP/1.0"), {"version": "1.0", "host": None, "keep_alive": False}),
    ("HTTP/1.0 keep-alive", raw("GET / HTTP/1.0", "Connection: Keep-Alive"), {"keep_alive": True}),
    ("HTTP/1.1 persists", get("Host: h"), {"keep_alive": True}),
    ("HTTP/1.1 close", get("Host: h", "Connection: foo, Close"), {"keep_alive": False}),
    ("HEAD", raw("HEAD / HTTP/1.1", "Host: h"), {"method": "HEAD"}),
    ("POST", raw("POST /p HTTP/1.1", "Host: h", "Content-Length: 5"), {"content_length": 5, "chunked": False}),
    ("OPTIONS", raw("OPTIONS /p HTTP/1.1", "Host: h"), {"method": "OPTIONS"}),
    ("asterisk", raw("OPTIONS * HTTP/1.1", "Host: h"), {"path": "*", "segments": ()}),
    ("path and query", asking("/raw/a?x=1&y=%20&z"), {"path": "/raw/a", "query": "x=1&y=%20&z"}),
    ("segments", asking("/a/%C3%A9/b%2Fc"), {"segments": ("a", "é", "b/c")}),
    ("empty segments", asking("//evil.example/x/"), {"segments": ("", "evil.example", "x", "")}),
    ("dots stay", asking("/a/../b"), {"segments": ("a", "..", "b")}),
    ("all characters of a target", asking("/!$&'()*+,-.:;=@[]_~?/?"), {"query": "/?"}),
    ("absolute form", asking("http://a.example/p?q"), {"path": "/p", "query": "q", "host": "a.example"}),
    ("absolute form, no path", asking("ws://a.example:80?q"), {"path": "/", "query": "q", "host": "a.example:80"}),
    ("absolute form, upper case", asking("HTTPS://A"), {"path": "/", "host": "A"}),
    ("absolute form, IPv6", asking("wss://[::1]:8000/"), {"host": "[::1]:8000"}),
    ("host", get("Host: a_b.example:65535"), {"host": "a_b.example:65535"}),
    ("host, empty port", get("Host: a:"), {"host": "a"}),
    ("host, IPv4", get("Host: 127.0.0.1:8000"), {"host": "127.0.0.1:8000"}),
    ("host, IPv6", get("Host: [2001:db8::1]"), {"host": "[2001:db8::1]"}),
    ("white space around a value", get("hOsT:\t h \t"), {"host": "h"}),
    ("empty value", get("Host: h", "X:"), {"headers": (("host", "h"), ("x", ""))}),
    ("tab in a value", get("Host: h", "X: a\tb"), {"headers": (("host", "h"), ("x", "a\tb"))}),
    ("other bytes in a value", get("Host: h", "X: \xe9\x84"), {"headers": (("host", "h"), ("x", "\xe9\x84"))}),
    ("other bytes in a cookie", get("Host: h", "Cookie: a=\xe9"), {"headers": (("host", "h"), ("cookie", "a=\xe9"))}),
    ("all characters of a name", get("Host: h", "!#$%&'*+-.^_`|~9aZ: v"), {}),
    ("chunked", raw("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: Chunked"), {"chunked": True}),
    ("longest length", get("Host: h", "Content-Length: 999999999999999"), {"content_length": 999999999999999}),
    ("expect", get("Host: h", "Expect: 100-Continue"), {"expect_continue": True}),
    ("expect in HTTP/1.0", raw("GET / HTTP/1.0", "Expect: 100-continue"), {"expect_continue": False}),
    ("WebSocket", get(*UPGRADE), {"wants_websocket": True}),
    ("WebSocket in a list", get("Host: h", "Upgrade: h2c , WEBSOCKET"), {"wants_websocket": True}),
    ("other upgrade", get("Host: h", "Upgrade: websockets"), {"wants_websocket": False}),
    ("longest request line", raw("GET /" + "x" * 242 + " HTTP/1.1", "Host: h"), {}),
    ("largest head", get("Host: h", "X: " + "x" * 992), {}),
    ("most fields", get("Host: h", *["X: 1"] * 15), {}),
    ("bytes behind", get("Host: h") + b"\x81\r\n\n\r", {}),
    ("a second request behind", get("Host: h") + b"GET / HTTP/1.1\r\n\r\n", {}),
]

BAD_HOSTS = (
    "",
    "a b",
    "a,b",
    "a/b",
    "u@h",
    "a%41",
    "a:b",
    "a:65536",
    "a:123456",
    ":80",
    "::1",
    "[::1",
    "[::g]",
    "[1::2::3]",
    "[::1%1]",
)

# name, head, status, cause
BAD: list[tuple[str, bytes, int, str]] = [
    ("lone LF everywhere", b"GET / HTTP/1.1\nHost: h\n\n", 400, "bad_line_ending"),
    ("lone LF after the request line", b"GET / HTTP/1.1\nHost: h\r\n\r\n", 400, "bad_line_ending"),
    ("lone LF after a field", b"GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n", 400, "bad_line_ending"),
    ("lone LF at the end", b"GET / HTTP/1.1\r\nHost: h\r\n\n", 400, "bad_line_ending"),
    ("lone LF first", b"\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_line_ending"),
    ("lone CR everywhere", b"GET / HTTP/1.1\rHost: h\r\r", 400, "bad_line_ending"),
    ("lone CR in a value", b"GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n", 400, "bad_line_ending"),
    ("CR CR LF", b"GET / HTTP/1.1\r\nHost: h\r\r\n\r\n", 400, "bad_line_ending"),
    ("CR first", b"\rGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_line_ending"),
    ("two empty lines first", b"\r\n\r\n" + get("Host: h"), 400, "bad_request_line"),
    ("HTTP/0.9", raw("GET /"), 400, "bad_request_line"),
    ("one word", raw("GET"), 400, "bad_request_line"),
    ("two spaces", raw("GET  / HTTP/1.1", "Host: h"), 400, "bad_request_line"),
    ("space first", raw(" GET / HTTP/1.1", "Host: h"), 400, "bad_request_line"),
    ("space last", raw("GET / HTTP/1.1 ", "Host: h"), 400, "bad_request_line"),
    ("space in the target", asking("/a b"), 400, "bad_request_line"),
    ("tab for a space", raw("GET\t/ HTTP/1.1", "Host: h"), 400, "bad_request_line"),
    ("no method", raw(" / HTTP/1.1"), 400, "bad_method"),
    ("method not a token", raw("G@T / HTTP/1.1", "Host: h"), 400, "bad_method"),
    ("method with NUL", raw("GET\0 / HTTP/1.1", "Host: h"), 400, "bad_method"),
    ("CONNECT", raw("CONNECT a:443 HTTP/1.1", "Host: a:443"), 405, "method_not_allowed"),
    ("PUT", raw("PUT / HTTP/1.1", "Host: h"), 405, "method_not_allowed"),
    ("lower case method", raw("get / HTTP/1.1", "Host: h"), 405, "method_not_allowed"),
    ("unknown method", raw("BREW / HTTP/1.1", "Host: h"), 405, "method_not_allowed"),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "version_not_supported"),
    ("HTTP/1.2", raw("GET / HTTP/1.2", "Host: h"), 505, "version_not_supported"),
    ("HTTP/0.9 in words", raw("GET / HTTP/0.9", "Host: h"), 505, "version_not_supported"),
    ("HTTP/3.0", raw("GET / HTTP/3.0", "Host: h"), 505, "version_not_supported"),
    ("WebSocket over HTTP/1.0", raw("GET / HTTP/1.0", *UPGRADE), 505, "version_not_supported"),
    ("HTTP/2", raw("GET / HTTP/2", "Host: h"), 400, "bad_version"),
    ("HTTP/1.10", raw("GET / HTTP/1.10", "Host: h"), 400, "bad_version"),
    ("http/1.1", raw("GET / http/1.1", "Host: h"), 400, "bad_version"),
    ("HTTP/1,1", raw("GET / HTTP/1,1", "Host: h"), 400, "bad_version"),
    ("HTTP", raw("GET / HTTP", "Host: h"), 400, "bad_version"),
    ("no version", raw("GET / ", "Host: h"), 400, "bad_version"),
    ("empty target", asking(""), 400, "bad_target"),
    ("fragment", asking("/a#b"), 400, "bad_target"),
    ("relative target", asking("a/b"), 400, "bad_target"),
    ("authority form", asking("example.com:80"), 400, "bad_target"),
    ("asterisk with GET", asking("*"), 400, "bad_target"),
    ("asterisk and more", raw("OPTIONS */a HTTP/1.1", "Host: h"), 400, "bad_target"),
    ("other scheme", asking("ftp://h/"), 400, "bad_target"),
    ("scheme without slashes", asking("http:h"), 400, "bad_target"),
    ("user in the target", asking("http://user@h/"), 400, "bad_target"),
    ("user and password in the target", asking("http://user:pass@h/"), 400, "bad_target"),
    ("no host in the target", asking("http:///a"), 400, "bad_target"),
    ("bad port in the target", asking("http://h:65536/"), 400, "bad_target"),
    ("bad IPv6 in the target", asking("http://[::g]/"), 400, "bad_target"),
    *[(f"{c!r} in the target", asking(f"/a{c}b"), 400, "bad_target") for c in '"<>\\^`{|}\0\t\x0b\x1f\x7f\x80\x85\xff'],
    ("half an escape", asking("/%4"), 400, "bad_target"),
    ("no escape", asking("/%zz"), 400, "bad_target"),
    ("no escape in the query", asking("/?a=%"), 400, "bad_target"),
    ("folded with a space", get("Host: h", "X: a", " b"), 400, "folded_header"),
    ("folded with a tab", get("Host: h", "X: a", "\tb"), 400, "folded_header"),
    ("fold first", get(" X: a", "Host: h"), 400, "folded_header"),
    ("no colon", get("Host: h", "X"), 400, "bad_header"),
    ("space before the colon", get("Host : h"), 400, "bad_header_name"),
    ("tab before the colon", get("Host\t: h"), 400, "bad_header_name"),
    ("no name", get("Host: h", ": x"), 400, "bad_header_name"),
    ("name not a token", get("Host: h", "a(b): x"), 400, "bad_header_name"),
    ("name not ASCII", get("Host: h", "\xe9: x"), 400, "bad_header_name"),
    ("NUL in a name", get("Host: h", "a\0b: x"), 400, "bad_header_name"),
    *[
        (f"{c!r} in a value", get("Host: h", f"X: a{c}Authorization: b"), 400, "bad_header_value")
        for c in "\0\x01\x08\x0b\x0c\x0e\x1b\x1c\x1d\x1e\x1f\x7f\x85"
    ],
    *[
        (f"{name} not ASCII", get("Host: h", f"{name}: \xe9"), 400, "bad_header_value")
        for name in ("Origin", "Authorization", "Upgrade", "Connection", "Content-Length", "Sec-WebSocket-Protocol")
    ],
    *[
        (f"{name} twice", get("Host: h", f"{name}: {value}", f"{name.upper()}: {value}"), 400, "duplicate_header")
        for name, value in [
            ("Host", "h"),
            ("Origin", "http://h"),
            ("Authorization", "Bearer a"),
            ("Cookie", "a=b"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Key", "x"),
            ("Sec-WebSocket-Version", "13"),
            ("Content-Length", "5"),
            ("Transfer-Encoding", "chunked"),
            ("Content-Type", "text/plain"),
        ]
    ],
    ("no Host", get("X: y"), 400, "no_host"),
    ("no fields", get(), 400, "no_host"),
    ("absolute form without Host", raw("GET http://h/ HTTP/1.1"), 400, "no_host"),
    *[(f"Host {host!r}", get("Host:" + host), 400, "bad_host") for host in BAD_HOSTS],
    ("bad Host with absolute form", raw("GET http://h/ HTTP/1.1", "Host: a b"), 400, "bad_host"),
    ("bad Host in HTTP/1.0", raw("GET / HTTP/1.0", "Host: a b"), 400, "bad_host"),
    ("Host too long", get("Host: " + "a" * 256), 400, "bad_host"),
    *[
        (f"length {value!r}", get("Host: h", f"Content-Length: {value}"), 400, "bad_content_length")
        for value in ["", "-1", "+3", "0x3", "1.0", "5, 5", "1 2", "1" * 16]
    ],
    *[
        (f"coding {value!r}", get("Host: h", f"Transfer-Encoding: {value}"), 400, "bad_transfer_encoding")
        for value in ["", "gzip", "gzip, chunked", "chunked, identity", "xchunked", "chunked;q=1", "identity"]
    ],
    ("two lengths", get("Host: h", "Content-Length: 5", "Transfer-Encoding: chunked"), 400, "bad_transfer_encoding"),
    ("coding in HTTP/1.0", raw("POST / HTTP/1.0", "Transfer-Encoding: chunked"), 400, "bad_transfer_encoding"),
    ("request line too long", raw("GET /" + "x" * 243 + " HTTP/1.1", "Host: h"), 414, "request_line_too_long"),
    ("request line without end", b"G" * 258, 414, "request_line_too_long"),
    ("request line too long, then LF", b"GET /" + b"x" * 260 + b"\n", 414, "request_line_too_long"),
    ("request line too long, lone CR in time", b"GET /\r" + b"x" * 300 + b"\r\n", 400, "bad_line_ending"),
    ("request line with LF at the limit", b"x" * 257 + b"\n", 400, "bad_line_ending"),
    ("head too large", get("Host: h", "X: " + "x" * 993), 431, "head_too_large"),
    ("field without end", b"GET / HTTP/1.1\r\nX: " + b"x" * 1005, 431, "head_too_large"),
    ("field too long, then LF", b"GET / HTTP/1.1\r\nX: " + b"x" * 1005 + b"\n", 431, "head_too_large"),
    ("field too long, lone CR in time", b"GET / HTTP/1.1\r\nX: \r" + b"x" * 1005 + b"\r\n", 400, "bad_line_ending"),
    ("head full before its end", b"GET / HTTP/1.1\r\nX: " + b"x" * 1003 + b"\r\n", 431, "head_too_large"),
    ("CR at the limit", b"GET / HTTP/1.1\r\nX: " + b"x" * 1004 + b"\rx", 431, "head_too_large"),
    ("too many fields", get("Host: h", *["X: 1"] * 16), 431, "too_many_headers"),
    ("too many fields, no end", get("Host: h", *["X: 1"] * 16)[:-2], 431, "too_many_headers"),
]
