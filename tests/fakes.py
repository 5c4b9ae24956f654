"""Fakes of our own seams (`core.ports`), and a node between them that stands still until a test moves its clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from realtime_svc.config import Namespace
from realtime_svc.core.heartbeat import Heartbeat
from realtime_svc.core.instruments import Instruments
from realtime_svc.core.messages import Subscribe
from realtime_svc.core.node import Node, Ports, SessionLimits
from realtime_svc.core.outbox import INDIRECT
from realtime_svc.core.ports import Broker, Connecting, Deflation, Dialect, Frame, Hooks, PresenceStore
from realtime_svc.core.ratelimit import RateLimit
from realtime_svc.core.session import Session
from realtime_svc.driver import run
from realtime_svc.engines.broker_memory import MemoryBroker
from realtime_svc.engines.presence_memory import MemoryPresence
from realtime_svc.errors import AuthenticationFailed, Disconnect, ErrorCode, ReplyError, Unsubscription
from realtime_svc.model import (
    ANONYMOUS,
    BearerCredential,
    Credential,
    Grant,
    Identity,
    LifecycleEvent,
    Publication,
    RemoteAddress,
    SubscriptionClaims,
)
from realtime_svc.transports.kernel_twin import Group, Outlet
from realtime_svc.wire.plain import PlainDialect
from realtime_svc.wire.raw import RawDialect

PLAIN: Dialect = PlainDialect()
RAW: Dialect = RawDialect()
ALICE = Identity("alice")
BOB = Identity("bob")
PEER = RemoteAddress("192.0.2.1", 40000)
START = 1_000_000.0  # the wall clock when a test begins


class FakeTransport:
    """A connection whose other side is the test (`core.ports.Transport`).

    `room`: frames it takes before it says that it has enough; None: it never does. `answers`: does it take part in
    pings?
    """

    def __init__(self, *, room: int | None = None, answers: bool = True) -> None:
        self.session: Session | None = None
        self.frames: list[Frame] = []
        self.closed: Disconnect | None = None
        self.aborted = False
        self.reading = True
        self.room = room
        self.answers = answers
        self.outlet: Any = Outlet()
        self.outlet.holds = INDIRECT
        self.deflation: Deflation | None = None
        self.pings = 0
        self.writes = 0
        self.events: list[str] = []  # what was done to reading, in order

    def write(self, frame: Frame) -> None:
        self.writes += 1
        self.frames.append(frame)
        if self.room is not None:
            self.room -= 1
            if self.room <= 0 and self.session is not None:
                self.session.blocked()

    def write_all(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            self.write(frame)
        self.writes -= len(frames) - 1

    def write_rest(self, data: bytes) -> None:
        raise AssertionError("the outlet of a fake takes nothing")

    def ping(self) -> bool:
        self.pings += 1
        return self.answers

    def close(self, disconnect: Disconnect) -> None:
        self.closed = self.closed or disconnect

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.reading = False
        self.events.append("pause")

    def resume_reading(self) -> None:
        self.reading = True
        self.events.append("resume")

    # ---- what the test does

    def type(self, *messages: str | bytes) -> None:
        """The client sends text messages."""
        assert self.session is not None
        for message in messages:
            self.session.receive(message.encode() if isinstance(message, str) else message, False)

    def unblock(self, room: int | None = None) -> None:
        """The client takes more: `room` frames, or all."""
        assert self.session is not None
        self.room = room
        self.session.unblocked()

    def leave(self, code: int = 1006) -> None:
        """The client is gone."""
        assert self.session is not None
        self.session.ended(Disconnect(code, ""))

    def take(self) -> list[Any]:
        """What the client was sent since the last time, decoded."""
        frames, self.frames = self.frames, []
        return [json.loads(frame.payload) for frame in frames]


class FakeAuthenticator:
    """Knows tokens by heart."""

    def __init__(self, tokens: Mapping[str, Identity]) -> None:
        self.tokens = dict(tokens)
        self.subscriptions: dict[str, SubscriptionClaims] = {}

    def prepare(self, credential: Credential) -> None:
        return None

    def authenticate(self, credential: Credential) -> Identity:
        assert isinstance(credential, BearerCredential)
        if credential.token == "expired":
            raise AuthenticationFailed("expired")
        try:
            return self.tokens[credential.token]
        except KeyError:
            raise AuthenticationFailed("unknown") from None

    def authenticate_subscription(self, token: str) -> SubscriptionClaims:
        if token == "expired":
            raise AuthenticationFailed("expired")
        try:
            return self.subscriptions[token]
        except KeyError:
            raise AuthenticationFailed("unknown") from None


class FakeRevocations:
    """Remembers what was revoked."""

    def __init__(self) -> None:
        self.tokens: list[tuple[str, float | None]] = []
        self.users: list[tuple[str, float, float | None]] = []

    def revoke_token(self, token_id: str, expires_at: float | None) -> None:
        self.tokens.append((token_id, expires_at))

    def revoke_user(self, user: str, before: float, expires_at: float | None) -> None:
        self.users.append((user, before, expires_at))

    def check(self, identity: Identity | SubscriptionClaims) -> None:
        return


class FakeLifecycle:
    """A backend that remembers what it was told."""

    def __init__(self, *kinds: str) -> None:
        self.kinds = frozenset(kinds or ("connect", "disconnect", "subscribe", "unsubscribe", "occupied", "vacated"))
        self.events: list[LifecycleEvent] = []

    def emit(self, event: LifecycleEvent) -> None:
        self.events.append(event)

    def take(self) -> list[tuple[str, str, str]]:
        """(kind, channel, user) of each since the last time."""
        events, self.events = self.events, []
        return [(event.kind, event.channel, event.client.user if event.client else "") for event in events]


class FakeValidator:
    """Refuses the value "bad"; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []

    def check(self, namespace: str, event: str, value: Any) -> None:
        self.asked.append((namespace, event, value))
        if value == "bad":
            raise ReplyError(ErrorCode.BAD_REQUEST, "$: not one of the enum")


class FakeHooks:
    """User code that remembers what it was called for.

    What stands in `outcomes` under the name of an event is raised, or awaited and then returned.
    """

    handles_calls = True
    handles_messages = True
    handles_publications = True

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.outcomes: dict[str, Any] = {}
        self.connect_data: bytes | None = None
        self.connect_subscriptions: dict[str, Grant] = {}

    async def connect(self, session: Session, connecting: Connecting) -> None:
        self.calls.append(("connect", session.info.user))
        await self._outcome("connect")
        connecting.data = self.connect_data
        connecting.subscriptions.update(self.connect_subscriptions)

    async def subscribe(self, session: Session, command: Subscribe, grant: Grant | None) -> Grant | None:
        self.calls.append(("subscribe", command.channel))
        outcome = await self._outcome("subscribe")
        return outcome if isinstance(outcome, Grant) else grant

    async def publish(self, session: Session | None, publication: Publication) -> Publication | None:
        self.calls.append(("publish", publication.data))
        outcome = await self._outcome("publish")
        if outcome is False:
            return None
        return outcome if isinstance(outcome, Publication) else publication

    async def call(self, session: Session, method: str, data: bytes | None) -> bytes | None:
        self.calls.append(("call", method, data))
        outcome: bytes | None = await self._outcome("call")
        return outcome

    async def message(self, session: Session, data: bytes) -> None:
        self.calls.append(("message", data))
        await self._outcome("message")

    async def unsubscribe(self, session: Session, channel: str, why: Unsubscription) -> None:
        self.calls.append(("unsubscribe", channel, why.code))
        await self._outcome("unsubscribe")

    async def close(self, session: Session, disconnect: Disconnect) -> None:
        self.calls.append(("close", disconnect.code))
        await self._outcome("close")

    async def _outcome(self, event: str) -> Any:
        outcome = self.outcomes.get(event)
        if isinstance(outcome, Exception):
            raise outcome
        return await outcome if isinstance(outcome, Deferred) else outcome


def limits(**changes: Any) -> SessionLimits:
    """Roomy limits, but for `changes`."""
    values: dict[str, Any] = {
        "message_size": 65536,
        "queue_size": 10_000,
        "stall_timeout": 15.0,
        "auth_timeout": 10.0,
        "refresh_grace": 25.0,
        "channels_per_client": 3,
        "connections_per_user": 0,
        "anonymous": False,
        "personal_channel": False,
        "ping": 25,
        "page": 300,
        "members": 5000,
        "position_check": 0.0,
        "messages": RateLimit(0, 0, 0),
        "errors": RateLimit(0, 0, 0),
    }
    return SessionLimits(**{**values, **changes})


def at_once(call: Callable[[], None]) -> None:
    """The turn of the event loop ends here and now."""
    call()


class World:
    """A node with fakes around it. `reports` is what went wrong unexpectedly, `notes` what strangers caused.

    Each call is a turn of the event loop, unless `after_turn` says otherwise.
    """

    def __init__(
        self,
        *,
        namespaces: Mapping[str, Namespace] | None = None,
        hooks: Hooks | None = None,
        broker: Broker | None = None,
        presence: PresenceStore | None = None,
        lifecycle: FakeLifecycle | None = None,
        clock: Any = None,
        after_turn: Callable[[Callable[[], None]], None] | None = None,
        group: Callable[[], Any] = Group,
        ping_interval: float = 0.0,
        ping_timeout: float = 1.0,
        **changes: Any,
    ) -> None:
        self.clock: Any = clock or Clock()
        self.wall = START
        self.reports: list[tuple[str, BaseException]] = []
        self.notes: list[tuple[str, str]] = []
        self.authenticator = FakeAuthenticator({"a": ALICE, "b": BOB, "nobody": ANONYMOUS})
        self.validator = FakeValidator()
        self.instruments = Instruments()
        self.heartbeat = Heartbeat(self.clock, ping_interval, ping_timeout)
        self.fake_hooks = FakeHooks()
        self.revocations = FakeRevocations()
        self.broker = broker or MemoryBroker(self.clock)
        ports = Ports(
            clock=self.clock,
            wall_clock=lambda: self.wall,
            run=run,
            authenticator=self.authenticator,
            revocations=self.revocations,
            validator=self.validator,
            broker=self.broker,
            presence=presence or MemoryPresence(),
            lifecycle=lifecycle,
            report=lambda what, error: self.reports.append((what, error)),
            note=lambda kind, text: self.notes.append((kind, text)),
            after_turn=after_turn or at_once,
            outlet=Outlet,
            group=group,
        )
        self.node = Node(
            ports,
            namespaces or {"default": Namespace()},
            limits(**changes),
            self.heartbeat,
            self.instruments,
            hooks or self.fake_hooks,
        )

    def connect(
        self,
        identity: Identity | None = ALICE,
        dialect: Dialect = PLAIN,
        *,
        channels: tuple[str, ...] = (),
        room: int | None = None,
        home: str = "",
        exclude_self: bool = False,
    ) -> FakeTransport:
        """A client whose transport is open. What it was greeted with is taken already."""
        transport = FakeTransport(room=room)
        transport.session = Session(
            self.node, dialect, transport, identity, PEER, home=home, exclude_self=exclude_self, channels=channels
        )
        transport.session.opened()
        if room is None:
            transport.frames.clear()
        return transport

    def pass_time(self, seconds: float) -> None:
        """On both clocks, in small steps."""
        for _ in range(round(seconds * 4)):
            self.wall += 0.25
            self.clock.advance(0.25)


def error(number: int, message: str, temporary: bool = False) -> dict[str, Any]:
    """The object that describes an error."""
    return {"code": number, "message": message, "temporary": temporary}
