"""Runs the coroutines of the core on Twisted: what never suspends is done in the same call, without a Deferred."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

Done = Callable[[Any, BaseException | None], None]


def run(work: Coroutine[Any, Any, Any], done: Done) -> None:
    """Implements `core.ports.Run`. A coroutine may await Deferreds only."""
    _advance(work.send, None, work, done)


def _advance(step: Callable[[Any], Any], value: Any, work: Coroutine[Any, Any, Any], done: Done) -> None:
    try:
        waiting = step(value)
    except StopIteration as stop:
        done(stop.value, None)
    except BaseException as error:  # user code may raise anything, and somebody waits for the outcome
        done(None, error)
    else:
        _wait(waiting, work, done)


def _wait(waiting: object, work: Coroutine[Any, Any, Any], done: Done) -> None:
    if not isinstance(waiting, Deferred):
        work.close()
        done(None, TypeError("a coroutine of this service may await Deferreds only"))
        return

    def resume(outcome: object) -> None:
        """A Deferred gives its result by itself when the coroutine goes on; its failure it can't give in a callback."""
        if isinstance(outcome, Failure):
            _advance(outcome.throwExceptionIntoGenerator, work, work, done)
        else:
            _advance(work.send, None, work, done)

    waiting.addBoth(resume)
