"""Time that goes from one timer to the next, so that each is called at its moment."""

from __future__ import annotations

from twisted.internet.task import Clock


def pass_time(clock: Clock, seconds: float) -> None:
    """Advance; what is due on the way is called when it is due."""
    end = clock.seconds() + seconds
    while (calls := clock.getDelayedCalls()) and min(call.getTime() for call in calls) <= end:
        clock.advance(max(0.0, min(call.getTime() for call in calls) - clock.seconds()))
    clock.advance(end - clock.seconds())
