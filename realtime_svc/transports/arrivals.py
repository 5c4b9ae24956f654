"""Connections that still owe their first request. All have the same time for it, so one timer serves them all."""

from __future__ import annotations

from typing import Protocol

from realtime_svc.core.ports import Clock, Timer


class Guest(Protocol):
    """A connection, as this module sees it."""

    def too_slow(self) -> None:
        """Its time is up."""


class Arrivals:
    """In the order they came: whoever came first is due first."""

    def __init__(self, clock: Clock, patience: float) -> None:
        """`patience` is in seconds."""
        self._clock = clock
        self._patience = patience
        self._due: dict[Guest, float] = {}
        self._timer: Timer | None = None

    def add(self, guest: Guest) -> None:
        self._due[guest] = self._clock.seconds() + self._patience
        if self._timer is None:
            self._timer = self._clock.callLater(self._patience, self._look)

    def remove(self, guest: Guest) -> None:
        """Its request is there, or it is gone. May be called again. The timer stays: somebody else is going to come."""
        self._due.pop(guest, None)

    def end(self) -> None:
        """Nobody else is going to come."""
        if not self._due and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        late = []
        for guest, due in self._due.items():
            if due > now:
                self._timer = self._clock.callLater(due - now, self._look)
                break
            late.append(guest)
        for guest in late:
            if self._due.pop(guest, None) is not None:
                guest.too_slow()
