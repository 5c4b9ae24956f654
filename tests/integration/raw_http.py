"""HTTP with bare hands: bytes out, also piece by piece, bytes in until the server ends the connection."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.integration.server import reactor

GUARD = 30.0  # seconds; no test waits for it: it names the exchange that hangs
KEY = base64.b64encode(b"sixteen bytes ..").decode()


@dataclass(frozen=True)
class Response:
    """One response: `headers` in order with names in lower case; `body` without its chunk framing."""

    status: int
    version: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def get(self, name: str) -> str | None:
        """The value of a header; None where there is none. It must not be repeated."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) < 2, f"{name} came {len(values)} times"
        return values[0] if values else None

    def json(self) -> Any:
        return json.loads(self.body)


@implementer(IHalfCloseableProtocol)
class RawConnection(Protocol):
    """One connection. `received` is all that came so far.

    `ended` fires at the server's end of the stream, with True if it was an orderly one (False: a reset).
    """

    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.ended: Deferred[bool] = Deferred()
        self._waiting: list[tuple[Callable[[bytes], bool], Deferred[bytes]]] = []

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        for waiter in tuple(self._waiting):
            enough, found = waiter
            if enough(self.received):
                self._waiting.remove(waiter)
                found.callback(self.received)

    def readConnectionLost(self) -> None:
        self._end(True)
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Our own half-close."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._end(reason.check(ConnectionDone) is not None)

    def _end(self, orderly: bool) -> None:
        if not self.ended.called:
            self.ended.callback(orderly)
        waiting, self._waiting = self._waiting, []
        for _, found in waiting:
            found.errback(AssertionError(f"the connection ended behind {self.received!r}"))

    def send(self, data: bytes) -> None:
        self.transport.write(data)

    async def send_pieces(self, pieces: Iterable[bytes]) -> None:
        """Each piece in a write, and a turn of the event loop, of its own."""
        for piece in pieces:
            if self.ended.called:
                return
            self.transport.write(piece)
            await turn()

    def half_close(self) -> None:
        """Say that nothing more is going to be sent."""
        self.transport.loseWriteConnection()

    def when(self, enough: Callable[[bytes], bool]) -> Deferred[bytes]:
        """Fires once `enough(received)` is true; fails when the connection ends before."""
        found: Deferred[bytes] = Deferred()
        if enough(self.received):
            found.callback(self.received)
        elif self.ended.called:
            found.errback(AssertionError(f"the connection ended behind {self.received!r}"))
        else:
            self._waiting.append((enough, found))
            found.addTimeout(GUARD, reactor)
        return found

    def when_contains(self, part: bytes) -> Deferred[bytes]:
        return self.when(lambda received: part in received)

    async def response(self, number: int = 1) -> Response:
        """The response with this number, once it is complete."""
        data = await self.when(lambda received: len(parse(received, partial=True)) >= number)
        return parse(data, partial=True)[number - 1]

    async def end(self) -> bytes:
        """Everything the server sent, once it has ended the connection in good order."""
        orderly = await self.when_ended()
        assert orderly, f"the connection was reset behind {self.received!r}"
        return self.received

    def when_ended(self) -> Deferred[bool]:
        """As `ended`, but may be waited for more than once."""
        waiting: Deferred[bool] = Deferred()

        def pass_on(orderly: bool) -> bool:
            if not waiting.called:
                waiting.callback(orderly)
            return orderly

        self.ended.addCallback(pass_on)
        waiting.addTimeout(GUARD, reactor)
        return waiting

    def close(self) -> Deferred[bool]:
        """Hang up at once; fires when it is done."""
        self.transport.abortConnection()
        return self.when_ended()


def turn() -> Deferred[None]:
    """One turn of the event loop."""
    done: Deferred[None] = Deferred()
    reactor.callLater(0, done.callback, None)
    return done


async def open_connection(port: int, *, tls: Any = None) -> RawConnection:
    """`tls` is a client's connection creator, for TLS."""
    endpoint: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
    if tls is not None:
        endpoint = wrapClientTLS(tls, endpoint)
    connection: RawConnection = await connectProtocol(endpoint, RawConnection())
    return connection


async def exchange(port: int, *pieces: bytes, half_close: bool = False, tls: Any = None) -> bytes:
    """Send, and collect until the server has ended the connection in good order."""
    connection = await open_connection(port, tls=tls)
    await connection.send_pieces(pieces)
    if half_close:
        connection.half_close()
    return await connection.end()


def head(line: str, *fields: str) -> bytes:
    """A request head; the text is latin-1."""
    return "\r\n".join((line, *fields, "", "")).encode("latin-1")


def upgrade(path: str, *fields: str, host: str = "localhost") -> bytes:
    """A good WebSocket handshake, with further fields."""
    return head(
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {KEY}",
        *fields,
    )


def post(path: str, body: bytes, *fields: str, host: str = "localhost") -> bytes:
    """A POST with a Content-Length."""
    return head(f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}", *fields) + body


def bearer(token: str) -> str:
    return f"Authorization: Bearer {token}"


def parse(data: bytes, *, partial: bool = False) -> list[Response]:
    """The responses in `data`, strictly. `partial`: leave out one at the end that is not complete.

    A 1xx has no body; one without a length extends to the end of `data`. Raises AssertionError for what is malformed.
    """
    responses: list[Response] = []
    while data:
        start, separator, rest = data.partition(b"\r\n\r\n")
        if not separator:
            assert partial, f"no complete response head in {data!r}"
            break
        response, body = _parse_head(start), _body(start, rest)
        if body is None:
            assert partial, f"the body is not complete in {data!r}"
            break
        responses.append(Response(response.status, response.version, response.headers, body[0]))
        data = body[1]
    return responses


def _parse_head(start: bytes) -> Response:
    lines = start.decode("latin-1").split("\r\n")
    version, status, _ = lines[0].split(" ", 2)
    assert version in ("HTTP/1.1", "HTTP/1.0"), lines[0]
    pairs = (line.split(": ", 1) for line in lines[1:])
    return Response(int(status), version[5:], tuple((name.lower(), value) for name, value in pairs), b"")


def _body(start: bytes, rest: bytes) -> tuple[bytes, bytes] | None:
    """The body and what is behind it; None where it is not complete."""
    response = _parse_head(start)
    length = response.get("content-length")
    if response.status < 200 or response.status in (204, 304):
        return b"", rest
    if response.get("transfer-encoding") == "chunked":
        return _dechunk(rest)
    if length is None:
        return rest, b""
    return (rest[: int(length)], rest[int(length) :]) if len(rest) >= int(length) else None


def _dechunk(rest: bytes) -> tuple[bytes, bytes] | None:
    body = b""
    while True:
        size_line, separator, rest = rest.partition(b"\r\n")
        if not separator:
            return None
        size = int(size_line, 16)
        if len(rest) < size + 2:
            return None
        assert rest[size : size + 2] == b"\r\n"
        body, rest = body + rest[:size], rest[size + 2 :]
        if size == 0:
            return body, rest


def chunked(*chunks: bytes) -> bytes:
    """A whole chunked body."""
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
