"""The part of the contract of brokers that is about what they keep."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from realtime_svc.model import HistoryQuery, Publication, PublishResult, StreamOptions, StreamPosition
from tests.contracts.broker_suite import ALL, KEPT, BrokerSuite, after, before, offsets


class StreamContract(BrokerSuite):
    """Positions, history, sizes and times."""

    async def test_each_channel_has_a_stream_of_its_own(self) -> None:
        x = [(await self.publish()).position for _ in range(3)]
        y = (await self.publish(channel="y")).position
        assert x[0] is not None and y is not None
        self.assertEqual([StreamPosition(n, x[0].epoch) for n in (1, 2, 3)], x)
        self.assertEqual(1, y.offset)
        self.assertNotEqual(x[0].epoch, y.epoch)
        for epoch in (x[0].epoch, y.epoch):
            self.assertRegex(epoch, r"\A[-_A-Za-z0-9]{8}\Z")

    async def test_queries(self) -> None:
        """Of publications 1 to 7 the last 4 are kept; the position is the top whatever was asked."""
        results = [await self.publish(b"%d" % number, size=4) for number in range(1, 8)]
        for query, expected in (
            (ALL, [4, 5, 6, 7]),
            (HistoryQuery(0), []),
            (HistoryQuery(2), [4, 5]),
            (HistoryQuery(100), [4, 5, 6, 7]),
            (after(0), [4, 5, 6, 7]),
            (after(2), [4, 5, 6, 7]),
            (after(3), [4, 5, 6, 7]),
            (after(4), [5, 6, 7]),
            (after(4, 2), [5, 6]),
            (after(4, 0), []),
            (after(6), [7]),
            (after(7), []),
            (after(8), []),
            (after(2**53), []),
            (before(None), [7, 6, 5, 4]),
            (before(None, 1), [7]),
            (before(None, 5), [7, 6, 5, 4]),
            (before(None, 100), [7, 6, 5, 4]),
            (before(None, 0), []),
            (before(7), [6, 5, 4]),
            (before(7, 2), [6, 5]),
            (before(5), [4]),
            (before(4), []),
            (before(1), []),
            (before(0), []),
            (before(8), [7, 6, 5, 4]),
            (before(2**53, 2), [7, 6]),
        ):
            page = await self.history(query)
            self.assertEqual(expected, offsets(page.publications), query)
            self.assertEqual([b"%d" % n for n in expected], [found.data for found in page.publications], query)
            self.assertEqual(results[-1].position, page.position, query)

    async def test_queries_for_more_than_there_is(self) -> None:
        for _ in range(3):
            await self.publish()
        for limit in range(6):
            self.assertEqual([1, 2, 3][:limit], offsets((await self.history(HistoryQuery(limit))).publications))
            self.assertEqual([3, 2, 1][:limit], offsets((await self.history(before(None, limit))).publications))

    async def test_the_epoch_of_a_query_does_not_matter(self) -> None:
        await self.publish()
        page = await self.history(HistoryQuery(since=StreamPosition(0, "another")))
        self.assertEqual([1], offsets(page.publications))

    async def test_a_page_belongs_to_who_asked(self) -> None:
        await self.publish()
        (await self.history()).publications.clear()
        self.assertEqual([1], offsets((await self.history()).publications))

    async def test_size_may_change(self) -> None:
        """The size of the newest publication counts."""
        for size, expected in ((3, [1]), (3, [1, 2]), (3, [1, 2, 3]), (3, [2, 3, 4]), (1, [5]), (2, [5, 6])):
            await self.publish(size=size)
            self.assertEqual(expected, offsets((await self.history()).publications))

    async def test_long_stream(self) -> None:
        """What falls out is gone, through many times the size; and removed is removed."""
        for _ in range(350):
            await self.publish(size=100)
        page = await self.history()
        self.assertEqual(list(range(251, 351)), offsets(page.publications))
        await self.ask(self.broker.remove_history("x"))
        await self.publish(size=100)
        self.assertEqual([351], offsets((await self.history()).publications))

    async def test_without_history(self) -> None:
        """Delivered without a position, and the stream that the channel has stays as it was."""
        await self.subscribe("x")
        first = await self.publish(b"1")
        for options in (StreamOptions(), KEPT._replace(size=0), KEPT._replace(ttl=0.0)):
            self.assertEqual(PublishResult(None), await self.publish(b"2", options=options))
        again = Publication("x", b"3", offset=9, epoch="elsewher")  # where it stood in another stream does not count
        await self.ask(self.broker.publish(again, StreamOptions()))
        page = await self.history()
        self.assertEqual(([1], first.position), (offsets(page.publications), page.position))
        found = await self.delivered()
        self.assertEqual([(1, b"1"), *[(0, b"2")] * 3, (0, b"3")], [(event.offset, event.data) for event in found])
        self.assertEqual({""}, {event.epoch for event in found[1:]})

    async def test_publications_expire_together(self) -> None:
        """`ttl` after the newest; epoch and top stay."""
        first = await self.publish(ttl=10.0)
        self.clock.advance(9)
        await self.publish(ttl=10.0)
        self.clock.advance(9)
        self.assertEqual([1, 2], offsets((await self.history()).publications))
        self.clock.advance(2)
        page = await self.history()
        assert first.position is not None
        self.assertEqual([], page.publications)
        self.assertEqual(StreamPosition(2, first.position.epoch), page.position)
        third = await self.publish()
        self.assertEqual(StreamPosition(3, first.position.epoch), third.position)
        self.assertEqual([3], offsets((await self.history()).publications))

    async def test_ttl_may_become_shorter(self) -> None:
        await self.publish(ttl=100.0)
        await self.publish(ttl=5.0)
        self.clock.advance(6)
        self.assertEqual([], (await self.history()).publications)

    async def test_positions_expire(self) -> None:
        """`meta_ttl` after the last publication or question; then another epoch begins."""
        first = (await self.publish(ttl=5.0, meta_ttl=20.0)).position
        assert first is not None
        for ask in (False, True, False):
            self.clock.advance(19)
            if ask:
                await self.history(HistoryQuery(0), meta_ttl=20.0)
            else:
                await self.publish(ttl=5.0, meta_ttl=20.0)
        self.clock.advance(19)
        page = await self.history(meta_ttl=20.0)
        self.assertEqual(StreamPosition(3, first.epoch), page.position)
        self.clock.advance(21)
        page = await self.history(meta_ttl=20.0)
        self.assertEqual((0, []), (page.position.offset, page.publications))
        self.assertNotEqual(first.epoch, page.position.epoch)
        following = (await self.publish(ttl=5.0, meta_ttl=20.0)).position
        self.assertEqual(StreamPosition(1, page.position.epoch), following)
        self.clock.advance(21)
        last = (await self.publish()).position
        assert last is not None
        self.assertEqual(1, last.offset)
        self.assertNotIn(last.epoch, (first.epoch, page.position.epoch))

    async def test_an_epoch_lives_as_long_as_its_publications(self) -> None:
        """Whether only published to, or asked for as well."""
        for channel, waits in (("x", (10, 10)), ("y", (0, 10, 10))):
            await self.publish(channel=channel, ttl=5.0, meta_ttl=5.0)
            second = (await self.publish(channel=channel, ttl=30.0, meta_ttl=5.0)).position
            for seconds in waits:
                self.clock.advance(seconds)
                page = await self.history(channel=channel, meta_ttl=5.0)
                self.assertEqual(([1, 2], second), (offsets(page.publications), page.position))

    async def test_the_first_publication_keeps_the_epoch_that_was_asked_for(self) -> None:
        empty = (await self.history()).position
        self.assertEqual(0, empty.offset)
        self.assertEqual(empty, (await self.history()).position)
        self.assertEqual(StreamPosition(1, empty.epoch), (await self.publish()).position)

    async def test_remove_history(self) -> None:
        """Epoch, top and version stay; a channel without a stream has nothing to remove."""
        for _ in range(2):
            await self.publish(version=3)
            await self.publish()
            await self.ask(self.broker.remove_history("x"))
            page = await self.history()
            self.assertEqual(([], 2), (page.publications, page.position.offset))
            self.assertFalse((await self.publish(version=3)).fresh)
            self.assertEqual(StreamPosition(3, page.position.epoch), (await self.publish()).position)
            self.assertEqual([3], offsets((await self.history()).publications))
            self.clock.advance(601)
        await self.ask(self.broker.remove_history("nothing"))
        self.assertEqual(0, (await self.history(channel="nothing")).position.offset)

    async def test_a_removal_is_in_the_order_of_the_calls(self) -> None:
        calls: list[Deferred[Any]] = [
            self.start(self.broker.publish(Publication("x", b"1"), KEPT)),
            self.start(self.broker.remove_history("x")),
            self.start(self.broker.publish(Publication("x", b"2"), KEPT)),
        ]
        self.turn()
        for call in calls:
            await call
        self.assertEqual([2], offsets((await self.history()).publications))
