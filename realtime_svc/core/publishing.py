"""What is published, what was published, and who is there: for clients, for HTTP and for user code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime_svc import channel as channels
from realtime_svc.config import Namespace
from realtime_svc.core.messages import History, Publish
from realtime_svc.core.payload import parse_json
from realtime_svc.core.permissions import may
from realtime_svc.core.recovery import fitting
from realtime_svc.core.session import Session
from realtime_svc.errors import ErrorCode, ReplyError
from realtime_svc.model import (
    ClientInfo,
    HistoryPage,
    HistoryQuery,
    Identity,
    PresenceCounts,
    Publication,
    PublishResult,
    StreamOptions,
)

if TYPE_CHECKING:
    from realtime_svc.core.node import Node

EVENT_TAG = "event"
DEFAULT_EVENT = "message"
NO_HISTORY = "this namespace keeps no history (history_size, history_ttl)"
NO_PRESENCE = "this namespace does not know who is there (presence)"
MAX_KEY = 255  # characters of an idempotency key, and of a version's epoch
MAX_TAGS_SIZE = 32 * 1024  # bytes of all tags of a publication: they are kept and delivered as the payload is


class Publishing:
    """The use cases of one node around streams and presence."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._broker = node.broker
        self._presence = node.presence_store

    # ---- publishing

    async def publish_from(self, session: Session, command: Publish) -> PublishResult:
        """A connected client publishes."""
        return await self.publish(
            command,
            identity=session.identity,
            publisher=session.info_in(command.channel),
            session=session,
            exclude=session.id if session.exclude_self else None,
        )

    async def publish(
        self,
        command: Publish,
        *,
        identity: Identity | None = None,
        publisher: ClientInfo | None = None,
        session: Session | None = None,
        exclude: str | None = None,
        skip_history: bool = False,
        version: int = 0,
        version_epoch: str = "",
    ) -> PublishResult:
        """Check a publication and pass it on. Raises `ReplyError`; nothing was passed on then, but see `Broker`.

        `identity` is who publishes and must be allowed to (None: the server itself, which may). User code sees what
        clients publish before it is passed on.
        """
        namespace = self._node.namespace(command.channel)
        if identity is not None:
            self._check_right(identity, namespace, namespace.publish, command.channel, session)
        if len(command.key) > MAX_KEY:
            raise ReplyError(ErrorCode.BAD_REQUEST, f"an idempotency key has at most {MAX_KEY} characters")
        if len(version_epoch) > MAX_KEY:
            raise ReplyError(ErrorCode.BAD_REQUEST, f"a version epoch has at most {MAX_KEY} characters")
        publication = self._publication(command, namespace, publisher, exclude, version)
        if publisher is not None:
            changed = await self._node.hooks.publish(session, publication)
            if changed is None:
                return PublishResult(None)
            if changed is not publication:
                again = Publish(command.channel, changed.data, changed.binary, changed.tags)
                publication = self._publication(again, namespace, publisher, changed.exclude, version)
        kept = namespace.keeps_history and not skip_history
        options = StreamOptions(
            size=namespace.history_size if kept else 0,
            ttl=namespace.history_ttl if kept else 0.0,
            meta_ttl=namespace.history_meta_ttl,
            key=_scoped(command.key, publisher),
            version=version,
            version_epoch=version_epoch,
        )
        result = await self._broker.publish(publication, options)
        self._node.instruments.publications += result.fresh
        return result

    def _publication(
        self, command: Publish, namespace: Namespace, publisher: ClientInfo | None, exclude: str | None, version: int
    ) -> Publication:
        """The publication as it travels on. Raises `ReplyError` 107."""
        is_json = namespace.payload == "json"
        data = self._check(command, namespace)
        binary = command.binary and not is_json
        return Publication(command.channel, data, is_json, binary, command.tags, publisher, exclude, version=version)

    def _check(self, command: Publish, namespace: Namespace) -> bytes:
        if len(command.data) > (namespace.message_size or self._node.limits.message_size):
            raise ReplyError(ErrorCode.BAD_REQUEST, "payload too big")
        if sum(len(text.encode()) for tag in (command.tags or {}).items() for text in tag) > MAX_TAGS_SIZE:
            raise ReplyError(ErrorCode.BAD_REQUEST, f"tags of more than {MAX_TAGS_SIZE} bytes")
        if namespace.payload == "bytes":
            return command.data
        data, value = parse_json(command.data)
        if namespace.schema:
            event = (command.tags or {}).get(EVENT_TAG, DEFAULT_EVENT)
            self._node.validator.check(channels.namespace_of(command.channel), event, value)
        return data

    async def broadcast(self, data: bytes, *, is_json: bool = True, exclude: str | None = None) -> None:
        """To every client of the whole server, outside any channel. `data` is one JSON value, or any bytes."""
        payload = parse_json(data)[0] if is_json else data
        await self._broker.publish(Publication("", payload, is_json, not is_json, exclude=exclude), StreamOptions())

    def may_publish(self, identity: Identity, channel: str) -> bool:
        """Do the rules let `identity` publish, subscribed or not? False also where there is no such namespace."""
        namespace = self._node.namespaces.get(channels.namespace_of(channel))
        return namespace is not None and (namespace.insecure or may(identity, namespace.publish, channel))

    def _check_right(
        self, identity: Identity, namespace: Namespace, rule: tuple[str, ...], channel: str, session: Session | None
    ) -> None:
        if namespace.insecure:
            return
        subscribed = session is not None and channel in session.channels
        if not may(identity, rule, channel, subscribed):
            raise ReplyError(ErrorCode.PERMISSION_DENIED)

    # ---- history

    async def history_for(self, session: Session, command: History) -> HistoryPage:
        """A client reads. Raises `ReplyError` 107, 102, 108, 103, 112, in this order."""
        namespace = self._node.namespace(command.channel)
        if not namespace.keeps_history:
            raise ReplyError(ErrorCode.NOT_AVAILABLE, NO_HISTORY)
        assert session.identity is not None
        self._check_right(session.identity, namespace, namespace.read_history, command.channel, session)
        if session.dialect.traits.json_only and namespace.payload != "json":
            raise ReplyError(ErrorCode.NOT_AVAILABLE, "this protocol carries JSON only, and the channel bytes")
        page = self._node.limits.page
        limit = page if command.limit < 0 else min(command.limit, page)
        found, top = await self.history(command.channel, HistoryQuery(limit, command.since, command.reverse))
        return HistoryPage(fitting(found, self._node.limits.queue_size), top)

    async def history(self, channel: str, query: HistoryQuery) -> HistoryPage:
        """Raises `ReplyError`: 107, 102, 108 where none is kept, 112 for a position in another epoch."""
        namespace = self._node.namespace(channel)
        if not namespace.keeps_history:
            raise ReplyError(ErrorCode.NOT_AVAILABLE, NO_HISTORY)
        since = query.since
        if query.reverse and since is not None and since.offset == 0:
            raise ReplyError(ErrorCode.BAD_REQUEST, "nothing is before offset 0")
        page = await self._broker.history(channel, query, namespace.history_meta_ttl)
        if since is not None and since.epoch not in ("", page.position.epoch):
            raise ReplyError(ErrorCode.UNRECOVERABLE_POSITION)
        return page

    async def remove_history(self, channel: str) -> None:
        """Raises `ReplyError` 107, 102, 108."""
        if not self._node.namespace(channel).keeps_history:
            raise ReplyError(ErrorCode.NOT_AVAILABLE, NO_HISTORY)
        await self._broker.remove_history(channel)

    # ---- presence

    def check_presence(self, session: Session, channel: str) -> None:
        """May this client see who is there? Raises `ReplyError` 107, 102, 108, 103, in this order."""
        namespace = self._node.namespace(channel)
        self._check_keeps_presence(channel)
        assert session.identity is not None
        self._check_right(session.identity, namespace, namespace.read_presence, channel, session)

    async def presence_for(self, session: Session, channel: str) -> dict[str, ClientInfo]:
        """A client asks. Raises `ReplyError` 107, 102, 108, 103, 106 where there are too many to name."""
        self.check_presence(session, channel)
        most = self._node.limits.members
        if (await self._presence.counts(channel)).clients > most:
            raise ReplyError(ErrorCode.LIMIT_EXCEEDED, f"more than {most} members: ask for their number")
        members = await self._presence.members(channel)
        if (
            sum(len(one.info or b"") + len(one.channel_info or b"") for one in members.values())
            > self._node.limits.queue_size
        ):
            raise ReplyError(ErrorCode.LIMIT_EXCEEDED, "the members are too much for one answer: ask for their number")
        return members

    async def presence(self, channel: str) -> dict[str, ClientInfo]:
        """By client id. Raises `ReplyError` 107, 102, 108 where it is not known."""
        self._check_keeps_presence(channel)
        return await self._presence.members(channel)

    async def presence_counts(self, channel: str) -> PresenceCounts:
        """Raises `ReplyError` as `presence`."""
        self._check_keeps_presence(channel)
        return await self._presence.counts(channel)

    def _check_keeps_presence(self, channel: str) -> None:
        if not self._node.namespace(channel).presence:
            raise ReplyError(ErrorCode.NOT_AVAILABLE, NO_PRESENCE)


def _scoped(key: str, publisher: ClientInfo | None) -> str:
    """Nobody's key is another user's key."""
    if not key:
        return ""
    if publisher is None:
        return f"server:{key}"
    if not publisher.user:  # anonymous clients are many
        return f"client:{publisher.client}:{key}"
    return f"user:{len(publisher.user)}:{publisher.user}:{key}"  # by its length it is clear where a user's id ends
