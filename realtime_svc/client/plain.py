"""Protocol `plain.v1` from the client's side: values to lines and lines to values, without any I/O."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

import msgspec

from realtime_svc.client.errors import CommandError, ProtocolViolation

SUBPROTOCOL = "plain.v1"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a channel.

    `data` is the decoded JSON value, or `bytes` in a channel of bytes. `sender` describes the client that published it
    (`client`, `user`, `info`), None where the server did. `tags` may be empty.
    """

    channel: str
    data: Any
    sender: dict[str, Any] | None
    tags: dict[str, str]


def encode(command: dict[str, Any]) -> str:
    """One line. Raises `ValueError` or `TypeError` for what JSON can't hold, NaN included."""
    line = json.dumps(command, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    line.encode()  # a lone surrogate is no Unicode
    return line


def publish_command(channel: str, data: Any, tags: dict[str, str] | None) -> dict[str, Any]:
    """`data` of type `bytes` is for a channel of bytes."""
    command: dict[str, Any] = {"publish": channel}
    if isinstance(data, bytes):
        command["b64data"] = base64.b64encode(data).decode()
    else:
        command["data"] = data
    if tags:
        command["tags"] = tags
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
    channel, sender, tags = fields["message"], fields.get("from"), fields.get("tags", {})
    if not isinstance(channel, str) or not isinstance(sender, dict | None) or not isinstance(tags, dict):
        raise ProtocolViolation("a message with fields of a wrong type")
    if "b64data" not in fields:
        return Message(channel, fields.get("data"), sender, tags)
    try:
        return Message(channel, base64.b64decode(fields["b64data"], validate=True), sender, tags)
    except (binascii.Error, ValueError, TypeError):
        raise ProtocolViolation("b64data that is not base64") from None


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
