"""Engines that take their time: around another engine, the answers or the effects wait for a test or for a clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from realtime_svc.core.ports import Broker, Clock, PresenceStore
from realtime_svc.model import (
    ChannelEvent,
    ClientInfo,
    HistoryPage,
    HistoryQuery,
    Join,
    Leave,
    PresenceCounts,
    Publication,
    PublishResult,
    StreamOptions,
)

DELAY = 2.0**-10  # seconds; far less than anything else that waits for a clock in tests, and exact

T = TypeVar("T")


class _Delaying:
    """What both have in common.

    Each call waits until `release` is called for it, oldest first, or until the clock (if there is one) advanced by
    `delay`. It takes effect when it is made, and its answer or error waits; with `effects` it is the call as a whole
    that waits, and it takes effect when released.
    """

    def __init__(self, clock: Clock | None = None, *, effects: bool = False, delay: float = DELAY) -> None:
        self._clock = clock
        self._effects = effects
        self._delay = delay
        self.waiting: deque[Deferred[None]] = deque()

    def release(self) -> None:
        """Let the oldest call that waits go on."""
        self.waiting.popleft().callback(None)

    def release_all(self) -> None:
        """Let all calls go on, also those that are made meanwhile."""
        while self.waiting:
            self.release()

    async def _late(self, call: Coroutine[Any, Any, T]) -> T:
        if self._effects:
            await self._turn()
            return await call
        try:
            return await call
        finally:
            await self._turn()

    async def _turn(self) -> None:
        turn: Deferred[None] = Deferred()
        self.waiting.append(turn)
        if self._clock is not None:
            self._clock.callLater(self._delay, self._release_unless_done, turn)
        await turn

    def _release_unless_done(self, turn: Deferred[None]) -> None:
        while not turn.called:
            self.release()


class DelayingBroker(_Delaying):
    """Another broker, late. Deliveries are not delayed but with the effect of a publish."""

    def __init__(
        self, broker: Broker, clock: Clock | None = None, *, effects: bool = False, delay: float = DELAY
    ) -> None:
        super().__init__(clock, effects=effects, delay=delay)
        self._broker = broker

    def on_event(self, receive: Callable[[ChannelEvent], None]) -> None:
        self._broker.on_event(receive)

    async def subscribe(self, channel: str) -> None:
        await self._late(self._broker.subscribe(channel))

    async def unsubscribe(self, channel: str) -> None:
        await self._late(self._broker.unsubscribe(channel))

    async def publish(self, publication: Publication, options: StreamOptions) -> PublishResult:
        return await self._late(self._broker.publish(publication, options))

    async def announce(self, event: Join | Leave) -> None:
        await self._late(self._broker.announce(event))

    async def history(self, channel: str, query: HistoryQuery, meta_ttl: float) -> HistoryPage:
        return await self._late(self._broker.history(channel, query, meta_ttl))

    async def remove_history(self, channel: str) -> None:
        await self._late(self._broker.remove_history(channel))


class DelayingPresence(_Delaying):
    """Another store of presence, late."""

    def __init__(
        self, store: PresenceStore, clock: Clock | None = None, *, effects: bool = False, delay: float = DELAY
    ) -> None:
        super().__init__(clock, effects=effects, delay=delay)
        self._store = store

    async def add(self, channel: str, info: ClientInfo) -> None:
        await self._late(self._store.add(channel, info))

    async def remove(self, channel: str, client: str) -> None:
        await self._late(self._store.remove(channel, client))

    async def members(self, channel: str) -> dict[str, ClientInfo]:
        return await self._late(self._store.members(channel))

    async def counts(self, channel: str) -> PresenceCounts:
        return await self._late(self._store.counts(channel))
