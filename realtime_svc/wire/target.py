"""The request line and what its target says (RFC 9112 3, RFC 3986), read so that no two parsers can differ about it.

    request-line   = method SP target SP "HTTP/" DIGIT "." DIGIT      exactly one space each
    target         = origin-form / absolute-form / asterisk-form      authority-form is for CONNECT: 405
    origin-form    = "/" ...
    absolute-form  = ("http" / "https" / "ws" / "wss") "://" authority [ "/" ... ] [ "?" ... ]
    asterisk-form  = "*"                                              with OPTIONS only
    authority      = host [ ":" port ]                                no user information
    host           = 1*255( ALPHA / DIGIT / "-" / "." / "_" / "~" ) / "[" IPv6address "]"

Stricter than RFC 3986 where its freedom only helps an attacker: a host name holds neither percent-encodings nor commas,
a target neither `#` nor a character that has to be percent-encoded, and each `%` is followed by two hex digits.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from realtime_svc.errors import Refusal, bad_head

METHODS = ("GET", "HEAD", "OPTIONS", "POST")
MAX_QUERY_ITEMS = 64

TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"

_METHOD = re.compile(TOKEN)
_VERSION = re.compile(r"HTTP/[0-9]\.[0-9]")
QUERY = r"[!$&-;=?-Z\[\]_a-z~]*(?:%[0-9A-Fa-f]{2}[!$&-;=?-Z\[\]_a-z~]*)*"
PATH = QUERY.replace("?-Z", "@-Z")  # the same without a question mark
_TARGET = re.compile(QUERY)
_ABSOLUTE = re.compile(r"(?:https?|wss?)://([^/?]*)", re.IGNORECASE)
_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|[-A-Za-z0-9._~]{1,255})(?::([0-9]{0,5}))?")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


class RequestLine(NamedTuple):
    """`target` as received; `path` and `query` are parts of it, still percent-encoded; `version` is "1.0" or "1.1"."""

    method: str
    target: str
    path: str
    query: str
    version: str


def parse_request_line(line: str) -> RequestLine:
    """Read a request line without its CRLF.

    Raises `Refusal`: 400 where the grammar is broken, 505 for a version other than 1.0 and 1.1 (the HTTP/2 preface has
    one), 405 for a method this server has no use for.
    """
    parts = line.split(" ")
    if len(parts) != 3:
        raise bad_head("bad_request_line", "the request line is not: method, target, version")
    method, target, name = parts
    if name not in ("HTTP/1.1", "HTTP/1.0"):
        if _VERSION.fullmatch(name) is None:
            raise bad_head("bad_version", "the request line does not end with an HTTP version")
        raise Refusal(505, "version_not_supported", "this server speaks HTTP/1.1 and HTTP/1.0")
    if method not in METHODS:
        if _METHOD.fullmatch(method) is None:
            raise bad_head("bad_method", "the method is not a token")
        raise Refusal(405, "method_not_allowed", "the method is not allowed here", {"Allow": ", ".join(METHODS)})
    path, query = _split(target, method)
    return RequestLine(method, target, path, query, name[5:])


def _split(target: str, method: str) -> tuple[str, str]:
    """Path and query of a target of any form."""
    if target == "*" and method == "OPTIONS":
        return target, ""
    if not target or _TARGET.fullmatch(target) is None:
        raise bad_head("bad_target", "the request target holds a character that is not allowed there")
    rest = target
    if not target.startswith("/"):
        absolute = _ABSOLUTE.match(target)
        if absolute is None:
            raise bad_head("bad_target", "the request target is neither a path nor an http or ws address")
        if not is_authority(absolute[1]):
            raise bad_head("bad_target", "the request target names no valid host")
        rest = target[absolute.end() :]
    path, _, query = rest.partition("?")
    return path or "/", query


def authority_of(target: str) -> str | None:
    """The authority in an absolute-form target; None for the other forms."""
    absolute = _ABSOLUTE.match(target)
    return absolute[1] if absolute is not None else None


def is_authority(text: str) -> bool:
    """Does `text` follow the grammar of `authority` on top, its port at most 65535?"""
    match = _AUTHORITY.fullmatch(text)
    if match is None or int(match[2] or 0) > 65535:
        return False
    if match[1] is None:
        return True
    try:
        ipaddress.IPv6Address(match[1])
    except ValueError:
        return False
    return True


def percent_decode(text: str) -> str:
    """Percent-decoded text. Raises `Refusal` 400 for a broken escape, for what is not UTF-8, and for NUL."""
    if "%" not in text:
        return text
    if _BAD_ESCAPE.search(text) is not None:
        raise bad_head("bad_encoding", "the request target holds a broken percent-encoding")
    try:
        decoded = unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise bad_head("bad_encoding", "the request target is not UTF-8") from None
    if "\0" in decoded:
        raise bad_head("bad_encoding", "the request target holds a NUL")
    return decoded


def parse_query(query: str) -> list[tuple[str, str]]:
    """The (name, value) pairs of a query in order (WHATWG URL 5.1: `&` between them, `+` is a space).

    Raises `Refusal` 400 for more than `MAX_QUERY_ITEMS` pairs and as `percent_decode` does.
    """
    if query.count("&") >= MAX_QUERY_ITEMS:
        raise bad_head("bad_query", "the query has too many items")
    items = []
    for item in query.replace("+", " ").split("&"):
        if item:
            name, _, value = item.partition("=")
            items.append((percent_decode(name), percent_decode(value)))
    return items
