"""What a client can ask for once, apart from subscriptions: each command has one answer."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from realtime_svc.client import plain
from realtime_svc.client.commands import Reply
from realtime_svc.client.plain import History
from realtime_svc.model import PresenceCounts, StreamPosition


class Asking:
    """All methods fail with `CommandError`, `CommandTimeout`, `TooManyCommands`, `ProtocolViolation`, or what made the
    client give up; with `ConnectionClosed` where the connection went and nobody knows whether it was carried out."""

    def publish(
        self, channel: str, data: Any, tags: dict[str, str] | None = None, *, key: str | None = None
    ) -> Deferred[StreamPosition | None]:
        """`data` is any JSON value, or `bytes` in a channel of bytes. Fires when the server has accepted it, with its
        place in the channel's stream, or None where no history is kept.

        With `key`, your own name for this message, it is safe to try again: it is published once.
        """
        return self._ask(plain.publish_command(channel, data, tags, key)).addCallback(plain.read_position)

    def history(
        self, channel: str, limit: int | None = None, *, since: StreamPosition | None = None, reverse: bool = False
    ) -> Deferred[History]:
        """The messages that are kept, oldest first, or newest first with `reverse`: `limit` of them, or as many as the
        server gives at once (0: none, the position only). `since`: after this place, or before it with `reverse`."""
        return self._ask(plain.history_command(channel, limit, since, reverse)).addCallback(plain.read_history)

    def presence(self, channel: str) -> Deferred[list[dict[str, Any]]]:
        """Who is subscribed: `client`, `user`, and `info` where there is some."""
        return self._ask({"presence": channel}).addCallback(plain.read_members)

    def presence_stats(self, channel: str) -> Deferred[PresenceCounts]:
        """How many clients are subscribed, and how many different users."""
        return self._ask({"presence": channel, "stats": True}).addCallback(plain.read_counts)

    def call(self, method: str, data: Any = None) -> Deferred[Any]:
        """A remote procedure call: any JSON value there, any back."""
        return self._ask({"call": method, "data": data}).addCallback(lambda reply: reply.get("data"))

    def sync(self) -> Deferred[None]:
        """Fires when everything that was issued before has been answered: the server keeps the order of commands."""
        return self._ask({"ping": 1}).addCallback(lambda _: None)

    def _ask(self, command: dict[str, Any]) -> Deferred[Reply]:
        """Issue a command; its answer."""
        raise NotImplementedError
