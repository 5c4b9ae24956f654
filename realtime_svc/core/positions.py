"""Looks whether quiet channels stand where the broker says: a loss at the end of a stream shows no gap by itself.

A channel whose top is above what this node has seen is looked at again a moment later, since the publication may be on
its way; only when it has still not come, or the stream is another one, its subscribers are told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime_svc.core.ports import Timer
from realtime_svc.model import HistoryQuery, StreamPosition

if TYPE_CHECKING:
    from realtime_svc.core.channel import Channel
    from realtime_svc.core.node import Node

SECOND_LOOK = 1.0  # seconds
SLICE = 100  # channels in one turn of the event loop


class PositionCheck:
    """Every `interval` seconds (0: never)."""

    def __init__(self, node: Node, interval: float) -> None:
        self._node = node
        self._interval = interval
        self._timer: Timer | None = None
        self._second_looks: list[Timer] = []
        self._names: list[str] = []
        self._running = False

    def start(self) -> None:
        self._running = bool(self._interval)
        self._again()

    def stop(self) -> None:
        self._running = False
        for timer in (self._timer, *self._second_looks):
            if timer is not None and timer.active():
                timer.cancel()
        self._timer = None

    def _begin(self) -> None:
        self._names = list(self._node.hub.channels)
        self._second_looks = [timer for timer in self._second_looks if timer.active()]
        self._go_on()

    def _go_on(self) -> None:
        self._timer = None
        self._node.background(self._slice(), "a position check failed")

    async def _slice(self) -> None:
        try:
            names, self._names = self._names[:SLICE], self._names[SLICE:]
            for name in names:
                channel = self._node.hub.channels.get(name)
                if channel is None or channel.position is None:
                    continue
                if channel.positioned():
                    await self._look(channel)
        finally:
            self._again()

    def _again(self) -> None:
        if not self._running:
            return
        clock = self._node.clock
        self._timer = clock.callLater(0.0, self._go_on) if self._names else clock.callLater(self._interval, self._begin)

    async def _look(self, channel: Channel) -> None:
        seen = channel.position
        top = await self._top(channel.name)
        if self._running and seen is not None and top != seen and channel.position == seen:
            timer = self._node.clock.callLater(SECOND_LOOK, self._look_again, channel, seen, top)
            self._second_looks.append(timer)

    async def _top(self, name: str) -> StreamPosition:
        namespace = self._node.namespace(name)
        page = await self._node.broker.history(name, HistoryQuery(limit=0), namespace.history_meta_ttl)
        return page.position

    def _look_again(self, channel: Channel, seen: StreamPosition, top: StreamPosition) -> None:
        position = channel.position
        if position is None or self._node.hub.channels.get(channel.name) is not channel:
            return
        if position.epoch != seen.epoch:  # everybody was told then
            return
        if position.epoch == top.epoch and position.offset >= top.offset:
            return
        lost = channel.missing(top)
        channel.start_anew(top)
        self._node.subscriptions.lost(lost)
