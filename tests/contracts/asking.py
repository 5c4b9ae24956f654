"""How a suite talks to an engine whose answers may come at once or later."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from realtime_svc.driver import run

T = TypeVar("T")

if TYPE_CHECKING:
    Mixin = TestCase
else:
    Mixin = object


class Asking(Mixin):
    """Mixed into a suite. An engine that needs more than its clock overrides what says so.

    Tests are coroutines, so an engine may answer from a real server; those of Hypothesis are plain functions, which
    leave the waiting to `finish`.
    """

    def make_clock(self) -> Any:
        """Has `seconds`, `callLater` and `advance(seconds)`, after which what is over by then is over for the engine.

        Suites keep a second away from every deadline, so an engine on real time may run a little ahead."""
        return Clock()

    def turn(self) -> None:
        """Called after a call was made or while one is waited for: what an engine needs to answer happens here."""

    async def settle(self) -> None:
        """Returns when the events of all calls that were answered have been delivered."""
        self.turn()

    def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, which awaits nothing but `ask` and `settle`."""
        result: T = self.successResultOf(self.start(work))
        return result

    # ---- what tests use

    def start(self, work: Coroutine[Any, Any, T]) -> Deferred[T]:
        """Make a call; do not wait for its answer."""
        answer: Deferred[T] = Deferred()

        def done(result: T, error: BaseException | None) -> None:
            if error is None:
                answer.callback(result)
            else:
                answer.errback(error)

        run(work, done)
        return answer

    async def ask(self, work: Coroutine[Any, Any, T]) -> T:
        """Make a call and wait for its answer."""
        answer = self.start(work)
        self.turn()
        return await answer
