"""A node that only remembers what the server API asks of it (the parts of `core.node.Node` that it uses)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from realtime_svc.core.control import NodeInfo
from realtime_svc.driver import run
from realtime_svc.errors import ErrorCode, Refusal, ReplyError
from realtime_svc.model import ClientInfo, HistoryPage, PresenceCounts, Publication, PublishResult, StreamPosition

TOP = StreamPosition(7, "ep")
ADA = ClientInfo("c1", "42", b'{"name":"Ada"}', b"[1]")
INFO = NodeInfo("5d0c", "host", "1.0", 3, 2, 1, 4, 60)


class FakeNode:
    """`calls`: (name, positional, keyword) in order. `outcomes`: by name, or by channel, what is raised, returned, or
    (a Deferred) waited for."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.outcomes: dict[str, Any] = {}
        self.draining = False
        self.run = run
        self.clock = Clock()
        self.limits = SimpleNamespace(page=3)
        self.reports: list[tuple[str, BaseException]] = []
        self.errors: list[int] = []
        self.refusals: list[tuple[int, str, str]] = []
        self.publishing = self.control = self

    def report(self, what: str, error: BaseException) -> None:
        self.reports.append((what, error))

    def count_error(self, error: ReplyError) -> None:
        self.errors.append(error.number)

    def refused(self, refusal: Refusal, remote: str) -> None:
        self.refusals.append((refusal.status, refusal.cause, remote))

    async def _called(self, name: str, channel: str, result: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.calls.append((name, args, kwargs))
        outcome = self.outcomes.get(channel, self.outcomes.get(name, result))
        if isinstance(outcome, Deferred):
            outcome = await outcome
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    # ---- core.publishing.Publishing

    async def publish(self, command: Any, **options: Any) -> PublishResult:
        found: PublishResult = await self._called("publish", command.channel, PublishResult(TOP), command, **options)
        return found

    async def history(self, channel: str, query: Any) -> HistoryPage:
        page = HistoryPage([Publication(channel, b'{"a": 1}', offset=7, epoch="ep")], TOP)
        found: HistoryPage = await self._called("history", channel, page, channel, query)
        return found

    async def remove_history(self, channel: str) -> None:
        await self._called("remove_history", channel, None, channel)

    async def presence(self, channel: str) -> dict[str, ClientInfo]:
        found: dict[str, ClientInfo] = await self._called("presence", channel, {"c1": ADA}, channel)
        return found

    async def presence_counts(self, channel: str) -> PresenceCounts:
        found: PresenceCounts = await self._called("presence_counts", channel, PresenceCounts(3, 2), channel)
        return found

    # ---- core.control.Control

    async def subscribe(self, **what: Any) -> None:
        await self._called("subscribe", what["channel"], None, **what)

    async def unsubscribe(self, **what: Any) -> None:
        await self._called("unsubscribe", what["channel"], None, **what)

    async def disconnect(self, **what: Any) -> None:
        await self._called("disconnect", "", None, **what)

    async def refresh(self, **what: Any) -> None:
        await self._called("refresh", "", None, **what)

    async def revoke(self, **what: Any) -> None:
        await self._called("revoke", "", None, **what)

    def channels(self, pattern: str) -> dict[str, int]:
        self.calls.append(("channels", (pattern,), {}))
        if "channels" in self.outcomes:
            raise self.outcomes["channels"]
        return {"chat:lobby": 3}

    def info(self) -> NodeInfo:
        return INFO


DENIED = ReplyError(ErrorCode.PERMISSION_DENIED)
