"""The use cases: subscribe, publish, broadcast, disconnect. For clients, for HTTP and for user code in the process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from realtime_svc import channel as channels
from realtime_svc.config import Namespace
from realtime_svc.core.heartbeat import Heartbeat
from realtime_svc.core.hub import Hub
from realtime_svc.core.instruments import Instruments
from realtime_svc.core.messages import Failed, Publish
from realtime_svc.core.payload import parse_json
from realtime_svc.core.permissions import may
from realtime_svc.core.ports import Authenticator, Broker, Clock, Dialect, Frame, Hooks, Run, Validator
from realtime_svc.core.ratelimit import RateLimit
from realtime_svc.core.session import Session, State
from realtime_svc.errors import (
    EXPIRED,
    FORCED,
    INTERNAL,
    NO_PONG,
    SHUTDOWN,
    AuthenticationFailed,
    ConnectionClosing,
    Disconnect,
    ErrorCode,
    Refusal,
    ReplyError,
)
from realtime_svc.model import ClientInfo, Identity, Publication, RemoteAddress

EVENT_TAG = "event"
_EXPECTED = frozenset((SHUTDOWN, EXPIRED, NO_PONG, FORCED))
DEFAULT_EVENT = "message"


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What every session keeps to. Sizes in bytes, times in seconds."""

    message_size: int
    queue_size: int
    stall_timeout: float
    auth_timeout: float
    channels_per_client: int
    connections_per_user: int
    anonymous: bool
    messages: RateLimit
    errors: RateLimit


@dataclass(slots=True)
class Ports:
    """What the node needs from the rooms around it.

    `report` takes what failed and the exception; `note` takes a kind of event that strangers can cause, and one line.
    """

    clock: Clock
    wall_clock: Callable[[], float]
    run: Run
    authenticator: Authenticator
    validator: Validator
    broker: Broker
    report: Callable[[str, BaseException], None]
    note: Callable[[str, str], None]


class Node:
    """One process of the service. `hooks` is user code; it is set before the first session."""

    def __init__(
        self,
        ports: Ports,
        namespaces: Mapping[str, Namespace],
        limits: SessionLimits,
        heartbeat: Heartbeat,
        instruments: Instruments,
        hooks: Hooks,
    ) -> None:
        self.clock = ports.clock
        self.wall_clock = ports.wall_clock
        self.run = ports.run
        self.authenticator = ports.authenticator
        self.report = ports.report
        self._note = ports.note
        self.limits = limits
        self.hooks = hooks
        self.hub = Hub()
        self.draining = False
        self.instruments = instruments
        self._validator = ports.validator
        self._broker = ports.broker
        self._namespaces = namespaces
        self._heartbeat = heartbeat
        self._broker.on_publication(self.hub.deliver)

    # ---- sessions

    def opened(self, session: Session) -> None:
        self.hub.add(session)
        self._heartbeat.add(session)
        self.instruments.connections[session.dialect.name] += 1
        self.instruments.connections_total[session.dialect.name] += 1

    def leaving(self, session: Session, disconnect: Disconnect) -> None:
        """We close a session: it gets nothing any more."""
        self.instruments.closes[disconnect.code] += 1
        if disconnect not in _EXPECTED:
            self._note(f"close {disconnect.code}", f"closed {session.remote}: {disconnect.code} {disconnect.reason}")
        self.left(session)

    def ended(self, session: Session) -> None:
        """The connection is gone."""
        if session.identity is not None:
            self.hub.release_user(session.identity.user)
        if self.hub.sessions.pop(session.id, None) is None:
            return
        self.left(session)
        self.instruments.connections[session.dialect.name] -= 1

    def left(self, session: Session) -> None:
        """A session gets nothing any more. May be called again."""
        self.instruments.subscriptions -= len(session.channels)
        self.hub.unsubscribe_all(session)
        self._heartbeat.remove(session)

    async def connect_hook(self, session: Session) -> None:
        """Ask user code whether a client may come in. Raises `ConnectionClosing` where it says no, or fails."""
        try:
            await self.hooks.connect(session)
        except ConnectionClosing:
            raise
        except Exception as error:
            self.report("a connect handler failed", error)
            self.count_error(failure := ReplyError(ErrorCode.INTERNAL))
            session.say(Failed(failure))
            raise ConnectionClosing(INTERNAL) from None

    def close_hook(self, session: Session, disconnect: Disconnect) -> None:
        """Tell user code that a connection it let in has ended."""
        self.run(self.hooks.close(session, disconnect), self._close_done)

    def _close_done(self, result: object, error: BaseException | None) -> None:
        if error is not None:
            self.report("a close handler failed", error)

    def claim_user(self, user: str) -> bool:
        """Count one more connection of a user, if the limit lets it."""
        return self.hub.claim_user(user, self.limits.connections_per_user)

    # ---- channels

    def namespace(self, channel: str) -> Namespace:
        """The options of a channel. Raises `ReplyError`: 107 for a name that is none, 102 for an unknown namespace."""
        if not channels.is_channel(channel):
            raise ReplyError(ErrorCode.BAD_REQUEST, "not a channel name")
        try:
            return self._namespaces[channels.namespace_of(channel)]
        except KeyError:
            raise ReplyError(ErrorCode.UNKNOWN_CHANNEL) from None

    async def subscribe(self, session: Session, channel: str) -> None:
        """A client subscribes. Raises `ReplyError`: 107, 105, 106, 102, 103, in this order."""
        namespace = self._subscribable(session, channel)
        if session.identity is None or not may(session.identity, namespace.subscribe, channel):
            raise ReplyError(ErrorCode.PERMISSION_DENIED)
        self._subscribe(session, channel)

    def may_subscribe(self, identity: Identity, channel: str) -> bool:
        """Does the channel's namespace let `identity` in? False also where there is no such namespace."""
        namespace = self._namespaces.get(channels.namespace_of(channel))
        return namespace is not None and may(identity, namespace.subscribe, channel)

    def force_subscribe(self, session: Session, channel: str) -> None:
        """Subscribe without asking whether the client may: for user code. Raises `ReplyError`."""
        self._subscribable(session, channel)
        self._subscribe(session, channel)

    def _subscribable(self, session: Session, channel: str) -> Namespace:
        if not channels.is_channel(channel):
            raise ReplyError(ErrorCode.BAD_REQUEST, "not a channel name")
        if channel in session.channels:
            raise ReplyError(ErrorCode.ALREADY_SUBSCRIBED)
        if len(session.channels) >= self.limits.channels_per_client:
            raise ReplyError(ErrorCode.LIMIT_EXCEEDED, f"at most {self.limits.channels_per_client} channels a client")
        return self.namespace(channel)

    def _subscribe(self, session: Session, channel: str) -> None:
        if session.state >= State.CLOSING:  # user code may be late
            return
        self.hub.subscribe(session, channel)
        self.instruments.subscriptions += 1

    def unsubscribe(self, session: Session, channel: str) -> None:
        """Succeeds also where there was no subscription."""
        if self.hub.unsubscribe(session, channel):
            self.instruments.subscriptions -= 1

    # ---- publishing

    async def publish_from(self, session: Session, command: Publish) -> None:
        """A connected client publishes."""
        assert session.identity is not None
        exclude = session.id if session.exclude_self else None
        await self.publish(command, identity=session.identity, publisher=session.info, session=session, exclude=exclude)

    async def publish(
        self,
        command: Publish,
        *,
        identity: Identity | None = None,
        publisher: ClientInfo | None = None,
        session: Session | None = None,
        exclude: str | None = None,
    ) -> None:
        """Check a publication and pass it on. Raises `ReplyError`; nothing was passed on then.

        `identity` is who publishes and must be allowed to (None: the server itself, which may). User code sees what
        clients publish before it is passed on.
        """
        namespace = self.namespace(command.channel)
        if identity is not None and not may(identity, namespace.publish, command.channel):
            raise ReplyError(ErrorCode.PERMISSION_DENIED)
        data, is_json = self._check(command, namespace), namespace.payload == "json"
        publication = Publication(
            command.channel, data, is_json, command.binary and not is_json, command.tags, publisher, exclude
        )
        if publisher is not None and not await self.hooks.message(session, publication):
            return
        await self._broker.publish(publication)
        self.instruments.publications += 1

    def _check(self, command: Publish, namespace: Namespace) -> bytes:
        """The payload as it travels on. Raises `ReplyError` 107."""
        if len(command.data) > self.limits.message_size:
            raise ReplyError(ErrorCode.BAD_REQUEST, "payload too big")
        if namespace.payload == "bytes":
            return command.data
        data, value = parse_json(command.data)
        if namespace.schema:
            event = (command.tags or {}).get(EVENT_TAG, DEFAULT_EVENT)
            self._validator.check(channels.namespace_of(command.channel), event, value)
        return data

    async def broadcast(self, data: bytes, *, is_json: bool = True, exclude: str | None = None) -> None:
        """To every client of the whole server, outside any channel. `data` is one JSON value, or any bytes."""
        payload = parse_json(data)[0] if is_json else data
        await self._broker.publish(Publication("", payload, is_json, not is_json, exclude=exclude))

    # ---- counting

    def count_in(self, dialect: Dialect, payload: bytes) -> None:
        self.instruments.messages_in[dialect.name] += 1
        self.instruments.bytes_in += len(payload)

    def count_out(self, dialect: Dialect, frame: Frame) -> None:
        self.instruments.messages_out[dialect.name] += 1
        self.instruments.bytes_out += len(frame.wire)

    def count_error(self, error: ReplyError) -> None:
        self.instruments.errors[error.number] += 1

    def refused(self, refusal: Refusal, remote: str) -> None:
        """A request was refused, before there was a connection."""
        self.instruments.refusals[refusal.status, refusal.cause] += 1
        self._note(f"refusal {refusal.status}", f"refused {remote}: {refusal.status} {refusal.cause}")

    def failed(self, code: int, remote: RemoteAddress) -> None:
        """A connection is closed for something its frames did."""
        self.instruments.closes[code] += 1
        self._note(f"close {code}", f"closed {remote}: {code}")

    def count_authentication_failure(self, failure: AuthenticationFailed) -> None:
        self.instruments.authentication_failures[failure.cause] += 1

    def queued_bytes(self) -> int:
        """What waits for all clients."""
        return sum(session.queued for session in self.hub.sessions.values())
