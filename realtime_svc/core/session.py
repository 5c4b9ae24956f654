"""One connection, whatever it speaks: its state, its limits and its timers.

    AUTHENTICATING --identity--> CONNECTING --connect handler--> OPEN --close()--> CLOSING --transport gone--> CLOSED

Commands are carried out one after another (`line.CommandLine`). Where the protocol allows it, what is said while one
message is worked on leaves in one frame.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from realtime_svc import errors
from realtime_svc.core import expiry, ids, login, messages
from realtime_svc.core.cork import Cork
from realtime_svc.core.line import CommandLine
from realtime_svc.core.outbox import CLOSED, CORKED, Outbox
from realtime_svc.core.ports import Dialect, Frame, Timer, Transport
from realtime_svc.core.reading import Hold, Reading
from realtime_svc.core.state import State
from realtime_svc.errors import ConnectionClosing, Disconnect
from realtime_svc.model import ClientInfo, Identity, RemoteAddress, StreamPosition

if TYPE_CHECKING:
    from realtime_svc.core.node import Node
    from realtime_svc.core.subscription import Subscription

_CLOSING = State.CLOSING  # looked at for every message, and a member of an enum takes a while to find
ANSWERS_SHARE = 4  # the part of its queue that a client may fill with answers, before it has to wait


class Session:
    """See the module. `home` is the channel a raw or SSE connection was opened for, or "".

    `exclude_self`: what this client publishes does not come back to it. `first` are its first subscriptions: channels
    to begin with, `since` or with the `last` publications. `frame_pings`: liveness is asked for by the transport, not
    by a message of the protocol. `emulated`: its commands come by other requests, which name it by `key`.
    """

    __slots__ = (
        "_cork",
        "_disconnect",
        "_outbox",
        "_pong_due",
        "_timer",
        "channels",
        "connected",
        "dialect",
        "exclude_self",
        "first",
        "frame_pings",
        "home",
        "id",
        "identity",
        "key",
        "let_in",
        "line",
        "node",
        "outlet",
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
        since: StreamPosition | None = None,
        last: int = 0,
        frame_pings: bool = False,
        emulated: bool = False,
    ) -> None:
        self.id = ids.client_id()
        self.key = secrets.token_urlsafe(24) if emulated else ""
        self.node = node
        self.dialect = dialect
        self.transport = transport
        self.identity = identity
        self.remote = remote
        self.home = home
        self.exclude_self = exclude_self
        self.channels: dict[str, Subscription] = {}
        self.first = tuple(
            messages.Subscribe(channel, recover=since, last=last, recoverable=True) for channel in channels
        )
        self.frame_pings = frame_pings
        self.state = State.AUTHENTICATING
        self.connected = False  # user code let it in
        self.let_in = False  # backends were told
        self.slot = 0
        self.pings = 0
        self.line = CommandLine(self)
        self.reading = Reading(transport, node.clock, self.line.work_off)
        self._pong_due = False
        self._cork: Cork | None = None
        self.outlet = transport.outlet
        self._outbox = Outbox(self)
        self._disconnect: Disconnect | None = None
        self._timer: Timer | None = None  # first for the authentication, then for what expires

    # ---- life

    def opened(self) -> None:
        """The transport is open: say hello, and go on to what the client may do."""
        self.outlet.owner = self
        self.node.opened(self)
        if self.node.draining:
            self.close(errors.SHUTDOWN)
            return
        if not self.dialect.traits.handshake:
            user = self.identity.user if self.identity else ""
            self.say(messages.Hello(self.id, user, self.node.limits.message_size))
            if self.identity is not None:
                self.line.work(login.enter(self))
                return
        self._timer = self.node.clock.callLater(self.node.limits.auth_timeout, self._stale)

    @property
    def closing(self) -> bool:
        return self.state >= _CLOSING

    def become(self, state: State) -> None:
        self.state = state

    def close(self, disconnect: Disconnect, *, flush: bool = True) -> None:
        """End the connection. What is queued is delivered first, unless `flush` is off (the client takes nothing)."""
        if self.closing:
            return
        if flush:
            self.node.hub.finish_for(self)
        self.uncork()
        if self.closing:  # that was too much for it
            return
        self._begin_to_close(disconnect)
        self.node.leaving(self, disconnect)
        if not flush:
            self._outbox.drop()
        self._outbox.when_flushed(self._say_goodbye)
        self.reading.release()

    def leave(self, disconnect: Disconnect) -> None:
        """The transport closes of its own accord: nothing goes out any more. `ended` follows. May be called again."""
        if self.closing:
            return
        self._begin_to_close(disconnect)
        self.node.left(self, disconnect)
        self._outbox.drop()
        self.reading.release()

    def _begin_to_close(self, disconnect: Disconnect) -> None:
        self.state = State.CLOSING
        self.outlet.holds |= CLOSED
        self._disconnect = disconnect
        self._cork = None
        self.line.drop()
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
        self.outlet.holds |= CLOSED
        self._cork = None
        self.line.drop()
        self._stop_timer()
        self._outbox.drop()
        self.node.ended(self, self._disconnect)
        self.outlet.owner = None
        if self.connected:
            self.node.close_hook(self, self._disconnect)

    @property
    def end(self) -> Disconnect:
        """Why it ended, or is about to."""
        return self._disconnect or errors.CLOSED

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    # ---- what goes out

    def say(self, reply: messages.Reply) -> None:
        """Send a reply, in the words of this client's protocol."""
        if self.state >= _CLOSING:
            return
        frame = self.dialect.encode(reply)
        if frame is not None:
            self.send(frame)

    def say_subscribed(self, reply: messages.Subscribed | messages.ServerSubscribed) -> None:
        """Send the answer, and what was recovered: in it, or behind it where the protocol has it so."""
        self.say(reply)
        if not self.dialect.traits.inline_recovery:
            for message in reply.result.messages:
                self.say(message)

    def send(self, frame: Frame) -> None:
        """Send one encoded message, now or when the transport takes more. Never raises; a slow client is closed."""
        if self.state >= _CLOSING:
            return
        if self._cork is None:
            self.node.count_out(self.dialect, frame)
            self._outbox.send(frame)
        elif not self._cork.add(frame):
            self.uncork()
            self.cork()

    def cork(self) -> None:
        """Collect what is said until `uncork`, where the protocol can say several things in one frame."""
        if self.dialect.traits.handshake and self._cork is None and not self.closing:
            self._cork = Cork(self.dialect)
            self.outlet.holds |= CORKED

    def uncork(self) -> None:
        """Send what was collected. Nothing happens where nothing was corked."""
        cork, self._cork = self._cork, None
        if cork is not None:
            self.outlet.holds &= ~CORKED
            for frame in cork.frames():
                self.send(frame)

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
        if not self._outbox.size:
            self.reading.resume(Hold.OUTPUT)

    def mind_output(self) -> None:
        """A client whose answers wait is not asked what else it wants, until it has taken them."""
        if not self._outbox.blocked or self.closing:
            return
        waiting = self._outbox.size + (self._cork.size if self._cork is not None else 0)
        if waiting > self.node.limits.queue_size // ANSWERS_SHARE:
            self.reading.pause(Hold.OUTPUT)

    def flush(self) -> None:
        """Hand over what was said and published in this turn of the event loop: the transport is about to end it."""
        if not self.closing:
            self.node.hub.finish_for(self)
        self.uncork()
        self._outbox.flush()

    def too_slow(self) -> None:
        """The client takes too little of what waits for it."""
        if self.state is State.CLOSING:
            self.transport.abort()
        else:
            self.close(errors.SLOW, flush=False)

    # ---- what comes in

    def receive(self, payload: bytes, binary: bool) -> None:
        """One message from the client. After `pause_reading` a transport gives no further one."""
        if self.state < _CLOSING:
            self.node.count_in(self.dialect, payload)
            self.line.add(payload, binary)

    @property
    def info(self) -> ClientInfo:
        """This client, as the others see it."""
        identity = self.identity
        return ClientInfo(self.id, identity.user if identity else "", identity.info if identity else None)

    def info_in(self, channel: str) -> ClientInfo:
        """The same, with what belongs to its subscription to `channel`."""
        subscription = self.channels.get(channel)
        return self.info if subscription is None else subscription.client_info

    # ---- time

    def _stale(self) -> None:
        self.close(errors.STALE)

    def watch_expiry(self) -> None:
        """End what has run out, and look again when the next thing does."""
        if self.state is State.AUTHENTICATING:  # the timer is another one
            return
        self._stop_timer()
        delay = expiry.look(self)
        if delay is not None and not self.closing:
            self._timer = self.node.clock.callLater(delay, self.watch_expiry)

    @property
    def has_own_pings(self) -> bool:
        """Is liveness asked for by messages of the protocol?"""
        return self.dialect.traits.handshake and not self.frame_pings

    def beat(self) -> bool:
        """Send a ping; True where an answer has to come."""
        if self.closing:
            return False
        self.pings += 1
        if not self.has_own_pings:
            self._pong_due = self.transport.ping()
        elif self.state is State.OPEN:
            self.say(messages.PingPush())
            self._pong_due = True
        return self._pong_due

    def pong(self) -> None:
        """The peer is alive."""
        self._pong_due = False

    def answer_ping(self) -> None:
        """A message says so. Raises `ConnectionClosing` 3501 where nobody asked."""
        if not self._pong_due:
            raise ConnectionClosing(errors.BAD_REQUEST)
        self._pong_due = False

    def awaits_pong(self, ping: int) -> bool:
        """Has ping number `ping` not been answered yet?"""
        return self._pong_due and self.pings == ping and not self.closing
