"""The queue before the backend: batches, one call at a time, trying again, bounds."""

from __future__ import annotations

import random
import uuid
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as NoAnswer
from twisted.python.failure import Failure

from realtime_svc import __version__
from realtime_svc.config import Webhooks as WebhooksConfig
from realtime_svc.core.instruments import Instruments
from realtime_svc.core.ports import Clock, Timer
from realtime_svc.model import LifecycleEvent
from realtime_svc.webhooks.backend import Answer, CallFailed
from realtime_svc.webhooks.body import encode, signature
from realtime_svc.webhooks.occupancy import Occupancy

FIRST_WAIT = 0.5
SHORTEST_WAIT = 0.1
LONGEST_WAIT = 60.0  # also of what a backend may ask for with Retry-After

Post = Callable[[bytes, Mapping[str, str]], Coroutine[Any, Any, Answer]]


class _Call(NamedTuple):
    """A batch on its way: its bytes and its id stay the same, however often it is said. `deadline`: no try after it."""

    id: str
    body: bytes
    events: int
    deadline: float


class Webhooks:
    """Tells a backend what happens (`core.ports.LifecycleSink`).

    `post` is `Backend.post`. `instruments.webhooks` counts events: sent, failed (refused, or out of time), dropped (the
    queue was full, or the server stopped) and retried. `note` takes a kind and a line for the log; it limits how many.
    Order is kept: a batch that has to be tried again holds up what is behind it.
    """

    def __init__(
        self,
        config: WebhooksConfig,
        post: Post,
        clock: Clock,
        instruments: Instruments,
        note: Callable[[str, str], None],
        *,
        wall_clock: Callable[[], float],
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`chance` returns numbers from 0 to 1."""
        self._config = config
        self._post = post
        self._clock = clock
        self._count = instruments.webhooks
        self._note = note
        self._wall_clock = wall_clock
        self._chance = chance
        self._wanted = frozenset(config.events)
        pair = frozenset(("occupied", "vacated"))
        self.kinds: frozenset[str] = self._wanted | pair if self._wanted & pair else self._wanted
        self._occupancy = Occupancy(clock, config.vacated_delay, self._enqueue)
        self._queue: deque[tuple[float, LifecycleEvent]] = deque()
        self._call: _Call | None = None
        self._running: Deferred[Answer] | None = None
        self._timer: Timer | None = None
        self._failures = 0  # in a row
        self._started = False
        self._stopped = False
        self._flushed: Deferred[None] | None = None

    # ---- what comes in

    def emit(self, event: LifecycleEvent) -> None:
        """Take an event; where there is no room for it, count it. Never raises, never waits."""
        if event.kind == "occupied":
            self._occupancy.occupied(event)
        elif event.kind != "vacated":
            self._enqueue(event)
        elif self._has_room():
            self._occupancy.vacated(event)
            if self._flushed is not None:
                self._occupancy.flush()

    def _enqueue(self, event: LifecycleEvent) -> None:
        if event.kind in self._wanted and self._has_room():
            self._queue.append((self._clock.seconds(), event))
            if self._call is None:
                self._wake(0.0)

    def _has_room(self) -> bool:
        """Is there room for one more event? If not, it is counted."""
        under_way = self._call.events if self._call else 0
        if not self._stopped and len(self._queue) + len(self._occupancy) + under_way < self._config.queue:
            return True
        self._count["dropped"] += 1
        if not self._stopped:
            self._note("webhooks dropped", "webhooks: events dropped, the queue is full")
        return False

    # ---- life

    def start(self) -> None:
        """Begin to send."""
        self._started = True
        self._wake(0.0)

    def stop(self, limit: float) -> Deferred[None]:
        """Send what waits, for `limit` seconds at most, then drop the rest. Fires when that is done; never fails."""
        flushed = self._flushed = Deferred()
        self._occupancy.flush()
        if not self._started:
            self._finish()
            return flushed
        timer = self._clock.callLater(limit, self._finish)
        self._wake(0.0, hurry=True)

        def done(_result: None) -> None:
            if timer.active():
                timer.cancel()

        return flushed.addCallback(done)

    def _finish(self) -> None:
        """Send no more."""
        self._stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._running is not None:
            self._running.cancel()
        left = len(self._queue) + (self._call.events if self._call else 0)
        if left:
            self._count["dropped"] += left
            self._note("webhooks dropped", f"webhooks: {left} events not sent before the server stopped")
        self._queue.clear()
        self._call = None
        flushed, self._flushed = self._flushed, None
        assert flushed is not None
        flushed.callback(None)

    # ---- what goes out

    def _wake(self, delay: float, *, hurry: bool = False) -> None:
        """Go on after `delay` seconds, unless that is planned already; at once, with `hurry`."""
        if not self._started or self._stopped or self._running is not None:
            return
        if self._timer is not None and self._timer.active():
            if not hurry:
                return
            self._timer.cancel()
        self._timer = self._clock.callLater(delay, self._next)

    def _next(self) -> None:
        """Say the batch under way once (more), or make one of what waits."""
        if self._call is None:
            if not self._queue:
                if self._flushed is not None:
                    self._finish()
                return
            self._call = self._batch()
        now = int(self._wall_clock())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"realtime_svc/{__version__}",
            "X-Realtime-Event-Id": self._call.id,
            "X-Realtime-Signature": signature(self._config.secret, now, self._call.body),
        }
        self._running = running = Deferred.fromCoroutine(self._post(self._call.body, headers))
        running.addTimeout(self._config.timeout, self._clock)  # type: ignore[arg-type]
        running.addCallbacks(self._answered, self._failed)

    def _batch(self) -> _Call:
        since = self._queue[0][0]
        events = [self._queue.popleft()[1] for _ in range(min(len(self._queue), self._config.batch))]
        return _Call(uuid.uuid4().hex, encode(events), len(events), since + self._config.retry)

    def _answered(self, answer: Answer) -> None:
        status = answer.status
        if 200 <= status < 300:
            self._done("sent")
        elif status == 429 or status >= 500:
            self._again(f"status {status}", retry_after(answer.retry_after, self._wall_clock()))
        else:
            self._note("webhooks failed", f"webhooks: status {status}: given up")
            self._done("failed")

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, CallFailed):
            self._again(str(error))
        elif isinstance(error, NoAnswer):
            self._again(f"no answer within {self._config.timeout:g} seconds")
        else:
            self._again(type(error).__name__)

    def _done(self, outcome: str) -> None:
        assert self._call is not None
        self._count[outcome] += self._call.events
        self._running = self._call = None
        self._failures = 0
        self._wake(0.0)

    def _again(self, reason: str, least: float = 0.0) -> None:
        """Exponential back-off with full jitter. It goes on over batches: the backend is what is down, not a batch."""
        assert self._call is not None
        self._running = None
        if self._stopped:
            return
        wait = self._chance() * min(FIRST_WAIT * 2.0 ** min(self._failures, 16), LONGEST_WAIT)
        wait = max(wait, least, SHORTEST_WAIT)
        self._failures += 1
        left = self._call.deadline - self._clock.seconds()
        if left <= 0:
            self._note("webhooks failed", f"webhooks: {reason}: given up")
            self._count["failed"] += self._call.events
            self._call = None
        else:
            self._note("webhooks failed", f"webhooks: {reason}: trying again")
            self._count["retried"] += self._call.events
            wait = min(wait, left)
        self._wake(wait)


def retry_after(header: str, now: float) -> float:
    """Seconds to wait by a Retry-After header (RFC 9110 10.2.3: seconds, or a date); 0 for none, or nonsense."""
    if header.isascii() and header.isdigit():
        return min(float(header[:9]), LONGEST_WAIT)
    try:
        return min(max(parsedate_to_datetime(header).timestamp() - now, 0.0), LONGEST_WAIT)
    except (ValueError, OverflowError):
        return 0.0
