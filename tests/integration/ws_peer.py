"""A raw WebSocket client: it sends any bytes it is told to, and writes down what comes back and how TCP ended.

Frames are built with every bit settable; nothing is checked on the way out.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, cast

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from tests.integration.server import reactor

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 1.3: the answer to KEY
MASK = b"\x37\xfa\x21\x3d"


class Wire(NamedTuple):
    """One frame as it came from the server, which never masks. `rsv` is 4 for RSV1."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0


class End(NamedTuple):
    """How a connection ended. `code` is None without a Close frame, and 1005 for one without a code.

    `tcp` is "eof" (the server sent FIN) or "reset".
    """

    code: int | None
    reason: bytes
    tcp: str


def masked(payload: bytes, mask: bytes) -> bytes:
    """RFC 6455 5.3."""
    if not any(mask):
        return payload
    stream = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(payload), "big")


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = MASK,
    length_bytes: int | None = None,
    declared: int | None = None,
) -> bytes:
    """A frame. `length_bytes` 0, 2 or 8 forces a form of the length; `declared` is the length that is claimed."""
    length = len(payload) if declared is None else declared
    if length_bytes is None:
        length_bytes = 0 if length < 126 else 2 if length < 65536 else 8
    short = {0: length, 2: 126, 8: 127}[length_bytes]
    extended = b"" if length_bytes == 0 else length.to_bytes(length_bytes, "big")
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    if mask is None:
        return bytes((first, short)) + extended + payload
    return bytes((first, 0x80 | short)) + extended + mask + masked(payload, mask)


def close_frame(code: int | None = 1000, reason: bytes = b"") -> bytes:
    return frame(CLOSE, (b"" if code is None else struct.pack("!H", code)) + reason)


def fragments(opcode: int, parts: Sequence[bytes], *, rsv: int = 0, between: bytes = b"") -> bytes:
    """One message in as many frames as there are parts; `between` goes between each two."""
    last = len(parts) - 1
    return between.join(
        frame(CONTINUATION if index else opcode, part, fin=index == last, rsv=0 if index else rsv)
        for index, part in enumerate(parts)
    )


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@implementer(IHalfCloseableProtocol)
class Peer(Protocol):
    """The client's side of one connection.

    `answer_pings`: with a pong, and do not write them down. `answer_close`: send back the server's Close. `stay`: keep
    the connection when the server has sent FIN, instead of closing it too.
    """

    transport: Any

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.frames: list[Wire] = []
        self.tcp: str | None = None
        self.gone: Deferred[None] = Deferred()
        self.answer_pings = True
        self.answer_close = True
        self.stay = False
        self._buffer = bytearray()
        self._taken = 0
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    # ---- what happens

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        if not self.status:
            self._read_head()
        if self.status == 101:
            self._read_frames()
        elif self.status:
            self.body += self._buffer
            self._buffer.clear()
        self._changed()

    def readConnectionLost(self) -> None:
        self.tcp = "eof"
        if not self.stay:
            self.transport.loseConnection()
        self._changed()

    def writeConnectionLost(self) -> None:
        """We sent FIN."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.tcp is None:
            self.tcp = "eof" if reason.check(ConnectionDone) else "reset"
        self._changed()
        waiting, self._waiting = self._waiting, []
        for _, found in waiting:
            found.errback(AssertionError(f"the connection ended ({self.tcp}) after {self.status} {self._shown()}"))
        self.gone.callback(None)

    def _read_head(self) -> None:
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        status, *fields = head.decode("latin-1").split("\r\n")
        self.status = int(status.split()[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        self._buffer = rest

    def _read_frames(self) -> None:
        at = 0
        while (parsed := parse(self._buffer, at)) is not None:
            one, at = parsed
            if one.opcode == PING and self.answer_pings:
                self.send(frame(PONG, one.payload))
                continue
            self.frames.append(one)
            if one.opcode == CLOSE and self.answer_close:
                self.send(frame(CLOSE, one.payload))
        del self._buffer[:at]

    def _shown(self) -> list[tuple[int, bytes]]:
        return [(one.opcode, one.payload[:60]) for one in self.frames[-5:]]

    # ---- waiting

    def when(self, happened: Callable[[], bool]) -> Deferred[None]:
        """Fires once `happened()` is true; it is asked whenever something came or the connection ended."""
        found: Deferred[None] = Deferred()
        self._waiting.append((happened, found))
        self._changed()
        return found

    def _changed(self) -> None:
        for waiter in tuple(self._waiting):
            if waiter[0]():
                self._waiting.remove(waiter)
                waiter[1].callback(None)

    async def next_frame(self) -> Wire:
        """The next frame of any kind."""
        position = self._taken
        self._taken += 1
        await self.when(lambda: len(self.frames) > position)
        return self.frames[position]

    async def next(self, opcodes: Iterable[int] = (TEXT, BINARY)) -> Wire:
        """The next frame of one of these kinds; others before it are passed over."""
        while (one := await self.next_frame()).opcode not in opcodes:
            pass
        return one

    async def end(self) -> End:
        """How the connection ends, once it has."""
        await self.when(lambda: self.tcp is not None)
        assert self.tcp is not None
        closes = [one.payload for one in self.frames if one.opcode == CLOSE]
        if not closes:
            return End(None, b"", self.tcp)
        if len(closes) > 1:
            raise AssertionError(f"{len(closes)} Close frames")
        if self.frames[-1].opcode != CLOSE or self._buffer:
            raise AssertionError(f"something came after the Close frame: {self._shown()} {bytes(self._buffer[:60])!r}")
        payload = closes[0]
        return End(int.from_bytes(payload[:2], "big") if payload else 1005, payload[2:], self.tcp)

    @property
    def messages(self) -> list[bytes]:
        """The payloads of all data frames so far."""
        return [one.payload for one in self.frames if one.opcode in (TEXT, BINARY)]

    # ---- doing

    def send(self, *data: bytes) -> None:
        self.transport.write(b"".join(data))

    async def send_chopped(self, data: bytes, size: int = 1) -> None:
        """Each piece in a packet of its own."""
        for piece in pieces(data, size):
            if self.tcp is not None:
                return
            self.transport.write(piece)
            await deferLater(reactor, 0)

    def stop_reading(self) -> None:
        """The kernel still takes some MiB for us before the server is blocked."""
        self.transport.pauseProducing()

    def read_on(self) -> None:
        self.transport.resumeProducing()

    def finish_writing(self) -> None:
        """FIN: we send no more."""
        self.transport.loseWriteConnection()

    def abort(self) -> None:
        """RST."""
        self.transport.abortConnection()


def parse(data: bytearray, at: int) -> tuple[Wire, int] | None:
    """The frame that begins at `at`, and where it ends; None: it is not complete."""
    if len(data) < at + 2:
        return None
    first, length = data[at], data[at + 1]
    if length & 0x80:
        raise AssertionError("the server masked a frame")
    start = at + 2 + {126: 2, 127: 8}.get(length, 0)
    if start - at > 2:
        if len(data) < start:
            return None
        length = int.from_bytes(data[at + 2 : start], "big")
    if len(data) < start + length:
        return None
    one = Wire(first & 0x0F, bytes(data[start : start + length]), bool(first & 0x80), first >> 4 & 7)
    return one, start + length


def request(path: str, headers: Sequence[str] = ()) -> bytes:
    """The head of an upgrade request."""
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
        *headers,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def connect_tcp(test: TestCase, port: int) -> Peer:
    """Connected, and nothing sent. The connection is aborted at the end of the test, if it is still there."""
    factory: Any = Factory.forProtocol(Peer)
    factory.noisy = False
    peer: Any = await TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(factory)
    test.addCleanup(_gone, peer)
    return cast(Peer, peer)


def _gone(peer: Peer) -> Deferred[None]:
    if not peer.gone.called:
        peer.abort()
    return peer.gone


async def open_peer(test: TestCase, port: int, path: str, *headers: str) -> Peer:
    """An open WebSocket. Fails when the server answers anything but a correct 101."""
    peer = await connect_tcp(test, port)
    peer.send(request(path, headers))
    await peer.when(lambda: bool(peer.status))
    test.assertEqual((peer.status, peer.headers.get("sec-websocket-accept")), (101, ACCEPT), peer.body)
    return peer


def resident(pid: int) -> int:
    """The memory of a process that is in RAM now, in bytes."""
    with open(f"/proc/{pid}/status") as status:
        found = re.search(r"VmRSS:\s+(\d+) kB", status.read())
    assert found is not None
    return int(found[1]) * 1024
