"""Hypothesis drives the node: any order of what clients, publishers, time and a broker that answers late may do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from realtime_svc.config import Namespace
from realtime_svc.core import messages
from realtime_svc.core.messages import Publish, Subscribe
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
from tests.fakes import FakeTransport, World
from tests.model.reference import PAGE, SIZE, Listener, Truth
from tests.object_dialect import ObjectDialect

TTL, META_TTL, CHECK = 10.0, 100.0, 20.0  # seconds
CLIENTS = 4
CHANNEL = "x"


class LateBroker:
    """The memory broker behind a slow line: reads take effect, and are answered, when the test says so, in order.

    What it delivers may overtake its answers. `drop`: the next delivery is lost on its way to the node.
    """

    def __init__(self, broker: MemoryBroker, touched: Callable[[StreamPosition | None], None]) -> None:
        self._broker = broker
        self._touched = touched
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


class Client:
    """A client with its listener, connected or not."""

    def __init__(self, world: World, truth: Truth) -> None:
        self._world = world
        self._truth = truth
        self.listener = Listener(truth)
        self.transport: FakeTransport | None = None
        self.asked: tuple[StreamPosition | None] | None = None  # an answer is due
        self.could: set[bool] = set()  # whether what it asked for could be recovered, at any time since
        self.may_lose = False  # a delivery was lost since it subscribed

    @property
    def idle(self) -> bool:
        """Is it connected, and neither subscribed nor about to be?"""
        return self.transport is not None and self.asked is None and not self.listener.live

    def connect(self) -> None:
        self.transport = self._world.connect(None, ObjectDialect())
        self.send(messages.Connect(token="a", id=1))
        self.hear()

    def send(self, command: messages.Command) -> None:
        assert self.transport is not None and self.transport.session is not None
        self.transport.session.receive([command], False)  # type: ignore[arg-type]

    def subscribe(self, since: StreamPosition | None) -> None:
        self.asked, self.could = (since,), set()
        self.watch()
        self.may_lose = False
        self.send(Subscribe(CHANNEL, 2, recover=since, recoverable=True))

    def leave(self) -> None:
        """The connection breaks."""
        assert self.transport is not None
        self.hear()
        self.transport.leave()
        self.transport = None
        self.asked = None
        self.listener.live = False

    def watch(self) -> None:
        """The stream has changed: the broker's answer may be about how it was or how it is."""
        if self.asked is not None and self.asked[0] is not None:
            self.could.add(self._truth.recoverable(self.asked[0]))

    def check_complete(self) -> None:
        """Nothing is on its way any more: has it heard everything, or was it told that it has not?"""
        assert self.asked is None, "no answer"
        self.listener.check_complete()

    def hear(self) -> None:
        """Take what was said, in order."""
        assert self.transport is not None
        frames, self.transport.frames = self.transport.frames, []
        for frame in frames:
            self._hear(frame.reply)  # type: ignore[attr-defined]

    def _hear(self, reply: messages.Reply) -> None:
        match reply:
            case messages.Subscribed(result=result):
                assert self.asked is not None, "an answer nobody waits for"
                (since,), self.asked = self.asked, None
                self.listener.subscribed(result, since, self.could)
            case messages.Message():
                self.listener.heard(reply)
            case messages.Unsubscribed(why=why):
                assert why.code == 2500
                position = self.listener.position
                other = position is not None and self._truth.names.get(position.epoch) != self._truth.epoch
                assert self.may_lose or other, "a loss was told where nothing was lost"
                self.listener.live = False
            case messages.Done(verb="unsubscribe"):
                self.listener.live = False
            case messages.Failed(error=error):
                raise AssertionError(f"refused: {error.number} {error.message}")


class ChannelMachine(RuleBasedStateMachine):
    """One channel, some clients. `steps` counts the rules that were carried out over all runs."""

    steps: ClassVar[int] = 0

    @initialize(late=st.booleans())
    def begin(self, late: bool) -> None:
        namespace = Namespace(history_size=SIZE, history_ttl=TTL, history_meta_ttl=META_TTL)
        self.truth = Truth()
        self.late = late
        self.clock: Any = Clock()
        self.broker = LateBroker(MemoryBroker(self.clock), self._touch)
        self.world = World(
            namespaces={"default": namespace},
            broker=self.broker,
            clock=self.clock,
            page=PAGE,
            position_check=CHECK,
        )
        self.world.node.positions.start()
        self.clients = [Client(self.world, self.truth) for _ in range(CLIENTS)]
        self.number = 0
        self.published_at = self.touched_at = 0.0
        for client in self.clients:
            client.connect()
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

    @rule(many=st.integers(1, 7))
    def publish(self, many: int) -> None:
        self.broker.dropped = False
        for _ in range(many):
            self.number += 1
            data = b"%d" % self.number
            self.truth.publish(data)
            self._changed()
            outcome: list[BaseException | None] = []
            work = self.world.node.publishing.publish(Publish(CHANNEL, data))
            run(work, lambda result, error, outcome=outcome: outcome.append(error))  # type: ignore[misc]
            assert outcome == [None]
        self.published_at = self.clock.seconds()
        self._done(lossy=self.broker.dropped)

    @rule(one=st.sampled_from(range(CLIENTS)), recover=st.booleans())
    def subscribe(self, one: int, recover: bool) -> None:
        client = self.clients[one]
        if client.idle:
            client.subscribe(client.listener.position if recover else None)
        self._done()

    @rule(one=st.sampled_from(range(CLIENTS)), behind=st.integers(-2, 7), back=st.integers(0, 2))
    def subscribe_anywhere(self, one: int, behind: int, back: int) -> None:
        """Where a client may not have been: beyond the top, in a stream that is gone, in one nobody knows."""
        client = self.clients[one]
        names = [name for name, epoch in self.truth.names.items() if epoch == self.truth.epoch - back]
        if client.idle:
            offset = max(0, self.truth.top - behind)
            client.subscribe(StreamPosition(offset, names[0] if names else ("", "none", "gone")[back]))
        self._done()

    @rule(one=st.sampled_from(range(CLIENTS)))
    def unsubscribe(self, one: int) -> None:
        client = self.clients[one]
        if client.transport is not None and client.asked is None:
            client.send(messages.Unsubscribe(CHANNEL, 3))
        self._done()

    @rule(one=st.sampled_from(range(CLIENTS)))
    def disconnect(self, one: int) -> None:
        if self.clients[one].transport is not None:
            self.clients[one].leave()
        self._done()

    @rule(one=st.sampled_from(range(CLIENTS)), recover=st.booleans())
    def reconnect(self, one: int, recover: bool) -> None:
        client = self.clients[one]
        if client.transport is None:
            client.connect()
            if recover:
                client.subscribe(client.listener.position)
        self._done()

    @rule()
    def trim(self) -> None:
        run(self.world.node.publishing.remove_history(CHANNEL), lambda result, error: None)
        self.truth.trim()
        self._changed()
        self._done()

    @rule(seconds=st.sampled_from([1.0, 4.0, 11.0, 60.0, 101.0]))
    def wait(self, seconds: float) -> None:
        self._wait(seconds)
        self._done()

    def _wait(self, seconds: float) -> None:
        """In steps, so that nothing that is due in between comes too late."""
        for _ in range(int(seconds)):
            self._expire(self.clock.seconds() + 1.0)
            self.clock.advance(1.0)

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

    @rule()
    def answer(self) -> None:
        """The broker gives the oldest answer that waits."""
        self.broker.release()
        self._done()

    @rule()
    def lose(self) -> None:
        """The next publication does not reach the node."""
        self.broker.drop = True
        self._done()

    @rule()
    def settle(self) -> None:
        """Everything arrives, and positions are checked: every client has all, or knows that it has not."""
        self.broker.late = False
        while self.broker.waiting:
            self.broker.release()
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
