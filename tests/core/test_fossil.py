"""Fossil deltas: what comes out of an applier is what went in, in the format that SDKs read, at a bounded cost."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.core import fossil
from realtime_svc.core.fossil import delta

DIGITS = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~"


class Applier:
    """Reads a delta as its format says, strictly: every byte belongs to a command, and everything is checked."""

    def __init__(self, source: bytes, change: bytes) -> None:
        self.source = source
        self.rest = change
        self.target = b""
        self.copies = 0

    def apply(self) -> bytes:
        length, end = self.number()
        assert end == b"\n", end
        while True:
            value, operator = self.number()
            if operator == b"@":
                place, end = self.number()
                assert end == b"," and place + value <= len(self.source)
                self.target += self.source[place : place + value]
                self.copies += 1
            elif operator == b":":
                assert value <= len(self.rest)
                self.target, self.rest = self.target + self.rest[:value], self.rest[value:]
            else:
                assert (operator, self.rest) == (b";", b""), operator
                assert value == checksum(self.target) and length == len(self.target)
                return self.target

    def number(self) -> tuple[int, bytes]:
        """A number, and the byte after it."""
        value = count = 0
        while (digit := self.rest[count : count + 1]) and digit in DIGITS:
            value, count = value * 64 + DIGITS.index(digit), count + 1
        assert count, "a number without digits"
        end, self.rest = self.rest[count : count + 1], self.rest[count + 1 :]
        return value, end


def checksum(data: bytes) -> int:
    words = [data[i : i + 4].ljust(4, b"\0") for i in range(0, len(data), 4)]
    return sum(int.from_bytes(word, "big") for word in words) % 2**32


def written(value: int) -> bytes:
    return written(value // 64).lstrip(b"0") + DIGITS[value % 64 :][:1] if value else b"0"


BLOCK = b'{"symbol":"AAPL","price":'
PIECES = st.one_of(
    st.sampled_from((BLOCK, BLOCK[3:], "Grüße 😀 ".encode() * 3, b"a" * 40, b"0123456789abcdef", b"\x80" * 20)),
    st.binary(max_size=30),
    st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace")),
)
PAYLOADS = st.lists(PIECES, max_size=20).map(b"".join)
TEXTS = st.lists(st.sampled_from(("ü", "ö", "€", "😀", "😁", "a", "abcdefgh", "Straße", "日本語" * 4)), max_size=40)


class FormatTests(SynchronousTestCase):
    def test_recorded_delta_is_read(self) -> None:
        """One that a reference server made: an insert of 10 bytes, a copy of 59 from offset 10."""
        recorded = b'15\nA:{"count":2w@A,FGEcu;'
        start, end = b'{"count":2' + b"x" * 54, b"\0"
        wanted, _ = Applier(b"", b"FGEcu;").number()
        word = (wanted - checksum(start + bytes(4) + end)) % 2**32
        target = start + word.to_bytes(4, "big") + end
        self.assertEqual(target, Applier(b'{"count":1' + target[10:], recorded).apply())

    def test_small_cases_byte_for_byte(self) -> None:
        """Written out by hand; what is too short to be worth a copy is inserted, as in the recorded one."""
        same = b"the same 32 bytes, and more so.."
        for source, target, commands in (
            (b"", b"", b"0\n"),
            (b"x", b"", b"0\n"),
            (b"", b"a", b"1\n1:a"),
            (b"abc", b"abcd", b"4\n4:abcd"),
            (b'{"n":1' + b"x" * 63, b'{"n":2' + b"x" * 63, b'15\n6:{"n":2~@6,'),
            (same, same, b"W\nW@0,"),
            (same + b"!", same, b"W\nW@0,"),
            (b"!" + same, same, b"W\nW@1,"),
            (same, same * 2, b"10\nW@0,W@0,"),
            (same, same + b"!" * 40 + same, b"1d\nW@0,d:" + b"!" * 40 + b"W@0,"),
        ):
            self.assertEqual(commands + written(checksum(target)) + b";", delta(source, target), (source, target))
        self.assertEqual(b"4\n4:abcd1XObD_;", delta(b"", b"abcd"))


class RoundTripTests(SynchronousTestCase):
    @given(PAYLOADS, PAYLOADS)
    def test_any_payloads(self, source: bytes, target: bytes) -> None:
        self.assertEqual(target, Applier(source, delta(source, target)).apply())

    @given(PAYLOADS, st.data())
    def test_edited_payloads(self, source: bytes, data: Any) -> None:
        """Never longer than one insert of everything."""
        target = source
        for _ in range(data.draw(st.integers(1, 5))):
            at, end = sorted(data.draw(st.integers(0, len(target))) for _ in range(2))
            target = target[:at] + data.draw(PIECES) + target[end:]
        change = delta(source, target)
        self.assertEqual(target, Applier(source, change).apply())
        self.assertLessEqual(len(change), len(target) + 16)

    @given(TEXTS, TEXTS, TEXTS)
    def test_delta_of_text_is_text(self, source: list[str], middle: list[str], tail: list[str]) -> None:
        """A copy never takes a part of a character, which would leave the other part to an insert."""
        before = "".join(source + tail).encode()
        after = "".join(source[:10] + middle + source[5:] + tail).encode()
        change = delta(before, after)
        change.decode()
        self.assertEqual(after, Applier(before, change).apply())

    def test_characters_that_differ_in_their_last_byte(self) -> None:
        """The bytes before it are alike, and so are those after it."""
        before = ("a" * 20 + "😀" + "b" * 20).encode()
        after = ("a" * 20 + "😁" + "b" * 20).encode()
        self.assertIn("4:😁".encode(), delta(before, after))

    def test_what_is_alike_is_copied(self) -> None:
        """A value changed here and there, something put in, something moved: the delta is as long as the news."""
        records = [b'{"id":%d,"name":"record number %d"},' % (number, number * 7919) for number in range(400)]
        news = [*records[:100], b'{"new":true},', *records[101:300], *records[350:], *records[320:340]]
        before, after = b"".join(records), b"".join(news)
        applier = Applier(before, change := delta(before, after))
        self.assertEqual(after, applier.apply())
        self.assertLess(len(change), 100)

    def test_moved_by_less_than_a_block(self) -> None:
        """Copies begin anywhere, not at blocks only."""
        text = random.Random(1).randbytes(1000)
        for shift in range(1, 40):
            applier = Applier(text, delta(text, b"<" + text[shift:] + b">"))
            applier.apply()
            self.assertEqual(1, applier.copies, shift)

    def test_after_much_that_is_new(self) -> None:
        """Looking gets coarser, but what is long enough is found wherever it begins."""
        rng = random.Random(4)
        text = rng.randbytes(2000)
        for new in range(1100, 1132):
            target = rng.randbytes(new) + text[500:800]
            self.assertLess(len(delta(text + b"!", target)), new + 30, new)

    def test_large_payloads(self) -> None:
        """Blocks grow with the source, so the table does not."""
        rng = random.Random(2)
        source = rng.randbytes(1_000_000)
        target = source[600_000:] + source[:500_000]
        change = delta(source, target)
        self.assertEqual(target, Applier(source, change).apply())
        self.assertLess(len(change), 1000)


class Work:
    """Counts what is done for one delta."""

    def __init__(self, case: SynchronousTestCase) -> None:
        self.lookups = self.compared = self.blocks = self.calls = 0
        work = self

        class Table(dict[bytes, int]):
            def get(self, key: bytes, default: Any = None) -> Any:
                work.lookups += 1
                return super().get(key, default)

        def counted(alike: Callable[..., int]) -> Callable[..., int]:
            def count(*arguments: Any) -> int:
                answer = alike(*arguments)
                work.calls += 1
                work.compared += 64 + 4 * answer
                return answer

            return count

        table = fossil._table

        def table_of(source: bytes, size: int) -> dict[bytes, int]:
            found = table(source, size)
            work.blocks += len(found)
            return Table(found)

        case.patch(fossil, "_table", table_of)
        case.patch(fossil, "_alike_after", counted(fossil._alike_after))
        case.patch(fossil, "_alike_before", counted(fossil._alike_before))


class CostTests(SynchronousTestCase):
    def hostile(self, size: int) -> dict[str, tuple[bytes, bytes]]:
        rng = random.Random(size)
        blocks = [rng.randbytes(16) for _ in range(size // 16)]
        moved = rng.sample(blocks, len(blocks))
        few = [rng.randbytes(16) for _ in range(4)]
        return {
            "all equal": (b"a" * size, b"a" * size),
            "all equal but the ends": (b"a" * size, b"b" + b"a" * (size - 2) + b"b"),
            "one block of it": (b"b" * 16 + b"a" * 16 + b"b" * (size - 32), b"c" + b"a" * (size - 2) + b"c"),
            "nothing alike": (rng.randbytes(size), rng.randbytes(size)),
            "every block elsewhere": (b"".join(blocks), b"".join(moved)),
            "every block elsewhere, with gaps": (b"".join(blocks), b"!".join(moved)[:size]),
            "a block when patience ends": (
                b"".join(blocks),
                b"".join(rng.randbytes(500) + one for one in moved)[:size],
            ),
            "few different blocks": (b"".join(few) * (size // 64), b"".join(rng.choices(few, k=size // 16))),
            "period that is no block": (b"0123456" * (size // 7), b"x" + b"1234560" * (size // 7)),
            "no characters": (b"\x80" * size, b"\x81" + b"\x80" * (size - 1)),
            "small to large": (b"0123456789abcdef", b"x0123456789abcdef" * (size // 17)),
            "large to small": (rng.randbytes(size), b"x" * 16),
        }

    def test_worst_cases(self) -> None:
        """Work has a bound, and bytes are compared a few times each: what they are does not matter."""
        for size in (16 * 1024, 64 * 1024):
            for name, (source, target) in self.hostile(size).items():
                work = Work(self)
                self.assertEqual(target, Applier(source, delta(source, target)).apply(), name)
                self.assertLessEqual(work.blocks, 4096, name)
                self.assertLessEqual(work.lookups, 16384, name)
                self.assertLessEqual(work.calls, 2 + 2 * 16384 // 16, name)
                self.assertLessEqual(work.compared, 16 * (len(source) + len(target)), name)

    def test_work_does_not_grow_for_ever(self) -> None:
        """Four times the payload, the same work."""
        rng = random.Random(3)
        blocks = [rng.randbytes(64) for _ in range(4096)]
        source = b"".join(blocks)
        rng.shuffle(blocks)
        work = Work(self)
        target = b"".join(blocks)
        self.assertEqual(target, Applier(source, delta(source, target)).apply())
        self.assertLessEqual(work.blocks, 4096)
        self.assertLessEqual(work.lookups, 16384)
