"""What waits for one client, to the end of the turn or until its transport takes more: bounded in bytes and in time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from realtime_svc.core.ports import Frame, Timer

if TYPE_CHECKING:
    from realtime_svc.core.session import Session

MOST_AT_ONCE = 64 * 1024  # bytes: more than that leaves before the turn ends, and in several writes

# Why nothing may be sent to a client's outlet past its session.
WAITING = 1  # frames wait here
BLOCKED = 2  # the transport has enough
CORKED = 4  # frames are being joined
CLOSED = 8  # it gets nothing any more
EXCLUDED = 16  # what is being sent is not for it, or not all of it
INDIRECT = 32  # there is no way past its session


class Outbox:
    """The way out of one session, which is closed when its client takes too little: more than `queue_size` bytes wait,
    or the transport has taken nothing for `stall_timeout` seconds while something waited.
    """

    __slots__ = ("_flushed", "_frames", "_session", "_stall", "blocked", "size")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._frames: list[Frame] | None = None  # most of the time there is nothing
        self._flushed: Callable[[], None] | None = None
        self._stall: Timer | None = None
        self.blocked = False
        self.size = 0

    def send(self, frame: Frame) -> None:
        """Write at the end of the turn, or when the transport takes more, in the same order."""
        if self._frames is None:
            self._frames = [frame]
            self._session.outlet.holds |= WAITING
            self.size = len(frame.wire)
            if not self.blocked:
                self._session.node.outgoing.flush_later(self)
        else:
            self._frames.append(frame)
            self.size += len(frame.wire)
        if self.blocked:
            if self.size > self._session.node.limits.queue_size:
                self._session.too_slow()
        elif self.size > MOST_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Write what waits, as far as the transport takes it."""
        frames = self._frames
        if self.blocked or frames is None:
            return
        if self.size <= MOST_AT_ONCE:
            self._frames = None
            self.size = 0
            self._session.outlet.holds &= ~WAITING
            if len(frames) == 1:
                self._session.transport.write(frames[0])
            else:
                self._session.transport.write_all(frames)
        else:
            self._flush_in_parts(frames)

    def _flush_in_parts(self, frames: list[Frame]) -> None:
        written = 0
        for part in parts(frames):
            self._session.transport.write_all(part)
            written += len(part)
            self.size -= sum(len(frame.wire) for frame in part)
            if self.blocked or self._frames is not frames:
                break
        if self._frames is not frames:  # dropped meanwhile
            return
        del frames[:written]
        if not frames:
            self._frames = None
            self.size = 0
            self._session.outlet.holds &= ~WAITING

    def block(self) -> None:
        """The transport has enough for now."""
        self.blocked = True
        self._session.outlet.holds |= BLOCKED
        if self._stall is None:
            self._stall = self._session.node.clock.callLater(self._session.node.limits.stall_timeout, self._stalled)

    def unblock(self) -> None:
        """The transport's buffer is empty again."""
        self.blocked = False
        self._session.outlet.holds &= ~BLOCKED
        self._stop_stall()
        self.flush()
        if self._flushed is not None and self._frames is None and not self.blocked:
            flushed, self._flushed = self._flushed, None
            flushed()

    def when_flushed(self, flushed: Callable[[], None]) -> None:
        """Call `flushed` once everything that waits now has been handed to the transport."""
        self.flush()
        if self._frames is not None:
            self._flushed = flushed
        else:
            flushed()

    def drop(self) -> None:
        """Forget what waits, and the clock."""
        self._frames = None
        self._flushed = None
        self.size = 0
        self._stop_stall()

    def give_up(self) -> None:
        """The transport is broken."""
        self.drop()
        self._session.transport.abort()

    def _stalled(self) -> None:
        self._stall = None
        self._session.too_slow()

    def _stop_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None


def parts(frames: Sequence[Frame]) -> Iterator[list[Frame]]:
    """The frames in order, in lists of so many as make one write."""
    part: list[Frame] = []
    size = 0
    for frame in frames:
        part.append(frame)
        size += len(frame.wire)
        if size >= MOST_AT_ONCE:
            yield part
            part, size = [], 0
    if part:
        yield part
