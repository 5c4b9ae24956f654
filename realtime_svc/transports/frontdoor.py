"""One port for WebSocket and plain HTTP: the head is read once, strictly, and decides who goes on with the connection.

    accept -> [TLS] -> head (bounded in bytes, fields and time) -> route, host, origin, caps
           -> WebSocket: Autobahn takes the connection over (`websocket.py`)
           -> HTTP: one request after the other goes to twisted.web, each head rewritten from what was read

Whatever is refused gets its status, a JSON body, and the end of the connection.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure

from realtime_svc.config import Http
from realtime_svc.core.ports import Clock, Gatekeeper, Run, Timer
from realtime_svc.errors import Refusal, bad_head
from realtime_svc.model import RemoteAddress
from realtime_svc.transports.caps import Caps, Lease
from realtime_svc.wire.forwarded import Networks, client_address
from realtime_svc.wire.http_head import HeadLimits, HeadParser, RequestHead, rewrite_http_head
from realtime_svc.wire.http_response import refusal_response
from realtime_svc.wire.routes import Route, route

LINGER = 2.0  # seconds a refused client gets to read the answer
MAX_PIPELINED = 64 * 1024


class Hall(Protocol):
    """Takes over connections that were upgraded."""

    def open(self, transport: Any, head: RequestHead, route: Route, remote: RemoteAddress, lease: Lease) -> None: ...


class HttpExchange(Protocol):
    """twisted.web's side of a plain HTTP connection."""

    def begin(self, head: RequestHead, route: Route, remote: RemoteAddress, data: bytes) -> None:
        """One request: its rewritten head; its body follows as `body`."""

    def body(self, data: bytes) -> None: ...
    def lost(self, reason: Failure) -> None: ...


class Web(Protocol):
    """Makes the HTTP side of a connection; `finished(persistent)` is called behind each response."""

    def exchange(self, transport: Any, finished: Any) -> HttpExchange: ...


@dataclass(frozen=True, slots=True)
class Entrance:
    """What all connections of the public ports share. `refused` is told of each refusal, with the peer's address."""

    http: Http
    limits: HeadLimits
    trusted: Networks
    clock: Clock
    run: Run
    gate: Gatekeeper
    caps: Caps
    hall: Hall
    web: Web
    refused: Callable[[Refusal, str], None]
    body_size: int


class FrontDoorFactory(Factory):
    """Accepts the connections of one listener."""

    noisy = False

    def __init__(self, entrance: Entrance) -> None:
        self.entrance = entrance
        self.waiting: set[FrontDoor] = set()

    def buildProtocol(self, addr: IAddress | None) -> FrontDoor:
        return FrontDoor(self)

    def close_all(self) -> None:
        """Drain: connections that have no request under way are closed."""
        for door in tuple(self.waiting):
            door.drain()

    def abort_all(self) -> None:
        """The time to drain is up."""
        for door in tuple(self.waiting):
            door.abort()


class FrontDoor(TwistedProtocol):
    """One connection, until it is a WebSocket or, for plain HTTP, as long as it lasts."""

    transport: Any

    def __init__(self, factory: FrontDoorFactory) -> None:
        self._doors = factory.waiting
        self._entrance = factory.entrance
        self._parser: HeadParser | None = None
        self._lease: Lease | None = None
        self._claimed = False
        self._timer: Timer | None = None
        self._exchange: HttpExchange | None = None
        self._rest = b""
        self._body_left = 0
        self._last = False
        self._refused = False
        self._busy = False

    # ---- the connection

    def connectionMade(self) -> None:
        self._lease = self._entrance.caps.accept()
        if self._lease is None:
            self._entrance.refused(Refusal(503, "dropped", "too many connections"), self._peer())
            self.abort()
            return
        self._doors.add(self)
        self._parser = HeadParser(self._entrance.limits)
        self._arm(self._entrance.http.head_timeout)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._disarm()
        self._doors.discard(self)
        if self._lease is not None:
            self._lease.release()
        if self._exchange is not None:
            self._exchange.lost(reason)

    def drain(self) -> None:
        """Close when nothing is under way, else after the response."""
        self._last = True
        if not self._busy and not self._refused:
            self._close()

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._timer = self._entrance.clock.callLater(seconds, self._expired)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expired(self) -> None:
        self._timer = None
        if not self._refused:
            self._entrance.refused(Refusal(408, "too_slow", "no request in time"), self._peer())
        self.abort()

    def _peer(self) -> str:
        return getattr(self.transport.getPeer(), "host", "local")

    def abort(self) -> None:
        self.transport.abortConnection()

    def _close(self) -> None:
        """End the connection; by force when the peer does not take part."""
        self._refused = True
        self._arm(LINGER)
        self.transport.loseConnection()

    # ---- reading

    def dataReceived(self, data: bytes) -> None:
        if self._refused or self._lease is None:
            return
        if self._busy:
            self._more(data)
        else:
            self._read_head(data)

    def _read_head(self, data: bytes) -> None:
        assert self._parser is not None
        try:
            parsed = self._parser.feed(data)
            if parsed is not None:
                self._parser = None
                self._disarm()
                self._busy = True
                head, rest = parsed
                self._dispatch(head, rest)
        except Refusal as refusal:
            self._refuse(refusal)

    def _dispatch(self, head: RequestHead, rest: bytes) -> None:
        """The head is complete: find out whom it is for. Raises `Refusal`."""
        remote = self._remote(head)
        if not self._claimed:
            assert self._lease is not None
            self._lease.claim(remote.host)
            self._claimed = True
        self._entrance.gate.check(head)
        found = route(head)
        if found.endpoint.is_websocket:
            if rest:
                raise bad_head("early_data", "bytes before the WebSocket handshake was answered")
            if self._exchange is not None:
                raise bad_head("late_upgrade", "a WebSocket needs a connection of its own")
        else:
            self._check_body(head)
        self._prepare(head, found, remote, rest)

    def _remote(self, head: RequestHead) -> RemoteAddress:
        """Who it is: the peer, or whom a trusted proxy names."""
        peer = self.transport.getPeer()
        host, port = getattr(peer, "host", "local"), getattr(peer, "port", 0)
        named = client_address(host, head.get_all("x-forwarded-for"), self._entrance.trusted)
        return RemoteAddress(named, 0) if named is not None and named != host else RemoteAddress(host, port)

    def _check_body(self, head: RequestHead) -> None:
        if (head.content_length or 0) > self._entrance.body_size:
            raise Refusal(413, "body_too_big", "the body is too big")

    def _prepare(self, head: RequestHead, found: Route, remote: RemoteAddress, rest: bytes) -> None:
        """Where a credential takes time to check (a password), it is waited for here: the socket is not read."""
        waiting = self._entrance.gate.prepare(head)
        if waiting is None:
            self._pass_on(head, found, remote, rest)
            return
        self.transport.pauseProducing()
        self._rest = rest

        async def wait(awaitable: Awaitable[None]) -> None:
            await awaitable

        def done(result: object, error: BaseException | None) -> None:
            if self.transport is None or not self.transport.connected or self._refused:
                return
            rest, self._rest = self._rest, b""
            self.transport.resumeProducing()
            self._pass_on(head, found, remote, rest)

        self._entrance.run(wait(waiting), done)

    def _pass_on(self, head: RequestHead, found: Route, remote: RemoteAddress, rest: bytes) -> None:
        if found.endpoint.is_websocket:
            if rest:
                self._refuse(bad_head("early_data", "bytes before the WebSocket handshake was answered"))
                return
            assert self._lease is not None
            self._doors.discard(self)
            self._entrance.hall.open(self.transport, head, found, remote, self._lease)
            return
        if self._exchange is None:
            self._exchange = self._entrance.web.exchange(self.transport, self._responded)
        self._last = self._last or not head.keep_alive or head.chunked
        self._body_left = -1 if head.chunked else (head.content_length or 0)
        self._exchange.begin(head, found, remote, rewrite_http_head(head, close=self._last))
        if rest:
            self._more(rest)

    # ---- plain HTTP

    def _more(self, data: bytes) -> None:
        """Bytes while a request is under way: its body, then what is pipelined behind it, which waits."""
        if self._body_left and self._exchange is not None:
            if self._body_left < 0:
                self._exchange.body(data)
                return
            body, data = data[: self._body_left], data[self._body_left :]
            self._body_left -= len(body)
            self._exchange.body(body)
        if data:
            self._rest += data
            if len(self._rest) > MAX_PIPELINED:
                self.transport.pauseProducing()

    def _responded(self, persistent: bool) -> None:
        """A response is complete: on to the next request, or the end."""
        self._busy = False
        if self._last or not persistent or self._body_left:
            self._close()
            return
        self._parser = HeadParser(self._entrance.limits)
        self._arm(self._entrance.http.idle_timeout)
        rest, self._rest = self._rest, b""
        if rest:
            self._entrance.clock.callLater(0, self._next, rest)

    def _next(self, rest: bytes) -> None:
        """The pipelined request, in a turn of its own so that a long pipeline does not become a deep stack."""
        if self._refused or self._busy or not self.transport.connected:
            return
        self.transport.resumeProducing()
        self.dataReceived(rest)

    # ---- refusing

    def _refuse(self, refusal: Refusal) -> None:
        """Answer, close for writing, throw away what still comes: closing at once could take the answer along."""
        self._refused = True
        self._entrance.refused(refusal, self._peer())
        self._arm(LINGER)
        self.transport.write(refusal_response(refusal))
        if hasattr(self.transport, "wrappedProtocol"):  # TLS says goodbye by itself
            self.transport.loseConnection()
        else:
            self.transport.loseWriteConnection()
