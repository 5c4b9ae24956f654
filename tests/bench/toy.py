"""A small WebSocket server that does what it is told to, also wrong: what the load generator has to notice."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable

from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from tests.integration.server import reactor

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
Fault = Callable[[int, bytes], Iterable[bytes]]
"""Number and payload of a message -> what a subscriber gets for it, as bytes on the wire."""


def frame(payload: bytes, first: int = 0x81) -> bytes:
    """A server's frame, up to 65535 bytes."""
    size = bytes((len(payload),)) if len(payload) < 126 else b"\x7e" + len(payload).to_bytes(2, "big")
    return bytes((first,)) + size + payload


def number_of(payload: bytes) -> int:
    found = re.search(rb"#seq:(\d{10})#", payload)
    assert found
    return int(found[1])


class Toy(Protocol):
    """One connection. What it sends goes to all others; the first of them gets it as `fault` says."""

    def __init__(self, peers: list[Toy], fault: Fault) -> None:
        self.buffer = b""
        self.open = False
        self.peers = peers
        self.fault = fault

    def dataReceived(self, data: bytes) -> None:
        self.buffer += data
        if not self.open:
            self._shake_hands()
        while self.open and (found := self._next_frame()):
            first, payload = found
            if first == 0x81:  # no pong
                self._spread(payload)

    def _shake_hands(self) -> None:
        head, end, rest = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return
        key = re.search(rb"Sec-WebSocket-Key: (\S+)", head)
        assert key and self.transport
        accept = base64.b64encode(hashlib.sha1(key[1] + GUID).digest())
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        self.buffer = rest
        self.open = True
        self.peers.append(self)

    def _next_frame(self) -> tuple[int, bytes] | None:
        """First byte and payload of the next frame, which is masked and has at most 65535 bytes."""
        if len(self.buffer) < 6:
            return None
        size, at = self.buffer[1] & 127, 2
        if size == 126:
            size, at = int.from_bytes(self.buffer[2:4], "big"), 4
        frame_end = at + 4 + size
        if len(self.buffer) < frame_end:
            return None
        first, mask, payload = self.buffer[0], self.buffer[at : at + 4], self.buffer[at + 4 : frame_end]
        self.buffer = self.buffer[frame_end:]
        return first, bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))

    def _spread(self, payload: bytes) -> None:
        others = [peer for peer in self.peers if peer is not self]
        for peer in others:
            assert peer.transport
            wanted = self.fault(number_of(payload), payload) if peer is others[0] else (frame(payload),)
            for data in wanted:
                peer.transport.write(data)


def start_toy(test: TestCase, fault: Fault) -> int:
    """Listen; returns the port. It is gone at the end of the test."""
    peers: list[Toy] = []
    factory = Factory.forProtocol(lambda: Toy(peers, fault))
    factory.noisy = False
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    test.addCleanup(port.stopListening)

    def abort_all() -> None:
        for peer in peers:
            if peer.transport:
                peer.transport.abortConnection()  # type: ignore[attr-defined]

    test.addCleanup(abort_all)
    return int(port.getHost().port)
