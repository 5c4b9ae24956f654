"""A world whose turns end when the test says so, clients on real sockets, and groups that stop where the test says."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock

from realtime_svc.config import Namespace
from realtime_svc.core import fanout, hub, outgoing
from realtime_svc.core.ports import Dialect, Frame
from realtime_svc.core.session import Session
from realtime_svc.model import Identity
from realtime_svc.transports.kernel import SHORT, TWIN, Kernel, Outlet
from tests.core.talker import publish
from tests.fakes import ALICE, PEER, PLAIN, FakeTransport, World
from tests.transports.kernels import KernelCase
from tests.transports.sockets import frames

JAMMED = 1 << 28  # in `Outlet.holds`: bytes wait in the transport
KEPT = Namespace(history_size=100, history_ttl=60.0, recovery="allowed", positioning="allowed", join_leave="allowed")
NAMESPACES = {
    "default": Namespace(),
    "kept": KEPT,
    "watched": Namespace(history_size=100, history_ttl=60.0, recovery="always", positioning="always"),
    "seen": Namespace(join_leave="always"),
    "delta": Namespace(history_size=100, history_ttl=60.0, recovery="always", delta=True, tags_filter=True),
}


class Turns:
    """What is to be called at the end of the turn."""

    def __init__(self) -> None:
        self._calls: list[Callable[[], None]] = []

    def __call__(self, call: Callable[[], None]) -> None:
        self._calls.append(call)

    @property
    def over(self) -> bool:
        """Is there nothing to do any more?"""
        return not self._calls

    def end(self) -> None:
        """What is asked for meanwhile belongs to the next turn."""
        calls, self._calls = self._calls, []
        for call in calls:
            call()

    def rest(self) -> None:
        """Until nothing is left to do."""
        while self._calls:
            self.end()


class SocketTransport(FakeTransport):
    """Over one end of a pair of sockets (`core.ports.Transport`); `far` is the client's.

    With `records` each write arrives as a record of its own.
    """

    def __init__(self, kernel: Kernel, *, records: bool = True, buffer: int = 1 << 20) -> None:
        super().__init__()
        self.near, self.far = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET if records else socket.SOCK_STREAM
        )
        for end in (self.near, self.far):
            end.setblocking(False)
        self.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        self.outlet: Outlet = kernel.Outlet(self.near.fileno())
        self._buffer = bytearray()
        self.rests = 0

    def write(self, frame: Frame) -> None:
        self._write(frame.wire)

    def write_all(self, frames: Any) -> None:
        self._write(b"".join(frame.wire for frame in frames))

    def _write(self, data: bytes) -> None:
        self.writes += 1
        if not self._buffer and not self.outlet.holds & SHORT:
            data = data[self.outlet.send(data) :]
        self._buffer += data
        self._jam()

    def write_rest(self, data: bytes) -> None:
        assert not self.outlet.holds & JAMMED, "something was sent past what waits"
        self.rests += 1
        self.outlet.holds &= ~SHORT
        self._buffer = bytearray(data) + self._buffer
        self._jam()

    def _jam(self) -> None:
        if self._buffer and not self.outlet.holds & JAMMED:
            self.outlet.holds |= JAMMED
            assert self.session is not None
            self.session.blocked()

    def read(self) -> list[bytes]:
        """What arrived: records, or pieces of the stream."""
        found = []
        try:
            while data := self.far.recv(1 << 20):
                found.append(data)
        except BlockingIOError:
            pass
        return found

    def drain(self) -> bytes:
        """The client takes everything, until nothing waits."""
        found = b""
        while data := b"".join(self.read()):
            found += data
            del self._buffer[: self.outlet.send(bytes(self._buffer))]
            if not self._buffer and self.outlet.holds & JAMMED:
                self.outlet.holds &= ~JAMMED
                assert self.session is not None
                self.session.unblocked()
        return found

    def shut(self) -> None:
        self.outlet.close()
        self.near.close()
        self.far.close()


def said(data: bytes) -> list[Any]:
    """The messages in WebSocket frames, decoded."""
    return [json.loads(frame.payload) for frame in frames(data)]


def data_of(messages: list[Any]) -> list[Any]:
    """What was published, of all that was said."""
    return [message["data"] for message in messages if "message" in message]


def payloads(count: int, size: int) -> list[bytes]:
    """Long texts, with a number in each."""
    return [b'"%s"' % (b"%d" % number).rjust(size, b".") for number in range(count)]


def numbers(texts: list[str]) -> list[int]:
    """The numbers in them."""
    return [int(text.strip(".")) for text in texts]


class TurnCase(KernelCase):
    """The base of suites that run on both kernels."""

    def make_world(self, **options: Any) -> None:
        self.turn = Turns()
        options.setdefault("group", self.kernel.Group)
        self.world = World(namespaces=NAMESPACES, after_turn=self.turn, clock=Clock(), **options)
        self.hub = self.world.node.hub

    def client(
        self, *channels: str, dialect: Dialect = PLAIN, identity: Identity | None = ALICE, **options: Any
    ) -> SocketTransport:
        """A client on a socket that listens to `channels`. Nothing is under way; what it was told is taken."""
        transport = self.guest(*channels, dialect=dialect, identity=identity, **options)
        self.turn.rest()
        transport.read()
        self.assertEqual(0, transport.outlet.holds)
        return transport

    def guest(
        self, *channels: str, dialect: Dialect = PLAIN, identity: Identity | None = ALICE, **options: Any
    ) -> SocketTransport:
        """A client that comes in this turn."""
        transport = SocketTransport(self.kernel, **options)
        self.addCleanup(transport.shut)
        transport.session = Session(self.world.node, dialect, transport, identity, PEER, channels=channels)
        transport.session.opened()
        return transport

    def publish(self, *payloads: bytes, channel: str = "x", **options: Any) -> None:
        publish(self.world, *payloads, channel=channel, **options)


class Halting:
    """A group (`core.ports.Group`) that stops after `most` clients, if there are more and it may."""

    most = 1

    def __init__(self, kernel: Kernel = TWIN) -> None:
        self._kernel = kernel
        self._places: list[Any] = []
        self._free: list[int] = []

    def add(self, outlet: Any) -> int:
        if self._free:
            place = self._free.pop()
            self._places[place] = outlet
        else:
            place = len(self._places)
            self._places.append(outlet)
        return place

    def remove(self, place: int) -> None:
        assert self._places[place] is not None
        self._places[place] = None
        self._free.append(place)

    def __len__(self) -> int:
        return len(self._places) - len(self._free)

    def send(self, data: bytes, place: int = 0, nanoseconds: int = 0) -> tuple[int, int, list[tuple[Any, int]]]:
        served, took, others = 0, 0, list[tuple[Any, int]]()
        for at in range(place, len(self._places)):
            if self._places[at] is None:
                continue
            if nanoseconds and served == self.most:
                return at, took, others
            one = self._kernel.Group()
            one.add(self._places[at])
            _, whole, other = one.send(data)
            served, took = served + 1, took + whole
            others += other
        return -1, took, others


def in_slices(case: Any, step: int = 1) -> None:
    """For this test each step of a fan-out is a turn, and serves `step` clients where it serves them one by one."""
    case.patch(outgoing, "SLICE", 0.0)
    case.patch(fanout, "A_STEP", step)
    case.patch(hub, "A_STEP", step)
