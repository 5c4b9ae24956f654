"""Claims that make a token a bad one, although its signature is good: what is changed in good claims, and the cause.

`COMMON` is bad in tokens of both kinds, `CONNECTION` and `SUBSCRIPTION` in one of them.
"""

from __future__ import annotations

import json
from typing import Any

from tests.auth.forging import standard_b64

Change = tuple[str, dict[str, Any], str]

LONG = "x" * 4095  # one byte more than 4 KiB, with its quotation marks
GROWING = [1e15] * 200  # `short` makes it "1e15,", which is "1000000000000000.0," when it is written anew: 3.8 KB
DEEP = "[" * 33 + "]" * 33
SWITCHES = ("presence", "join_leave", "force_push_join_leave", "force_positioning", "force_recovery")


def short(claims: bytes) -> bytes:
    """JSON text in which the numbers of `GROWING` are written in the shortest way."""
    return claims.replace(b"1000000000000000.0, ", b"1e15,")


def base64_garbage(name: str) -> list[Change]:
    """What can't stand in `b64info` or `b64data`."""
    values: list[tuple[str, Any]] = [
        ("a number", 1),
        ("true", True),
        ("a list", ["e30="]),
        ("an object", {}),
        ("not base64", "{}"),
        ("of letters that are not ASCII", "\u00e930="),
        ("without padding", "e30"),
        ("with a line break", "e3\n0="),
        ("with spare bits", "e31="),
        ("of the alphabet for addresses", standard_b64(b'"\xc3\xbf\xc3\xbf"').replace("/", "_")),
        ("not JSON", standard_b64(b"{")),
        ("NaN", standard_b64(b"NaN")),
        ("not UTF-8", standard_b64(b'"\xff"')),
        ("a key twice", standard_b64(b'{"a":1,"a":2}')),
        ("too large", standard_b64(json.dumps(LONG).encode())),
        ("of 33 levels", standard_b64(DEEP.encode())),
    ]
    return [(f"{name} {what}", {name: value}, "claims") for what, value in values]


def common(now: int) -> list[Change]:
    """Dates, ids, texts."""
    over = {"exp": now - 3600}
    return [
        ("expire_at in the past", {"expire_at": now - 3600}, "expired"),
        ("expire_at in 1970", {"expire_at": 1}, "expired"),
        ("expire_at negative", {"expire_at": -1}, "claims"),
        ("expire_at text", {"expire_at": str(now + 600)}, "claims"),
        ("expire_at true", {"expire_at": True}, "claims"),
        ("expire_at null", {"expire_at": None}, "claims"),
        ("expire_at a list", {"expire_at": [now + 600]}, "claims"),
        ("expire_at in milliseconds", {"expire_at": (now + 600) * 1000}, "claims"),
        ("expire_at of 400 digits", {"expire_at": 10**400}, "claims"),
        ("expire_at NaN", {"expire_at": float("nan")}, "malformed"),
        ("expire_at Infinity", {"expire_at": float("inf")}, "malformed"),
        ("expired, expire_at never", {**over, "expire_at": 0}, "expired"),
        ("expired, expire_at in the future", {**over, "expire_at": now + 600}, "expired"),
        ("expired, and for another audience", {**over, "aud": "billing"}, "audience"),
        ("expired, and from another issuer", {**over, "iss": "https://attacker.test"}, "issuer"),
        ("expired, and not valid yet", {**over, "nbf": now + 600}, "not_yet_valid"),
        ("expired, and issued in the future", {**over, "iat": now + 600}, "issued_in_future"),
        ("expired, and sub a number", {**over, "sub": 42}, "subject"),
        ("expired, and info too large", {**over, "info": LONG}, "claims"),
        ("expired, and jti a number", {**over, "jti": 1}, "claims"),
        ("jti a number", {"jti": 1}, "claims"),
        ("jti null", {"jti": None}, "claims"),
        ("jti a list", {"jti": ["1"]}, "claims"),
        ("jti of 256 bytes", {"jti": "é" * 128}, "claims"),
        ("jti with a control character", {"jti": "1\n"}, "claims"),
        *base64_garbage("b64info"),
    ]


def connection(now: int) -> list[Change]:
    """`meta`, `channels`, `subs`."""
    names: list[tuple[str, Any]] = [
        ("text", "news"),
        ("an object", {"news": {}}),
        ("a number", 1),
        ("true", True),
        ("with a number", ["news", 1]),
        ("with null", [None]),
        ("with a list", [["news"]]),
        ("with an object", [{"name": "news"}]),
        ("with an empty name", [""]),
        ("with a space", ["a b"]),
        ("with a star", ["news:*"]),
        ("with two levels up", ["../news"]),
        ("with an umlaut", ["n\u00e4ws"]),
        ("with a control character", ["news\n"]),
        ("with an empty namespace", [":news"]),
        ("of 256 bytes", ["x" * 256]),
        ("too many", [f"c{number}" for number in range(129)]),
        ("too many, all the same", ["news"] * 129),
    ]
    entries: list[tuple[str, Any]] = [
        ("a list", ["news"]),
        ("text", "news"),
        ("true", True),
        ("with an entry that is a list", {"news": []}),
        ("with an entry that is true", {"news": True}),
        ("with an entry that is text", {"news": "{}"}),
        ("with a bad name", {"a b": {}}),
        ("with an empty name", {"": {}}),
        ("too many", {f"c{number}": {} for number in range(129)}),
        ("with too large an info", {"news": {"info": LONG}}),
        ("with too large a data", {"news": {"data": LONG}}),
        ("with texts too large together", {f"c{number}": {"data": GROWING} for number in range(5)}),
        ("with an override that is a list", {"news": {"override": []}}),
        *((f"with {what}", {"news": change}) for what, change, _ in _grants()),
    ]
    return [
        *((f"meta {what}", {"meta": value}, "claims") for what, value in _no_objects()),
        ("meta too large", {"meta": {"x": LONG[:-4]}}, "claims"),
        ("meta growing", {"meta": {"x": [1e15] * 300}}, "claims"),
        *((f"channels {what}", {"channels": value}, "claims") for what, value in names),
        *((f"subs {what}", {"subs": value}, "claims") for what, value in entries),
        (
            "channels and subs too many together",
            {"channels": [f"c{number}" for number in range(64)], "subs": {f"s{number}": {} for number in range(65)}},
            "claims",
        ),
        ("expired, and a bad channel", {"exp": now - 3600, "channels": ["a b"]}, "claims"),
    ]


def subscription(now: int) -> list[Change]:
    """`channel`, `client`, and the options, which stand on top."""
    channels: list[tuple[str, Any]] = [
        ("null", None),
        ("empty", ""),
        ("a number", 1),
        ("a list", ["news"]),
        ("an object", {"news": {}}),
        ("with a space", "a b"),
        ("with a star", "news:*"),
        ("with a control character", "news\n"),
        ("of 256 bytes", "x" * 256),
    ]
    return [
        *((f"channel {what}", {"channel": value}, "claims") for what, value in channels),
        ("client a number", {"client": 1}, "claims"),
        ("client null", {"client": None}, "claims"),
        ("client of 256 bytes", {"client": "x" * 256}, "claims"),
        ("client with a control character", {"client": "a\0"}, "claims"),
        ("data too large", {"data": LONG}, "claims"),
        ("override a list", {"override": []}, "claims"),
        *_grants(),
        ("expired, and a bad channel", {"exp": now - 3600, "channel": "a b"}, "claims"),
        ("expired, and a bad override", {"exp": now - 3600, "override": 1}, "claims"),
    ]


def _grants() -> list[Change]:
    """Options of a subscription."""
    switches: list[tuple[str, Any]] = [
        ("true", True),
        ("a list", [True]),
        ("without a value", {}),
        ("with null", {"value": None}),
        ("with a number", {"value": 1}),
        ("with text", {"value": "true"}),
    ]
    return [
        *base64_garbage("b64data"),
        *((f"override {what}", {"override": value}, "claims") for what, value in _no_objects()),
        *((f"{name} {what}", {"override": {name: value}}, "claims") for name in SWITCHES for what, value in switches),
    ]


def _no_objects() -> list[tuple[str, Any]]:
    return [("a list of objects", [{}]), ("text", "{}"), ("a number", 0), ("true", True), ("false", False)]
