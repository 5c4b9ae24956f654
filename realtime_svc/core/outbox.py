"""What waits for one client: written through while the transport takes it, bounded in bytes and in time while not."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from realtime_svc.core.ports import Clock, Frame, Timer, Transport


class Outbox:
    """The way out of one session. `slow` is called, once, when the client takes too little: more than `limit` bytes
    wait, or the transport has taken nothing for `patience` seconds while something waited.
    """

    __slots__ = (
        "_clock",
        "_flushed",
        "_frames",
        "_limit",
        "_patience",
        "_slow",
        "_stall",
        "_transport",
        "blocked",
        "size",
    )

    def __init__(
        self, transport: Transport, clock: Clock, limit: int, patience: float, slow: Callable[[], None]
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._limit = limit
        self._patience = patience
        self._slow = slow
        self._frames: deque[Frame] | None = None  # most clients never need one
        self._flushed: Callable[[], None] | None = None
        self._stall: Timer | None = None
        self.blocked = False
        self.size = 0

    def send(self, frame: Frame) -> None:
        """Write now, or later in the same order."""
        if not self.blocked:
            self._transport.write(frame)
            return
        if self._frames is None:
            self._frames = deque()
        self._frames.append(frame)
        self.size += len(frame.wire)
        if self.size > self._limit:
            self._slow()

    def block(self) -> None:
        """The transport has enough for now."""
        self.blocked = True
        if self._stall is None:
            self._stall = self._clock.callLater(self._patience, self._stalled)

    def unblock(self) -> None:
        """The transport's buffer is empty again."""
        self.blocked = False
        self._stop_stall()
        while self._frames and not self.blocked:
            frame = self._frames.popleft()
            self.size -= len(frame.wire)
            self._transport.write(frame)
        if self._flushed is not None and not self._frames and not self.blocked:
            flushed, self._flushed = self._flushed, None
            flushed()

    def when_flushed(self, flushed: Callable[[], None]) -> None:
        """Call `flushed` once everything that waits now has been handed to the transport."""
        if self._frames:
            self._flushed = flushed
        else:
            flushed()

    def drop(self) -> None:
        """Forget what waits, and the clock."""
        self._frames = None
        self._flushed = None
        self.size = 0
        self._stop_stall()

    def _stalled(self) -> None:
        self._stall = None
        self._slow()

    def _stop_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
