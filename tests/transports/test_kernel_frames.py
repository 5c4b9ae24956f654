"""The short way for common WebSocket frames: which it takes, where it stops; the compiled parser and its twin agree."""

from __future__ import annotations

import struct

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.transports.kernel import TWIN
from tests.transports.kernels import KernelCase, OnCompiled, OnTwin, need_compiled

LIMIT = 70_000
MASK = b"\x01\xfe\x80\x5a"
TEXT, BINARY = 0x81, 0x82

GOOD_TEXT = (
    *("", "a", "abcdefg", "abcdefgh", "abcdefghi", "\x00\x7f", "é", "aé", "\u0080\u07ff\u0800\ud7ff\ue000\uffff"),
    *("\ufeff", "\U00010000\U0010ffff", "1234567é", "12345678é", "日本語 and text", "x" * 125, "x" * 126, "é" * 32_767),
)
BAD_TEXT = (
    *(b"\x80", b"\xbf", b"\xc0\x80", b"\xc1\xbf", b"\xc2", b"\xc2a", b"\xc2\xc2", b"\xdf\x7f"),
    *(b"\xe0\x9f\xbf", b"\xe0\xa0", b"\xe1\x80", b"\xe1\x80\x7f", b"\xe1\xc0\x80", b"\xed\xa0\x80", b"\xed\xbf\xbf"),
    *(b"\xf0\x8f\xbf\xbf", b"\xf0\x90\x80", b"\xf1\x80\x80\x7f", b"\xf1\x80\xc0\x80", b"\xf4\x90\x80\x80"),
    *(b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfe", b"\xff", b"12345678\xff", b"1234567\xc3", b"a\xe2\x82"),
)
LENGTHS = (0, 1, 7, 8, 9, 15, 16, 17, 124, 125, 126, 127, 65_535, 65_536, LIMIT)


def frame(payload: bytes, first: int = BINARY, mask: bytes = MASK, size: int | None = None) -> bytes:
    """A masked frame. `size`: how many octets its length has after the first; None: as few as can be."""
    length = len(payload)
    if size is None:
        size = 0 if length < 126 else 2 if length < 65_536 else 8
    head = {
        0: lambda: struct.pack("!BB", first, 0x80 | length),
        2: lambda: struct.pack("!BBH", first, 0x80 | 126, length),
        8: lambda: struct.pack("!BBQ", first, 0x80 | 127, length),
    }[size]()
    return head + mask + bytes(octet ^ mask[i % 4] for i, octet in enumerate(payload))


def huge(length: int) -> bytes:
    """The head of a frame that says so, and a bit of its payload."""
    return struct.pack("!BBQ", BINARY, 0x80 | 127, length) + MASK + b"some"


NOT_PLAIN = {
    "a part of a message": frame(b"x", 0x02),
    "the end of a message": frame(b"x", 0x80),
    "RSV1": frame(b"x", 0xC2),
    "RSV2": frame(b"x", 0xA2),
    "RSV3": frame(b"x", 0x92),
    "an opcode that is none": frame(b"x", 0x83),
    "close": frame(struct.pack("!H", 1000), 0x88),
    "ping": frame(b"x", 0x89),
    "pong": frame(b"x", 0x8A),
    "not masked": b"\x82\x01x" + frame(b""),
    "length in two octets that needs none": frame(b"x" * 125, size=2),
    "length in eight octets that needs none": frame(b"x" * 125, size=8),
    "length in eight octets that needs two": frame(b"x" * 65_535, size=8),
    "more than the limit": frame(b"x" * (LIMIT + 1)),
    "more than there is": huge(LIMIT),
    "2**63 - 1": huge((1 << 63) - 1),
    "2**63": huge(1 << 63),
    "2**64 - 1": huge((1 << 64) - 1),
    **{f"text {text.hex()}": frame(text, TEXT) for text in BAD_TEXT},
}


class FramesContract(KernelCase):
    """One parser."""

    def parse(self, data: bytes, limit: int = LIMIT) -> tuple[list[tuple[bytes, bool]], int]:
        return self.kernel.parse_frames(data, limit)

    def test_text(self) -> None:
        for text in GOOD_TEXT:
            payload = text.encode()
            data = frame(payload, TEXT)
            self.assertEqual(([(payload, False)], len(data)), self.parse(data), text)

    def test_binary_of_every_form_of_length(self) -> None:
        for length in LENGTHS:
            payload = bytes(i * 7 & 0xFF for i in range(length))
            for mask in (MASK, bytes(4), b"\xff" * 4):
                data = frame(payload, mask=mask)
                self.assertEqual(([(payload, True)], len(data)), self.parse(data), length)

    def test_binary_need_not_be_utf_8(self) -> None:
        for payload in BAD_TEXT:
            self.assertEqual([(payload, True)], self.parse(frame(payload))[0])

    def test_several_at_once(self) -> None:
        data = frame(b"one", TEXT) + frame(b"") + frame(b"\xff") + frame("é".encode(), TEXT, bytes(4))
        messages = [(b"one", False), (b"", True), (b"\xff", True), ("é".encode(), False)]
        self.assertEqual((messages, len(data)), self.parse(data))

    def test_stops_before_what_is_not_plain(self) -> None:
        good = frame(b"good", TEXT)
        for name, other in NOT_PLAIN.items():
            self.assertEqual(([], 0), self.parse(other + good), name)
            self.assertEqual(([(b"good", False)], len(good)), self.parse(good + other + good), name)

    def test_stops_before_what_is_not_whole(self) -> None:
        good = frame(b"good", TEXT)
        for other in (frame(b""), frame(b"abc"), frame(b"x" * 126), frame(b"x" * 65_536)):
            for end in {*range(min(20, len(other))), len(other) - 1}:
                self.assertEqual(([(b"good", False)], len(good)), self.parse(good + other[:end]), end)
            self.assertEqual(len(other), self.parse(other)[1])

    def test_limit_is_the_largest_payload(self) -> None:
        for limit in (0, 1, 125, 126, 65_535, 65_536):
            good, bad = frame(bytes(limit)), frame(bytes(limit + 1))
            self.assertEqual(len(good), self.parse(good + bad, limit)[1])
        self.assertEqual(([], 0), self.parse(frame(b""), -1))
        self.assertEqual(6, self.parse(frame(b""), 1 << 80)[1])

    def test_takes_bytes_and_a_number(self) -> None:
        for data in ("x", bytearray(b"x"), memoryview(b"x"), None):
            with self.assertRaises(TypeError):
                self.kernel.parse_frames(data, 1)  # type: ignore[arg-type]
        with self.assertRaises(TypeError):
            self.kernel.parse_frames(b"\x82\x80\0\0\0\0", "1")  # type: ignore[arg-type]
        with self.assertRaises(TypeError):
            self.kernel.parse_frames(b"x")  # type: ignore[call-arg]


class TwinFramesTests(FramesContract, OnTwin):
    """In Python."""


class CompiledFramesTests(FramesContract, OnCompiled):
    """Compiled."""


firsts = st.sampled_from([TEXT, BINARY]) | st.integers(0, 255)
masks = st.binary(min_size=4, max_size=4)
payloads = st.text(max_size=40).map(str.encode) | st.binary(max_size=300) | st.integers(65_530, 65_540).map(bytes)
frames = st.builds(frame, payloads, firsts, masks) | st.builds(
    frame, st.text(max_size=140).map(str.encode), st.just(TEXT), masks
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Frames with some octets changed, taken away or put in."""
    data = bytearray(b"".join(draw(st.lists(frames, max_size=4))))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(data)


class AgreementTests(SynchronousTestCase):
    """Both parsers find the same in anything, and it is what is there."""

    @settings(deadline=None, max_examples=400)
    @given(st.binary(max_size=200) | damaged(), st.integers(0, 400) | st.just(LIMIT))
    @example(frame(b"\xed\xa0\x80", TEXT), LIMIT)
    def test_on_anything(self, data: bytes, limit: int) -> None:
        found, used = TWIN.parse_frames(data, limit)
        self.assertEqual((found, used), need_compiled(self).parse_frames(data, limit))
        self.assertTrue(all(len(payload) <= limit for payload, _ in found))
        lengths = (len(frame(payload)) for payload, _ in found)
        self.assertEqual(used, sum(lengths))

    @settings(deadline=None, max_examples=400)
    @given(st.binary(max_size=24))
    def test_on_what_is_utf_8(self, text: bytes) -> None:
        data = frame(text, TEXT)
        self.assertEqual(TWIN.parse_frames(data, LIMIT), need_compiled(self).parse_frames(data, LIMIT))

    def test_on_every_beginning_of_a_character(self) -> None:
        """All pairs of octets, alone and with one or two that continue."""
        parse = need_compiled(self).parse_frames
        for number in range(1 << 16):
            head = number.to_bytes(2)
            for text in (head, head + b"\x80", head + b"\xbf\x80"):
                try:
                    text.decode()
                except UnicodeDecodeError:
                    expected = 0
                else:
                    expected = 6 + len(text)
                if parse(bytes((TEXT, 0x80 | len(text))) + bytes(4) + text, LIMIT)[1] != expected:
                    self.fail(text.hex())
