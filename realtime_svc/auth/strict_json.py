"""JSON as tokens and key sets have to be: RFC 8259 with every ambiguity refused, so that no two parsers can differ."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

MAX_DEPTH = 32

# A string, also one that never ends. Possessive, so that the time stays linear in the length of what a stranger sends.
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")


def loads(raw: bytes) -> Any:
    """Decode one JSON value. Raises ValueError (fixed texts, nothing of the input in them).

    Refused: not UTF-8, BOM, trailing data, duplicate keys, NaN, infinite numbers such as 1e999, lone surrogates, more
    than 32 levels, integers of more digits than the interpreter converts.
    """
    try:
        text = raw.decode("utf-8")
        _check_depth(text)
        value = _DECODER.decode(text)
        if "\\" in text and "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        raise ValueError("not strict JSON") from None
    return value


def dumps(value: Any) -> bytes:
    """Compact JSON text of what `loads` returned."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")


def _check_depth(text: str) -> None:
    """Before anything walks the value: deep input overflows stacks."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub("", text)):
        if bracket[0] in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError("too deep")
        else:
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("infinite number")
    return number


def _no_constant(_name: str) -> NoReturn:
    raise ValueError("not a JSON number")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_no_constant)
