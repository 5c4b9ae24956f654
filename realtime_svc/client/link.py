"""One WebSocket connection from the inside: what waits, what is timed, how it ends. Its face is `connection.py`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

from realtime_svc.client.errors import ConnectionClosed, ConnectionFailed, SendBufferFull
from realtime_svc.client.reply import Reply

if TYPE_CHECKING:
    from realtime_svc.client.protocol import ClientProtocol

MESSAGE_OVERHEAD = 64  # bytes a waiting message counts for besides its own: many empty ones take memory, too


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds.

    `max_size`: largest message, both ways. `max_queue`: what may wait to be received before reading pauses, and what
    may wait to be sent before sending is refused. `ping_interval` 0: no pings.
    """

    max_size: int = 1024 * 1024
    max_queue: int = 1024 * 1024
    ping_interval: float = 25.0
    ping_timeout: float = 10.0
    close_timeout: float = 5.0


@implementer(IPushProducer)
class Gate:
    """Tells whether the server reads what it is sent, and counts what is written while it does not."""

    def __init__(self, pong: Callable[[bytes], None]) -> None:
        self.open = True
        self.waiting = 0
        self._pong = pong
        self._newest_ping: bytes | None = None  # not answered yet

    def pauseProducing(self) -> None:
        self.open = False

    def resumeProducing(self) -> None:
        self.open = True
        self.waiting = 0
        ping, self._newest_ping = self._newest_ping, None
        if ping is not None:
            self._pong(ping)

    def stopProducing(self) -> None:
        self.open = False

    def pinged(self, payload: bytes) -> None:
        """While the server does not read, only its newest ping is remembered (RFC 6455 5.5.3)."""
        if self.open:
            self._pong(payload)
        else:
            self._newest_ping = payload


class Link:
    """Between the protocol, which calls when something happens, and the connection's owner."""

    def __init__(self, clock: IReactorTime, limits: Limits) -> None:
        self.limits = limits
        self.reply = Reply()
        self.opening: Deferred[None] = Deferred(self._give_up)
        self.end: ConnectionClosed | None = None
        self.subprotocol: str | None = None
        self.cause = "the connection was lost"
        self._clock = clock
        self._gate = Gate(self._answer_ping)
        self._protocol: ClientProtocol | None = None
        self._timer: IDelayedCall | None = None
        self._heard = False
        self._closing = False
        self._draining = False
        self._reading = True
        self._inbox: deque[str | bytes] = deque()
        self._inbox_size = 0
        self._waiting: deque[Deferred[str | bytes]] = deque()
        self._mourners: list[Deferred[tuple[int, str]]] = []

    # What the owner asks for.

    def send(self, payload: bytes, *, binary: bool) -> None:
        if len(payload) > self.limits.max_size:
            raise ValueError(f"a message of {len(payload)} bytes is larger than max_size")
        if self.end is not None:
            raise ConnectionClosed(self.end.code, self.end.reason)
        if self._closing or self._protocol is None:
            raise ConnectionClosed(1000, "the connection is being closed")
        if not self._gate.open:
            if self._gate.waiting >= self.limits.max_queue:
                raise SendBufferFull
            self._gate.waiting += len(payload) + MESSAGE_OVERHEAD
        self._protocol.sendMessage(payload, binary)

    def receive(self) -> Deferred[str | bytes]:
        if self._inbox:
            message = self._inbox.popleft()
            self._inbox_size -= len(message) + MESSAGE_OVERHEAD
            if not self._reading and self._inbox_size <= self.limits.max_queue // 2:
                self._read(True)
            return succeed(message)
        if self.end is not None:
            return fail(self.end)
        waiter: Deferred[str | bytes] = Deferred(self._waiting.remove)
        self._waiting.append(waiter)
        return waiter

    def when_closed(self) -> Deferred[tuple[int, str]]:
        """One Deferred for each who asks: a result that many can change belongs to nobody."""
        if self.end is not None:
            return succeed((self.end.code, self.end.reason))
        mourner: Deferred[tuple[int, str]] = Deferred(self._mourners.remove)
        self._mourners.append(mourner)
        return mourner

    def close(self, code: int, reason: bytes, *, drain: bool = False) -> None:
        self._draining = drain
        if self._closing:
            self._read(True)  # nobody may be left who takes what is here
        elif self._protocol is not None:
            self._protocol.sendCloseFrame(code, reason)

    # What the protocol tells.

    def connected(self, protocol: ClientProtocol) -> None:
        self._protocol = protocol

    def failed(self, error: Exception) -> None:
        """The handshake does not come about."""
        if not self.opening.called:
            self.opening.errback(error)
        self._abort()

    def opened(self) -> None:
        assert self._protocol is not None
        self._protocol.registerProducer(self._gate, True)
        self._schedule_ping()
        self.opening.callback(None)

    def heard(self) -> None:
        """Something came, so the server is there."""
        self._heard = True

    def pinged(self, payload: bytes) -> None:
        self._gate.pinged(payload)

    def message(self, message: str | bytes) -> None:
        if self._closing and not self._draining:
            return
        if self._waiting:
            self._waiting.popleft().callback(message)
            return
        self._inbox.append(message)
        self._inbox_size += len(message) + MESSAGE_OVERHEAD
        if self._reading and self._inbox_size > self.limits.max_queue:
            self._read(False)

    def closing(self) -> None:
        """A Close was sent: the server has some time to end the connection. Its messages are dropped, or drained."""
        self._closing = True
        self._read(True)
        self._set_timer(self.limits.close_timeout, self._abort)

    def lost(self, code: int, reason: str) -> None:
        self._stop_timer()
        self._closing = True
        self.end = ConnectionClosed(code, reason)
        if not self.opening.called:
            self.opening.errback(self.reply.end() if self.reply.refused else ConnectionFailed(self.cause))
            return
        while self._waiting:
            self._waiting.popleft().errback(self.end)
        while self._mourners:
            self._mourners.pop(0).callback((code, reason))

    # Time and flow.

    def _give_up(self, opening: Deferred[None]) -> None:
        """`opening` was cancelled. A refusal whose body never ends is still a refusal."""
        opening.errback(self.reply.end() if self.reply.refused else CancelledError())
        self._abort()

    def _abort(self) -> None:
        self._stop_timer()
        if self._protocol is not None:
            self._protocol.drop()

    def _answer_ping(self, payload: bytes) -> None:
        if self._protocol is not None:
            self._protocol.sendPong(payload)

    def _read(self, reading: bool) -> None:
        if self._reading is not reading and self.end is None and self._protocol is not None:
            self._reading = reading
            self._protocol.read(reading)

    def _schedule_ping(self) -> None:
        if self.limits.ping_interval:
            self._set_timer(self.limits.ping_interval, self._ping)

    def _ping(self) -> None:
        assert self._protocol is not None
        self._heard = False
        if self._gate.open:
            self._protocol.sendPing()
        self._set_timer(self.limits.ping_timeout, self._check_life)

    def _check_life(self) -> None:
        """No news is no sign of death while nothing is read here."""
        if self._heard or not self._reading:
            self._schedule_ping()
        else:
            self.cause = "the server does not answer"
            self._abort()

    def _set_timer(self, delay: float, call: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self._clock.callLater(delay, call)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
