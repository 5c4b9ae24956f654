"""Recovery: whole or refused, by the tables of the protocol, and through sessions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.config import Namespace
from realtime_svc.core import recovery
from realtime_svc.core.messages import Subscribe, SubscriptionResult
from realtime_svc.core.tagsfilter import FilterNode
from realtime_svc.engines.broker_memory import MemoryBroker
from realtime_svc.model import ClientInfo, HistoryPage, HistoryQuery, Publication, StreamPosition
from tests.core.talker import Outcome, Talker, publish
from tests.fakes import World

PAGE = 4
SIZE = 1000  # bytes
LOG = Namespace(history_size=6, history_ttl=60.0, history_meta_ttl=120.0)
CACHE = Namespace(history_size=1, history_ttl=60.0, history_meta_ttl=120.0, recovery_mode="cache")
TAGS = Namespace(history_size=10, history_ttl=60.0, tags_filter=True)


def window(first: int, top: int, since: int, limit: int) -> HistoryPage:
    """What a broker answers that keeps the offsets from `first` to `top`, asked for those after `since`. Each payload
    has two bytes."""
    offsets = [offset for offset in range(first, top + 1) if offset > since][:limit]
    return HistoryPage([Publication("x", b"%02d" % n, offset=n, epoch="E") for n in offsets], StreamPosition(top, "E"))


class QueryTests(SynchronousTestCase):
    """What is asked of the broker."""

    def test_table(self) -> None:
        since = StreamPosition(3, "E")
        for position, last, cache, expected in (
            (None, 0, False, HistoryQuery(0, None, True)),
            (None, 3, False, HistoryQuery(3, None, True)),
            (None, 99, True, HistoryQuery(PAGE, None, True)),
            (since, 0, False, HistoryQuery(PAGE, since)),
            (since, 2, False, HistoryQuery(PAGE, since)),
            (since, 0, True, HistoryQuery(1, None, True)),
        ):
            self.assertEqual(expected, recovery.query(position, last, PAGE, cache))


class RoomTests(SynchronousTestCase):
    """One answer may hold several recoveries, and its size is bounded."""

    def test_no_room_is_left(self) -> None:
        """Then nothing is recovered, not even the newest one; who missed nothing needs no room."""
        for cache in (False, True):
            for since, recovered in ((3, True), (2, False)):
                page = window(1, 3, since, PAGE)
                if cache:
                    page = HistoryPage(window(1, 3, 2, 1).publications, page.position)
                found = recovery.recover(page, StreamPosition(since, "E"), cache, 0)
                self.assertEqual((recovered, []), (found.recovered, found.publications))


class StreamTests(SynchronousTestCase):
    """Of a stream all that was missed, or nothing."""

    @given(
        top=st.integers(0, 12),
        kept=st.integers(0, 12),
        since=st.integers(0, 14),
        epoch=st.sampled_from(["E", "", "other"]),
        size=st.integers(1, 9),
    )
    def test_whole_or_refused(self, top: int, kept: int, since: int, epoch: str, size: int) -> None:
        """Against the definition: recovered is who now has, without a gap, everything up to the top."""
        first = max(1, top - kept + 1)
        page = window(first, top, since, PAGE)
        found = recovery.recover(page, StreamPosition(since, epoch), False, size)
        missed = list(range(since + 1, top + 1))
        possible = epoch in ("E", "") and since <= top and len(missed) <= PAGE and all(n >= first for n in missed)
        possible = possible and (len(missed) <= 1 or 2 * len(missed) <= size)
        self.assertIs(possible, found.recovered)
        self.assertEqual(missed if possible else [], [one.offset for one in found.publications])
        self.assertEqual(StreamPosition(since if possible else top, "E"), found.position)
        self.assertEqual(StreamPosition(top, "E"), found.top)

    def test_recorded_case(self) -> None:
        """PROTOCOLS 3.4: offset 1 of 2."""
        found = recovery.recover(window(1, 2, 1, 300), StreamPosition(1, "E"), False, SIZE)
        self.assertEqual((True, StreamPosition(1, "E")), (found.recovered, found.position))
        self.assertEqual([2], [one.offset for one in found.publications])

    def test_all_that_publications_carry_is_counted(self) -> None:
        """Tags, what is known of the publisher, bytes as they travel in text: else a publisher of small payloads could
        make answers that cut whoever recovers, again and again."""
        publisher = ClientInfo("c" * 10, "user", b"1" * 80, b"2" * 6)
        for options in (
            {"data": b"x" * 100},
            {"data": b"", "tags": {"k" * 39: "\x01" * 9}},
            {"data": b"", "publisher": publisher},
            {"data": b"x" * 75, "is_json": False},
        ):
            three = [Publication("x", offset=n, epoch="E", **options) for n in (1, 2, 3)]
            page = HistoryPage(three, StreamPosition(3, "E"))
            for size, recovered, fits in ((300, True, 3), (299, False, 2)):
                found = recovery.recover(page, StreamPosition(0, "E"), False, size)
                self.assertEqual((recovered, fits), (found.recovered, len(recovery.fitting(three, size))), options)

    def test_last_ones_come_oldest_first(self) -> None:
        page = window(1, 5, 0, 9)
        for size, offsets in ((SIZE, [3, 4, 5]), (6, [3, 4, 5]), (5, [4, 5]), (1, [5])):
            found = recovery.recover(HistoryPage(page.publications[:1:-1], page.position), None, False, size)
            self.assertEqual(offsets, [one.offset for one in found.publications])
            self.assertEqual((False, StreamPosition(5, "E")), (found.recovered, found.position))


class CacheTests(SynchronousTestCase):
    """Of a cache the newest value, unless the client has it."""

    def test_table(self) -> None:
        """(since, epoch, top, is it still kept) -> (recovered, offsets)."""
        for since, epoch, top, kept, expected in (
            (0, "", 0, False, (False, [])),
            (0, "", 5, True, (True, [5])),
            (3, "E", 5, True, (True, [5])),
            (3, "other", 5, True, (True, [5])),
            (3, "E", 5, False, (False, [])),
            (5, "E", 5, True, (True, [])),
            (5, "E", 5, False, (True, [])),
            (5, "other", 5, True, (True, [5])),
            (5, "other", 5, False, (False, [])),
            (9, "E", 5, True, (True, [5])),
        ):
            page = window(top, top, top - 1, 1) if kept else HistoryPage([], StreamPosition(top, "E"))
            found = recovery.recover(page, StreamPosition(since, epoch), True, SIZE)
            case = (since, epoch, top, kept)
            self.assertEqual(expected, (found.recovered, [one.offset for one in found.publications]), case)
            self.assertEqual(StreamPosition(top, "E"), found.position)


class SessionTests(SynchronousTestCase):
    """A client that was away, with a broker in memory."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.world = World(
            namespaces={"default": LOG, "cache": CACHE, "tags": TAGS},
            broker=MemoryBroker(self.clock),
            clock=self.clock,
            page=PAGE,
            channels_per_client=100,
        )
        self.client = Talker(self.world)
        position = self.client.subscribe("x", recoverable=True).position
        assert position is not None
        self.epoch = position.epoch
        self.client.leave()

    def back(self, offset: int, epoch: str | None = None, channel: str = "x", **options: bool) -> SubscriptionResult:
        since = StreamPosition(offset, self.epoch if epoch is None else epoch)
        client = Talker(self.world)
        result = client.subscribe(channel, recover=since, **options)
        client.leave()
        return result

    def found(self, result: SubscriptionResult) -> tuple[bool, int, list[bytes]]:
        assert result.was_recovering and result.position is not None
        data = [message.publication.data for message in result.messages]
        return result.recovered, result.position.offset, data

    def test_what_was_missed(self) -> None:
        publish(self.world, b"1", b"2", b"3")
        for offset, expected in (
            (0, (True, 0, [b"1", b"2", b"3"])),
            (2, (True, 2, [b"3"])),
            (3, (True, 3, [])),
            (4, (False, 3, [])),
        ):
            self.assertEqual(expected, self.found(self.back(offset)), offset)

    def test_other_stream(self) -> None:
        publish(self.world, b"1")
        self.assertEqual((False, 1, []), self.found(self.back(0, "gone")))
        self.assertEqual((True, 0, [b"1"]), self.found(self.back(0, "")))

    def test_more_than_is_kept_or_fits_a_page(self) -> None:
        publish(self.world, *[b"%d" % n for n in range(1, 9)])
        for offset in (0, 1, 2, 3):
            self.assertEqual((False, 8, []), self.found(self.back(offset)), offset)
        self.assertEqual((True, 4, [b"5", b"6", b"7", b"8"]), self.found(self.back(4)))

    def test_more_than_the_queue_of_a_client_may_hold(self) -> None:
        """Better refused than cut by what it asked for."""
        world = World(namespaces={"default": LOG}, queue_size=1000)
        publish(world, *[b'"%s"' % (b"x" * 398)] * 3)
        for offset, recovered in ((0, False), (1, True)):
            result = Talker(world).subscribe(recover=StreamPosition(offset, ""), recoverable=True)
            self.assertIs(recovered, result.recovered)
        self.assertEqual(2, len(Talker(world).subscribe(last=3).messages))

    def test_trimmed(self) -> None:
        publish(self.world, b"1", b"2")
        Outcome(self.world.node.publishing.remove_history("x"))
        self.assertEqual((False, 2, []), self.found(self.back(1)))
        self.assertEqual((True, 2, []), self.found(self.back(2)))
        publish(self.world, b"3")
        self.assertEqual((False, 3, []), self.found(self.back(1)))
        self.assertEqual((True, 2, [b"3"]), self.found(self.back(2)))

    def test_expired(self) -> None:
        """First the publications, then the position."""
        publish(self.world, b"1")
        self.clock.advance(60)
        self.assertEqual((False, 1, []), self.found(self.back(0)))
        self.assertEqual((True, 1, []), self.found(self.back(1)))
        self.clock.advance(120)
        self.assertEqual((False, 0, []), self.found(self.back(1)))

    def test_error_rather_than_going_on_without(self) -> None:
        publish(self.world, b"1")
        client = Talker(self.world)
        command = Subscribe("x", 2, recover=StreamPosition(0, "gone"), strict=True, recoverable=True)
        self.assertEqual(112, client.refused(command))
        self.assertEqual(({}, 0), (self.world.node.hub.channels, self.world.instruments.subscriptions))
        self.assertTrue(self.back(0, strict=True).recovered)

    def test_where_recovery_is_off(self) -> None:
        """It was asked for, and did not happen."""
        world = World(
            namespaces={"default": Namespace(recovery="off", history_size=10, history_ttl=60.0), "none": Namespace()}
        )
        publish(world, b"1")
        for channel in ("x", "none:x"):
            result = Talker(world).subscribe(channel, recover=StreamPosition(0, ""), recoverable=True)
            self.assertEqual((False, True, False), (result.recoverable, result.was_recovering, result.recovered))
            self.assertEqual((), result.messages)

    def test_cache(self) -> None:
        self.assertEqual((False, 0, []), self.found(self.back(0, "", "cache:x")))
        publish(self.world, b"1", b"2", channel="cache:x")
        self.assertEqual((True, 2, [b"2"]), self.found(self.back(0, "", "cache:x")))

    def test_filtered(self) -> None:
        """What the client does not want is not sent, but its position goes on."""
        for data, kind in ((b"1", "a"), (b"2", "b"), (b"3", "a")):
            publish(self.world, data, channel="tags:x", tags={"kind": kind})
        wanted = FilterNode(key="kind", compare="eq", value="a")
        client = Talker(self.world)
        result = client.subscribe("tags:x", recover=StreamPosition(0, ""), recoverable=True, tags_filter=wanted)
        self.assertEqual((True, 0, [b"1", b"3"]), self.found(result))

    def test_last_ones(self) -> None:
        """So many as are wanted, kept, and fit a page; where the client also says from where on, that counts."""
        publish(self.world, *[b"%d" % n for n in range(1, 9)])
        for last, expected in ((1, [8]), (3, [6, 7, 8]), (9, [5, 6, 7, 8])):
            result = Talker(self.world).subscribe(last=last)
            self.assertEqual(expected, [message.publication.offset for message in result.messages])
            self.assertEqual((False, False), (result.was_recovering, result.recovered))
        result = Talker(self.world).subscribe(last=1, recover=StreamPosition(5, self.epoch), recoverable=True)
        self.assertEqual((True, 5, [b"6", b"7", b"8"]), self.found(result))
