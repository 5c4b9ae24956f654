"""How calls of the server API that hold many commands are worked off: each has its outcome, and nobody waits long."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import Any

from twisted.internet.defer import Deferred

from realtime_svc.core.ports import Clock, Run

TURN = 0.01  # seconds of work

Outcome = tuple[Any, BaseException | None]


class Pace:
    """Belongs to one call, which gets so much time in a turn of the event loop: a body of a megabyte may hold hundreds
    of thousands of publications."""

    __slots__ = ("_began", "_clock", "_line")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = clock.seconds()
        self._line: list[Deferred[None]] = []

    async def breathe(self) -> None:
        """Go on in a later turn, where the time of this one is used up. Who comes first goes on first."""
        while self._clock.seconds() - self._began >= TURN:
            turn: Deferred[None] = Deferred()
            self._line.append(turn)
            if len(self._line) == 1:
                self._clock.callLater(0, self._next_turn)
            await turn

    def _next_turn(self) -> None:
        self._began = self._clock.seconds()
        waiting, self._line = self._line, []
        for turn in waiting:
            turn.callback(None)


async def gather(run: Run, pace: Pace, works: Iterable[Coroutine[Any, Any, Any]]) -> list[Outcome]:
    """Start all, in order, and wait for all: for each its result, or what it raised."""
    waiting = []
    for work in works:
        await pace.breathe()
        outcome: Deferred[Outcome] = Deferred()
        run(work, lambda result, error, fired=outcome: fired.callback((result, error)))  # type: ignore[misc]
        waiting.append(outcome)
    return [await outcome for outcome in waiting]
