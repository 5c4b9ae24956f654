"""Gives memory back when time is up, also of what nobody asks for any more: one timer for everything that perishes.

Who reads looks at the deadline itself, so this need not be exact: things are visited in slots, at most a sixteenth of
their time (or a quarter of a second) after their deadline. That keeps the slots few, and every operation O(1) but for
the choice among slots.
"""

from __future__ import annotations

import math
from heapq import heappop, heappush
from typing import Protocol

from realtime_svc.core.ports import Clock, Timer

FINEST = 0.25  # seconds; a power of two, so that multiples are exact
VISITS = 1000  # in one turn; the others wait for the next one, so the reactor is not held up


class Perishable(Protocol):
    """`due` belongs to the sweeper: when the next visit is, `math.inf` for none."""

    due: float

    def give_back(self, now: float) -> float:
        """Free what is over. Returns the next deadline, `math.inf` where nothing is left to free."""


class Sweeper:
    """Visits what is due. Its timer exists only while something is waiting."""

    __slots__ = ("_armed_for", "_clock", "_order", "_slots", "_timer", "_waiting")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._slots: dict[float, set[Perishable]] = {}  # by the time of the visit
        self._order: list[float] = []  # heap of the keys of `_slots`
        self._waiting = 0
        self._timer: Timer | None = None
        self._armed_for = math.inf  # -inf: the timer is not to be set now

    def watch(self, item: Perishable, deadline: float) -> None:
        """Visit `item` soon after `deadline`, or earlier where it is waiting for an earlier visit already."""
        if deadline >= item.due:
            return
        slot = _slot(deadline, self._clock.seconds())
        if slot >= item.due:
            return
        self.forget(item)
        item.due = slot
        self._waiting += 1
        items = self._slots.get(slot)
        if items is None:
            self._slots[slot] = {item}
            heappush(self._order, slot)
        else:
            items.add(item)
        if slot < self._armed_for:
            self._arm()

    def forget(self, item: Perishable) -> None:
        """Do not visit `item`."""
        if item.due == math.inf:
            return
        self._slots[item.due].discard(item)
        item.due = math.inf
        self._waiting -= 1
        if not self._waiting and self._armed_for != -math.inf:
            self._arm()

    def stop(self) -> None:
        """Visit nothing any more."""
        self._disarm()
        self._armed_for = -math.inf

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        """Set the timer for the first slot."""
        self._disarm()
        if not self._waiting:  # slots whose items left are of no use then
            self._slots.clear()
            self._order.clear()
            self._armed_for = math.inf
            return
        self._armed_for = self._order[0]
        self._timer = self._clock.callLater(max(0.0, self._armed_for - self._clock.seconds()), self._turn)

    def _turn(self) -> None:
        self._timer = None
        self._armed_for = -math.inf
        now = self._clock.seconds()
        left = VISITS
        while left and self._order and self._order[0] <= now:
            items = self._slots[self._order[0]]
            while left and items:
                left -= 1
                item = items.pop()
                item.due = math.inf
                self._waiting -= 1
                deadline = item.give_back(now)
                if deadline < math.inf:
                    self.watch(item, deadline)
            if not items:
                del self._slots[heappop(self._order)]
        self._arm()


def _slot(deadline: float, now: float) -> float:
    """The time of the visit, after `now`: `deadline`, rounded up to a multiple of at most a sixteenth of the delay."""
    if deadline <= now:
        return (math.floor(now / FINEST) + 1) * FINEST
    grain = max(FINEST, math.ldexp(1.0, math.frexp(deadline - now)[1] - 5))
    return math.ceil(deadline / grain) * grain
