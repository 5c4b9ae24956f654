"""Is this payload one JSON value that is safe to pass on?

What passes is RFC 8259 JSON, read strictly: UTF-8 without a byte order mark (8.1), one value and nothing after it, no
NaN, Infinity or number beyond a double (6), no lone surrogate (8.2), no control character in a string (7). On top of
that come two bounds, on the depth and on the length of integers.

The bytes that came in are the bytes that go out, except for newlines between tokens. So what a subscriber's parser
makes of them is the subscriber's business where RFC 8259 leaves it open:

* Duplicate keys (RFC 8259 4) pass. The value that is checked against a schema holds the last of them.
* Integers pass up to 20 digits, so every 64-bit integer does. Longer ones are refused: they cost a validator a
  multiple of their length, and no common client keeps them exact. JavaScript keeps integers up to 2**53 - 1 only;
  send larger ones as strings.
* A number too small for a double counts as 0 in the check.
"""

from __future__ import annotations

import itertools

import msgspec

from realtime_svc.errors import ErrorCode, ReplyError

MAX_DEPTH = 32
MAX_INTEGER_DIGITS = 20

_INVALID = "Invalid JSON"
_decode = msgspec.json.Decoder().decode

# To look for a byte by its number is several times as fast as by a text of length 1.
_LF, _CR, _ARRAY, _OBJECT = b"\n\r[{"

# Only where more brackets open than there may be levels, or where 21 digits stand in a row, is it necessary to look
# closer: they may be in a string.
_MARKS = bytes.maketrans(b"[123456789", b"{000000000")
_LONG_DIGITS = b"0" * (MAX_INTEGER_DIGITS + 1)
_NUMBER_BYTES = b"0123456789.eE"
_NOT_NUMBER_TO_SPACE = bytes(byte if byte in _NUMBER_BYTES else 0x20 for byte in range(256))

# What matters for the depth, and nothing else: quotes, and an opening or closing bracket as one bit.
_BITS = bytes.maketrans(b"[{]}", b"1100")
_NO_MARKS = bytes(sorted(set(range(256)) - set(b'"[{]}')))


def _depth_changes() -> list[tuple[int, int]]:
    """For each byte, read as 8 brackets: how it changes the depth, and how far it goes up on the way."""
    changes = []
    for byte in range(256):
        levels = list(itertools.accumulate(1 if byte & bit else -1 for bit in (128, 64, 32, 16, 8, 4, 2, 1)))
        changes.append((levels[-1], max(levels)))
    return changes


_DEPTH_CHANGES = _depth_changes()


def parse_json(data: bytes, depth: int = MAX_DEPTH) -> tuple[bytes, object]:
    """Check that `data` is exactly one JSON value of at most `depth` levels (a scalar has none, `[]` has one).

    Returns the payload as it is to travel, with each raw newline turned into a space, and the decoded value. Raises
    `ReplyError` 107 "Invalid JSON", and nothing else.
    """
    try:
        marks = data.translate(_MARKS)
        if (marks.count(b"{") <= depth or check_depth(data, depth)) and (
            marks.find(_LONG_DIGITS) < 0 or not _has_long_integer(data)
        ):
            value = _decode(data)
            # A newline inside a string has to be escaped (RFC 8259 7), so each raw one stands between tokens.
            if _LF in data or _CR in data:
                data = data.replace(b"\n", b" ").replace(b"\r", b" ")
            return data, value
    except Exception:  # DecodeError, UnicodeDecodeError, RecursionError, MemoryError: one verdict for all
        pass
    raise ReplyError(ErrorCode.BAD_REQUEST, _INVALID)


def check_depth(data: bytes, limit: int) -> bool:
    """Can a parser read `data` without going deeper than `limit` levels of arrays and objects?

    Linear in time and without recursion. True is a promise for any bytes, JSON or not, up to the place where a parser
    has to give up. False for valid JSON means that it is deeper; for anything else it may also mean that it is broken.
    """
    if (data.count(b"[") if _ARRAY in data else 0) + (data.count(b"{") if _OBJECT in data else 0) <= limit:
        return True
    marks = _unescaped(data).translate(_BITS, _NO_MARKS)
    # Two quotes with nothing between them change nothing for what is left and right of them: less to split.
    marks = b"".join(marks.replace(b'""', b"").split(b'"')[::2])
    marks += b"0" * (8 - len(marks) % 8)
    room = limit
    for change, peak in map(_DEPTH_CHANGES.__getitem__, int(marks, 2).to_bytes(len(marks) // 8, "big")):
        if peak > room:
            return False
        room -= change
    return True


def _unescaped(data: bytes) -> bytes:
    """`data` without escaped backslashes and quotes: each quote that is left opens or closes a string.

    Exact up to the first byte that is not JSON: up to there backslashes stand in strings only, and pair up from the
    left.
    """
    return data.replace(b"\\\\", b"  ").replace(b'\\"', b"  ") if b"\\" in data else data


def _has_long_integer(data: bytes) -> bool:
    """Is there an integer of more than 20 digits? Fractions and exponents may be as long as they like."""
    outside_strings = b" ".join(_unescaped(data).split(b'"')[::2])
    numbers = outside_strings.translate(_NOT_NUMBER_TO_SPACE).split()
    return any(len(number) > MAX_INTEGER_DIGITS and number.isdigit() for number in numbers)
