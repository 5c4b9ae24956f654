"""The table of `test_hostile_handshakes`: requests nobody should send, and what they must get."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tests.integration.raw_http import KEY, bearer, chunked, head
from tests.integration.server import ALICE, TOKENS

CANARY = "canary"  # in every request: what a client sends must not come back, nor be logged
CONFIG = f"""
{TOKENS}
[auth]
cookie = "session"
[http]
allowed_origins = ["https://good.example"]
allowed_hosts = ["localhost", "good.example"]
[limits]
connections_per_user = 0
[namespaces.closed]
subscribe = []
publish = []
[namespaces.bobs]
subscribe = ["user:bob"]
publish = ["user:bob"]
"""
GOOD = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
    "Authorization": f"Bearer {ALICE}",
    "User-Agent": CANARY,
}
AUTHORIZED = ("Host: localhost", bearer(ALICE), f"User-Agent: {CANARY}")
COOKIE = {"Authorization": None, "Cookie": f"session={ALICE}"}
FRAME = b"\x81\x85\0\0\0\0hello"

Changes = Mapping[str, str | None]


class Row(NamedTuple):
    """A request, and what it must get: the cause too, so that no row passes for another one's reason."""

    name: str
    data: bytes
    status: int
    cause: str


def ws(change: Changes | None = None, *more: str, path: str = "/raw/canary", line: str = "GET {} HTTP/1.1") -> bytes:
    """A handshake that is good but for `change` (None takes a field out) and `more` fields behind it."""
    fields = {**GOOD, **(change or {})}
    named = (f"{name}: {value}" for name, value in fields.items() if value is not None)
    return head(line.format(path), *named, *more)


def plain(line: str, *more: str) -> bytes:
    """A request without upgrade, by alice."""
    return head(line, *AUTHORIZED, *more)


def at(path: str) -> bytes:
    return ws(path=path)


def origins() -> list[Row]:
    foreign = [
        "https://evil.example",
        "null",
        "https://good.example.evil.example",
        "https://evilgood.example",
        "https://sub.good.example",
        "http://good.example",
        "https://good.example:8443",
        "https://good.example/",
        "https://good.example@evil.example",
        "https://good.example https://evil.example",
        "https://good.example,https://evil.example",
        "https://localhost",
        "file://",
        "good.example",
        "*",
        "",
    ]
    sent = "https://good.example"
    return [
        *(Row(f"origin {origin!r}", ws({"Origin": origin}), 403, "origin") for origin in foreign),
        *(Row(f"origin {origin!r}, cookie", ws({**COOKIE, "Origin": origin}), 403, "origin") for origin in foreign[:3]),
        Row("cookie without an origin", ws(COOKIE), 403, "origin"),
        Row("two origins", ws({"Origin": sent}, "Origin: https://evil.example"), 400, "duplicate_header"),
        Row("the same origin twice", ws({"Origin": sent}, f"origin: {sent}"), 400, "duplicate_header"),
        Row("origin with a control", ws({"Origin": f"{sent}\x0b"}), 400, "bad_header_value"),
        Row("origin not ASCII", ws({"Origin": "https://g\xf6\xf6d.example"}), 400, "bad_header_value"),
        Row("origin at /ws", ws({"Origin": "null"}, path="/ws?canary=1"), 403, "origin"),
        Row("origin at /sse", plain("GET /sse/canary HTTP/1.1", "Origin: https://evil.example"), 403, "origin"),
        Row("origin at /publish", plain("POST /publish/canary HTTP/1.1", "Origin: null"), 403, "origin"),
        Row("preflight", plain("OPTIONS /publish/canary HTTP/1.1", "Origin: https://evil.example"), 403, "origin"),
    ]


def hosts() -> list[Row]:
    wrong = ["evil.example", "localhost.evil.example", "127.0.0.1", "[::1]:8000", "xlocalhost"]
    bad = ["", "localhost/", "alice@localhost", "localhost:99999", "local host", "localhost, evil.example", "[::g]"]
    absolute = "GET http://evil.example/raw/canary HTTP/1.1"
    return [
        *(Row(f"host {host!r}", ws({"Host": host}), 421, "wrong_host") for host in wrong),
        *(Row(f"host {host!r}", ws({"Host": host}), 400, "bad_host") for host in bad),
        Row("another host in the target", ws(line=absolute), 421, "wrong_host"),
        Row("no host", ws({"Host": None}), 400, "no_host"),
        Row("two hosts", ws(None, "Host: good.example"), 400, "duplicate_header"),
        Row("wrong host at /publish", head("POST /publish/canary HTTP/1.1", "Host: evil.example"), 421, "wrong_host"),
    ]


def request_lines() -> list[Row]:
    return [
        Row("HTTP/0.9", b"GET /raw/canary\r\n", 400, "bad_request_line"),
        Row("HTTP/0.9 with a head", head("GET /raw/canary", "Host: localhost"), 400, "bad_request_line"),
        Row("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\ncanary", 505, "version_not_supported"),
        Row("upgrade in HTTP/1.0", ws(line="GET {} HTTP/1.0"), 505, "version_not_supported"),
        Row("HTTP/1.2", ws(line="GET {} HTTP/1.2"), 505, "version_not_supported"),
        Row("HTTP/3.0", ws(line="GET {} HTTP/3.0"), 505, "version_not_supported"),
        Row("lower case version", ws(line="GET {} http/1.1"), 400, "bad_version"),
        Row("not HTTP", b"SSH-2.0-canary\r\n\r\n", 400, "bad_request_line"),
        Row("TLS on a plain port", b"\x16\x03\x01\x02\x00canary\r\n\r\n", 400, "bad_request_line"),
        Row("CONNECT", head("CONNECT canary:443 HTTP/1.1", "Host: localhost"), 405, "method_not_allowed"),
        *(
            Row(method, ws(line=f"{method} {{}} HTTP/1.1"), 405, "method_not_allowed")
            for method in ("TRACE", "PUT", "DELETE", "PATCH", "get", "POST", "OPTIONS", "CANARY")
        ),
        Row("GET at /publish", plain("GET /publish/canary HTTP/1.1"), 405, "method_not_allowed"),
        Row("POST at /sse", plain("POST /sse/canary HTTP/1.1"), 405, "method_not_allowed"),
        Row("POST at /ws", plain("POST /ws?canary HTTP/1.1"), 405, "method_not_allowed"),
        Row("method not a token", ws(line="G@T {} HTTP/1.1"), 400, "bad_method"),
        Row("two spaces", ws(line="GET  {} HTTP/1.1"), 400, "bad_request_line"),
        Row("space in the target", at("/raw/can ary"), 400, "bad_request_line"),
        Row("fragment", at("/raw/canary#x"), 400, "bad_target"),
        Row("target without slash", at("raw/canary"), 400, "bad_target"),
        Row("target of another scheme", at("ftp://localhost/raw/canary"), 400, "bad_target"),
        Row("target with user", at("http://alice@localhost/raw/canary"), 400, "bad_target"),
        Row("escape sequence in the target", at("/raw/\x1b[31mcanary"), 400, "bad_target"),
        Row("header in the target", at("/raw/canary\r\nX: y"), 400, "bad_request_line"),
        Row("backslash", at("/raw\\canary"), 400, "bad_target"),
        Row("open redirect", at("/ws?redirect=http://evil.example/canary<"), 400, "bad_target"),
        Row("lone LF", ws().replace(b"\r\n", b"\n"), 400, "bad_line_ending"),
        Row("lone CR", ws().replace(b"\r\n", b"\r"), 400, "bad_line_ending"),
        Row("two empty lines first", b"\r\n\r\n" + ws(), 400, "bad_request_line"),
    ]


def fields() -> list[Row]:
    controls = "\0\x01\x08\x0b\x0c\x1b\x1c\x1d\x1e\x1f\x7f\x85"
    injected = [
        Row(f"{char!r} in {name}", ws(None, f"{name}: canary{char}X: y"), 400, "bad_header_value")
        for name, chars in (("X", controls), ("Cookie", "\x85\x0b\x0c\x1c"), ("Sec-WebSocket-Protocol", "\x85\0"))
        for char in chars
    ]
    repeated = [
        Row(f"{name} twice", ws(None, f"{name.upper()}: {GOOD.get(name, 'session=x')}"), 400, "duplicate_header")
        for name in ("Authorization", "Upgrade", "Sec-WebSocket-Version", "Sec-WebSocket-Key")
    ]
    return [
        *injected,
        *repeated,
        Row("Authorization of two", ws(None, "Authorization: Bearer canary"), 400, "duplicate_header"),
        Row("Cookie twice", ws(None, "Cookie: a=canary", "Cookie: session=canary"), 400, "duplicate_header"),
        Row("Authorization with \\x85", ws({"Authorization": f"Bearer {ALICE}\x85"}), 400, "bad_header_value"),
        Row("LF in a value", ws(None, "X: canary\nAuthorization: Bearer x"), 400, "bad_line_ending"),
        Row("CR in a value", ws(None, "X: canary\rAuthorization: Bearer x"), 400, "bad_line_ending"),
        Row("fold", ws(None, "X: canary", " more"), 400, "folded_header"),
        Row("fold with a tab", ws(None, "X: canary", "\tmore"), 400, "folded_header"),
        Row("fold of Authorization", ws({"Authorization": f"Bearer\r\n {ALICE}"}), 400, "folded_header"),
        Row("no colon", ws(None, "canary"), 400, "bad_header"),
        Row("space before the colon", ws(None, "Transfer-Encoding : chunked"), 400, "bad_header_name"),
        Row("no name", ws(None, ": canary"), 400, "bad_header_name"),
        Row("NUL in a name", ws(None, "can\0ary: x"), 400, "bad_header_name"),
        Row("65 fields", ws(None, *["X: canary"] * 58), 431, "too_many_headers"),
        Row("10,000 fields", ws(None, *["X: canary"] * 10_000), 431, "too_many_headers"),
        Row("10,000 empty fields", ws(None, *["X:"] * 10_000), 431, "too_many_headers"),
        Row("a field of 17 KiB", ws(None, "X: " + "canary" * 2_900), 431, "head_too_large"),
        Row("a field without end", b"GET /raw/canary HTTP/1.1\r\nX: " + b"x" * 2**20, 431, "head_too_large"),
        Row("a target of 9,000 bytes", at("/raw/canary" + "x" * 9_000), 414, "request_line_too_long"),
        Row("a target of 1 MiB", at("/raw/canary" + "x" * 2**20), 414, "request_line_too_long"),
        Row("a request line without end", b"canary" * 2**16, 414, "request_line_too_long"),
    ]


def bodies_and_more() -> list[Row]:
    """Bytes behind the head, and heads whose end two parsers could see in different places."""
    bad = "bad_transfer_encoding"
    second = plain("GET /sse/canary HTTP/1.1")
    return [
        Row("body", ws(None, "Content-Length: 6") + b"canary", 400, "upgrade_with_body"),
        Row("length without body", ws(None, "Content-Length: 999999"), 400, "upgrade_with_body"),
        Row("chunked", ws(None, "Transfer-Encoding: chunked") + chunked(b"canary"), 400, "upgrade_with_body"),
        Row("length and chunked", ws(None, "Content-Length: 6", "Transfer-Encoding: chunked"), 400, bad),
        Row("two lengths", ws(None, "Content-Length: 6", "Content-Length: 0"), 400, "duplicate_header"),
        Row("signed length", ws(None, "Content-Length: +6"), 400, "bad_content_length"),
        Row("list of lengths", ws(None, "Content-Length: 0, 0"), 400, "bad_content_length"),
        Row("gzip, chunked", ws(None, "Transfer-Encoding: gzip, chunked"), 400, bad),
        Row("xchunked", ws(None, "Transfer-Encoding: xchunked"), 400, bad),
        Row("identity", ws(None, "Transfer-Encoding: identity"), 400, bad),
        Row("chunked in HTTP/1.0", plain("POST /publish/a HTTP/1.0", "Transfer-Encoding: chunked"), 400, bad),
        Row("publish: length and chunked", _smuggled(), 400, bad),
        Row("pipelined request", ws() + second, 400, "early_data"),
        Row("pipelined upgrade", ws() + ws(), 400, "early_data"),
        Row("frame before 101", ws() + FRAME, 400, "early_data"),
        Row("one byte before 101", ws() + b"\n", 400, "early_data"),
        Row("frame before 101 at /ws", at("/ws?canary=1") + FRAME, 400, "early_data"),
        Row("body on GET /sse", plain("GET /sse/canary HTTP/1.1", "Content-Length: 1") + b"x", 400, "unexpected_body"),
        Row("body too big", plain("POST /publish/canary HTTP/1.1", "Content-Length: 65537"), 413, "body_too_big"),
        Row(
            "body much too big", plain("POST /publish/a HTTP/1.1", "Content-Length: 9" + "0" * 14), 413, "body_too_big"
        ),
    ]


def _smuggled() -> bytes:
    return plain("POST /publish/canary HTTP/1.1", "Content-Length: 4", "Transfer-Encoding: chunked") + b"0\r\n\r\nGET /"


def upgrades() -> list[Row]:
    bad = "bad_websocket_key"
    protocol = "Sec-WebSocket-Protocol"
    versions = ("0", "7", "8", "12", "14", "013", "13, 8", "canary", "")
    keys = ("", "canary", KEY[:-1], KEY + "=", "-" * 22 + "==", "A" * 24, f"{KEY},{KEY}")
    protocols = (
        "",
        ",",
        "raw.v1,",
        "raw.v1 plain.v1",
        "raw.v1, raw.v1",
        '"raw.v1"',
        ",".join(f"p{n}" for n in range(33)),
    )
    extensions = ("", "permessage-deflate;", "a; b=", 'a; b="c d"', "a b", ",")
    return [
        *(
            Row(f"version {version!r}", ws({"Sec-WebSocket-Version": version}), 426, "websocket_version")
            for version in versions
        ),
        *(Row(f"key {key!r}", ws({"Sec-WebSocket-Key": key}), 400, bad) for key in keys),
        *(Row(f"protocols {offer!r}", ws({protocol: offer}), 400, "bad_subprotocol") for offer in protocols),
        *(
            Row(f"extensions {offer!r}", ws({"Sec-WebSocket-Extensions": offer}), 400, "bad_extensions")
            for offer in extensions
        ),
        Row("no version", ws({"Sec-WebSocket-Version": None}), 400, "no_websocket_version"),
        Row("no key", ws({"Sec-WebSocket-Key": None}), 400, bad),
        Row("Connection without Upgrade", ws({"Connection": "keep-alive"}), 400, "bad_upgrade"),
        Row("no Connection", ws({"Connection": None}), 400, "bad_upgrade"),
        Row("no upgrade", plain("GET /raw/canary HTTP/1.1"), 426, "upgrade_required"),
        Row("no upgrade at /ws", plain("GET /ws HTTP/1.1"), 426, "upgrade_required"),
        Row("upgrade to h2c", ws({"Upgrade": "h2c"}), 426, "upgrade_required"),
        Row("upgrade to websockets", ws({"Upgrade": "websockets"}), 426, "upgrade_required"),
        Row("upgrade at /sse", at("/sse/canary"), 400, "no_websocket_here"),
        Row("upgrade at /publish", at("/publish/canary"), 400, "no_websocket_here"),
    ]


def addresses() -> list[Row]:
    missing = [
        *(
            "/",
            "/raw",
            "/raw/canary/x",
            "/ws/",
            "//ws",
            "/ws/canary",
            "/WS",
            "/../ws",
            "/raw/../ws",
            "/ws%2F",
            "/ws;a=b",
        ),
        *(
            "/connection",
            "/connection/websocket/",
            "/connection%2Fwebsocket",
            "/api/publish",
            "/metrics",
            "/health/live",
            "/admin",
            "/favicon.ico",
            "/.git/config",
            "/sse",
            "/publish",
        ),
    ]
    encodings = ["/raw/%00", "/raw/canary%00", "/raw/%FF", "/raw/%C0%AF", "/raw/%ED%A0%80", "/raw/%C3", "/%FFws"]
    names = [
        *(
            "",
            "a%20b",
            "caf%C3%A9",
            "%E2%80%AE",
            "a*",
            "a%7Db",
            "a%0D%0AX:y",
            "..%2F..%2Fetc%2Fpasswd",
            "a%2Fb",
            "a:",
            ":a",
        ),
        *("x" * 256, "%25", "a%3Fb", "a!b"),
    ]
    tokens = ["token", "access_token", "ToKeN", "%74oken", "authorization", "auth", "a=b&token", "token=&token"]
    private = ["closed:canary", "bobs:canary", "%23bob", "room%23bob,carol", "%23", "%23Alice", "$canary"]
    queries = ["?echo=%FF", "?echo=%00", "?" + "a&" * 64]
    return [
        *(Row(f"path {path}", at(path), 404, "not_found") for path in missing),
        *(Row(f"path {path}", at(path), 400, "bad_encoding") for path in encodings),
        *(Row(f"path {path}", at(path), 400, "bad_target") for path in ("/raw/%", "/raw/%4", "/raw/%zz", "/raw/a{b}")),
        *(Row(f"channel {name[:20]!r}", at(f"/raw/{name}"), 400, "bad_channel") for name in names),
        *(Row(f"query {name}", at(f"/ws?{name}={ALICE}"), 400, "token_in_query") for name in tokens),
        *(Row(f"private {name}", at(f"/raw/{name}"), 403, "permission") for name in private),
        *(Row(f"sse {name}", plain(f"GET /sse/{name} HTTP/1.1"), 403, "permission") for name in private[:3]),
        *(Row(f"publish {name}", plain(f"POST /publish/{name} HTTP/1.1"), 403, "permission") for name in private[:3]),
        *(Row(f"query {query[:10]}", at(f"/raw/canary{query}"), 400, _query_cause(query)) for query in queries),
        Row("unknown namespace", at("/raw/nowhere:canary"), 404, "unknown_channel"),
        Row("unknown namespace, sse", plain("GET /sse/nowhere:canary HTTP/1.1"), 404, "unknown_channel"),
        Row("unknown namespace, publish", plain("POST /publish/nowhere:a HTTP/1.1"), 404, "unknown_channel"),
        Row("echo where it is off", at("/raw/canary?echo=1"), 403, "echo"),
        Row("asterisk", plain("OPTIONS * HTTP/1.1"), 404, "not_found"),
    ]


def _query_cause(query: str) -> str:
    return "bad_query" if "&" in query else "bad_encoding"


def credentials() -> list[Row]:
    """Where a credential stands, not what it says: `test_bad_tokens` has those."""
    nobody = {"Authorization": None}
    offers = {
        "bearer alone": f"bearer.{ALICE}",
        "bearer with the other protocol": f"plain.v1, bearer.{ALICE}",
        "bearer with a strange protocol": f"canary, bearer.{ALICE}",
    }
    return [
        *(
            Row(name, ws({**nobody, "Sec-WebSocket-Protocol": offer}), 400, "no_subprotocol")
            for name, offer in offers.items()
        ),
        Row("bearer alone at /ws", _offered(f"bearer.{ALICE}"), 400, "no_subprotocol"),
        Row("two bearers", _offered(f"plain.v1, bearer.{ALICE}, bearer.canary"), 401, "unauthorized"),
        Row("nobody", ws(nobody), 401, "unauthorized"),
        Row("nobody at /sse", head("GET /sse/canary HTTP/1.1", "Host: localhost"), 401, "unauthorized"),
        Row("nobody publishes", head("POST /publish/canary HTTP/1.1", "Host: localhost"), 401, "unauthorized"),
        Row("nobody, closed channel", ws(nobody, path="/raw/closed:canary"), 401, "unauthorized"),
        Row("nobody, unknown namespace", ws(nobody, path="/raw/nowhere:canary"), 401, "unauthorized"),
        Row("two session cookies", ws({**nobody, **page("session=a; session=canary")}), 401, "unauthorized"),
        Row("Digest", ws({"Authorization": 'Digest username="canary"'}), 401, "unauthorized"),
    ]


def _offered(protocols: str) -> bytes:
    return ws({"Authorization": None, "Sec-WebSocket-Protocol": protocols}, path="/ws?canary=1")


def page(cookie: str) -> dict[str, str]:
    return {"Cookie": cookie, "Origin": "https://good.example"}


def table() -> list[Row]:
    groups = (origins, hosts, request_lines, fields, bodies_and_more, upgrades, addresses, credentials)
    return [row for group in groups for row in group()]
