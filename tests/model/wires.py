"""What is between the node and the clients of the model: sockets that take what they like, and protocols in objects."""

from __future__ import annotations

from random import Random
from typing import Any

from realtime_svc.core import messages
from realtime_svc.core.ports import Dialect, Frame
from realtime_svc.transports.kernel import SHORT
from tests.fakes import FakeTransport
from tests.object_dialect import ObjectDialect, ObjectFrame

KEY = 8  # bytes of a reply on the wire


class Wired(ObjectDialect):
    """Replies travel as keys of this table."""

    def __init__(self) -> None:
        super().__init__()
        self.replies: list[messages.Reply] = []

    def encode(self, reply: messages.Reply) -> ObjectFrame:
        self.replies.append(reply)
        frame = ObjectFrame(reply)
        frame.wire = b"%08d" % len(self.replies)
        return frame

    def read(self, data: bytes) -> list[messages.Reply]:
        """The replies whose keys these are."""
        assert not len(data) % KEY, "a part of a frame"
        return [self.replies[int(data[at : at + KEY]) - 1] for at in range(0, len(data), KEY)]


class Wire:
    """The outlet of one client: its bytes, as they arrive."""

    def __init__(self) -> None:
        self.holds = 0
        self.owner: Any = None
        self.arrived = bytearray()
        self.due = b""  # what it did not take, and has to be given next
        self.behind = bytearray()  # written before that

    def take(self, data: bytes, taken: int) -> int:
        """What a socket does that has room for so much."""
        assert not self.due
        self.arrived += data[:taken]
        self.due = data[taken:]
        if self.due and taken:
            self.holds |= SHORT
        return taken


class WiredTransport(FakeTransport):
    """A transport that keeps the bytes in order."""

    def __init__(self, dialect: Dialect) -> None:
        super().__init__()
        assert isinstance(dialect, Wired)
        self.dialect = dialect
        self.outlet: Wire = Wire()

    def write(self, frame: Frame) -> None:
        wire = self.outlet
        if wire.holds & SHORT:
            wire.behind += frame.wire
        else:
            assert not wire.due, "before what it has to be given next"
            wire.arrived += frame.wire

    def write_rest(self, data: bytes) -> None:
        wire = self.outlet
        assert data == wire.due, "the rest of something else"
        wire.holds &= ~SHORT
        wire.arrived += data + wire.behind
        wire.due = b""
        wire.behind.clear()

    def read(self) -> list[messages.Reply]:
        """What arrived since the last time."""
        arrived, self.outlet.arrived = self.outlet.arrived, bytearray()
        return self.dialect.read(bytes(arrived))


class Sockets:
    """A group (`core.ports.Group`) that stops where it likes, and whose outlets take as much as they like."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._places: list[Wire | None] = []

    def add(self, outlet: Wire) -> int:
        if None in self._places:
            place = self._places.index(None)
            self._places[place] = outlet
        else:
            place = len(self._places)
            self._places.append(outlet)
        return place

    def remove(self, place: int) -> None:
        assert self._places[place] is not None
        self._places[place] = None

    def __len__(self) -> int:
        return sum(outlet is not None for outlet in self._places)

    def send(self, data: bytes, place: int = 0, nanoseconds: int = 0) -> tuple[int, int, list[tuple[Wire, int]]]:
        served, took, others = 0, 0, list[tuple[Wire, int]]()
        for at in range(place, len(self._places)):
            outlet = self._places[at]
            if outlet is None:
                continue
            if nanoseconds and served and self._chance.random() < 0.8:
                return at, took, others
            served += 1
            taken = 0 if outlet.holds else outlet.take(data, self._room(len(data)))
            if taken == len(data):
                took += 1
            else:
                others.append((outlet, taken))
        return -1, took, others

    def _room(self, size: int) -> int:
        return size if self._chance.random() < 0.8 else self._chance.randrange(size)
