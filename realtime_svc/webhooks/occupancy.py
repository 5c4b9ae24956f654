"""Tells that a channel was vacated only when it stays so: a page that is loaded again is no news."""

from __future__ import annotations

from collections.abc import Callable

from realtime_svc.core.ports import Clock, Timer
from realtime_svc.model import LifecycleEvent


class Occupancy:
    """Passes `occupied` on at once and `vacated` after `delay` seconds; an `occupied` in between cancels both."""

    def __init__(self, clock: Clock, delay: float, pass_on: Callable[[LifecycleEvent], None]) -> None:
        self._clock = clock
        self._delay = delay
        self._pass_on = pass_on
        self._vacated: dict[str, tuple[LifecycleEvent, Timer]] = {}

    def __len__(self) -> int:
        """How many events are held back."""
        return len(self._vacated)

    def occupied(self, event: LifecycleEvent) -> None:
        if (held := self._vacated.pop(event.channel, None)) is not None:
            held[1].cancel()
        else:
            self._pass_on(event)

    def vacated(self, event: LifecycleEvent) -> None:
        if event.channel not in self._vacated:
            self._vacated[event.channel] = event, self._clock.callLater(self._delay, self._due, event.channel)

    def flush(self) -> None:
        """Pass on all that is held back, now."""
        for channel in list(self._vacated):
            self._vacated[channel][1].cancel()
            self._due(channel)

    def _due(self, channel: str) -> None:
        self._pass_on(self._vacated.pop(channel)[0])
