"""The seams of the core: what it needs from the rooms around it. Each docstring states the guarantee.

Methods that may wait are `async def`; an implementation that never waits costs one `send(None)`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from realtime_svc.core.messages import Command, Failed, Reply
from realtime_svc.errors import Disconnect
from realtime_svc.model import Credential, Identity, Publication

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

        Raises `AuthenticationFailed`, the same for every cause as far as a client can tell.
        """


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that may come in. `identity` is None where a first message has to bring the credential (/ws only).

    `subprotocol` is what is selected; `channels`, `echo` and `event` come from the query of the address.
    """

    identity: Identity | None
    subprotocol: str | None
    channels: tuple[str, ...]
    echo: bool
    event: str | None


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
    """Passes publications on to every node, this one included.

    Per channel all nodes see the same order. Delivery to this node's `receive` is at most once.
    """

    async def publish(self, publication: Publication) -> None:
        """Returns when the publication is accepted: it is, or is going to be, delivered. Raises `ReplyError`."""

    def on_publication(self, receive: Callable[[Publication], None]) -> None:
        """Call `receive` for every publication. Set once, before the first publish."""


class Frame(Protocol):
    """One encoded message: `payload` as the protocol made it, `wire` ready for the socket (framed, not compressed)."""

    payload: bytes
    binary: bool
    wire: bytes


class Dialect(Protocol):
    """A wire protocol with its framing: pure, stateless, one object for all connections that speak it."""

    @property
    def name(self) -> str:
        """A short name, used as a label of metrics."""

    def decode(self, payload: bytes, binary: bool, home: str) -> Iterable[Command | Failed]:
        """The commands in one message, in order. `home` is the channel the connection was opened for, or "".

        Raises `ConnectionClosing` where the protocol says that such a message ends the connection.
        """

    def encode(self, reply: Reply) -> Frame | None:
        """The bytes of a reply; None where this protocol does not say such a thing."""

    def close_with(self, disconnect: Disconnect) -> Disconnect:
        """The close code and reason that this protocol uses for `disconnect`."""


class Transport(Protocol):
    """One connection, as the session sees it. No method raises, in whatever state the connection is."""

    def write(self, frame: Frame) -> None:
        """Hand over one frame. The transport says `session.blocked()` when it has enough, then `unblocked()`."""

    def ping(self) -> bool:
        """Send a liveness probe. True: the peer has to answer, and `session.pong()` is called then."""

    def close(self, disconnect: Disconnect) -> None:
        """Send what was written, say goodbye, end the connection; by force when the peer does not take part in time."""

    def abort(self) -> None:
        """End the connection now; what is buffered is lost."""

    def pause_reading(self) -> None:
        """Read no more until `resume_reading`, and do not give what was read already to `session.receive`."""

    def resume_reading(self) -> None: ...


class Hooks(Protocol):
    """User code in the process. Each may wait; an exception other than `ReplyError` is reported as internal error."""

    async def connect(self, session: Session) -> None:
        """After authentication, before the first command. Raises `ConnectionClosing` to deny; any other exception
        ends the connection with 3004."""

    async def message(self, session: Session | None, publication: Publication) -> bool:
        """A client publishes (`session` is None for one that publishes over HTTP). False: it was dealt with, do not
        pass it on. Raises `ReplyError` to refuse."""

    async def close(self, session: Session, disconnect: Disconnect) -> None:
        """The connection ended. Called exactly once for each session whose `connect` returned."""
