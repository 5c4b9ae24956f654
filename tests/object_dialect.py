"""A protocol without bytes: what a session is given and what it says are the objects themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from realtime_svc.core import messages
from realtime_svc.core.ports import Frame, Traits
from realtime_svc.errors import Disconnect


class ObjectFrame:
    """Replies that are not encoded at all. It takes `size` bytes in a queue."""

    payload = b""
    binary = False
    deflated: dict[object, bytes] | None = None

    def __init__(self, *replies: messages.Reply, size: int = 0) -> None:
        self.replies = replies
        self.wire = b"-" * size

    @property
    def reply(self) -> messages.Reply:
        """The only one."""
        (reply,) = self.replies
        return reply


class ObjectDialect:
    """Commands and replies as they are, by default in a protocol with a handshake. `joins`: several replies may leave
    in one frame; `size` is that of one reply."""

    name = "objects"

    def __init__(
        self,
        *,
        handshake: bool = True,
        inline_recovery: bool = True,
        json_only: bool = False,
        joins: bool = False,
        size: int = 0,
    ) -> None:
        self.traits = Traits(handshake, inline_recovery, json_only)
        self._joins = joins
        self._size = size

    def decode(self, payload: Any, binary: bool, home: str) -> Iterable[Any]:
        return list(payload)

    def encode(self, reply: messages.Reply) -> ObjectFrame:
        return ObjectFrame(reply, size=self._size)

    def join(self, frames: Sequence[Frame]) -> ObjectFrame | None:
        if not self._joins:
            return None
        replies = [reply for frame in frames if isinstance(frame, ObjectFrame) for reply in frame.replies]
        return ObjectFrame(*replies, size=sum(len(frame.wire) for frame in frames))

    def close_with(self, disconnect: Disconnect) -> Disconnect:
        return disconnect
