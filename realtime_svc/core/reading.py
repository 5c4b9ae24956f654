"""Whether a session reads, and what makes it stop for a while."""

from __future__ import annotations

import enum

from realtime_svc.core.ports import Clock, Transport


class Hold(enum.IntFlag):
    """Why reading is paused."""

    RATE = 1
    FRAMES = 2
    ERRORS = 4
    BACKLOG = 8


class Reading:
    """Several reasons may hold reading at once: it goes on when the last one is gone."""

    __slots__ = ("_clock", "_holds", "_over", "_transport")

    def __init__(self, transport: Transport, clock: Clock) -> None:
        self._transport = transport
        self._clock = clock
        self._holds = 0
        self._over = False

    def __bool__(self) -> bool:
        return not self._holds

    def hold(self, reason: Hold, delay: float) -> None:
        """Read nothing for `delay` seconds."""
        if not self._holds & reason:
            self.pause(reason)
            self._clock.callLater(delay, self.resume, reason)

    def pause(self, reason: Hold) -> None:
        if self._over:
            return
        if not self._holds:
            self._transport.pause_reading()
        self._holds |= reason

    def resume(self, reason: Hold) -> None:
        if self._over or not self._holds & reason:
            return
        self._holds &= ~reason
        if not self._holds:
            self._transport.resume_reading()

    def release(self) -> None:
        """The session closes: read whatever comes, the answer to our Close is among it."""
        self._over = True
        if self._holds:
            self._holds = 0
            self._transport.resume_reading()
