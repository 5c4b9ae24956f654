"""Protocol `plain.v1` from the client's side: values to lines and lines to values, without any I/O."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from realtime_svc.client.errors import CommandError, ProtocolViolation
from realtime_svc.model import PresenceCounts, StreamPosition, format_since

SUBPROTOCOL = "plain.v1"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a channel.

    `data` is the decoded JSON value, or `bytes` in a channel of bytes. `sender` describes the client that published it
    (`client`, `user`, `info`), None where the server did. `tags` may be empty. `offset` is its place in the channel's
    stream, 0 where it has none.
    """

    channel: str
    data: Any
    sender: dict[str, Any] | None
    tags: dict[str, str]
    offset: int = 0


class History(NamedTuple):
    """`position` is the newest place of the stream, not the end of `messages`."""

    messages: list[Message]
    position: StreamPosition


def encode(command: dict[str, Any]) -> str:
    """One line. Raises `ValueError` or `TypeError` for what JSON can't hold, NaN included."""
    line = json.dumps(command, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    line.encode()  # a lone surrogate is no Unicode
    return line


def publish_command(channel: str, data: Any, tags: dict[str, str] | None, key: str | None = None) -> dict[str, Any]:
    """`data` of type `bytes` is for a channel of bytes."""
    command: dict[str, Any] = {"publish": channel}
    if isinstance(data, bytes):
        command["b64data"] = base64.b64encode(data).decode()
    else:
        command["data"] = data
    if tags:
        command["tags"] = tags
    if key:
        command["key"] = key
    return command


def history_command(channel: str, limit: int | None, since: StreamPosition | None, reverse: bool) -> dict[str, Any]:
    command: dict[str, Any] = {"history": channel}
    if limit is not None:
        command["limit"] = limit
    if since is not None:
        command["since"] = format_since(since)
    if reverse:
        command["reverse"] = True
    return command


def decode_frame(frame: str | bytes) -> list[dict[str, Any]]:
    """The objects of one frame, in order. Raises `ProtocolViolation`."""
    if isinstance(frame, bytes):
        raise ProtocolViolation("a binary frame")
    objects = []
    for line in frame.split("\n"):
        try:
            value = msgspec.json.decode(line)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            raise ProtocolViolation("not JSON") from None
        if not isinstance(value, dict):
            raise ProtocolViolation("no JSON object")
        objects.append(value)
    return objects


def read_message(fields: dict[str, Any]) -> Message:
    """Raises `ProtocolViolation`."""
    channel, sender, tags = fields.get("message"), fields.get("from"), fields.get("tags", {})
    if not isinstance(channel, str) or not isinstance(sender, dict | None) or not isinstance(tags, dict):
        raise ProtocolViolation("a message with fields of a wrong type")
    offset = _count(fields, "offset") if "offset" in fields else 0
    if "b64data" not in fields:
        return Message(channel, fields.get("data"), sender, tags, offset)
    try:
        return Message(channel, base64.b64decode(fields["b64data"], validate=True), sender, tags, offset)
    except (binascii.Error, ValueError, TypeError):
        raise ProtocolViolation("b64data that is not base64") from None


def read_position(fields: dict[str, Any]) -> StreamPosition | None:
    """Where a stream stands; None where nothing is said about it. Raises `ProtocolViolation`."""
    if "epoch" not in fields:
        return None
    if not isinstance(fields["epoch"], str):
        raise ProtocolViolation("an epoch that is no text")
    return StreamPosition(_count(fields, "offset"), fields["epoch"])


def read_history(fields: dict[str, Any]) -> History:
    """Raises `ProtocolViolation`."""
    position = read_position(fields)
    if position is None:
        raise ProtocolViolation("a history without a position")
    return History([read_message(each) for each in _objects(fields, "messages")], position)


def read_members(fields: dict[str, Any]) -> list[dict[str, Any]]:
    """Raises `ProtocolViolation`."""
    return _objects(fields, "members")


def read_counts(fields: dict[str, Any]) -> PresenceCounts:
    """Raises `ProtocolViolation`."""
    return PresenceCounts(_count(fields, "clients"), _count(fields, "users"))


def read_member(fields: dict[str, Any], key: str) -> tuple[str, dict[str, Any]]:
    """Channel and client of a `join` or a `leave`. Raises `ProtocolViolation`."""
    channel, member = fields[key], fields.get("from")
    if not isinstance(channel, str) or not isinstance(member, dict):
        raise ProtocolViolation("a join or leave with fields of a wrong type")
    return channel, member


def _count(fields: dict[str, Any], key: str) -> int:
    value = fields.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ProtocolViolation("a number that is none")
    return value


def _objects(fields: dict[str, Any], key: str) -> list[dict[str, Any]]:
    values = fields.get(key)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise ProtocolViolation("a list of objects that is none")
    return values


def read_error(fields: dict[str, Any]) -> CommandError:
    """Raises `ProtocolViolation`."""
    error = fields["error"]
    if not isinstance(error, dict) or not isinstance(error.get("code"), int):
        raise ProtocolViolation("an error without a code")
    message = error.get("message")
    return CommandError(error["code"], message if isinstance(message, str) else "", error.get("temporary") is True)


def read_end(fields: dict[str, Any]) -> tuple[int, str]:
    """Code and reason of a `bye` or an `unsubscribed`. Raises `ProtocolViolation`."""
    code, reason = fields.get("code"), fields.get("reason", "")
    if not isinstance(code, int) or not isinstance(reason, str):
        raise ProtocolViolation("an end without a code")
    return code, reason
