"""What user code may do with the server: from its event loop, and from other threads."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

import msgspec
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure
from twisted.python.threadable import isInIOThread

from realtime_svc import errors
from realtime_svc.core.messages import Publish
from realtime_svc.core.publishing import EVENT_TAG
from realtime_svc.handlers.client import Client, checked_disconnect
from realtime_svc.handlers.grants import GrantOptions, granted
from realtime_svc.handlers.message import History, Member, Message, member
from realtime_svc.handlers.values import check_tags, to_payload
from realtime_svc.model import HistoryQuery, PresenceCounts, PublishResult, StreamPosition

if TYPE_CHECKING:
    from realtime_svc.core.control import Control
    from realtime_svc.core.node import Node

_T = TypeVar("_T")


class Server:
    """The whole server. Permissions do not hold here: it is the server itself that acts.

    What returns a Deferred may be awaited or not; a failure that nobody looks at is logged. All of it belongs to the
    thread of the event loop but for the two methods whose names end in `_from_thread`.
    """

    def __init__(self, node: Node) -> None:
        self._node = node

    # ---- messages

    def publish(
        self,
        channel: str,
        data: Any,
        *,
        event: str | None = None,
        tags: dict[str, str] | None = None,
        exclude: Client | None = None,
        key: str = "",
        skip_history: bool = False,
        version: int = 0,
        version_epoch: str = "",
    ) -> Deferred[PublishResult]:
        """Publish in a channel: anything JSON can say, or bytes (in a namespace of bytes, or JSON text).

        `event` is short for the tag `event`. `exclude` is a client that does not get it. `key` makes a retry safe: what
        has the same key is published once. `skip_history`: it is not kept. A `version` above 0 that is not above the
        newest one of the stream is not published (within one `version_epoch`).

        Raises TypeError for what JSON can't say. The Deferred fires with where it stands in the stream when it was
        accepted, or fails with `ReplyError`: 102, 107 (no channel, or a payload against the schema), 100.
        """
        named = check_tags({**(tags or {}), **({EVENT_TAG: event} if event else {})})
        command = Publish(channel, to_payload(data), isinstance(data, bytes), named, key=key)
        return self.run(
            self._node.publishing.publish(
                command,
                exclude=exclude.id if exclude else None,
                skip_history=skip_history,
                version=version,
                version_epoch=version_epoch,
            )
        )

    def broadcast(self, data: Any, *, exclude: Client | None = None) -> Deferred[None]:
        """Send to every client of the server, in no channel: anything JSON can say, or bytes."""
        is_json = not isinstance(data, bytes)
        excluded = exclude.id if exclude else None
        return self.run(self._node.publishing.broadcast(to_payload(data), is_json=is_json, exclude=excluded))

    def history(
        self, channel: str, *, limit: int | None = None, since: StreamPosition | None = None, reverse: bool = False
    ) -> Deferred[History]:
        """What is kept of a channel: at most `limit` messages (None: all; 0: none, the position only), oldest first.

        `since`: strictly after this position (before it, with `reverse`, which is newest first). Fails with
        `ReplyError`: 108 where no history is kept, 112 where `since` is of another epoch.
        """
        return self.run(self._history(channel, HistoryQuery(limit, since, reverse)))

    async def _history(self, channel: str, query: HistoryQuery) -> History:
        page = await self._node.publishing.history(channel, query)
        return History([Message(publication) for publication in page.publications], page.position)

    # ---- who is there

    def presence(self, channel: str) -> Deferred[dict[str, Member]]:
        """Who is subscribed, by client id. Fails with `ReplyError` 108 where presence is off."""
        return self.run(self._presence(channel))

    async def _presence(self, channel: str) -> dict[str, Member]:
        members = await self._node.publishing.presence(channel)
        return {client: member(info) for client, info in members.items()}

    def presence_stats(self, channel: str) -> Deferred[PresenceCounts]:
        """How many clients and users are subscribed. Fails with `ReplyError` 108 where presence is off."""
        return self.run(self._node.publishing.presence_counts(channel))

    def clients(self, channel: str | None = None) -> list[Client]:
        """The clients of this process that were let in; those of one channel if it is given."""
        hub = self._node.hub
        sessions = hub.present() if channel is None else hub.subscribers(channel)
        return [Client(self, session.info, session) for session in sessions]

    # ---- users

    def subscribe(
        self, user: str, channel: str, *, client: str = "", **options: Unpack[GrantOptions]
    ) -> Deferred[None]:
        """Subscribe all connections of a user, or the one with id `client`, whatever the permissions."""
        return self.run(self.control.subscribe(user=user, channel=channel, grant=granted(options), client=client))

    def unsubscribe(self, user: str, channel: str, *, client: str = "") -> Deferred[None]:
        """End the subscriptions of a user to a channel, or that of the connection with id `client`."""
        return self.run(self.control.unsubscribe(user=user, channel=channel, client=client))

    def disconnect(
        self,
        user: str,
        *,
        client: str = "",
        whitelist: Sequence[str] = (),
        code: int = errors.FORCED.code,
        reason: str = errors.FORCED.reason,
    ) -> Deferred[None]:
        """Close all connections of a user, or the one with id `client`, but for the client ids in `whitelist`.

        Codes are those of `Client.close`. Raises ValueError for a code or reason that no close frame can hold.
        """
        disconnect = checked_disconnect(code, reason)
        return self.run(self.control.disconnect(user=user, client=client, whitelist=whitelist, disconnect=disconnect))

    # ---- threads

    def call_from_thread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a function in the event loop's thread, from any other one; the only way to reach the server from there.

        The future gets what it returns or raises, once it is there: it may return a Deferred or be an `async def`. Give
        `Future.result` a timeout: nothing is answered any more once the server has stopped. Raises RuntimeError in the
        event loop's own thread, which would wait for itself.
        """
        if isInIOThread():  # type: ignore[no-untyped-call]
            raise RuntimeError("this is the event loop's thread: call it directly")
        future: Future[Any] = Future()
        reactor: Any = self._node.clock
        reactor.callFromThread(_fulfil, future, function, args, kwargs)
        return future

    def publish_from_thread(self, channel: str, data: Any, **options: Any) -> Future[PublishResult]:
        """`publish` from any other thread, with the same arguments: `.result(timeout=5)` waits for its outcome.

        `data` is read before this returns, and may be changed then. Raises TypeError for what JSON can't say.
        """
        fixed = data if isinstance(data, bytes) else msgspec.Raw(to_payload(data))
        return self.call_from_thread(self.publish, channel, fixed, **options)

    # ---- for the other modules of this package

    @property
    def control(self) -> Control:
        return self._node.control

    def run(self, work: Coroutine[Any, Any, _T]) -> Deferred[_T]:
        """Run a use case and give its outcome to user code, which may await it."""
        outcome: Deferred[_T] = Deferred()

        def done(result: _T, error: BaseException | None) -> None:
            if error is None:
                outcome.callback(result)
            else:
                outcome.errback(error)

        self._node.run(work, done)
        return outcome


def _fulfil(future: Future[Any], function: Callable[..., Any], args: Any, kwargs: Any) -> None:
    if not future.set_running_or_notify_cancel():
        return

    def failed(failure: Failure) -> None:
        future.set_exception(failure.value)

    maybeDeferred(function, *args, **kwargs).addCallbacks(future.set_result, failed)
