"""Hypothesis drives the node: any order of what clients, publishers, time and a broker that answers late may do.

In some runs each rule is a turn of the event loop. In the others the end of a turn is a rule of its own, so any number
of things happens in one turn, and a fan-out stops after any client, with anything happening before it goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, ClassVar

from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from realtime_svc.config import Namespace
from realtime_svc.core import fanout, hub, messages, outgoing
from realtime_svc.core.messages import Publish
from realtime_svc.driver import run
from realtime_svc.engines.broker_memory import MemoryBroker
from realtime_svc.model import (
    ChannelEvent,
    HistoryPage,
    HistoryQuery,
    Join,
    Leave,
    Publication,
    PublishResult,
    StreamOptions,
    StreamPosition,
)
from tests.fakes import World, at_once
from tests.model.client import CHANNEL, Client, Registrar
from tests.model.reference import PAGE, SIZE, Truth
from tests.model.wires import Sockets, Wired

TTL, META_TTL, CHECK = 10.0, 100.0, 20.0  # seconds
CLIENTS = 5
WAYS = 4 * CLIENTS  # of publishing: kept or not, to all or without one of the clients
ONE = st.integers(0, CLIENTS - 1)
SETTINGS = ((outgoing, "SLICE"), (fanout, "A_STEP"), (hub, "A_STEP"), (hub, "MOST_EVENTS"))


class LateBroker:
    """The memory broker behind a slow line: reads take effect, and are answered, when the test says so, in order.

    What it delivers may overtake its answers. `drop`: the next delivery is lost on its way to the node.
    """

    def __init__(
        self,
        broker: MemoryBroker,
        touched: Callable[[StreamPosition | None], None],
        arrived: Callable[[ChannelEvent], None],
    ) -> None:
        self._broker = broker
        self._touched = touched
        self._arrived = arrived
        self._receive: Callable[[ChannelEvent], None] | None = None
        self.late = False
        self.drop = False
        self.dropped = False
        self.waiting: list[Deferred[None]] = []

    def on_event(self, receive: Callable[[ChannelEvent], None]) -> None:
        self._receive = receive
        self._broker.on_event(self._deliver)

    def _deliver(self, event: ChannelEvent) -> None:
        if self.drop and isinstance(event, Publication):
            self.drop, self.dropped = False, True
            return
        assert self._receive is not None
        self._arrived(event)
        self._receive(event)

    async def _pause(self) -> None:
        if self.late:
            gate: Deferred[None] = Deferred()
            self.waiting.append(gate)
            await gate

    async def subscribe(self, channel: str) -> None:
        await self._pause()
        await self._broker.subscribe(channel)

    async def unsubscribe(self, channel: str) -> None:
        await self._broker.unsubscribe(channel)

    async def publish(self, publication: Publication, options: StreamOptions) -> PublishResult:
        result = await self._broker.publish(publication, options)
        if result.position is not None:
            self._touched(result.position)
        return result

    async def announce(self, event: Join | Leave) -> None:
        await self._broker.announce(event)

    async def history(self, channel: str, query: HistoryQuery, meta_ttl: float) -> HistoryPage:
        await self._pause()
        page = await self._broker.history(channel, query, meta_ttl)
        self._touched(page.position)
        await self._pause()
        return page

    async def remove_history(self, channel: str) -> None:
        await self._broker.remove_history(channel)

    def release(self) -> None:
        """Give the oldest answer that waits, if there is one."""
        if self.waiting:
            self.waiting.pop(0).callback(None)


class ChannelMachine(RuleBasedStateMachine):
    """One channel, some clients. `steps` counts the rules that were carried out over all runs."""

    steps: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self._before = [getattr(module, name) for module, name in SETTINGS]

    def teardown(self) -> None:
        self._set(*self._before)

    def _set(self, *values: Any) -> None:
        for (module, name), value in zip(SETTINGS, values, strict=True):
            setattr(module, name, value)

    @initialize(
        late=st.booleans(),
        turns=st.sampled_from((True, True, True, False)),
        step=st.sampled_from((1, 1, 2, 64)),
        joined=ONE,
        chance=st.integers(0, 2**16),
    )
    def begin(self, late: bool, turns: bool, step: int, joined: int, chance: int) -> None:
        """`turns`: they end when the rule says so. `step`: clients that are served one by one in one step. `joined`:
        so many are there already."""
        namespace = Namespace(
            history_size=SIZE,
            history_ttl=TTL,
            history_meta_ttl=META_TTL,
            recovery="allowed",
            positioning="allowed",
            join_leave="allowed",
            tags_filter=True,
        )
        if turns:
            self._set(0.0, step, step, 3 if chance % 4 == 0 else 1000)
        self.truth = Truth()
        self.late = late
        self.turn: list[Callable[[], None]] = []
        self.clock: Any = Clock()
        self.broker = LateBroker(MemoryBroker(self.clock), self._touch, self.truth.arrived.append)
        registrar = Registrar(self.truth)
        random = Random(chance)
        self.world = World(
            namespaces={"default": namespace},
            hooks=registrar,
            broker=self.broker,
            clock=self.clock,
            after_turn=self.turn.append if turns else at_once,
            group=lambda: Sockets(random),
            page=PAGE,
            position_check=CHECK,
            stall_timeout=1e9,
            queue_size=10**9,
        )
        self.world.node.positions.start()
        dialect = Wired()
        self.clients = [Client(self.world, self.truth, registrar, dialect) for _ in range(CLIENTS)]
        self.number = 0
        self.published_at = self.touched_at = 0.0
        for _ in range(joined):
            self.subscribe(0, False, chance % 3 == 0)
        self._rest()
        self.broker.late = late

    def _touch(self, position: StreamPosition | None) -> None:
        assert position is not None
        self.truth.epoch_named(position.epoch)
        self.touched_at = self.clock.seconds()

    def _changed(self) -> None:
        for client in self.clients:
            client.watch()

    def _done(self, *, lossy: bool = False) -> None:
        """After each rule: hear what was said."""
        type(self).steps += 1
        for client in self.clients:
            client.may_lose = client.may_lose or (lossy and not client.idle)
            if client.transport is not None:
                client.hear()
        assert not self.world.reports, self.world.reports

    # ---- turns

    @rule()
    def end_turn(self) -> None:
        """A fan-out that is under way goes on to its next stop."""
        self._end_turn()
        self._done()

    def _end_turn(self) -> None:
        calls, self.turn[:] = self.turn[:], []
        for call in calls:
            call()

    def _rest(self) -> None:
        """Nothing is under way any more."""
        while self.turn:
            self._end_turn()

    # ---- publishers

    @rule(many=st.integers(1, 7), way=st.integers(0, WAYS - 1), ends=st.booleans())
    def publish(self, many: int, way: int, ends: bool) -> None:
        """`ends`: and so does the turn."""
        kept, excludes = way % 2 > 0, way // 2 % 2
        client = self.clients[way // 4] if excludes else None
        exclude = client.listener.me if client is not None else None
        self.broker.dropped = False
        for _ in range(many):
            self.number += 1
            data = b"%d" % self.number
            if kept:
                self.truth.publish(data, exclude)
                self._changed()
            outcome: list[BaseException | None] = []
            work = self.world.node.publishing.publish(Publish(CHANNEL, data), exclude=exclude, skip_history=not kept)
            run(work, lambda result, error, outcome=outcome: outcome.append(error))  # type: ignore[misc]
            assert outcome == [None]
        if kept:
            self.published_at = self.clock.seconds()
        if ends:
            self._end_turn()
        self._done(lossy=self.broker.dropped)

    @rule(what=st.sampled_from(("lose", "remove")))
    def lose(self, what: str) -> None:
        """The next publication does not reach the node; or what is kept is removed."""
        if what == "lose":
            self.broker.drop = True
        else:
            self._remove()
        self._done()

    def _remove(self) -> None:
        run(self.world.node.publishing.remove_history(CHANNEL), lambda result, error: None)
        self.truth.trim()
        self._changed()

    # ---- clients

    def _pick(self, one: int, fits: Callable[[Client], bool]) -> Client | None:
        """One of those to whom this can happen."""
        found = [client for client in self.clients if fits(client)]
        return found[one % len(found)] if found else None

    def _newcomer(self, one: int) -> Client | None:
        client = self._pick(one, lambda client: client.transport is None or client.idle)
        if client is not None and client.transport is None:
            client.connect()
        return client

    @rule(one=ONE, recover=st.booleans(), filters=st.booleans())
    def subscribe(self, one: int, recover: bool, filters: bool) -> None:
        if (client := self._newcomer(one)) is not None:
            client.subscribe(client.listener.position if recover else None, filters)
        self._done()

    @rule(one=ONE, last=st.sampled_from((0, 0, 1, 3)), filters=st.booleans())
    def look_on(self, one: int, last: int, filters: bool) -> None:
        if (client := self._newcomer(one)) is not None:
            client.look_on(last, filters)
        self._done()

    @rule(one=ONE, behind=st.integers(-2, 7), back=st.integers(0, 2))
    def subscribe_anywhere(self, one: int, behind: int, back: int) -> None:
        """Where a client may not have been: beyond the top, in a stream that is gone, in one nobody knows."""
        names = [name for name, epoch in self.truth.names.items() if epoch == self.truth.epoch - back]
        if (client := self._newcomer(one)) is not None:
            offset = max(0, self.truth.top - behind)
            client.subscribe(StreamPosition(offset, names[0] if names else ("", "none", "gone")[back]), False)
        self._done()

    @rule(one=ONE, recover=st.booleans())
    def subscribe_again(self, one: int, recover: bool) -> None:
        """Leave and come back in one message."""
        if (client := self._pick(one, lambda client: client.listener.live and client.asked is None)) is not None:
            client.subscribe(client.listener.position if recover else None, False, messages.Unsubscribe(CHANNEL, 3))
        self._done()

    @rule(one=ONE, how=st.sampled_from(("unsubscribed", "disconnected", "closed")))
    def leave(self, one: int, how: str) -> None:
        if how == "unsubscribed":
            client = self._pick(one, lambda client: client.listener.live and client.asked is None)
        else:
            client = self._pick(one, lambda client: client.transport is not None and not client.stalled)
        if client is not None and how == "unsubscribed":
            client.send(messages.Unsubscribe(CHANNEL, 3))
        elif client is not None:
            if how == "closed":
                client.close()
            client.leave()
        self._done()

    @rule(one=ONE)
    def stall(self, one: int) -> None:
        """A client takes nothing, or goes on."""
        if (client := self._pick(one, lambda client: client.transport is not None)) is not None:
            if client.stalled:
                client.go_on()
            else:
                client.stall()
        self._done()

    # ---- time

    @rule(seconds=st.sampled_from([1.0, 4.0, 11.0, 60.0, 101.0]))
    def wait(self, seconds: float) -> None:
        self._wait(seconds)
        self._done()

    def _wait(self, seconds: float) -> None:
        """In steps, so that nothing that is due in between comes too late. A turn is shorter than any of them."""
        self._rest()
        for _ in range(int(seconds)):
            self._expire(self.clock.seconds() + 1.0)
            self.clock.advance(1.0)
            self._rest()

    def _expire(self, now: float) -> None:
        """What is over at a moment is over before anything else happens then."""
        if now >= self.published_at + TTL:
            self.truth.trim()
            self._changed()
        if now >= self.touched_at + META_TTL:
            self.truth.forget()
            self._changed()
            self.touched_at = now
            for client in self.clients:  # which of two streams is the newer one can't be seen by who joins between
                client.may_lose = client.may_lose or client.asked is not None

    @rule(many=st.integers(1, 3))
    def answer(self, many: int) -> None:
        """The broker gives the oldest answers that wait."""
        for _ in range(many):
            self.broker.release()
        self._done()

    @rule()
    def settle(self) -> None:
        """Everything arrives, and positions are checked: every client has all, or knows that it has not."""
        self.broker.late = False
        for client in self.clients:
            client.go_on()
        while self.broker.waiting:
            self.broker.release()
        self._rest()
        self._done()
        self._wait(CHECK + 2)
        self._done()
        for client in self.clients:
            client.check_complete()
            client.may_lose = False
        self.broker.late = self.late


def seeded(number: int, runs: int, steps: int) -> type[ChannelMachine]:
    """The machine, `runs` times `steps` rules, in an order that follows from `number` alone."""

    class Seeded(ChannelMachine):
        steps = 0

    Seeded.TestCase.settings = settings(
        max_examples=runs,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        derandomize=False,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    seed(number)(Seeded.TestCase.runTest)
    return Seeded
