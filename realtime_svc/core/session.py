"""One connection, whatever it speaks: its state, its commands in order, its limits and its timers.

    AUTHENTICATING --auth--> CONNECTING --connect handler--> OPEN --close()--> CLOSING --transport gone--> CLOSED

Commands are carried out one after another. While one waits (for user code, for an engine), the next ones wait behind it
and reading pauses.
"""

from __future__ import annotations

import enum
import uuid
from collections import deque
from collections.abc import Coroutine, Iterator
from typing import TYPE_CHECKING, Any

from realtime_svc import errors
from realtime_svc.core import messages
from realtime_svc.core.commands import COMMANDS
from realtime_svc.core.outbox import Outbox
from realtime_svc.core.ports import Dialect, Frame, Timer, Transport
from realtime_svc.core.ratelimit import TokenBucket
from realtime_svc.core.reading import Hold, Reading
from realtime_svc.errors import ConnectionClosing, Disconnect, ErrorCode, ReplyError
from realtime_svc.model import ClientInfo, Identity, RemoteAddress

if TYPE_CHECKING:
    from realtime_svc.core.node import Node

COMMANDS_A_TURN = 64
LOOK_AGAIN = 60.0  # seconds; how often the wall clock is asked whether a credential has run out

Commands = Iterator[messages.Command | messages.Failed]


class State(enum.IntEnum):
    AUTHENTICATING = 0
    CONNECTING = 1
    OPEN = 2
    CLOSING = 3
    CLOSED = 4


class Session:
    """See the module. `home` is the channel a raw or SSE connection was opened for, or "".

    `exclude_self`: what this client publishes does not come back to it. `channels` are subscribed to first.
    """

    __slots__ = (
        "_busy",
        "_connected",
        "_disconnect",
        "_errors",
        "_first_channels",
        "_line",
        "_messages",
        "_outbox",
        "_pong_due",
        "_timer",
        "_turn",
        "_working_off",
        "channels",
        "dialect",
        "exclude_self",
        "home",
        "id",
        "identity",
        "node",
        "pings",
        "reading",
        "remote",
        "slot",
        "state",
        "transport",
    )

    def __init__(
        self,
        node: Node,
        dialect: Dialect,
        transport: Transport,
        identity: Identity | None,
        remote: RemoteAddress,
        *,
        home: str = "",
        exclude_self: bool = False,
        channels: tuple[str, ...] = (),
    ) -> None:
        limits = node.limits
        self.id = str(uuid.uuid4())
        self.node = node
        self.dialect = dialect
        self.transport = transport
        self.identity = identity
        self.remote = remote
        self.home = home
        self.exclude_self = exclude_self
        self.channels: set[str] = set()
        self.state = State.AUTHENTICATING
        self.slot = 0
        self.pings = 0
        self.reading = Reading(transport, node.clock, self._work_off)
        self._pong_due = False
        self._first_channels = channels
        self._outbox = Outbox(transport, node.clock, limits.queue_size, limits.stall_timeout, self._too_slow)
        self._line: deque[Commands] | None = None  # most clients never need one
        self._busy = False
        self._turn = 0
        self._working_off = False
        self._connected = False
        self._disconnect: Disconnect | None = None
        self._messages = TokenBucket(limits.messages, node.clock)
        self._errors = TokenBucket(limits.errors, node.clock)
        self._timer: Timer | None = None  # first for the authentication, then for its expiry

    # ---- life

    def opened(self) -> None:
        """The transport is open: say hello, and go on to what the client may do."""
        self.node.opened(self)
        if self.node.draining:
            self.close(errors.SHUTDOWN)
            return
        user = self.identity.user if self.identity else ""
        self.say(messages.Hello(self.id, user, self.node.limits.message_size))
        if self.identity is None:
            self._timer = self.node.clock.callLater(self.node.limits.auth_timeout, self._stale)
        else:
            self._work(self._enter())

    async def authenticated(self, identity: Identity, answer: messages.Done) -> None:
        """The client said who it is, or said it again with a newer token."""
        first = self.identity is None
        self.identity = identity
        self.say(answer)
        if first:
            await self._enter()
        else:
            self._watch_expiry()

    async def _enter(self) -> None:
        """After authentication and before the first command: user code may deny, then the first subscriptions."""
        self._become(State.CONNECTING)
        self._watch_expiry()
        if self._left():
            return
        await self.node.connect_hook(self)
        self._connected = True
        if self.state is State.CLOSED:  # it left while user code was thinking
            self.node.close_hook(self, self._disconnect or errors.CLOSED)
        if self._left():
            return
        self._become(State.OPEN)
        for channel in self._first_channels:
            if channel in self.channels:  # by user code
                self.say(messages.Done("subscribe", channel))
            else:
                await self.carry_out(messages.Subscribe(channel))

    def _left(self) -> bool:
        return self.state >= State.CLOSING

    def _become(self, state: State) -> None:
        self.state = state

    def close(self, disconnect: Disconnect, *, flush: bool = True) -> None:
        """End the connection. What is queued is delivered first, unless `flush` is off (the client takes nothing)."""
        if self.state >= State.CLOSING:
            return
        self._begin_to_close(disconnect)
        self.node.leaving(self, disconnect)
        if not flush:
            self._outbox.drop()
        self._outbox.when_flushed(self._say_goodbye)
        self.reading.release()

    def leave(self, disconnect: Disconnect) -> None:
        """The transport closes of its own accord: nothing goes out any more. `ended` follows. May be called again."""
        if self.state >= State.CLOSING:
            return
        self._begin_to_close(disconnect)
        self.node.left(self)
        self._outbox.drop()
        self.reading.release()

    def _begin_to_close(self, disconnect: Disconnect) -> None:
        self.state = State.CLOSING
        self._disconnect = disconnect
        self._line = None
        self._stop_timer()

    def _say_goodbye(self) -> None:
        assert self._disconnect is not None
        bye = self.dialect.encode(messages.Bye(self._disconnect))
        if bye is not None:
            self.transport.write(bye)
        self.transport.close(self.dialect.close_with(self._disconnect))

    def ended(self, disconnect: Disconnect) -> None:
        """The transport is gone. `disconnect` is what the peer said, where it was the peer that closed."""
        if self.state is State.CLOSED:
            return
        self._disconnect = self._disconnect or disconnect
        self.state = State.CLOSED
        self._line = None
        self._stop_timer()
        self._outbox.drop()
        self.node.ended(self)
        if self._connected:
            self.node.close_hook(self, self._disconnect)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    # ---- what goes out

    def say(self, reply: messages.Reply) -> None:
        """Send a reply, in the words of this client's protocol."""
        frame = self.dialect.encode(reply)
        if frame is not None:
            self.send(frame)

    def send(self, frame: Frame) -> None:
        """Send one encoded message, now or when the transport takes more. Never raises; a slow client is closed."""
        if self.state < State.CLOSING:
            self.node.count_out(self.dialect, frame)
            self._outbox.send(frame)

    @property
    def queued(self) -> int:
        """Bytes that wait for this client."""
        return self._outbox.size

    def blocked(self) -> None:
        """The transport has enough for now."""
        if self.state is not State.CLOSED:
            self._outbox.block()

    def unblocked(self) -> None:
        """The transport's buffer is empty again."""
        self._outbox.unblock()

    def _too_slow(self) -> None:
        if self.state is State.CLOSING:
            self.transport.abort()
        else:
            self.close(errors.SLOW, flush=False)

    # ---- what comes in

    def receive(self, payload: bytes, binary: bool) -> None:
        """One message from the client. After `pause_reading` a transport gives no further one."""
        if self.state >= State.CLOSING:
            return
        self.node.count_in(self.dialect, payload)
        commands = self._read(payload, binary)
        if self._busy or self._line:
            self._wait_in_line(commands)
        else:
            self._work(self._process(commands))

    def _read(self, payload: bytes, binary: bool) -> Commands:
        """The commands of a message; each is decoded, and may raise, when its turn has come."""
        yield from self.dialect.decode(payload, binary, self.home)

    def _wait_in_line(self, commands: Commands, *, first: bool = False) -> None:
        """What is read but not carried out yet: a message behind one that waits, or the rest of one."""
        if self._line is None:
            self._line = deque()
        if first:
            self._line.appendleft(commands)
        else:
            self._line.append(commands)
        self.reading.pause(Hold.BACKLOG)

    def _work(self, work: Coroutine[Any, Any, None]) -> None:
        self._busy = True
        self.node.run(work, self._worked)

    def _worked(self, result: None, error: BaseException | None) -> None:
        """A step is done: close where it says so, else go on with what waits."""
        self._busy = False
        if isinstance(error, ConnectionClosing):
            self.close(error.disconnect)
        elif error is not None:
            self.node.report("a connection failed", error)
            self.close(errors.INTERNAL)
        self._work_off()

    def _work_off(self) -> None:
        """Go on with what waits in line; in a loop, so the stack stays flat."""
        if self._working_off or self._line is None:
            return
        self._working_off = True
        while self._line and not self._busy and not self.reading.throttled:
            self._work(self._process(self._line.popleft()))
        self._working_off = False
        if not self._line and not self._busy:
            self.reading.resume(Hold.BACKLOG)

    async def _process(self, commands: Commands) -> None:
        """The commands of one message; where the client has to wait, the rest of them waits in line."""
        for command in commands:
            if self.state >= State.CLOSING or not self._account():
                return
            await self.carry_out(command)
            if self.reading.throttled and self.state < State.CLOSING:
                self._wait_in_line(commands, first=True)
                return

    def _account(self) -> bool:
        """Each command counts, however many come in one message. False: it was one too many, the client is closed.

        So that nobody else waits long, one client carries out so many commands in a turn of the event loop.
        """
        if delay := self._messages.take(1, self.node.clock):
            if self._messages.flooded(self.node.clock):
                self.close(errors.TOO_MANY_REQUESTS)
                return False
            self.reading.hold(Hold.RATE, delay)
        self._turn += 1
        if self._turn >= COMMANDS_A_TURN:
            self._turn = 0
            self.reading.hold(Hold.TURN, 0.0)
        return True

    async def carry_out(self, command: messages.Command | messages.Failed) -> None:
        """One command, or what stands for one that could not be read. Raises `ConnectionClosing` only."""
        if isinstance(command, messages.Failed):
            self._refuse(command)
            return
        verb, method = COMMANDS[type(command)]
        channel = getattr(command, "channel", None)
        try:
            if self.identity is None and verb != "auth":
                raise ReplyError(ErrorCode.UNAUTHORIZED, 'authenticate first: {"auth":"<token>"}')
            await method(self, command)
        except ConnectionClosing:
            raise
        except ReplyError as error:
            self._refuse(messages.Failed(error, verb, channel and channel[:255], command.id))
        except Exception as error:
            self.node.report("a command failed", error)
            self._refuse(messages.Failed(ReplyError(ErrorCode.INTERNAL), verb, channel and channel[:255], command.id))

    def _refuse(self, failed: messages.Failed) -> None:
        """Answer with the error; who only makes errors is slowed, then cut; before authentication there is one try."""
        self.node.count_error(failed.error)
        self.say(failed)
        if self.identity is None:
            self.close(errors.INVALID_TOKEN)
        elif delay := self._errors.take(1, self.node.clock):
            if self._errors.flooded(self.node.clock):
                self.close(errors.TOO_MANY_ERRORS)
            else:
                self.reading.hold(Hold.ERRORS, delay)

    @property
    def info(self) -> ClientInfo:
        """This client, as the others see it."""
        identity = self.identity
        return ClientInfo(self.id, identity.user if identity else "", identity.info if identity else None)

    # ---- time

    def _stale(self) -> None:
        self.close(errors.STALE)

    def _watch_expiry(self) -> None:
        """Close when the credential runs out, by the wall clock: the monotonic timer only says when to look."""
        self._stop_timer()
        expires_at = self.identity.expires_at if self.identity else None
        if expires_at is None or self.state >= State.CLOSING:
            return
        left = expires_at - self.node.wall_clock()
        if left <= 0:
            self.close(errors.EXPIRED)
        else:
            self._timer = self.node.clock.callLater(min(left, LOOK_AGAIN), self._watch_expiry)

    def beat(self) -> bool:
        """Send a ping; True where an answer has to come."""
        if self.state >= State.CLOSING:
            return False
        self.pings += 1
        self._pong_due = self.transport.ping()
        return self._pong_due

    def pong(self) -> None:
        """The peer is alive."""
        self._pong_due = False

    def awaits_pong(self, ping: int) -> bool:
        """Has ping number `ping` not been answered yet?"""
        return self._pong_due and self.pings == ping and self.state < State.CLOSING
