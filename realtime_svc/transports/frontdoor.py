"""One port for WebSocket and plain HTTP: the head is read once, strictly, and decides who goes on with the connection.

    accept -> [TLS] -> head (bounded in bytes, fields and time) -> route, host, origin, caps
           -> WebSocket: Autobahn takes the connection over (`websocket.py`)
           -> HTTP: one request after the other goes to twisted.web, each head rewritten from what was read

Whatever is refused gets its status, a JSON body, and the end of the connection.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from realtime_svc.core.ports import Timer
from realtime_svc.errors import Refusal, bad_head
from realtime_svc.model import RemoteAddress
from realtime_svc.transports.arrivals import Arrivals
from realtime_svc.transports.caps import Lease
from realtime_svc.transports.entrance import Entrance, HttpExchange, half_closes
from realtime_svc.wire.forwarded import client_address
from realtime_svc.wire.http_head import HeadParser, RequestHead, read_whole, rewrite_http_head
from realtime_svc.wire.http_response import refusal_response
from realtime_svc.wire.routes import Route, route

LINGER = 2.0  # seconds a refused client gets to read the answer
MAX_PIPELINED = 64 * 1024
BODY_RATE = 16 * 1024  # bytes a second: a body gets `head_timeout` and the time it takes at this rate
CHUNKED = -1


class FrontDoorFactory(Factory):
    """Accepts the connections of one listener."""

    noisy = False

    def __init__(self, entrance: Entrance) -> None:
        self.entrance = entrance
        self.waiting: set[FrontDoor] = set()
        self.arrivals = Arrivals(entrance.clock, entrance.http.head_timeout)

    def buildProtocol(self, addr: IAddress | None) -> FrontDoor:
        return FrontDoor(self)

    def close_all(self) -> None:
        """Drain: connections that have no request under way are closed."""
        for door in tuple(self.waiting):
            door.drain()
        self.arrivals.end()

    def abort_all(self) -> None:
        """The time to drain is up."""
        for door in tuple(self.waiting):
            door.abort()


@implementer(IHalfCloseableProtocol)
class FrontDoor(TwistedProtocol):
    """One connection, until it is a WebSocket or, for plain HTTP, as long as it lasts.

    Only this class decides when the socket is read and when it is closed, also while twisted.web answers.
    """

    transport: Any

    _parser: HeadParser | None = None  # None between two requests
    _timer: Timer | None = None
    _exchange: HttpExchange | None = None
    _rest = b""  # what came behind the head of the request under way
    _body_left = 0
    _arriving = True  # its first request is awaited
    _busy = False  # a request is under way
    _streaming = False  # its response does not end
    _last = False  # no request is taken after it
    _ended = False  # the peer sends nothing more
    _closing = False

    def __init__(self, factory: FrontDoorFactory) -> None:
        self._factory = factory
        self._entrance = factory.entrance
        self._lease: Lease | None = None

    # ---- the connection

    def connectionMade(self) -> None:
        peer = self.transport.getPeer()
        self._host = host = getattr(peer, "host", "local")  # whose connection it is, as far as is known
        self._peer = RemoteAddress(host, getattr(peer, "port", 0))
        self._proxied = self._entrance.trusted.contains(host)
        self._lease = self._entrance.caps.accept(None if self._proxied else host)
        if self._lease is None:
            self._entrance.refused(Refusal(503, "dropped", "too many connections"), host)
            self.abort()
            return
        self._factory.waiting.add(self)
        self._factory.arrivals.add(self)

    def readConnectionLost(self) -> None:
        """The peer has said all it has to say: what it asked for is answered, unless the answer would never end."""
        self._ended = True
        if self._closing:
            self.transport.loseConnection()
        elif self._streaming:
            self.abort()
        elif self._body_left or not (self._busy or self._rest):
            self._close()

    def writeConnectionLost(self) -> None:
        """We have closed our side; the peer's end follows."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._disarm()
        self._factory.arrivals.remove(self)
        self._factory.waiting.discard(self)
        if self._lease is not None:
            self._lease.release()
        if self._exchange is not None:
            self._exchange.lost(reason)

    def drain(self) -> None:
        """Close when nothing is under way, else after the response."""
        self._last = True
        if not self._busy and not self._closing:
            self._close()

    def abort(self) -> None:
        self.transport.abortConnection()

    def _close(self) -> None:
        """Close for writing and throw away what still comes: closing at once could take what was written along."""
        self._closing = True
        self._rest = b""
        self._factory.arrivals.remove(self)
        self._arm(LINGER, self.abort)
        if self._exchange is not None:
            self._exchange.leave()
        self.transport.resumeProducing()
        if not self._ended and half_closes(self.transport):
            self.transport.loseWriteConnection()
        else:
            self.transport.loseConnection()

    def _refuse(self, refusal: Refusal, *, bodiless: bool = False) -> None:
        self._entrance.refused(refusal, self._host)
        self.transport.write(refusal_response(refusal, bodiless=bodiless))
        self._close()

    # ---- time

    def _arm(self, seconds: float, expired: Callable[[], None]) -> None:
        self._disarm()
        self._timer = self._entrance.clock.callLater(seconds, self._fire, expired)

    def _fire(self, expired: Callable[[], None]) -> None:
        self._timer = None
        expired()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def too_slow(self) -> None:
        """The time for a request is up."""
        self._entrance.refused(Refusal(408, "too_slow", "no request in time"), self._host)
        self.abort()

    # ---- reading

    def dataReceived(self, data: bytes) -> None:
        if self._closing or self._lease is None:
            return
        if self._busy or self._rest or (self._exchange is not None and self._exchange.blocked):
            self._rest += data
            self._feed()
        else:
            self._read_head(data)

    def _read_head(self, data: bytes) -> None:
        entrance, bodiless = self._entrance, False
        try:
            if self._parser is None and (parsed := read_whole(data, entrance.limits)) is None:
                self._parser = HeadParser(entrance.limits)
                if not self._arriving:
                    self._arm(entrance.http.head_timeout, self.too_slow)
            if self._parser is not None:
                parsed = self._parser.feed(data)
            if parsed is not None:
                self._head_came()
                head, self._rest = parsed
                bodiless = head.method == "HEAD"
                self._dispatch(head)
        except Refusal as refusal:
            self._refuse(refusal, bodiless=bodiless)

    def _head_came(self) -> None:
        self._parser = None
        self._busy = True
        self._disarm()
        if self._arriving:
            self._factory.arrivals.remove(self)

    def _dispatch(self, head: RequestHead) -> None:
        """The head is complete: find out whom it is for. Raises `Refusal`."""
        remote = self._remote(head)
        self._host = remote.host
        if self._arriving:
            self._arriving = False
            assert self._lease is not None
            self._lease.claim(remote.host)
        self._entrance.gate.check(head)
        found = route(head, api=bool(self._entrance.bodies.api))
        if found.endpoint.is_websocket:
            self._check_upgrade()
        elif (head.content_length or 0) > self._entrance.bodies.limit(found.endpoint):
            raise Refusal(413, "body_too_big", "the body is too big")
        self._prepare(head, found, remote)

    def _remote(self, head: RequestHead) -> RemoteAddress:
        """Who it is: the peer, or whom a trusted proxy names. A proxied connection may bring several."""
        if self._proxied:
            named = client_address(self._peer.host, head.get_all("x-forwarded-for"), self._entrance.trusted)
            if named is not None and named != self._peer.host:
                return RemoteAddress(named, 0)
        return self._peer

    def _check_upgrade(self) -> None:
        if self._rest:
            raise bad_head("early_data", "bytes before the WebSocket handshake was answered")
        if self._exchange is not None:
            raise bad_head("late_upgrade", "a WebSocket needs a connection of its own")
        if self._last:
            raise Refusal(503, "shutdown", "the server is shutting down", {"Retry-After": "1"})

    def _prepare(self, head: RequestHead, found: Route, remote: RemoteAddress) -> None:
        """Where a credential takes time to check (a password), it is waited for here: the socket is not read."""
        waiting = None if found.endpoint.has_secret else self._entrance.gate.prepare(head)
        if waiting is None:
            self._pass_on(head, found, remote)
            return
        self.transport.pauseProducing()

        async def wait(awaitable: Awaitable[None]) -> None:
            await awaitable

        def done(result: object, error: BaseException | None) -> None:
            if self._closing or not self.transport.connected:
                return
            try:
                if found.endpoint.is_websocket:
                    self._check_upgrade()
                self.transport.resumeProducing()
                self._pass_on(head, found, remote)
            except Refusal as refusal:
                self._refuse(refusal)

        self._entrance.run(wait(waiting), done)

    def _pass_on(self, head: RequestHead, found: Route, remote: RemoteAddress) -> None:
        if found.endpoint.is_websocket:
            assert self._lease is not None
            self._factory.waiting.discard(self)
            self._entrance.hall.open(self.transport, head, found, remote, self._lease)
            return
        if self._exchange is None:
            self._exchange = self._entrance.web.exchange(self.transport, self)
        self._last = self._last or not head.keep_alive or head.chunked
        self._streaming = found.endpoint.is_stream and head.method != "OPTIONS"
        self._body_left = CHUNKED if head.chunked else (head.content_length or 0)
        if self._body_left:
            size = self._entrance.bodies.limit(found.endpoint) if head.chunked else self._body_left
            self._arm(self._entrance.http.head_timeout + size / BODY_RATE, self.too_slow)
        self._exchange.begin(head, found, remote, rewrite_http_head(head, close=self._last))
        self._feed()

    # ---- plain HTTP

    def _feed(self) -> None:
        """The body of the request under way goes to twisted.web; what is pipelined behind it waits."""
        if self._body_left and self._rest and self._exchange is not None:
            size = len(self._rest) if self._body_left == CHUNKED else self._body_left
            body, self._rest = self._rest[:size], self._rest[size:]
            if self._body_left != CHUNKED:
                self._body_left -= len(body)
            self._exchange.body(body)
        if len(self._rest) > MAX_PIPELINED:
            self.transport.pauseProducing()

    def body_received(self) -> None:
        """See `Visitor`."""
        self._body_left = 0
        self._disarm()

    def responded(self, persistent: bool) -> None:
        """See `Visitor`. On to the next request, or the end."""
        self._busy = self._streaming = False
        if self._closing:
            return
        if self._last or not persistent or self._body_left or (self._ended and not self._rest):
            self._close()
            return
        self._arm(self._entrance.http.idle_timeout, self._idle)
        self.unblocked()

    def _idle(self) -> None:
        """No next request came, or it can't be answered because the answers so far are not read."""
        if self._exchange is not None and self._exchange.blocked:
            self._entrance.refused(Refusal(408, "not_read", "the answers are not read"), self._host)
            self.abort()
        else:
            self._close()

    def unblocked(self) -> None:
        """See `Visitor`. The pipelined request, in a turn of its own: a long pipeline is not to be a deep stack."""
        if self._rest and not self._busy:
            self._entrance.clock.callLater(0, self._next)

    def _next(self) -> None:
        assert self._exchange is not None
        if self._closing or self._busy or not self._rest or self._exchange.blocked or not self.transport.connected:
            return
        rest, self._rest = self._rest, b""
        if len(rest) > MAX_PIPELINED:
            self.transport.resumeProducing()
        self._read_head(rest)
        self._check_end()

    def _check_end(self) -> None:
        """Half a request is left, and nothing more is going to come."""
        if self._ended and not (self._busy or self._rest or self._closing):
            self._close()
