"""Coroutines of the core on Twisted: at once where nothing waits, resumed by their Deferreds where something does."""

from __future__ import annotations

import asyncio
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.driver import run


class DriverTests(SynchronousTestCase):
    """`done` is called exactly once, whatever happens."""

    def setUp(self) -> None:
        self.outcomes: list[tuple[Any, BaseException | None]] = []

    def done(self, result: Any, error: BaseException | None) -> None:
        self.outcomes.append((result, error))

    def test_what_does_not_wait_is_done_in_the_same_call(self) -> None:
        async def work() -> int:
            return 7

        run(work(), self.done)
        self.assertEqual([(7, None)], self.outcomes)

    def test_exception(self) -> None:
        failure = KeyError("x")

        async def work() -> None:
            raise failure

        run(work(), self.done)
        self.assertEqual([(None, failure)], self.outcomes)

    def test_waits_for_one_deferred_after_another(self) -> None:
        first: Deferred[int] = Deferred()
        second: Deferred[int] = Deferred()

        async def work() -> int:
            return await first + await second

        run(work(), self.done)
        first.callback(1)
        self.assertEqual([], self.outcomes)
        second.callback(2)
        self.assertEqual([(3, None)], self.outcomes)

    def test_deferred_that_has_its_result_already(self) -> None:
        async def work() -> int:
            return await succeed(1) + await succeed(2)

        run(work(), self.done)
        self.assertEqual([(3, None)], self.outcomes)

    def test_failure_is_raised_where_it_is_awaited(self) -> None:
        async def work() -> str:
            try:
                await fail(KeyError("x"))
            except KeyError:
                return "caught"
            return "missed"

        run(work(), self.done)
        self.assertEqual([("caught", None)], self.outcomes)

    def test_failure_nobody_catches_comes_to_done(self) -> None:
        """And is not logged besides as an unhandled error."""
        waiting: Deferred[None] = Deferred()

        async def work() -> None:
            await waiting

        run(work(), self.done)
        waiting.errback(KeyError("x"))
        self.assertIsInstance(self.outcomes[0][1], KeyError)
        self.assertEqual([], self.flushLoggedErrors())

    def test_cancelled_deferred(self) -> None:
        waiting: Deferred[None] = Deferred()

        async def work() -> None:
            await waiting

        run(work(), self.done)
        waiting.cancel()
        self.assertIsInstance(self.outcomes[0][1], CancelledError)

    def test_many_waits_do_not_make_a_deep_stack(self) -> None:
        async def work() -> int:
            total = 0
            for _ in range(5000):
                total += await succeed(1)
            return total

        run(work(), self.done)
        self.assertEqual([(5000, None)], self.outcomes)

    def test_something_else_than_a_deferred(self) -> None:
        """A future of asyncio would never be resumed: the coroutine is closed and says so."""
        closed = []

        async def work() -> None:
            try:
                await asyncio.sleep(0)
            finally:
                closed.append(True)

        run(work(), self.done)
        self.assertIsInstance(self.outcomes[0][1], TypeError)
        self.assertEqual([True], closed)
