"""One process of the service: its sessions; the use cases are in `subscriptions`, `publishing` and `control`."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from realtime_svc import channel as channels
from realtime_svc.config import Namespace
from realtime_svc.core.control import Control
from realtime_svc.core.heartbeat import Heartbeat
from realtime_svc.core.hub import Hub
from realtime_svc.core.instruments import Instruments
from realtime_svc.core.messages import Failed
from realtime_svc.core.outbox import INDIRECT
from realtime_svc.core.outgoing import Outgoing
from realtime_svc.core.ports import (
    Authenticator,
    Broker,
    Clock,
    Connecting,
    Dialect,
    Frame,
    Group,
    Hooks,
    LifecycleSink,
    Outlet,
    PresenceStore,
    Revocations,
    Run,
    Validator,
)
from realtime_svc.core.positions import PositionCheck
from realtime_svc.core.publishing import Publishing
from realtime_svc.core.ratelimit import RateLimit
from realtime_svc.core.session import Session
from realtime_svc.core.subscription import Subscription
from realtime_svc.core.subscriptions import Subscriptions
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
    Unsubscription,
)
from realtime_svc.model import Identity, LifecycleEvent, RemoteAddress

_EXPECTED = frozenset((SHUTDOWN, EXPIRED, NO_PONG, FORCED))


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What every session keeps to. Sizes in bytes, times in seconds.

    `ping`: seconds between two pings that are messages of the protocol (0: none). `page`: publications in one answer,
    `members`: clients in one that names who is there.
    """

    message_size: int
    queue_size: int
    stall_timeout: float
    auth_timeout: float
    refresh_grace: float
    channels_per_client: int
    connections_per_user: int
    anonymous: bool
    personal_channel: bool
    ping: int
    page: int
    members: int
    position_check: float
    messages: RateLimit
    errors: RateLimit


@dataclass(slots=True)
class Ports:
    """What the node needs from the rooms around it.

    `report` takes what failed and the exception; `note` takes a kind of event that strangers can cause, and one line.
    `after_turn` calls what it is given once, at the end of this turn of the event loop; `outlet` makes one that
    is not connected, `group` an empty group.
    """

    clock: Clock
    wall_clock: Callable[[], float]
    run: Run
    authenticator: Authenticator
    revocations: Revocations
    validator: Validator
    broker: Broker
    presence: PresenceStore
    lifecycle: LifecycleSink | None
    report: Callable[[str, BaseException], None]
    note: Callable[[str, str], None]
    after_turn: Callable[[Callable[[], None]], None]
    outlet: Callable[[], Outlet]
    group: Callable[[], Group]


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
        *,
        name: str = "",
        version: str = "",
    ) -> None:
        self.uid = secrets.token_hex(8)
        self.name = name
        self.version = version
        self.clock = ports.clock
        self.wall_clock = ports.wall_clock
        self.run = ports.run
        self.authenticator = ports.authenticator
        self.revocations = ports.revocations
        self.validator = ports.validator
        self.broker = ports.broker
        self.presence_store = ports.presence
        self.lifecycle = ports.lifecycle
        self.report = ports.report
        self.note = ports.note
        self._outlet = ports.outlet
        self.limits = limits
        self.hooks = hooks
        self.namespaces = namespaces
        self.draining = False
        self.instruments = instruments
        self.started = ports.clock.seconds()
        self._heartbeat = heartbeat
        self._emulated: dict[str, Session] = {}
        self.subscriptions = Subscriptions(self)
        self.publishing = Publishing(self)
        self.control = Control(self)
        self.outgoing = Outgoing(ports.after_turn, ports.clock, ports.report)
        self.hub = Hub(self.subscriptions.lost, self.outgoing, ports.group, instruments)
        self.positions = PositionCheck(self, limits.position_check)
        self.broker.on_event(self.hub.deliver)

    # ---- sessions

    def opened(self, session: Session) -> None:
        self.hub.add(session)
        if session.key:
            self._emulated[session.key] = session
        self._heartbeat.add(session)
        self.instruments.connections[session.dialect.name] += 1
        self.instruments.connections_total[session.dialect.name] += 1

    def leaving(self, session: Session, disconnect: Disconnect) -> None:
        """We close a session: it gets nothing any more."""
        self.instruments.closes[disconnect.code] += 1
        if disconnect not in _EXPECTED:
            self.note(f"close {disconnect.code}", f"closed {session.remote}: {disconnect.code} {disconnect.reason}")
        self.left(session, disconnect)

    def left(self, session: Session, disconnect: Disconnect) -> None:
        """A session gets nothing any more. May be called again."""
        self.subscriptions.end_all(session, disconnect)
        self._heartbeat.remove(session)

    def ended(self, session: Session, disconnect: Disconnect) -> None:
        """The connection is gone."""
        self._emulated.pop(session.key, None)
        if not self.hub.remove(session):
            return
        self.left(session, disconnect)
        self.instruments.connections[session.dialect.name] -= 1
        if session.let_in and self._wants("disconnect"):
            info, (code, reason) = session.info, disconnect
            self._emit(LifecycleEvent("disconnect", self.wall_clock(), "", info, code, reason))

    def new_outlet(self) -> Outlet:
        """One for a transport to which nothing can be sent past its session."""
        outlet = self._outlet()
        outlet.holds = INDIRECT
        return outlet

    def sessions_of(self, user: str) -> list[Session]:
        """The connections of a user."""
        return self.hub.sessions_of(user)

    def emulated(self, key: str) -> Session | None:
        """The connection whose commands come by other requests, which know its key."""
        return self._emulated.get(key)

    def grace(self, session: Session) -> float:
        """Seconds a client gets to renew a token that has run out: those that are told to."""
        return self.limits.refresh_grace if session.dialect.traits.handshake else 0.0

    def seconds_left(self, expires_at: float | None) -> int | None:
        """Until a token runs out, in whole seconds, as clients are told it: 1 at least."""
        return None if expires_at is None else max(1, int(expires_at) - int(self.wall_clock()))

    def claim_user(self, user: str) -> bool:
        """Count one more connection of a user, if the limit lets it."""
        return self.hub.claim_user(user, self.limits.connections_per_user)

    # ---- user code

    async def connect_hook(self, session: Session, connecting: Connecting) -> None:
        """Ask user code whether a client may come in. Raises `ConnectionClosing` where it says no, or fails."""
        try:
            await self.hooks.connect(session, connecting)
        except ConnectionClosing:
            raise
        except Exception as error:
            self.report("a connect handler failed", error)
            self.count_error(failure := ReplyError(ErrorCode.INTERNAL))
            if not session.dialect.traits.handshake:
                session.say(Failed(failure))
            raise ConnectionClosing(INTERNAL) from None

    def close_hook(self, session: Session, disconnect: Disconnect) -> None:
        """Tell user code that a connection it let in has ended."""
        self.background(self.hooks.close(session, disconnect), "a close handler failed")

    async def unsubscribe_hook(self, session: Session, channel: str, why: Unsubscription) -> None:
        """Tell user code that a subscription ended; what goes wrong there is nobody else's business."""
        try:
            await self.hooks.unsubscribe(session, channel, why)
        except Exception as error:
            self.report("an unsubscribe handler failed", error)

    def background(self, work: Coroutine[Any, Any, Any], what: str) -> None:
        """Run what nobody waits for; a failure is reported as `what`."""

        def done(result: object, error: BaseException | None) -> None:
            if error is not None:
                self.report(what, error)

        self.run(work, done)

    # ---- backends

    def _wants(self, kind: str) -> bool:
        return self.lifecycle is not None and kind in self.lifecycle.kinds

    def _emit(self, event: LifecycleEvent) -> None:
        if self.lifecycle is not None:
            self.lifecycle.emit(event)

    def emit_connect(self, session: Session) -> None:
        """A client is in."""
        session.let_in = True
        if self._wants("connect"):
            self._emit(LifecycleEvent("connect", self.wall_clock(), "", session.info))

    def emit(
        self,
        kind: str,
        channel: str,
        subscription: Subscription | None = None,
        why: Unsubscription | Disconnect | None = None,
    ) -> None:
        """Something happened in a channel."""
        if self._wants(kind):
            client = subscription.client_info if subscription is not None else None
            code, reason = (why.code, why.reason) if why is not None else (0, "")
            self._emit(LifecycleEvent(kind, self.wall_clock(), channel, client, code, reason))

    # ---- channels

    def namespace(self, channel: str) -> Namespace:
        """The options of a channel. Raises `ReplyError`: 107 for a name that is none, 102 for an unknown namespace."""
        if not channels.is_channel(channel):
            raise ReplyError(ErrorCode.BAD_REQUEST, "not a channel name")
        try:
            return self.namespaces[channels.namespace_of(channel)]
        except KeyError:
            raise ReplyError(ErrorCode.UNKNOWN_CHANNEL) from None

    def may_subscribe(self, identity: Identity, channel: str) -> bool:
        """Do the rules let `identity` in, without a token?"""
        return self.subscriptions.may_subscribe(identity, channel)

    # ---- counting

    def count_in(self, dialect: Dialect, payload: bytes) -> None:
        self.instruments.messages_in[dialect.name] += 1
        self.instruments.bytes_in += len(payload)

    def count_out(self, dialect: Dialect, frame: Frame) -> None:
        self.instruments.messages_out[dialect.name] += 1
        self.instruments.bytes_out += len(frame.wire)

    def count_error(self, error: ReplyError) -> None:
        self.instruments.errors[error.number if error.number < 400 else 400] += 1

    def refused(self, refusal: Refusal, remote: str) -> None:
        """A request was refused, before there was a connection."""
        self.instruments.refusals[refusal.status, refusal.cause] += 1
        self.note(f"refusal {refusal.status}", f"refused {remote}: {refusal.status} {refusal.cause}")

    def failed(self, code: int, remote: RemoteAddress) -> None:
        """A connection is closed for something its frames did."""
        self.instruments.closes[code] += 1
        self.note(f"close {code}", f"closed {remote}: {code}")

    def count_authentication_failure(self, failure: AuthenticationFailed) -> None:
        self.instruments.authentication_failures[failure.cause] += 1

    def queued_bytes(self) -> int:
        """What waits for all clients."""
        return sum(session.queued for session in self.hub.sessions.values())
