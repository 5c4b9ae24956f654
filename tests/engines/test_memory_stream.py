"""What is kept of a channel, beside a list that keeps everything."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.engines.memory_stream import Stream
from realtime_svc.model import HistoryQuery, Publication, StreamOptions, StreamPosition

STEPS = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 20)) | st.none(), max_size=40)  # None: all are let go


def numbers(publications: list[Publication]) -> list[int]:
    return [publication.offset for publication in publications]


class StreamTests(SynchronousTestCase):
    @given(STEPS)
    def test_newest_are_kept_however_many_they_are_to_be(self, steps: list[tuple[int, int] | None]) -> None:
        """`steps`: so many are to be kept of what is published next, and how many that are."""
        stream = Stream("x", {})
        kept: list[int] = []
        for step in steps:
            if step is None:
                stream.clear()
                kept = []
                continue
            size, count = step
            for _ in range(count):
                said = stream.append(Publication("x", b"1"), StreamOptions(size, 60.0, 60.0), 0.0)
                kept = [*kept, said.offset][-size:]
                self.assertEqual((stream.top, stream.position), (said.offset, said.position))
            self.assertEqual((kept, len(kept)), (numbers(stream.read(HistoryQuery())), len(stream)))

    @given(
        st.integers(1, 9),
        st.integers(0, 30),
        st.none() | st.integers(-2, 12),
        st.none() | st.integers(0, 35),
        st.booleans(),
    )
    def test_reading(self, size: int, count: int, limit: int | None, since: int | None, reverse: bool) -> None:
        stream = Stream("x", {})
        for _ in range(count):
            stream.append(Publication("x", b"1"), StreamOptions(size, 60.0, 60.0), 0.0)
        there = list(range(max(1, count - size + 1), count + 1))
        if since is not None:
            there = [offset for offset in there if (offset < since if reverse else offset > since)]
        if reverse:
            there.reverse()
        position = None if since is None else StreamPosition(since, stream.epoch)
        found = stream.read(HistoryQuery(limit, position, reverse))
        self.assertEqual(there if limit is None else there[: max(0, limit)], numbers(found))
