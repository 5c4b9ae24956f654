"""A broker, and short words for asking it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from realtime_svc.core.ports import Broker, Clock
from realtime_svc.model import (
    ChannelEvent,
    ClientInfo,
    HistoryPage,
    HistoryQuery,
    Publication,
    PublishResult,
    StreamOptions,
    StreamPosition,
)
from tests.contracts.asking import Asking

KEPT = StreamOptions(size=10, ttl=60.0, meta_ttl=600.0)
ALL = HistoryQuery()
INFO = ClientInfo("c", "u", b'{"n":1}', b"[2]")


def after(offset: int, limit: int | None = None) -> HistoryQuery:
    return HistoryQuery(limit, StreamPosition(offset, ""))


def before(offset: int | None, limit: int | None = None) -> HistoryQuery:
    return HistoryQuery(limit, None if offset is None else StreamPosition(offset, ""), reverse=True)


def offsets(publications: Iterable[Publication]) -> list[int]:
    return [publication.offset for publication in publications]


class BrokerSuite(Asking):
    """What the parts of the contract have in common."""

    def make_broker(self, clock: Clock) -> Broker:
        raise NotImplementedError

    def setUp(self) -> None:
        self.clock = self.make_clock()
        self.broker = self.make_broker(self.clock)
        self.received: list[ChannelEvent] = []
        self.broker.on_event(self.receive)

    def receive(self, event: ChannelEvent) -> None:
        self.received.append(event)
        self.react(event)

    def react(self, event: ChannelEvent) -> None:
        """What a test does out of a delivery."""

    async def subscribe(self, *channels: str) -> None:
        for channel in channels:
            await self.ask(self.broker.subscribe(channel))

    async def publish(
        self, data: bytes = b"1", channel: str = "x", options: StreamOptions = KEPT, **changes: Any
    ) -> PublishResult:
        return await self.ask(self.broker.publish(Publication(channel, data), options._replace(**changes)))

    async def history(self, query: HistoryQuery = ALL, channel: str = "x", meta_ttl: float = 600.0) -> HistoryPage:
        return await self.ask(self.broker.history(channel, query, meta_ttl))

    async def events(self, channel: str = "x") -> list[ChannelEvent]:
        """What was delivered until now."""
        await self.settle()
        return [event for event in self.received if event.channel == channel]

    async def delivered(self, channel: str = "x") -> list[Publication]:
        return [event for event in await self.events(channel) if isinstance(event, Publication)]
