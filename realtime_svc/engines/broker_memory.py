"""The broker of a single process: what is published is delivered in the same call."""

from __future__ import annotations

from collections.abc import Callable

from realtime_svc.model import Publication


class MemoryBroker:
    """Implements `core.ports.Broker`. Never waits; the order is that of the calls."""

    def __init__(self) -> None:
        self._receive: Callable[[Publication], None] | None = None

    def on_publication(self, receive: Callable[[Publication], None]) -> None:
        self._receive = receive

    async def publish(self, publication: Publication) -> None:
        if self._receive is not None:
            self._receive(publication)
