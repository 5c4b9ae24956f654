"""The connections of `realtime-svc bench`: sockets that do not block, one epoll set, frames made and read by hand.

No reactor and no WebSocket library: this program shares its time with nobody, and what it does for each message is
what limits it.
"""

from __future__ import annotations

import base64
import hashlib
import os
import select
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from struct import pack, unpack_from
from typing import Protocol

from realtime_svc.cli.bench_wire import RunFailed, frame
from realtime_svc.client.errors import ConnectionFailed, printable
from realtime_svc.client.reply import Reply
from realtime_svc.client.request import Request

CHUNK = 256 * 1024
GLANCE = 0.1  # seconds after which a Ctrl-C is seen, however quiet it is
MOST = 1 << 24  # bytes of a message
RESET = pack("ii", 1, 0)  # SO_LINGER: on, no time
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_AGAIN = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_LENGTHS = {126: ("!H", 2), 127: ("!Q", 8)}
_IN, _BOTH = select.EPOLLIN, select.EPOLLIN | select.EPOLLOUT


class Owner(Protocol):
    """Whose connection it is."""

    def opened(self, peer: Peer) -> None:
        """The server has accepted the upgrade."""

    def received(self, peer: Peer, payload: bytes) -> None:
        """A whole text or binary message."""


class Closed(RunFailed):
    """The server ended a connection, by a Close frame or without one (1006)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the server closed a connection: {code} {printable(reason)}".rstrip())
        self.code = code


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect. `address` is one that has answered; `tls` None: plain."""

    family: int
    address: tuple[str | int, ...]
    request: Request = field(repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    def head(self, resource: str, key: str) -> bytes:
        """An upgrade request (RFC 6455 4.1) for `resource`, below the path of the request."""
        request = self.request
        usual = 443 if request.secure else 80
        lines = [
            f"GET {request.resource.rstrip('/')}{resource} HTTP/1.1",
            f"Host: {request.host_header}" + ("" if request.port == usual else f":{request.port}"),
            *("Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"),
            *(f"{name}: {value}" for name, value in request.headers.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode()


class Loop:
    """Waits for all connections at once. `stopped` is for a signal handler."""

    def __init__(self) -> None:
        self.stopped = False
        self.turn: Callable[[], None] = lambda: None
        self._epoll = select.epoll()
        self._peers: dict[int, Peer] = {}

    def add(self, peer: Peer, number: int) -> None:
        self._peers[number] = peer
        self._epoll.register(number, _BOTH)

    def watch(self, number: int, writes: bool) -> None:
        self._epoll.modify(number, _BOTH if writes else _IN)

    def remove(self, number: int) -> None:
        del self._peers[number]
        self._epoll.unregister(number)

    def run(self, until: Callable[[], bool], seconds: float) -> bool:
        """Serve until that is so (True), the time is over or `stopped` is set (False); `turn` is called after each
        turn. Raises `RunFailed`, `HandshakeRefused`, `ConnectionFailed`: what happened to one of the connections.
        """
        end = time.perf_counter() + seconds
        peers = self._peers
        while not until():
            left = end - time.perf_counter()
            if left <= 0 or self.stopped:
                return False
            for number, _ in self._epoll.poll(min(left, GLANCE)):
                peer = peers.get(number)
                if peer is not None:
                    peer.ready()
            self.turn()
        return True

    def close(self) -> None:
        for peer in list(self._peers.values()):
            peer.close()
        self._epoll.close()


class Peer:
    """One connection, from connect(2) on. `owner` may be changed at any time."""

    __slots__ = (
        "_key",
        "_loop",
        "_number",
        "_out",
        "_reply",
        "_rest",
        "_socket",
        "_step",
        "_target",
        "_waits",
        "owner",
    )

    def __init__(self, loop: Loop, target: Target, resource: str, owner: Owner) -> None:
        self.owner = owner
        self._loop = loop
        self._target = target
        self._key = base64.b64encode(os.urandom(16)).decode()
        self._out = bytearray(target.head(resource, self._key))
        self._waits = True  # is it told when it may write?
        self._rest = b""
        self._reply = Reply()
        self._step: Callable[[], None] = self._connect
        self._socket = socket.socket(target.family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(BlockingIOError):
            self._socket.connect(target.address)
        self._number = self._socket.fileno()
        loop.add(self, self._number)

    def ready(self) -> None:
        """Something may be read or written."""
        try:
            self._step()
        except _AGAIN:
            pass
        except ssl.SSLError as error:
            raise ConnectionFailed(f"TLS: {(error.reason or 'failed').replace('_', ' ').lower()}") from None
        except OSError as error:
            raise Closed(1006, error.strerror or "") from None

    def send(self, data: bytes) -> None:
        """Whole frames, in order; what the socket does not take waits."""
        if not self._out:
            with suppress(*_AGAIN):
                data = data[self._socket.send(data) :]
        if data:
            self._out += data
            self._wait(True)

    def close(self, *, reset: bool = False) -> None:
        """Leave: with a Close frame, or so that nothing of it stays on this side."""
        self._loop.remove(self._number)
        open_, self._step = self._step == self._read, self._gone
        with suppress(OSError):
            if reset:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            elif open_:
                self._socket.send(frame(b"\x03\xe8", 0x88))
        self._socket.close()

    def _wait(self, waits: bool) -> None:
        if waits is not self._waits:
            self._waits = waits
            self._loop.watch(self._number, waits)

    def _connect(self) -> None:
        error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise ConnectionFailed(f"can't connect: {os.strerror(error)}")
        context = self._target.tls
        if context is not None:
            host = self._target.request.host
            self._socket = context.wrap_socket(self._socket, server_hostname=host, do_handshake_on_connect=False)
        self._step = self._upgrade if context is None else self._shake_hands
        self._step()

    def _shake_hands(self) -> None:
        tls = self._socket
        assert isinstance(tls, ssl.SSLSocket)
        self._wait(False)
        try:
            tls.do_handshake()
        except ssl.SSLWantWriteError:
            self._wait(True)
            return
        self._step = self._upgrade
        self._step()

    def _upgrade(self) -> None:
        self._flush()
        data = self._socket.recv(CHUNK)
        if not data:
            raise self._reply.end()
        answer = self._reply.feed(data)
        if not answer:
            return
        head, _, rest = answer.partition(b"\r\n\r\n")
        if base64.b64encode(hashlib.sha1(f"{self._key}{_GUID}".encode()).digest()) not in head:
            raise ConnectionFailed("the server's answer is no WebSocket handshake")
        self._step = self._read
        self.owner.opened(self)
        if self._step == self._read:
            self._take(rest)
            self._read()  # OpenSSL may hold more, of which epoll knows nothing

    def _read(self) -> None:
        if self._out:
            self._flush()
        while True:
            data = self._socket.recv(CHUNK)
            if not data:
                raise Closed(1006, "")
            self._take(data)
            if self._target.tls is None or self._step != self._read:
                return

    def _gone(self) -> None:
        """Nothing is done any more."""

    def _flush(self) -> None:
        with suppress(*_AGAIN):
            while self._out:
                del self._out[: self._socket.send(self._out)]
        self._wait(bool(self._out))

    def _take(self, data: bytes) -> None:
        """Whole frames of a server (RFC 6455 5.2): not masked, not in fragments."""
        if self._rest:
            data = self._rest + data
        start, size = 0, len(data)
        while size - start >= 2:
            head, length = start + 2, data[start + 1]
            if length > 125:
                kind, more = _LENGTHS.get(length, ("", 0))
                if not more:
                    raise RunFailed("the server masks its frames")
                head += more
                if head > size:
                    break
                (length,) = unpack_from(kind, data, start + 2)
                if length > MOST:
                    raise RunFailed(f"the server sends a message of {length} bytes")
            end = head + length
            if end > size:
                break
            self._frame(data[start], data[head:end])
            start = end
        self._rest = data[start:]

    def _frame(self, first: int, payload: bytes) -> None:
        if first in (0x81, 0x82):
            self.owner.received(self, payload)
        elif first == 0x89:
            self.send(frame(payload, 0x8A))
        elif first == 0x88:
            code = int.from_bytes(payload[:2], "big") if len(payload) > 1 else 1005
            raise Closed(code, payload[2:].decode(errors="replace"))
        elif first != 0x8A:
            raise RunFailed("the server sends frames in fragments, compressed or of an unknown kind")
