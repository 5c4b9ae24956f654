"""Many commands of one call: an outcome for each, in order, and time for others in between."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.driver import run
from realtime_svc.http.api_work import TURN, Outcome, Pace, gather


class GatherTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.pace = Pace(self.clock)
        self.done: list[Any] = []

    async def work(self, name: Any) -> Any:
        """It takes half of a turn."""
        self.clock.rightNow += TURN / 2
        self.done.append(name)
        return name

    def turn(self) -> None:
        """One turn of an event loop: what is asked for in it comes in the next one."""
        due, self.clock.calls = self.clock.calls, []
        for call in due:
            call.func(*call.args, **call.kw)

    def gather(self, *works: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, list[Outcome]]:
        return gather(run, self.pace, works)

    def test_outcomes(self) -> None:
        """In the order of the works, whenever they come."""
        late: Deferred[int] = Deferred()
        error = ZeroDivisionError()

        async def waits() -> int:
            return await late

        async def fails() -> None:
            raise error

        found = Deferred.fromCoroutine(self.gather(waits(), fails()))
        self.assertNoResult(found)
        late.callback(1)
        self.assertEqual([(1, None), (None, error)], self.successResultOf(found))

    def test_others_have_their_turns(self) -> None:
        found = Deferred.fromCoroutine(self.gather(*map(self.work, range(5))))
        for count in (2, 4):
            self.assertEqual(count, len(self.done))
            self.turn()
        self.assertEqual([(n, None) for n in range(5)], self.successResultOf(found))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_one_time_for_all_that_a_call_does(self) -> None:
        """Works within works, started together: the first ones go on first, and no turn is longer for their number."""

        async def inner(name: int) -> Any:
            return await self.gather(*(self.work((name, part)) for part in range(2)))

        found = Deferred.fromCoroutine(self.gather(*map(inner, range(3))))
        for count in (2, 4):
            self.assertEqual(count, len(self.done))
            self.turn()
        self.assertEqual([(name, part) for name in range(3) for part in range(2)], self.done)
        self.assertEqual(3, len(self.successResultOf(found)))
