"""The request head: what is read out of a good one, what a bad one gets, and that splits do not matter."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from autobahn.websocket.protocol import parseHttpHeader
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web import http

from realtime_svc.errors import Refusal
from realtime_svc.wire.http_head import (
    HeadLimits,
    HeadParser,
    RequestHead,
    check_websocket,
    parse_protocols,
    rewrite_http_head,
    rewrite_websocket_head,
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


class HeadTable(SynchronousTestCase):
    """The tables above."""

    def test_good(self) -> None:
        """A good head is read as the table says; what is behind it is handed back untouched."""
        for name, data, expected in GOOD:
            result = outcome([data])
            assert isinstance(result, tuple), (name, result)
            head, rest = result
            self.assertEqual({key: getattr(head, key) for key in expected}, expected, name)
            self.assertEqual(rest, data[data.index(b"\r\n\r\n") + 4 :], name)

    def test_bad(self) -> None:
        """A bad head gets its status and cause, and a 405 says what is allowed."""
        for name, data, status, cause in BAD:
            result = outcome([data])
            assert isinstance(result, Refused), (name, result)
            self.assertEqual((result.status, result.cause), (status, cause), name)
            self.assertEqual(dict(result.headers), ALLOW if status == 405 else {}, name)

    def test_splits(self) -> None:
        """However the bytes are split over reads, the outcome is the same."""
        rng = random.Random(6455)
        heads = [entry[1] for entry in GOOD] + [entry[1] for entry in BAD]
        self.assertGreater(len(heads), 120)
        for data in heads:
            whole, *others = (outcome(chunks) for chunks in splits(data, rng))
            for other in others:
                self.assertEqual(other, whole, data)

    def test_prefixes_wait(self) -> None:
        """A good head is waited for up to its last byte."""
        for name, data, _ in GOOD:
            end = data.index(b"\r\n\r\n") + 4
            self.assertIsNone(outcome([data[: end - 1]]), name)

    def test_refused_at_once(self) -> None:
        """Too much is refused with the first byte too many, so no more than the bound is ever held."""
        for endless, size, status in ((b"G", 258, 414), (get("Host: h")[:-2] + b"X", 1024, 431)):
            data = endless.ljust(size, b"x")
            self.assertIsNone(outcome([data[:-1]]))
            refused = outcome([data])
            assert isinstance(refused, Refused)
            self.assertEqual(refused.status, status)


class Head(SynchronousTestCase):
    """Reading a head."""

    def test_get(self) -> None:
        head = parse(get("Host: h", "X: a", "Y: b", "x: c"))
        self.assertEqual(head.get("x"), "a, c")
        self.assertEqual(head.get_all("x"), ["a", "c"])
        self.assertEqual(head.get("y"), "b")
        self.assertIsNone(head.get("z"))
        self.assertEqual(head.get_all("z"), [])

    def test_query_items(self) -> None:
        head = parse(asking("/?a=1&b=%C3%A9+x&&c&d=e=f&a=%2B%26"))
        expected = [("a", "1"), ("b", "é x"), ("c", ""), ("d", "e=f"), ("a", "+&")]
        self.assertEqual(head.query_items(), expected)
        self.assertEqual(parse(asking("/")).query_items(), [])

    def test_bad_encoding(self) -> None:
        """NUL, what is not UTF-8 (surrogates, long forms), and a flood of query items are a 400."""
        for bad in ("%00", "%FF", "%C3", "%ED%A0%80", "%C0%AF"):
            self.assertEqual(self.assertRaises(Refusal, getattr, parse(asking("/a/" + bad)), "segments").status, 400)
            self.assertEqual(self.assertRaises(Refusal, parse(asking("/?a=" + bad)).query_items).status, 400)
            self.assertEqual(self.assertRaises(Refusal, parse(asking(f"/?{bad}=a")).query_items).status, 400)
        flood = parse(asking("/?" + "a&" * 64))
        self.assertEqual(self.assertRaises(Refusal, flood.query_items).cause, "bad_query")
        made_by_hand = RequestHead("GET", "/%", "/%", "", "1.1", ())
        self.assertEqual(self.assertRaises(Refusal, getattr, made_by_hand, "segments").status, 400)

    def test_repr_holds_no_secret(self) -> None:
        head = parse(raw(f"GET /ws?token={CANARY} HTTP/1.1", "Host: h", f"Authorization: Bearer {CANARY}"))
        self.assertNotIn(CANARY, repr(head))
        self.assertIn("/ws", repr(head))

    def test_refusals_repeat_nothing(self) -> None:
        """Nothing of what a client sent is in a refusal."""
        heads = [
            raw(CANARY),
            raw(f"{CANARY} / HTTP/1.1"),
            asking(f'/{CANARY}"'),
            raw(f"GET / {CANARY}"),
            get(f"{CANARY}"),
            get(f"{CANARY} : x"),
            get(f"Host: {CANARY}/"),
            get("Host: h", f"Content-Length: {CANARY}"),
            get("Host: h", f"Authorization: {CANARY}\0"),
            get("Host: h", f"Transfer-Encoding: {CANARY}"),
        ]
        for data in heads:
            refused = outcome([data])
            assert isinstance(refused, Refused), data
            self.assertNotIn(CANARY, repr(refused))


class Websocket(SynchronousTestCase):
    """`check_websocket` and what goes on to the WebSocket library."""

    def refused(self, *fields: str, line: str = "GET / HTTP/1.1", without: str = "-") -> Refusal:
        kept = [field for field in UPGRADE if not field.startswith(without)]
        refusal = self.assertRaises(Refusal, check_websocket, parse(raw(line, *kept, *fields)))
        assert isinstance(refusal, Refusal)
        return refusal

    def test_good(self) -> None:
        for fields in (
            (),
            ("Content-Length: 0",),
            ("Connection: keep-alive",),
            ("Sec-WebSocket-Protocol: raw.v1, bearer.a-b_c.d",),
            ("Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: b"),
            ("Sec-WebSocket-Protocol: " + ",".join(f"p{n}" for n in range(32)),),
            ("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",),
            ('Sec-WebSocket-Extensions: a;b = "c" ; d=e,f', "Sec-WebSocket-Extensions: g"),
        ):
            check_websocket(parse(get(*UPGRADE, *fields)))

    def test_method(self) -> None:
        for method in ("POST", "HEAD", "OPTIONS"):
            refusal = self.refused(line=f"{method} / HTTP/1.1")
            self.assertEqual((refusal.status, refusal.headers), (405, {"Allow": "GET"}))

    def test_version(self) -> None:
        self.assertEqual(self.refused(without="Sec-WebSocket-Version").status, 400)
        for version in ("12", "8", "0", "14", "013", "13, 8", "x", ""):
            refusal = self.refused(f"Sec-WebSocket-Version: {version}", without="Sec-WebSocket-Version")
            self.assertEqual(refusal.status, 426)
            self.assertEqual(refusal.headers, {"Sec-WebSocket-Version": "13", "Upgrade": "websocket"})

    def test_key(self) -> None:
        self.assertEqual(self.refused(without="Sec-WebSocket-Key").cause, "bad_websocket_key")
        for key in ("", "x", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZ-==", "A" * 24):
            refusal = self.refused(f"Sec-WebSocket-Key: {key}", without="Sec-WebSocket-Key")
            self.assertEqual((refusal.status, refusal.cause), (400, "bad_websocket_key"), key)

    def test_connection(self) -> None:
        for fields in ((), ("Connection: keep-alive",), ("Connection: upgraded",), ("Connection: not upgrade",)):
            self.assertEqual(self.refused(*fields, without="Connection").cause, "bad_upgrade")

    def test_body(self) -> None:
        for field in ("Content-Length: 1", "Transfer-Encoding: chunked"):
            self.assertEqual(self.refused(field).cause, "upgrade_with_body")

    def test_protocols(self) -> None:
        many = ",".join(f"p{n}" for n in range(33))
        for value in ("", ",", "a,", "a,,b", "a b", "a/b", "a=", '"a"', "a,a", many, many + ",x"):
            refusal = self.refused(f"Sec-WebSocket-Protocol: {value}")
            self.assertEqual((refusal.status, refusal.cause), (400, "bad_subprotocol"), value)
        self.assertEqual(self.refused("Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: a").status, 400)
        self.assertEqual(parse_protocols(parse(get("Host: h", "Sec-WebSocket-Protocol: b ,\ta"))), ["b", "a"])
        self.assertEqual(parse_protocols(parse(get("Host: h"))), [])

    def test_extensions(self) -> None:
        unquoted = ("", ",", "a,", "a;", ";a", "a;=b", "a;b=", "a b", "a=b", "a;b=c d", "a/b")
        for value in (*unquoted, 'a;b=""', 'a;b="c', 'a;b="c,d"', 'a;b="c d"', 'a;b="\\"', '"a"'):
            refusal = self.refused(f"Sec-WebSocket-Extensions: {value}")
            self.assertEqual((refusal.status, refusal.cause), (400, "bad_extensions"), value)

    def test_rewrite(self) -> None:
        """Autobahn sees the handshake only: no path, no credentials, no foreign field, no quotes."""
        fields = (
            "Origin: http://h",
            f"Authorization: Bearer {CANARY}",
            f"Cookie: a={CANARY}",
            f"Sec-WebSocket-Protocol: raw.v1, bearer.{CANARY}",
            'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits="1\\0"',
            "Sec-WebSocket-Extensions: x",
            f"X-Other: {CANARY}",
            "Content-Length: 0",
        )
        head = parse(raw(f"GET /ws?token={CANARY} HTTP/1.1", *UPGRADE, *fields))
        line, headers, counts = parseHttpHeader(rewrite_websocket_head(head, ["raw.v1"]))
        self.assertEqual(line, "GET / HTTP/1.1")
        expected = {
            "host": "h",
            "upgrade": "websocket",
            "connection": "Upgrade",
            "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
            "sec-websocket-version": "13",
            "sec-websocket-protocol": "raw.v1",
            "sec-websocket-extensions": "permessage-deflate; client_max_window_bits=10, x",
        }
        self.assertEqual(headers, expected)
        self.assertEqual(set(counts.values()), {1})

    def test_rewrite_minimal(self) -> None:
        """What was not offered is not there; the target's host goes before Host."""
        head = parse(raw("GET ws://other:80/ HTTP/1.1", *UPGRADE))
        rewritten = rewrite_websocket_head(head, [])
        self.assertNotIn(b"Extensions", rewritten)
        self.assertNotIn(b"Protocol", rewritten)
        self.assertIn(b"\r\nHost: other:80\r\n", rewritten)
        check_websocket(parse(rewritten))


class _Request(http.Request):
    """Tells what twisted.web made of a request, in the body of the response."""

    def process(self) -> None:
        assert self.content is not None
        values = self.requestHeaders.getRawHeaders(b"x", [])
        self.write(b"|".join([self.method, self.uri, *values, self.content.read()]))
        self.finish()


class RewriteHttp(SynchronousTestCase):
    """What goes on to twisted.web."""

    def test_fields(self) -> None:
        """Hop-by-hop fields are gone, the body's length stays, one Host comes first; naming a field hides none."""
        fields = (
            "Accept: a",
            "Connection: keep-alive, accept, content-length",
            "Keep-Alive: 5",
            "Upgrade: h2c",
            "HTTP2-Settings: x",
            "TE: trailers",
            "Proxy-Authorization: x",
            "Host: h",
            "Content-Length: 5",
            "Accept: b",
        )
        head = parse(raw("POST http://other:1/p%20q?x=1 HTTP/1.1", *fields))
        body = b"host: other:1\r\naccept: a\r\ncontent-length: 5\r\naccept: b\r\n\r\n"
        expected = b"POST /p%20q?x=1 HTTP/1.1\r\n" + body.replace(b"host", b"Host")
        self.assertEqual(rewrite_http_head(head, close=False), expected)
        closing = expected.replace(b"accept: a", b"Connection: close\r\naccept: a")
        self.assertEqual(rewrite_http_head(head, close=True), closing)

    def test_old(self) -> None:
        head = parse(raw("OPTIONS * HTTP/1.0", "X: \xe9"))
        self.assertEqual(rewrite_http_head(head, close=False), b"OPTIONS * HTTP/1.0\r\nx: \xe9\r\n\r\n")

    def test_twisted(self) -> None:
        """twisted.web reads it as we did, body included, and closes where it is told to."""
        fields = ("Host: h", "Transfer-Encoding: Chunked", "X: a", "X: b")
        head = parse(raw("POST /p?q=1 HTTP/1.1", *fields))
        for close in (False, True):
            channel, transport = http.HTTPChannel(), StringTransport()
            channel.requestFactory = _Request
            channel.makeConnection(transport)
            channel.dataReceived(rewrite_http_head(head, close=close) + b"2\r\nhi\r\n0\r\n\r\n")
            self.assertIn(b"POST|/p?q=1|a|b|hi\r\n", transport.value())
            self.assertEqual(transport.disconnecting, close)


TOKENS = st.text("!#$%&'*+-.^_`|~abzABZ019", min_size=1, max_size=8)
VALUES = st.text(
    st.characters(codec="latin-1", exclude_characters="\x85\x7f" + "".join(map(chr, range(32)))), max_size=20
)
PIECES = st.sampled_from(
    (
        *(b"GET ", b"/", b" HTTP/1.1", b"\r\n", b"\r", b"\n", b"Host: h", b"X", b":", b" ", b"%", b"\0", b"\x85"),
        *(b"http://", b"Content-Length: 1", b"Transfer-Encoding: chunked", b"Upgrade: websocket", b"x" * 99, b"?a=%4"),
    )
)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
BYTES = st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=40).map(b"".join))


class Properties(SynchronousTestCase):
    """What holds for all bytes."""

    @thorough
    @given(st.booleans(), BYTES, st.lists(st.integers(0, 600), max_size=4))
    def test_arbitrary_bytes(self, begun: bool, data: bytes, cuts: list[int]) -> None:
        """Nothing but `Refusal` is ever raised, here and by all that reads a head; splits do not matter."""
        data = (b"GET / HTTP/1.1\r\nHost: h\r\n" if begun else b"") + data
        cuts = sorted(min(cut, len(data)) for cut in cuts)
        result = outcome([data])
        self.assertEqual(outcome([data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]), result)
        if not isinstance(result, tuple):
            return
        head = result[0]
        for read in (lambda: head.segments, head.query_items, lambda: check_websocket(head)):
            try:
                read()
            except Refusal as refusal:
                self.assertIn(refusal.status, (400, 405, 426))
        self.assertEqual(parse(rewrite_http_head(head, close=True)).content_length, head.content_length)

    @thorough
    @given(
        st.sampled_from(["GET", "POST", "HEAD", "OPTIONS"]),
        st.lists(TEXT, min_size=1, max_size=4),
        st.lists(st.tuples(TEXT, TEXT), max_size=4),
        st.lists(st.tuples(TOKENS, VALUES), max_size=8),
        st.binary(max_size=8),
    )
    def test_round_trip(
        self,
        method: str,
        segments: list[str],
        items: list[tuple[str, str]],
        fields: list[tuple[str, str]],
        rest: bytes,
    ) -> None:
        """What was put into a head comes out of it, and once more out of the one that is written anew."""
        path = "".join("/" + quote(segment, safe="") for segment in segments)
        query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in items)
        data = raw(f"{method} {path}?{query} HTTP/1.1", "Host: h", *(f"{n}: {v}" for n, v in fields))
        result = HeadParser(HeadLimits()).feed(data + rest)
        assert result is not None
        head, behind = result
        self.assertEqual((head.method, head.path, head.query, behind), (method, path, query, rest))
        self.assertEqual(head.segments, tuple(segments))
        self.assertEqual(head.query_items(), items)
        expected = (("host", "h"), *((name.lower(), value.strip(" ")) for name, value in fields))
        self.assertEqual(head.headers, expected)
        again = parse(rewrite_http_head(head, close=False))
        self.assertEqual((again.path, again.query, again.headers), (path, query, expected))
