"""Runs the coroutines of the core on Twisted: what never suspends is done in the same call, without a Deferred."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred

Done = Callable[[Any, BaseException | None], None]


def run(work: Coroutine[Any, Any, Any], done: Done) -> None:
    """Implements `core.ports.Run`. A coroutine may await Deferreds only."""
    try:
        waiting = work.send(None)
    except StopIteration as stop:
        done(stop.value, None)
    except Exception as error:
        done(None, error)
    else:
        _wait(waiting, work, done)


def _wait(waiting: object, work: Coroutine[Any, Any, Any], done: Done) -> None:
    if not isinstance(waiting, Deferred):
        work.close()
        done(None, TypeError("a coroutine of this service may await Deferreds only"))
        return

    def resume(_: object) -> None:
        """The Deferred gives its own result, or raises its failure, when the coroutine goes on."""
        run(work, done)

    waiting.addBoth(resume)
