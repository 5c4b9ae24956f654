"""What leaves at the end of a turn of the event loop: what was published meanwhile, and what sessions were told.

Publications that meet in one turn leave as one write a client, and so do answers. A fan-out to many is cut into
slices, and the event loop turns between two of them: nobody else waits longer than a slice. What a fan-out sends to a
client goes behind what waits in its outbox: each channel keeps its order, the answers of a session keep theirs, and
an answer may come before a publication that was made earlier in the same turn.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from realtime_svc.core.ports import Clock

if TYPE_CHECKING:
    from realtime_svc.core.channel import Channel
    from realtime_svc.core.outbox import Outbox

SLICE = 0.002  # seconds of work for fan-outs in a turn
STEP = 1_000_000  # nanoseconds after which a fan-out looks whether the slice is over

Round = Generator[None, None, None]
Report = Callable[[str, BaseException], None]


class Outgoing:
    """The end of the turn, of one node.

    `start` delivers what waits in a channel, or makes a round of it: a generator that does a piece of the work at each
    step and ends when all is done. `after_turn` calls what it is given once, at the end of this turn of the event loop.
    """

    start: Callable[[Channel], Round | None]

    def __init__(self, after_turn: Callable[[Callable[[], None]], None], clock: Clock, report: Report) -> None:
        self._after_turn = after_turn
        self._clock = clock
        self._report = report
        self._fresh: list[Channel] = []
        self._going: deque[Round] = deque()
        self._outboxes: list[Outbox] = []
        self._scheduled = False
        self._slicing = False

    def begin(self, channel: Channel) -> None:
        """Deliver what waits in the channel at the end of this turn, or begin with it then."""
        self._fresh.append(channel)
        if not self._scheduled:
            self._schedule()

    def flush_later(self, outbox: Outbox) -> None:
        """Flush it at the end of this turn, after the fan-outs."""
        self._outboxes.append(outbox)
        if not self._scheduled:
            self._schedule()

    def finish(self, channel: Channel) -> None:
        """Deliver all of it now: what happens next must come after it. Nothing happens from within a step of it."""
        round = self.start(channel)
        if round is not None and inspect.getgeneratorstate(round) != inspect.GEN_RUNNING:
            while self._step(round):
                pass

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._after_turn(self._end_turn)

    def _end_turn(self) -> None:
        """Rounds that begin now come first: a small one never waits for a large one that is under way."""
        until = self._clock.seconds() + SLICE
        while self._fresh or self._outboxes:
            fresh, self._fresh = self._fresh, []
            for channel in fresh:
                self._begin(channel, until)
            outboxes, self._outboxes = self._outboxes, []
            for outbox in outboxes:
                self._flush(outbox)
            if self._clock.seconds() >= until:
                break
        self._scheduled = False
        if self._fresh or self._outboxes:
            self._schedule()
        self._go_on()

    def _flush(self, outbox: Outbox) -> None:
        try:
            outbox.flush()
        except Exception as error:
            self._report("writing to a client failed", error)
            outbox.give_up()

    def failed(self, error: Exception) -> None:
        """A part of a fan-out could not be carried out."""
        self._report("a fan-out failed", error)

    def _begin(self, channel: Channel, until: float) -> None:
        round = self.start(channel)
        if round is not None:
            while self._step(round):
                if self._clock.seconds() >= until:
                    self._going.append(round)
                    return

    def _go_on(self) -> None:
        if self._going and not self._slicing:
            self._slicing = True
            self._after_turn(self._slice)

    def _slice(self) -> None:
        """Rounds that are under way take turns."""
        until = self._clock.seconds() + SLICE
        while self._going:
            round = self._going.popleft()
            if self._step(round):
                self._going.append(round)
            if self._clock.seconds() >= until:
                break
        self._slicing = False
        self._go_on()

    def _step(self, round: Round) -> bool:
        """False: it has ended."""
        try:
            next(round)
        except StopIteration:
            return False
        except Exception as error:
            self.failed(error)
            return False
        return True
