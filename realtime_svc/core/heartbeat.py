"""One wheel for the liveness of all connections: no timer of their own for any of them.

A session sits in one slot of the wheel, so pings are spread evenly over the interval and a wave of connects does not
become a wave of pings. Only a pong counts as life: a peer that trickles one endless frame is found as well.
"""

from __future__ import annotations

import random
from collections import deque

from realtime_svc import errors
from realtime_svc.core.ports import Clock, Timer
from realtime_svc.core.session import Session


class Heartbeat:
    """Pings every session each `interval` seconds; one that has not answered after `timeout` is closed with 3012."""

    def __init__(self, clock: Clock, interval: float, timeout: float) -> None:
        self._clock = clock
        self._timeout = timeout
        self._tick = min(1.0, interval / 4, timeout / 2) if interval else 0.0
        slots = max(1, round(interval / self._tick)) if interval else 1
        self._slots: list[dict[Session, None]] = [{} for _ in range(slots)]
        self._now = 0
        self._waiting: deque[tuple[float, Session, int]] = deque()
        self._timer: Timer | None = None

    def start(self) -> None:
        """Begin to turn. With an interval of 0 nothing ever happens."""
        if self._tick:
            self._timer = self._clock.callLater(self._tick, self._turn)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def add(self, session: Session) -> None:
        """The first ping comes after half an interval at least."""
        slots = len(self._slots)
        half = (slots + 1) // 2
        session.slot = slot = (self._now + half + int(random.random() * max(1, slots - half))) % slots
        self._slots[slot][session] = None

    def remove(self, session: Session) -> None:
        self._slots[session.slot].pop(session, None)

    def _turn(self) -> None:
        self._timer = self._clock.callLater(self._tick, self._turn)
        self._now = (self._now + 1) % len(self._slots)
        now = self._clock.seconds()
        # First the old pings, then new ones: a session may be due for both, and is asked about its newest ping only.
        while self._waiting and self._waiting[0][0] <= now:
            _, session, ping = self._waiting.popleft()
            if session.awaits_pong(ping):
                if session.reading:
                    session.close(errors.NO_PONG, flush=False)
                else:  # we do not read, so the answer may be waiting in the socket: ask again later
                    self._waiting.append((now + self._timeout, session, ping))
        for session in tuple(self._slots[self._now]):
            if session.beat():
                self._waiting.append((now + self._timeout, session, session.pings))
