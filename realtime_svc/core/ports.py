"""The seams of the core: what it needs from the rooms around it. Each docstring states the guarantee.

Methods that may wait are `async def`; an implementation that never waits costs one `send(None)`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from realtime_svc.core.messages import Command, Failed, Reply, Subscribe
from realtime_svc.errors import Disconnect, Unsubscription
from realtime_svc.model import (
    ChannelEvent,
    ClientInfo,
    Credential,
    Grant,
    HistoryPage,
    HistoryQuery,
    Identity,
    Join,
    Leave,
    LifecycleEvent,
    PresenceCounts,
    Publication,
    PublishResult,
    StreamOptions,
    StreamPosition,
    SubscriptionClaims,
)

if TYPE_CHECKING:
    from realtime_svc.core.session import Session
    from realtime_svc.wire.http_head import RequestHead
    from realtime_svc.wire.routes import Route


class Timer(Protocol):
    """A call that is going to happen."""

    def cancel(self) -> None: ...
    def active(self) -> bool: ...


class Clock(Protocol):
    """Monotonic time in seconds, and calls in the future. Twisted's reactor and `task.Clock` are clocks."""

    def seconds(self) -> float: ...
    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any) -> Timer: ...  # noqa: N802 (Twisted)


class Run(Protocol):
    """Runs a coroutine of the core.

    One that never suspends is finished when the call returns. `done` is called exactly once, with the result or with
    the exception that left the coroutine.
    """

    def __call__(self, work: Coroutine[Any, Any, Any], done: Callable[[Any, BaseException | None], None]) -> None: ...


class Authenticator(Protocol):
    """Keepers of credentials, seen as one."""

    def prepare(self, credential: Credential) -> Awaitable[None] | None:
        """Do beforehand what takes time (a password hash), so that `authenticate` can answer at once.

        None: there is nothing to wait for. The awaitable never raises.
        """

    def authenticate(self, credential: Credential) -> Identity:
        """Check a credential against what is held in memory, at once and in constant time.

        Raises `AuthenticationFailed`; its cause is "expired" for a token that was good until a moment ago.
        """

    def authenticate_subscription(self, token: str) -> SubscriptionClaims:
        """Check a subscription token. Raises `AuthenticationFailed` as above. Whose it is, is for the caller to see."""


class Admitted(NamedTuple):
    """A request that may come in. `identity` is None where a first message has to bring the credential (/ws only).

    `subprotocol` is what is selected; `channels`, `echo`, `event`, `since` and `last` (see `messages.Subscribe`) come
    from the query of the address or its headers. `protobuf` and `frame_pings`: how a /connection/websocket speaks.
    """

    identity: Identity | None
    subprotocol: str | None
    channels: tuple[str, ...]
    echo: bool
    event: str | None
    since: StreamPosition | None = None
    last: int = 0
    protobuf: bool = False
    frame_pings: bool = False


class Gatekeeper(Protocol):
    """Decides about requests, before there is a connection."""

    def prepare(self, head: RequestHead) -> Awaitable[None] | None:
        """What has to be waited for before `admit` is asked; None: nothing. Neither it nor its awaitable raises."""

    def admit(self, head: RequestHead, route: Route) -> Admitted:
        """Host, origin, credential, permission. Raises `Refusal`; never waits."""

    def check(self, head: RequestHead) -> None:
        """Host and origin only. Raises `Refusal`."""


class Validator(Protocol):
    """Payload schemas, compiled at start."""

    def check(self, namespace: str, event: str, value: Any) -> None:
        """`value` is the decoded JSON payload. Raises `ReplyError` 107, which names path and rule, never a value."""


class Broker(Protocol):
    """Keeps the streams of channels, and passes publications, joins and leaves on to every node, this one included.

    Per channel there is one total order, the same for all nodes: offsets grow by one from 1 in each epoch. Calls for
    one channel take effect in the order in which they are made, whether or not their answers are awaited. Delivery to
    this node's `receive` is at most once, and may come before or after the answer to `publish`.
    Every method raises `ReplyError` (100, temporary) where the broker can't be reached; whether a publication was
    taken is unknown then, and `StreamOptions.key` makes it safe to try again.
    """

    def on_event(self, receive: Callable[[ChannelEvent], None]) -> None:
        """Call `receive` for every event of channels this node subscribed to. Set once, before the first publish.

        One event at a time: what `receive` itself publishes or announces is delivered after it returned."""

    async def subscribe(self, channel: str) -> None:
        """From when this returns, no event of the channel is missed but by a failure, which is seen as a gap in
        offsets. Broadcasts (channel "") come without. More events may be delivered than asked for."""

    async def unsubscribe(self, channel: str) -> None:
        """This node has no subscriber in the channel any more."""

    async def publish(self, publication: Publication, options: StreamOptions) -> PublishResult:
        """Append to the stream and pass on, in one step. Returns when it is kept and is, or is going to be, delivered.

        Delivered publications carry their position. What is not fresh is not delivered.
        """

    async def announce(self, event: Join | Leave) -> None:
        """Pass on a join or a leave, in the channel's order."""

    async def history(self, channel: str, query: HistoryQuery, meta_ttl: float) -> HistoryPage:
        """What is kept, and the top of the stream, as of one moment. Makes an epoch for a stream that has none, which
        lives for `meta_ttl` seconds after it was last asked for or published to. `query.since.epoch` is not looked at.
        """

    async def remove_history(self, channel: str) -> None:
        """Forget the publications; epoch and top offset stay, so a client that missed one of them learns it."""


@runtime_checkable
class PromptBroker(Broker, Protocol):
    """A broker that never has to be waited for."""

    def publish_at_once(self, publication: Publication, options: StreamOptions) -> PublishResult:
        """As `publish`, which is the same with a coroutine around it."""


class PresenceStore(Protocol):
    """Who is in which channel, over all nodes. Calls for one channel take effect in the order in which they are made.

    Every method raises `ReplyError` (100, temporary) where the store can't be reached.
    """

    async def add(self, channel: str, info: ClientInfo) -> None:
        """`info.client` is there; again, with other info: it is replaced."""

    async def remove(self, channel: str, client: str) -> None:
        """Succeeds also where it was not there."""

    async def members(self, channel: str) -> dict[str, ClientInfo]:
        """By client id. A copy."""

    async def counts(self, channel: str) -> PresenceCounts:
        """Clients and distinct users, in O(1). Anonymous clients are one user, ""."""


class Revocations(Protocol):
    """Tokens that are good no more, although their signature is. In memory: gone with the process.

    `expires_at` (wall clock) is when a revocation may be forgotten. Both raise `ReplyError` 106 when there is no room.
    """

    def revoke_token(self, token_id: str, expires_at: float | None) -> None:
        """Refuse the token with this `jti`."""

    def revoke_user(self, user: str, before: float, expires_at: float | None) -> None:
        """Refuse what was issued to the user until `before` (wall clock)."""

    def check(self, identity: Identity | SubscriptionClaims) -> None:
        """Raises `AuthenticationFailed("revoked")`."""


class LifecycleSink(Protocol):
    """Passes lifecycle events on to backends. Never raises, never waits; what it can't keep it counts."""

    kinds: frozenset[str]
    """The kinds that are wanted; others are not emitted."""

    def emit(self, event: LifecycleEvent) -> None: ...


class Frame(Protocol):
    """One encoded message: `payload` as the protocol made it, `wire` ready for the socket (framed, not compressed)."""

    payload: bytes
    binary: bool
    wire: bytes
    deflated: dict[object, bytes] | None


class Traits(NamedTuple):
    """What a wire protocol is like, as far as a session behaves differently for it.

    `handshake`: the client's first command is `Connect`, a token that expires is refreshed by the client, liveness is
    asked for by `PingPush` (answered by `Pong`), and a `Failed` answer to `Connect` is the end. Without: a session
    opens at once with `Hello`, and the transport has pings of its own.
    `inline_recovery`: recovered messages are part of `Subscribed`; without: each follows as a frame of its own.
    `json_only`: payloads that are not JSON can't be said. `acknowledges`: a publication is answered.
    """

    handshake: bool = False
    inline_recovery: bool = False
    json_only: bool = False
    acknowledges: bool = True


class Dialect(Protocol):
    """A wire protocol with its framing: pure, stateless, one object for all connections that speak it."""

    @property
    def name(self) -> str:
        """A short name, used as a label of metrics."""

    @property
    def traits(self) -> Traits: ...

    def decode(self, payload: bytes, binary: bool, home: str) -> Iterable[Command | Failed]:
        """The commands in one message, in order. `home` is the channel the connection was opened for, or "".

        Raises `ConnectionClosing` where the protocol says that such a message ends the connection.
        """

    def encode(self, reply: Reply) -> Frame | None:
        """The bytes of a reply; None where this protocol does not say such a thing."""

    def join(self, frames: Sequence[Frame]) -> Frame | None:
        """One frame that says what `frames` (two or more) say, in order; None where each needs its own."""

    def close_with(self, disconnect: Disconnect) -> Disconnect:
        """The close code and reason that this protocol uses for `disconnect`."""


class Outlet(Protocol):
    """Where the bytes of one connection go out. `holds` is a mask of reasons why nothing may be sent straight to it
    now, past the session (0: it may); its upper half belongs to the transport. `owner` is the session.
    """

    holds: int
    owner: Any


class Group(Protocol):
    """Outlets that get the same bytes, each at a place that stays its own until it leaves."""

    def add(self, outlet: Any) -> int:
        """Returns its place."""

    def remove(self, place: int) -> None: ...

    def __len__(self) -> int: ...

    def send(self, data: bytes, place: int = 0, nanoseconds: int = 0) -> tuple[int, int, list[tuple[Any, int]]]:
        """Send to all from `place` on, for about so long (0: to all), and without running any other code meanwhile.

        Returns the place to go on from (-1: that was the last one), how many outlets took all of it, and the others
        with the number of bytes they took: those that are held, and those that could not take all. To one that was not
        held, what it did not take has to be given before anything else: TLS has it half sent already.
        """


class Deflation(Protocol):
    """A way to compress that several connections share."""

    def wire(self, frame: Frame) -> bytes:
        """The frame as it goes on the socket; made once for all who share it."""


class Transport(Protocol):
    """One connection, as the session sees it. No method raises, in whatever state the connection is."""

    @property
    def outlet(self) -> Outlet:
        """Where others may send what the session would only pass on. The same object as long as it is open."""

    @property
    def deflation(self) -> Deflation | None:
        """How what goes straight to the outlet is compressed (None: it is not). Settled once it is open."""

    def write(self, frame: Frame) -> None:
        """Hand over one frame. The transport says `session.blocked()` when it has enough, then `unblocked()`."""

    def write_all(self, frames: Sequence[Frame]) -> None:
        """Hand over several, in order, in one go."""

    def write_rest(self, data: bytes) -> None:
        """What is left of bytes that the outlet took in part: they go out before anything else."""

    def ping(self) -> bool:
        """Send a liveness probe. True: the peer has to answer, and `session.pong()` is called then."""

    def close(self, disconnect: Disconnect) -> None:
        """Send what was written, say goodbye, end the connection; by force when the peer does not take part in time."""

    def abort(self) -> None:
        """End the connection now; what is buffered is lost."""

    def pause_reading(self) -> None:
        """Read no more until `resume_reading`, and do not give what was read already to `session.receive`."""

    def resume_reading(self) -> None: ...


class Connecting:
    """What user code may add while a client connects. `data`: JSON text told to the client; `subscriptions` are made
    for it besides those of its token. `said`: messages to it, where nothing may come before the answer to `Connect`."""

    __slots__ = ("client_data", "data", "said", "subscriptions")

    def __init__(self, client_data: bytes | None) -> None:
        self.client_data = client_data  # what the client sent along with `Connect`
        self.data: bytes | None = None
        self.subscriptions: dict[str, Grant] = {}
        self.said: list[Publication] = []


class Hooks(Protocol):
    """User code in the process. Each may wait; an exception other than `ReplyError` is reported as internal error."""

    handles_calls: bool
    """Is there code for remote procedure calls? Without: error 108."""
    handles_messages: bool
    """Is there code for messages outside any channel (`Send`)? Without: close 3508."""

    handles_publications: bool
    """Is there code that sees what clients publish? Without: it is passed on as it is."""

    async def connect(self, session: Session, connecting: Connecting) -> None:
        """After authentication, before the first command. Raises `ConnectionClosing` to deny; any other exception
        ends the connection with 3004."""

    async def subscribe(self, session: Session, command: Subscribe, grant: Grant | None) -> Grant | None:
        """A client subscribes. `grant` is what token and rules give it, None: they refuse. Returns what it gets,
        changed or not; None refuses with 103. Raises `ReplyError` to refuse otherwise."""

    async def publish(self, session: Session | None, publication: Publication) -> Publication | None:
        """A client publishes (`session` is None for one that publishes over HTTP). Returns what is to be published:
        None: it was dealt with, do not pass it on. Changed payloads are checked again. Raises `ReplyError` to refuse.
        """

    async def call(self, session: Session, method: str, data: bytes | None) -> bytes | None:
        """A remote procedure call; returns JSON text. Raises `ReplyError`: 104 for a method that does not exist."""

    async def message(self, session: Session, data: bytes) -> None:
        """A client says something outside any channel."""

    async def unsubscribe(self, session: Session, channel: str, why: Unsubscription) -> None:
        """A subscription ended while its client stays."""

    async def close(self, session: Session, disconnect: Disconnect) -> None:
        """The connection ended. Called exactly once for each session whose `connect` returned."""
