"""The short way of reading and Autobahn's agree on everything: same messages, same answers, same ends, in one order,
whatever comes, however it is cut, and wherever the session stops reading."""

from __future__ import annotations

import functools
import itertools
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.config import Config, Deflate, Limits, Websocket
from realtime_svc.core.reading import Hold
from realtime_svc.errors import Disconnect
from realtime_svc.transports import kernel
from realtime_svc.transports.websocket import Hall
from tests.integration.ws_peer import BINARY, CONTINUATION, PING, PONG, TEXT, close_frame, frame
from tests.transports.sockets import EVERYBODY, House

LIMIT = 70_000  # bytes of a message: above the longest of the short forms of a length
CONFIGS = {
    "usual": Config(limits=Limits(message_size=LIMIT)),
    "slow": Config(limits=Limits(frames_per_second=10)),
    "deflating": Config(websocket=Websocket(deflate=Deflate(enabled=True))),
}

_masks = some.binary(min_size=4, max_size=4)
_texts = some.text(max_size=200).map(str.encode)
_payloads = some.one_of(
    _texts,
    some.binary(max_size=200),
    some.sampled_from((b"", b"x" * 125, b"x" * 126, b"\x00" * 300, "é".encode() * 100, b"x" * 65535, b"x" * 65536)),
)
_bad_texts = some.sampled_from((b"\xff", b"ok\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf", b"a\x80b" * 50))

_whole = some.builds(frame, some.sampled_from((TEXT, BINARY)), _texts, mask=_masks)
_fragments = some.builds(
    lambda opcode, parts, between: between.join(
        frame(CONTINUATION if number else opcode, part, fin=number == len(parts) - 1)
        for number, part in enumerate(parts)
    ),
    some.sampled_from((TEXT, BINARY)),
    some.lists(_texts, min_size=1, max_size=3),
    some.sampled_from((b"", frame(PING, b"between"))),
)
_control = some.builds(frame, some.sampled_from((PING, PONG)), some.binary(max_size=125), mask=_masks)
_any_frame = some.builds(
    lambda opcode, payload, **form: frame(opcode, payload[:65535], **form),
    some.integers(0, 15),
    some.one_of(_payloads, _bad_texts),
    fin=some.booleans(),
    rsv=some.sampled_from((0, 0, 0, 4, 1)),
    mask=some.one_of(some.none(), _masks),
    length_bytes=some.sampled_from((None, None, 2, 8)),
)
_closes = some.builds(
    close_frame, some.sampled_from((None, 999, 1000, 1005, 3000)), _texts.map(lambda text: text[:100])
)
_too_long = some.builds(
    lambda opcode, more: frame(opcode, declared=LIMIT + more), some.sampled_from((TEXT, BINARY)), some.integers(0, 2)
)
_usual = some.one_of(
    _whole, _whole, some.builds(frame, some.sampled_from((TEXT, BINARY)), _payloads), _fragments, _control
)
_streams = some.builds(
    lambda usual, unusual, behind: b"".join((*usual, unusual, *behind)),
    some.lists(_usual, max_size=12),
    some.one_of(
        some.just(b""), _any_frame, _closes, _too_long, some.builds(frame, some.just(TEXT), _bad_texts), some.binary()
    ),
    some.lists(_usual, max_size=3),
)


class Behaviour(NamedTuple):
    """What the session does when it is given its message number `at`: see `Session.receive`."""

    at: int
    does: str


_deeds = some.sampled_from(("pause", "pause", "blink", "close", "leave", "abort", "fail", "publish"))
_behaviours = some.lists(some.builds(Behaviour, some.integers(0, 8), _deeds), max_size=3)


class Session:
    """The real one, which misbehaves at the messages that `behaviours` name; `messages` is what it was given."""

    def __init__(self, real: Any, behaviours: list[Behaviour]) -> None:
        self.real = real
        self.messages: list[tuple[bytes, bool]] = []
        self._does = dict(behaviours)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def receive(self, payload: bytes, binary: bool) -> None:
        does = self._does.get(len(self.messages), "nothing")
        self.messages.append((payload, binary))
        reading = self.real.reading
        if does == "pause":
            reading.pause(Hold.BACKLOG)
        elif does == "blink":
            reading.pause(Hold.OUTPUT)
            reading.resume(Hold.OUTPUT)
        elif does == "close":
            self.real.close(Disconnect(3000, "enough"))
        elif does == "leave":
            self.real.transport.fail(Disconnect(1008, ""))
        elif does == "abort":
            self.real.transport.abort()
        elif does == "fail":
            raise ValueError
        self.real.receive(payload, binary)


@functools.cache
def house(way: str, config: str) -> House:
    """Where connections read one of the ways: "stock" is Autobahn's. Made once, the examples are many."""
    made = House(CONFIGS[config], namespaces=EVERYBODY, anonymous=True)
    parse_frames = None if way == "stock" else kernel.choose(way).parse_frames
    made.hall = Hall(made.node, made.gate, CONFIGS[config], None, parse_frames)
    return made


class Reading:
    """One connection that reads one of the ways."""

    def __init__(self, way: str, behaviours: list[Behaviour], config: str = "usual") -> None:
        self.house = house(way, config)
        self.house.node.instruments.closes.clear()
        self.house.world.reports.clear()
        self.protocol, self.socket = self.house.connect("/raw/x", "Sec-WebSocket-Extensions: permessage-deflate")
        self.session = self.protocol.link.session = Session(self.protocol.link.session, behaviours)

    def read(self, data: bytes) -> None:
        self.protocol.dataReceived(data)
        self.house.clock.advance(0)

    def read_on(self) -> None:
        """A session that has paused goes on."""
        self.session.reading.resume(Hold.BACKLOG)
        self.house.clock.advance(0)

    def end(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))
        self.house.clock.advance(60)

    def outcome(self) -> dict[str, Any]:
        protocol, link = self.protocol, self.protocol.link
        link.after_read()  # what was counted and not accounted for yet
        is_open = protocol.state == protocol.STATE_OPEN
        return {
            "messages": self.session.messages,
            "written": self.socket.written,
            "did": self.socket.did,
            "state": protocol.state,
            "halted": protocol.halted,
            "left": protocol.data,
            "discarded": protocol.discarded,
            "inside": (is_open and protocol.inside_message, link in self.house.hall._assembling),
            "frames": link._frames._tokens if is_open and link._frames is not None else None,
            "closes": dict(self.house.node.instruments.closes),
            "reports": [repr(error) for _, error in self.house.world.reports],
            "end": self.session.real.end,
        }


def compare(
    test: Any, stream: bytes, cuts: list[int], behaviours: list[Behaviour], config: str = "usual"
) -> list[bytes]:
    """Send `stream` in pieces each way; what had to be paused goes on after each piece. Returns the messages."""
    ways = [Reading(way, behaviours, config) for way in ("stock", "compiled", "python")]
    ends = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for start, end in itertools.pairwise(ends):
        for act in (lambda way, piece=stream[start:end]: way.read(piece), Reading.read_on):
            for way in ways:
                act(way)
            stock, *short = [way.outcome() for way in ways]
            for outcome in short:
                test.assertEqual(outcome, stock)
    for way in ways:
        way.end()
    return [payload for payload, _ in ways[0].session.messages]


_fuzz = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
_cuts = some.lists(some.integers(0, 200_000), max_size=6)


class FuzzTests(SynchronousTestCase):
    @_fuzz
    @given(_streams, _cuts, _behaviours)
    def test_anything(self, stream: bytes, cuts: list[int], behaviours: list[Behaviour]) -> None:
        compare(self, stream, cuts, behaviours)

    @_fuzz
    @given(some.lists(_usual, max_size=20).map(b"".join), _cuts, _behaviours)
    def test_valid(self, stream: bytes, cuts: list[int], behaviours: list[Behaviour]) -> None:
        """Nothing but what may come: the most likely, and so the deepest."""
        compare(self, stream, cuts, behaviours)

    @settings(_fuzz, max_examples=50)
    @given(some.lists(_usual, max_size=6).map(b"".join), _behaviours)
    def test_byte_by_byte(self, stream: bytes, behaviours: list[Behaviour]) -> None:
        stream = stream[:400]
        compare(self, stream, list(range(len(stream))), behaviours)


class ShortWayTests(SynchronousTestCase):
    """What the ways have to agree on, by name."""

    def test_lengths(self) -> None:
        """Around each form of the length, and the limit."""
        for size in (0, 1, 125, 126, 127, 65535, 65536, LIMIT):
            payload = bytes(65 + number % 26 for number in range(size))
            for opcode in (TEXT, BINARY):
                stream = frame(opcode, payload)
                self.assertEqual(compare(self, stream + frame(TEXT, b"next"), [], []), [payload, b"next"])
        self.assertEqual(compare(self, frame(TEXT, bytes(LIMIT + 1)), [], []), [])

    def test_paused_at_each(self) -> None:
        """The session stops at each message in turn: the rest comes when it reads on, nothing twice."""
        payloads = [b"%d" % number * length for number, length in enumerate((1, 130, 0, 70_000, 5))]
        stream = b"".join(frame(BINARY, payload) for payload in payloads)
        for at in range(5):
            for does in ("pause", "blink"):
                self.assertEqual(compare(self, stream, [], [Behaviour(at, does)]), payloads)

    def test_paused_again_and_again(self) -> None:
        stream = b"".join(frame(TEXT, b"%d" % number) for number in range(8))
        behaviours = [Behaviour(number, "pause") for number in range(8)]
        compare(self, stream, [1, 2, 3, 20, 21], behaviours)

    def test_ended_at_each(self) -> None:
        """Whatever ends the connection ends it at the same message."""
        stream = b"".join(frame(TEXT, b"%d" % number) for number in range(4)) + frame(PING) + close_frame()
        for at in range(4):
            for does in ("close", "leave", "abort", "fail"):
                compare(self, stream, [], [Behaviour(at, does)])

    def test_work_of_a_turn(self) -> None:
        """More commands than one client gets in a turn."""
        payloads = [b"%d" % number for number in range(200)]
        stream = b"".join(frame(TEXT, payload) for payload in payloads)
        self.assertEqual(compare(self, stream, [], []), payloads)

    def test_too_many_frames(self) -> None:
        """They are counted one way as the other."""
        stream = b"".join(frame(TEXT, b"x") for _ in range(15)) + frame(PING, b"p")
        compare(self, stream * 4, list(range(0, 500, 7)), [], "slow")

    def test_is_taken(self) -> None:
        """Autobahn's machine does not see what is plain, and sees all else."""
        way = Reading("python", [])
        seen: list[int] = []
        real = way.protocol.onFrameBegin

        def begin() -> None:
            seen.append(way.protocol.current_frame.opcode)
            real()

        way.protocol.onFrameBegin = begin
        way.read(frame(TEXT, b"a") + frame(BINARY, b"b"))
        self.assertEqual((seen, len(way.session.messages)), ([], 2))
        way.read(frame(TEXT, b"c") + frame(PING) + frame(TEXT, b"d"))
        way.read(frame(TEXT, b"e", fin=False) + frame(CONTINUATION, b"f"))
        way.read(frame(TEXT, b"g"))
        self.assertEqual((seen, len(way.session.messages)), ([PING, TEXT, TEXT, CONTINUATION], 6))

    def test_rest_after_a_pause(self) -> None:
        """What waited takes the short way, too."""
        way = Reading("python", [Behaviour(0, "pause")])
        way.protocol.onFrameBegin = lambda: self.fail("not the short way")
        way.read(b"".join(frame(TEXT, b"%d" % number) for number in range(5)))
        self.assertEqual(len(way.session.messages), 1)
        way.read_on()
        self.assertEqual(len(way.session.messages), 5)

    def test_compressed(self) -> None:
        """With permessage-deflate Autobahn reads everything."""
        way = Reading("python", [], "deflating")
        way.protocol.parse_frames = lambda data, limit: self.fail("the short way")
        way.read(frame(TEXT, b"a"))
        self.assertEqual(len(way.session.messages), 1)
