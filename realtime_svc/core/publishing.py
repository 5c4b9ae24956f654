"""What is published, what was published, and who is there: for clients, for HTTP and for user code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime_svc import channel as channels
from realtime_svc.config import Namespace
from realtime_svc.core.messages import History, Publish
from realtime_svc.core.payload import parse_json
from realtime_svc.core.permissions import may
from realtime_svc.core.permit import Permit, Terms
from realtime_svc.core.ports import PromptBroker
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
MOST_PERMITS = 16  # channels of one client for which it is remembered what holds there
MAX_TAGS_SIZE = 32 * 1024  # bytes of all tags of a publication: they are kept and delivered as the payload is


class Publishing:
    """The use cases of one node around streams and presence."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._broker = node.broker
        self._broker_at_once = node.broker.publish_at_once if isinstance(node.broker, PromptBroker) else None
        self._presence = node.presence_store

    # ---- publishing

    async def publish_from(self, session: Session, command: Publish) -> PublishResult:
        """A connected client publishes. Raises as `publish`."""
        terms = self._permit(session, command.channel)
        return await self._publish(command, terms, self._options(command, terms), session)

    def publish_at_once(self, session: Session, command: Publish) -> PublishResult | None:
        """As `publish_from`, where nothing has to be waited for. None: something has, and nothing has happened yet."""
        if self._broker_at_once is None or self._node.hooks.handles_publications:
            return None
        terms = self._permit(session, command.channel)
        options = terms.options if not command.key else self._options(command, terms)
        result = self._broker_at_once(self._publication(command, terms), options)
        self._node.instruments.publications += result.fresh
        return result

    async def publish(
        self,
        command: Publish,
        *,
        identity: Identity | None = None,
        publisher: ClientInfo | None = None,
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
            self._check_right(identity, namespace, namespace.publish, command.channel, None)
        terms = Terms(command.channel, namespace, self._node.limits.message_size, publisher, exclude)
        options = self._options(command, terms)._replace(version=version, version_epoch=version_epoch)
        if len(version_epoch) > MAX_KEY:
            raise ReplyError(ErrorCode.BAD_REQUEST, f"a version epoch has at most {MAX_KEY} characters")
        if skip_history:
            options = options._replace(size=0, ttl=0.0)
        return await self._publish(command, terms, options, None)

    async def _publish(
        self, command: Publish, terms: Terms, options: StreamOptions, session: Session | None
    ) -> PublishResult:
        publication = self._publication(command, terms, options.version)
        if terms.publisher is not None and self._node.hooks.handles_publications:
            changed = await self._node.hooks.publish(session, publication)
            if changed is None:
                return PublishResult(None)
            if changed is not publication:
                again = Publish(terms.channel, changed.data, changed.binary, changed.tags)
                publication = self._publication(again, terms, options.version, changed.exclude)
        result = await self._broker.publish(publication, options)
        self._node.instruments.publications += result.fresh
        return result

    def _permit(self, session: Session, channel: str) -> Permit:
        """Raises `ReplyError` 107, 102, 103."""
        permits = session.line.permits
        if permits is None:
            permits = session.line.permits = {}
        permit = permits.get(channel)
        if permit is not None and permit.identity is session.identity:
            subscription = session.channels.get(channel)
            if permit.subscription is subscription and (subscription is None or subscription.info is permit.info):
                return permit
        namespace = self._node.namespace(channel)
        assert session.identity is not None
        self._check_right(session.identity, namespace, namespace.publish, channel, session)
        if len(permits) >= MOST_PERMITS:
            permits.clear()
        permit = permits[channel] = Permit(session, channel, namespace)
        return permit

    def _options(self, command: Publish, terms: Terms) -> StreamOptions:
        if not command.key:
            return terms.options
        if len(command.key) > MAX_KEY:
            raise ReplyError(ErrorCode.BAD_REQUEST, f"an idempotency key has at most {MAX_KEY} characters")
        return terms.options._replace(key=_scoped(command.key, terms.publisher))

    def _publication(self, command: Publish, terms: Terms, version: int = 0, exclude: str | None = None) -> Publication:
        """The publication as it travels on. Raises `ReplyError` 107."""
        data, tags = command.data, command.tags
        if len(data) > terms.most:
            raise ReplyError(ErrorCode.BAD_REQUEST, "payload too big")
        if tags and sum(len(text.encode()) for tag in tags.items() for text in tag) > MAX_TAGS_SIZE:
            raise ReplyError(ErrorCode.BAD_REQUEST, f"tags of more than {MAX_TAGS_SIZE} bytes")
        binary = command.binary
        if terms.is_json:
            binary = False
            data, value = parse_json(data)
            if terms.schema:
                event = tags.get(EVENT_TAG, DEFAULT_EVENT) if tags else DEFAULT_EVENT
                self._node.validator.check(terms.schema, event, value)
        exclude = exclude or terms.exclude
        return Publication(terms.channel, data, terms.is_json, binary, tags, terms.publisher, exclude, 0, "", version)

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
