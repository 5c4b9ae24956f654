"""The request head: what is read out of a good one, what a bad one gets, and that splits do not matter."""

from __future__ import annotations

import random
from urllib.parse import quote

from autobahn.websocket.protocol import parseHttpHeader
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web import http

from realtime_svc.errors import Refusal
from realtime_svc.wire.http_head import HeadLimits, HeadParser, RequestHead, read_whole, rewrite_http_head
from realtime_svc.wire.upgrade import answer_upgrade, check_websocket, offered_extensions, parse_protocols
from tests.wire.heads import (
    ALLOW,
    BAD,
    CANARY,
    GOOD,
    LIMITS,
    UPGRADE,
    Refused,
    asking,
    get,
    outcome,
    parse,
    raw,
    splits,
    thorough,
)


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

    def test_at_one_go(self) -> None:
        """Whole heads that are ASCII are read in one go, and no bad one is."""
        slow = {"one empty line first", "other bytes in a value", "other bytes in a cookie", "asterisk", "chunked"}
        for name, data, _ in GOOD:
            if name not in slow and not name.startswith("absolute form"):
                self.assertEqual(read_whole(data, LIMITS), outcome([data]), name)
            self.assertIsNone(read_whole(data[: data.index(b"\r\n\r\n") + 3], LIMITS), name)
        for name, data, _, cause in BAD:
            try:
                self.assertIsNone(read_whole(data, LIMITS), name)
            except Refusal as refusal:
                self.assertEqual(refusal.cause, cause, name)

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
    """`check_websocket`, and the answer to what passed it."""

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

    def test_offered_extensions(self) -> None:
        """Quotes are taken off."""
        fields = (
            'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits="1\\0"',
            "Sec-WebSocket-Extensions: x",
        )
        expected = ["permessage-deflate; client_max_window_bits=10", "x"]
        self.assertEqual(offered_extensions(parse(get(*UPGRADE, *fields))), expected)
        self.assertEqual(offered_extensions(parse(get(*UPGRADE))), [])

    def test_answer(self) -> None:
        """With the key of RFC 6455 1.3; what was not agreed to is not there."""
        head = parse(get(*UPGRADE))
        for subprotocol, extensions in ((None, ""), ("raw.v1", ""), (None, "x; y=1"), ("raw.v1", "x")):
            answer = answer_upgrade(head, subprotocol, extensions)
            self.assertTrue(answer.endswith(b"\r\n\r\n"))
            line, headers, counts = parseHttpHeader(answer)
            self.assertEqual(line, "HTTP/1.1 101 Switching Protocols")
            expected = {
                "upgrade": "WebSocket",
                "connection": "Upgrade",
                "sec-websocket-accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
                **({"sec-websocket-protocol": subprotocol} if subprotocol else {}),
                **({"sec-websocket-extensions": extensions} if extensions else {}),
            }
            self.assertEqual(headers, expected)
            self.assertEqual(set(counts.values()), {1})


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
