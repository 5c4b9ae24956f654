"""Idempotency keys: what was published under them, for a while."""

from __future__ import annotations

import math
from collections import OrderedDict

from realtime_svc.model import PublishResult, StreamPosition

DROPS = 5000  # in one visit of the sweeper


class Keys:
    """The answer to a publication's second coming, by (channel, key), for `window` seconds after the first.

    At most `most` keys: the oldest goes first. All live equally long, so the oldest is also the first to expire.
    """

    __slots__ = ("_answers", "_most", "_window", "due")

    def __init__(self, window: float, most: int) -> None:
        self._window = window
        self._most = most
        self._answers: OrderedDict[tuple[str, str], tuple[float, PublishResult]] = OrderedDict()
        self.due = math.inf  # the sweeper's

    def __len__(self) -> int:
        return len(self._answers)

    def find(self, channel: str, key: str, now: float) -> PublishResult | None:
        """The answer for one that was published already; None: it was not, or too long ago."""
        found = self._answers.get((channel, key))
        return found[1] if found is not None and now < found[0] else None

    def add(self, channel: str, key: str, position: StreamPosition | None, now: float) -> float:
        """Remember what was published. Returns the deadline of the oldest key."""
        answers = self._answers
        answers.pop((channel, key), None)  # an expired one has its place at the front
        answers[channel, key] = (now + self._window, PublishResult(position, fresh=False))
        if len(answers) > self._most:
            answers.popitem(last=False)
        return self._oldest()

    def give_back(self, now: float) -> float:
        """Free what is over (see `memory_sweep.Perishable`), some of it where it is very much."""
        for _ in range(DROPS):
            if self._oldest() > now:
                break
            self._answers.popitem(last=False)
        return self._oldest()

    def _oldest(self) -> float:
        return next(iter(self._answers.values()))[0] if self._answers else math.inf
