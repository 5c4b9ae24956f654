"""`POST /emulation`: commands of a connection whose replies come down a stream (Centrifugo client protocol).

    JSON      {"session":"...","node":"...","data":"<commands, as they would be in a frame>"}
    Protobuf  EmulationRequest of centrifuge.proto; data are length-prefixed commands

The session's key is the proof that the sender may speak for it.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from google.protobuf.message import DecodeError

from realtime_svc.errors import Refusal, bad_head
from realtime_svc.wire.centrifuge_pb2 import EmulationRequest


class Emulated(NamedTuple):
    """Which session of which node, and what its client says. `session` is a secret."""

    node: str
    session: str
    data: bytes


class _Request(msgspec.Struct):
    session: str = ""
    node: str = ""
    data: str = ""


_decode = msgspec.json.Decoder(_Request).decode


def parse_emulation(body: bytes, *, protobuf: bool) -> Emulated:
    """Raises `Refusal` 400, which repeats nothing of the body."""
    try:
        if protobuf:
            binary = EmulationRequest.FromString(body)
            return Emulated(binary.node, binary.session, binary.data)
        text = _decode(body)
        return Emulated(text.node, text.session, text.data.encode())
    except (msgspec.DecodeError, DecodeError, UnicodeError, RecursionError):
        raise _malformed() from None


def _malformed() -> Refusal:
    return bad_head("bad_emulation", "the body is not: session, node and data")
