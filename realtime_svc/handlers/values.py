"""Between Python values and what travels: JSON text or bytes."""

from __future__ import annotations

from typing import Any

import msgspec

from realtime_svc.core.payload import parse_json
from realtime_svc.errors import ReplyError


def to_payload(data: Any) -> bytes:
    """Bytes as they are, anything else as JSON text. Raises what msgspec raises for what JSON can't say."""
    return data if isinstance(data, bytes) else msgspec.json.encode(data)


def to_json(value: Any) -> bytes:
    """JSON text of any value; bytes have to be JSON text already. Raises TypeError."""
    if not isinstance(value, bytes):
        return msgspec.json.encode(value)
    try:
        return parse_json(value)[0]
    except ReplyError:
        raise TypeError("these bytes are not JSON text") from None


def from_json(text: bytes | None) -> Any:
    """The value of JSON text that was checked before; None where there is none."""
    return None if text is None else msgspec.json.decode(text)


def from_client(data: bytes | None) -> Any:
    """What a client sent along: the JSON value, or the bytes where they are not JSON (a binary protocol may do so)."""
    if data is None:
        return None
    try:
        return parse_json(data)[1]
    except ReplyError:
        return data


def check_tags(tags: dict[str, str] | None) -> dict[str, str] | None:
    """A copy; None for none. Raises TypeError: what is no text would only be noticed where it is delivered."""
    if not tags:
        return None
    if not all(isinstance(text, str) for pair in tags.items() for text in pair):
        raise TypeError("tags are text, names and values")
    return dict(tags)
