"""The head of an HTTP/1.x request: read once, strictly and within bounds, before any framework sees a byte.

    head       = [ CRLF ] request-line CRLF *( field CRLF ) CRLF      RFC 9112 2.1, 2.2; request-line: target.py
    field      = token ":" OWS value OWS                              RFC 9112 5; no folding, no space before the colon
    value      = *( HTAB / %x20-7E / %x80-84 / %x86-FF )              0x85 ends a line for some parsers: refused

A head that came whole and is all ASCII is read at one go (`read_whole`); every other one, and every bad one, line by
line, which says what is wrong. The two agree.

A line ends with CRLF and nothing else. What two parsers could read differently is refused: a repeated field of
`_SINGLE`, bytes above 0x7F in a field of `_ASCII`, Content-Length together with Transfer-Encoding. Cookie is not in
`_ASCII`: a browser sends along what other applications of the same host have put there.

What goes on to a framework is a head written anew from what was read here, never the client's bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from realtime_svc.errors import Refusal, bad_head
from realtime_svc.wire import target as targets

Headers = tuple[tuple[str, str], ...]

# fmt: off
_ASCII = {"authorization", "connection", "content-length", "host", "origin", "transfer-encoding", "upgrade"}
_SINGLE = (_ASCII - {"connection"}) | {"content-type", "cookie", "sec-websocket-key", "sec-websocket-version"}
_HOP_BY_HOP = {
    "connection", "http2-settings", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
    "te", "trailer", "upgrade",
}
# fmt: on

_FIELD = re.compile(rf"({targets.TOKEN}):([\t -~\x80-\x84\x86-\xff]*)")
_WHOLE = re.compile(
    rf"({'|'.join(targets.METHODS)}) ((/{targets.PATH})(?:\?({targets.QUERY}))?) HTTP/(1\.[01])\r\n"
    rf"((?:{targets.TOKEN}:[\t -~]*\r\n)*)"
)
_FIELDS = re.compile(r"([^:]+):([^\r]*)\r\n")  # where `_WHOLE` has matched
_FIELD_NAME = re.compile(targets.TOKEN)
_CONTENT_LENGTH = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """Bytes of a whole head, bytes of its request line without CRLF, and how many fields it may have."""

    head_size: int = 16 * 1024
    request_line_size: int = 8 * 1024
    headers: int = 64


@dataclass(slots=True)
class RequestHead:
    """A head that passed every check. Its repr shows nothing that may hold a secret. Nobody changes it.

    `target` as received; `path` and `query` still percent-encoded; `version` "1.0" or "1.1"; `headers` in order, names
    in lower case, values as latin-1 text without surrounding white space. `get` gives the value of a field by its
    lower-case name, repeated ones joined by ", " (RFC 9110 5.3), or None. `offer` is what the gatekeeper keeps with it,
    so that it looks for a credential once.
    """

    method: str
    target: str = field(repr=False)
    path: str
    query: str = field(repr=False)
    version: str
    headers: Headers = field(repr=False)
    get: Callable[[str], str | None] = field(init=False, repr=False, compare=False)
    offer: object = field(init=False, repr=False, compare=False)
    _joined: dict[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.offer = None
        joined = dict(self.headers)
        if len(joined) != len(self.headers):
            groups: dict[str, list[str]] = {name: [] for name in joined}
            for name, value in self.headers:
                groups[name].append(value)
            joined = {name: ", ".join(values) for name, values in groups.items()}
        self._joined = joined
        self.get = joined.get

    def get_all(self, name: str) -> list[str]:
        """The values of a field by its lower-case name, in order."""
        return [value for key, value in self.headers if key == name]

    @property
    def host(self) -> str | None:
        """Whom the client wants to talk to, as `host[:port]`: the target's authority, or else Host (RFC 9112 3.2.2).

        None only for HTTP/1.0 without either. An empty port is left out.
        """
        authority = targets.authority_of(self.target) or self.get("host")
        return authority.removesuffix(":") if authority is not None else None

    @property
    def segments(self) -> tuple[str, ...]:
        """The path's segments, percent-decoded after the split, so `%2F` is data. Raises `Refusal` 400."""
        segments = self.path.split("/")[1:]
        return tuple(map(targets.percent_decode, segments) if "%" in self.path else segments)

    def query_items(self) -> list[tuple[str, str]]:
        """The query's pairs in order. Raises `Refusal` 400."""
        return targets.parse_query(self.query) if self.query else []

    @property
    def wants_websocket(self) -> bool:
        value = self.get("upgrade")
        return value is not None and (value == "websocket" or "websocket" in options_of(value))

    @property
    def content_length(self) -> int | None:
        value = self.get("content-length")
        return int(value) if value is not None else None

    @property
    def chunked(self) -> bool:
        return self.get("transfer-encoding") is not None

    @property
    def expect_continue(self) -> bool:
        """Does the client wait for 100 (RFC 9110 10.1.1: HTTP/1.0 clients never do)?"""
        return self.version == "1.1" and "100-continue" in options_of(self.get("expect"))

    @property
    def keep_alive(self) -> bool:
        """May another request follow on this connection (RFC 9112 9.3)?"""
        options = options_of(self.get("connection"))
        return "close" not in options and (self.version == "1.1" or "keep-alive" in options)


class HeadParser:
    """Reads one head as its bytes arrive. The outcome does not depend on how the bytes are split.

    Each byte is looked at once; at most `head_size` bytes and one read are kept. Refused at the first byte that can't
    be mended, also where the line is not complete yet. Use it no more once it has returned a head or raised.
    """

    __slots__ = ("_buffer", "_fields", "_limits", "_line", "_scanned", "_start")

    def __init__(self, limits: HeadLimits) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._start = 0  # where the line begins that is not complete yet
        self._scanned = 0  # bytes that are known to hold no end of it
        self._line: targets.RequestLine | None = None
        self._fields: list[tuple[str, str]] = []

    def feed(self, data: bytes) -> tuple[RequestHead, bytes] | None:
        """Take what was read. A head and the bytes behind it, or None while there is more to come.

        Raises `Refusal` 400, 405, 414, 431 or 505.
        """
        if not self._buffer and (read := read_whole(data, self._limits)) is not None:
            return read
        self._buffer += data
        lines = iter(self._complete_lines())
        if self._line is None:
            self._take_request_line(lines)
        if self._line is not None and self._take_fields(lines):
            head = RequestHead(*self._line, tuple(self._fields))
            _check_fields(head)
            return head, bytes(self._buffer[self._start :])
        self._check_incomplete()
        self._scanned = len(self._buffer)
        return None

    def _complete_lines(self) -> list[str]:
        """The lines whose CRLF has come, up to the empty one that ends the head if that has come too.

        What is behind the head is not looked at.
        """
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n", max(0, self._scanned - 3))
        if end >= 0:
            end += 2
        else:
            end = buffer.rfind(b"\r\n", max(self._start, self._scanned - 1))
            if end < 0:
                return []
        return buffer[self._start : end].decode("latin-1").split("\r\n")

    def _limit(self) -> int:
        """Where in the buffer the present line has to be over, CRLF included."""
        if self._line is not None:
            return self._limits.head_size
        return min(self._start + self._limits.request_line_size + 2, self._limits.head_size)

    def _check_incomplete(self) -> None:
        """Refuse the line that is not complete yet if it can't become a good one any more."""
        start = max(self._start, self._scanned - 1)
        data = self._buffer[start : self._limit()]
        if _has_lone_break(data):
            raise _line_ending()
        if start + len(data) >= self._limit():
            raise self._too_long()

    def _overrun(self, line: str) -> Refusal:
        """For a complete line that ends behind its limit: what it would have got before its end came."""
        data = line.encode("latin-1") + b"\r\n"
        return _line_ending() if _has_lone_break(data[: self._limit() - self._start]) else self._too_long()

    def _too_long(self) -> Refusal:
        if self._line is None:
            return Refusal(414, "request_line_too_long", "the request line is too long")
        return Refusal(431, "head_too_large", "the request head is too large")

    def _take_request_line(self, lines: Iterator[str]) -> None:
        for line in lines:
            stop = self._start + len(line) + 2
            if stop > self._limit():
                raise self._overrun(line)
            if "\r" in line or "\n" in line:
                raise _line_ending()
            allowed_empty = not line and self._start == 0  # RFC 9112 2.2: one empty line may come first
            self._start = stop
            if not allowed_empty:
                self._line = targets.parse_request_line(line)
                return

    def _take_fields(self, lines: Iterator[str]) -> bool:
        """True: the empty line that ends the head was among them."""
        match_field, fields, start = _FIELD.fullmatch, self._fields, self._start
        size, most = self._limits.head_size, self._limits.headers
        for line in lines:
            self._start, start = start, start + len(line) + 2
            if start > size:
                raise self._overrun(line)
            match = match_field(line)
            if match is None:
                if line:
                    raise _bad_field(line)
                self._start = start
                return True
            if len(fields) >= most:
                raise Refusal(431, "too_many_headers", "the request has too many header fields")
            name, value = match.groups()
            name, value = name.lower(), value.strip(" \t")
            if not value.isascii() and (name in _ASCII or name.startswith("sec-websocket-")):
                raise bad_head("bad_header_value", "a header field that has to be ASCII holds other bytes")
            fields.append((name, value))
        self._start = start
        return False


def read_whole(data: bytes, limits: HeadLimits) -> tuple[RequestHead, bytes] | None:
    """A head that `data` begins with, and the bytes behind it. None: not this way, ask a `HeadParser`.

    Raises `Refusal` as `HeadParser.feed` does.
    """
    end = data.find(b"\r\n\r\n") + 4
    if end < 4 or end > limits.head_size or not (text := data[: end - 2].decode("latin-1")).isascii():
        return None
    match = _WHOLE.fullmatch(text)
    if match is None or match.start(6) - 2 > limits.request_line_size:
        return None
    method, target, path, query, version, lines = match.groups()
    fields = _FIELDS.findall(lines)
    if len(fields) > limits.headers:
        return None
    headers = tuple([(name.lower(), value.strip(" \t")) for name, value in fields])
    head = RequestHead(method, target, path, query or "", version, headers)
    _check_fields(head)
    return head, data[end:]


def rewrite_http_head(head: RequestHead, *, close: bool) -> bytes:
    """The head for a web server: the target in origin-form, one Host, all other fields but the hop-by-hop ones.

    What frames the body stays (Content-Length, Transfer-Encoding). Fields that a client names in Connection stay too:
    we are where the request ends, and dropping them is known as a way to hide them. `close`: say that no other request
    is to follow.
    """
    path = f"{head.path}?{head.query}" if head.query else head.path
    lines = [f"{head.method} {path} HTTP/{head.version}"]
    if head.host is not None:
        lines.append(f"Host: {head.host}")
    if close:
        lines.append("Connection: close")
    lines += [f"{name}: {value}" for name, value in head.headers if name != "host" and name not in _HOP_BY_HOP]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def options_of(value: str | None) -> list[str]:
    """The items of a list of case-insensitive words."""
    return [item.strip(" \t") for item in value.lower().split(",")] if value else []


def _check_fields(head: RequestHead) -> None:
    """What the fields have to be together: no repeats, a Host, one way to tell the length of a body (RFC 9112 6.3)."""
    if len(head._joined) != len(head.headers) and any(len(head.get_all(name)) > 1 for name in _SINGLE):
        raise bad_head("duplicate_header", "a header field that may come only once is repeated")
    host = head.get("host")
    if host is None and head.version == "1.1":
        raise bad_head("no_host", "the Host header is missing")
    if host is not None and not targets.is_authority(host):
        raise bad_head("bad_host", "the Host header is not a host name or address with an optional port")
    if head.version == "1.0" and head.wants_websocket:
        raise Refusal(505, "version_not_supported", "a WebSocket is opened with HTTP/1.1")
    length, coding = head.get("content-length"), head.get("transfer-encoding")
    if length is not None and _CONTENT_LENGTH.fullmatch(length) is None:
        raise bad_head("bad_content_length", "the Content-Length header is not a number of at most 15 digits")
    if coding is None:
        return
    if length is not None or head.version == "1.0" or coding.lower() != "chunked":
        raise bad_head("bad_transfer_encoding", "the only transfer coding is: chunked, in HTTP/1.1, without a length")


def _has_lone_break(data: bytes | bytearray) -> bool:
    """Is there a CR or LF in `data`, which holds no CRLF? A CR at its end may still get its LF."""
    return b"\n" in data or b"\r" in data[:-1]


def _line_ending() -> Refusal:
    return bad_head("bad_line_ending", "a line of the request head does not end with CRLF")


def _bad_field(line: str) -> Refusal:
    """Which rule a line breaks that is no field."""
    if "\r" in line or "\n" in line:
        return _line_ending()
    if line[0] in " \t":
        return bad_head("folded_header", "a header field is folded over two lines")
    name, colon, _ = line.partition(":")
    if not colon:
        return bad_head("bad_header", "a header field has no colon")
    if _FIELD_NAME.fullmatch(name) is None:
        return bad_head("bad_header_name", "the name of a header field is not a token")
    return bad_head("bad_header_value", "the value of a header field holds a control byte")
