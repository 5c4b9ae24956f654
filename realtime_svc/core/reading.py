"""Whether a session reads, and what makes it stop for a while."""

from __future__ import annotations

import enum
from collections.abc import Callable

from realtime_svc.core.ports import Clock, Transport


class Hold(enum.IntFlag):
    """Why reading is paused."""

    RATE = 1
    FRAMES = 2
    ERRORS = 4
    TURN = 8
    BACKLOG = 16
    OUTPUT = 32


_NOT_BACKLOG = ~int(Hold.BACKLOG)  # flags are slow to combine, and this is looked at for every command


class Reading:
    """Several reasons may hold reading at once: it goes on when the last one is gone.

    `work_off` is called when only commands that wait in line are left as a reason.
    """

    __slots__ = ("_clock", "_holds", "_over", "_transport", "_work_off")

    def __init__(self, transport: Transport, clock: Clock, work_off: Callable[[], None]) -> None:
        self._transport = transport
        self._clock = clock
        self._work_off = work_off
        self._holds = 0
        self._over = False

    def __bool__(self) -> bool:
        return not self._holds

    @property
    def throttled(self) -> bool:
        """Is the client to wait, commands that were read already included?"""
        return bool(self._holds & _NOT_BACKLOG)

    def hold(self, reason: Hold, delay: float) -> None:
        """Read nothing for `delay` seconds."""
        if not self._over and not self._holds & reason:
            self.pause(reason)
            self._clock.callLater(delay, self.resume, reason)

    def pause(self, reason: Hold) -> None:
        if self._over:
            return
        if not self._holds:
            self._transport.pause_reading()
        self._holds |= int(reason)

    def resume(self, reason: Hold) -> None:
        if self._over or not self._holds & reason:
            return
        self._holds &= ~int(reason)
        if not self._holds:
            self._transport.resume_reading()
        elif self._holds == Hold.BACKLOG and reason is not Hold.BACKLOG:
            self._work_off()

    def release(self) -> None:
        """The session closes: read whatever comes, the answer to our Close is among it."""
        self._over = True
        if self._holds:
            self._holds = 0
            self._transport.resume_reading()
