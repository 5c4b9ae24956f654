"""What is particular to the broker in memory: it never waits, and it gives memory back by itself."""

from __future__ import annotations

import weakref
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.driver import run
from realtime_svc.engines import broker_memory
from realtime_svc.engines.broker_memory import MemoryBroker
from realtime_svc.model import ChannelEvent, ClientInfo, HistoryQuery, Leave, Publication, PublishResult, StreamOptions
from tests.engines.clocks import pass_time

OPTIONS = StreamOptions(size=10, ttl=60.0, meta_ttl=600.0)
POSITION = HistoryQuery(0)


class Tags(dict[str, str]):
    """Of a publication that can tell when it is gone."""


class MemoryBrokerCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.broker = MemoryBroker(self.clock, idempotency_window=300.0, idempotency_keys=3)

    def ask(self, work: Any) -> Any:
        """The answer, which is there when the call returns."""
        outcomes: list[tuple[Any, BaseException | None]] = []
        run(work, lambda result, error: outcomes.append((result, error)))
        ((result, error),) = outcomes
        if error is not None:
            raise error
        return result

    def publish(self, channel: str = "x", options: StreamOptions = OPTIONS, **changes: Any) -> PublishResult:
        result = self.ask(self.broker.publish(Publication(channel, b"1"), options._replace(**changes)))
        assert isinstance(result, PublishResult)
        return result

    def witness(self, options: StreamOptions = OPTIONS) -> weakref.ref[Tags]:
        """Publish something; the answer refers to it while it is kept."""
        tags = Tags()
        self.ask(self.broker.publish(Publication("x", b"1", tags=tags), options))
        return weakref.ref(tags)

    def timers(self) -> int:
        return len(self.clock.getDelayedCalls())


class DeliveryTests(MemoryBrokerCase):
    def test_delivered_in_the_call(self) -> None:
        received: list[ChannelEvent] = []
        self.broker.on_event(received.append)
        self.publish()
        self.assertEqual(1, len(received))

    def test_nobody_receives(self) -> None:
        """Also before anybody listens publications are kept."""
        self.publish()
        self.assertEqual(1, self.ask(self.broker.history("x", POSITION, 1.0)).position.offset)

    def test_a_receiver_that_fails(self) -> None:
        """Its error reaches who published; what it published before, and what comes later, is delivered."""
        received: list[ChannelEvent] = []
        leave = Leave("x", ClientInfo("c", "u"))

        def receive(event: ChannelEvent) -> None:
            received.append(event)
            if len(received) == 1:
                self.ask(self.broker.announce(leave))
                self.publish("y", StreamOptions())
                raise KeyError("a defect")

        self.broker.on_event(receive)
        self.assertRaises(KeyError, self.publish, "x")
        self.assertEqual([leave, Publication("y", b"1")], received[1:])
        self.publish("z", StreamOptions())
        self.assertEqual(Publication("z", b"1"), received[3])


class MemoryTests(MemoryBrokerCase):
    """Nothing here asks for what has expired: it goes by itself."""

    def test_many_channels_expire(self) -> None:
        for number in range(100_000):
            self.publish(f"channel:{number}")
        first = self.witness()
        self.assertEqual((100_001, 1), (self.broker.streams, self.timers()))
        pass_time(self.clock, 64)
        self.assertIsNone(first())
        self.assertEqual(100_001, self.broker.streams)
        pass_time(self.clock, 600)
        self.assertEqual((0, 0), (self.broker.streams, self.timers()))

    def test_publications_go_and_the_position_stays(self) -> None:
        old = self.witness()
        pass_time(self.clock, 50)
        new = self.witness()
        pass_time(self.clock, 59)
        self.assertEqual([True, True], [item() is not None for item in (old, new)])
        pass_time(self.clock, 5)
        self.assertEqual([None, None], [old(), new()])
        self.assertEqual((1, 1), (self.broker.streams, self.timers()))

    def test_what_falls_out_is_free(self) -> None:
        """At once, with small and with large sizes."""
        for size in (1, 2, 10, 300):
            items = [self.witness(OPTIONS._replace(size=size)) for _ in range(1000)]
            self.assertEqual([False] * (1000 - size) + [True] * size, [item() is not None for item in items])

    def test_removed_history_is_free(self) -> None:
        item = self.witness()
        self.ask(self.broker.remove_history("x"))
        self.assertIsNone(item())

    def test_positions_that_were_asked_for(self) -> None:
        """Streams nobody published to go as well, and asking again keeps them."""
        self.ask(self.broker.history("x", POSITION, 100.0))
        self.ask(self.broker.history("y", POSITION, 100.0))
        pass_time(self.clock, 90)
        self.ask(self.broker.history("x", POSITION, 100.0))
        pass_time(self.clock, 20)
        self.assertEqual(1, self.broker.streams)
        pass_time(self.clock, 120)
        self.assertEqual((0, 0), (self.broker.streams, self.timers()))

    def test_expired_and_used_before_the_sweep(self) -> None:
        """A stream that a reader found expired is replaced, and its successor lives its own time."""
        for _ in range(3):
            self.publish(meta_ttl=60.0)
            self.clock.advance(60.001)
        position = self.publish(meta_ttl=60.0).position
        assert position is not None
        self.assertEqual(1, position.offset)
        pass_time(self.clock, 59)
        page = self.ask(self.broker.history("x", HistoryQuery(), 60.0))
        self.assertEqual((1, position), (len(page.publications), page.position))
        pass_time(self.clock, 130)
        self.assertEqual((0, 0), (self.broker.streams, self.timers()))

    def test_keys_expire(self) -> None:
        self.publish(options=StreamOptions(key="1"))
        pass_time(self.clock, 200)
        self.publish(options=StreamOptions(key="2"))
        self.assertEqual((2, 1), (self.broker.keys, self.timers()))
        pass_time(self.clock, 120)
        self.assertEqual(1, self.broker.keys)
        pass_time(self.clock, 200)
        self.assertEqual((0, 0), (self.broker.keys, self.timers()))

    def test_a_sweep_takes_no_key_that_is_good(self) -> None:
        """The first key's visit is a little late (304), but not for those that live a moment longer."""
        self.publish(options=StreamOptions(key="1"))
        pass_time(self.clock, 4.5)
        self.publish(options=StreamOptions(key="2"))
        pass_time(self.clock, 299.75)
        self.assertEqual(1, self.broker.keys)
        self.assertFalse(self.publish(options=StreamOptions(key="2")).fresh)

    def test_very_many_keys_expire(self) -> None:
        """In more than one visit."""
        self.broker = MemoryBroker(self.clock, idempotency_keys=10_000)
        for number in range(12_000):
            self.publish(options=StreamOptions(key=str(number)))
        self.assertEqual(10_000, self.broker.keys)
        pass_time(self.clock, 320)
        self.assertEqual((0, 0), (self.broker.keys, self.timers()))

    def test_keys_are_bounded(self) -> None:
        """Three here: the oldest goes first, and using one again does not make it younger."""
        for key in ("1", "2", "3", "1", "4"):
            self.publish(options=StreamOptions(key=key))
        self.assertEqual(3, self.broker.keys)
        fresh = [self.publish(options=StreamOptions(key=key)).fresh for key in ("2", "3", "4", "1")]
        self.assertEqual([False, False, False, True], fresh)

    def test_a_key_used_again_after_its_time(self) -> None:
        """It lives a whole window again, and is the youngest, though its old entry was there still."""
        self.publish(options=StreamOptions(key="1"))
        self.clock.rightNow += 200
        for key in ("2", "3"):
            self.publish(options=StreamOptions(key=key))
        self.clock.rightNow += 101  # late: the sweep did not come yet
        self.assertTrue(self.publish(options=StreamOptions(key="1")).fresh)
        self.publish(options=StreamOptions(key="4"))
        self.assertFalse(self.publish(options=StreamOptions(key="3")).fresh)
        pass_time(self.clock, 299)
        self.assertFalse(self.publish(options=StreamOptions(key="1")).fresh)

    def test_stop(self) -> None:
        """No timer is left or comes, and what readers see is exact as before."""
        self.publish()
        self.broker.stop()
        self.publish("y", options=OPTIONS._replace(key="k"))
        self.assertEqual(0, self.timers())
        self.clock.advance(60)
        page = self.ask(self.broker.history("x", HistoryQuery(), 600.0))
        self.assertEqual(([], 1), (page.publications, page.position.offset))
        self.assertEqual(0, self.timers())

    def test_exactly_at_the_deadline(self) -> None:
        """It is over then, for publications, positions and keys."""
        self.publish(ttl=1.0, meta_ttl=2.0, key="k")
        epoch = self.ask(self.broker.history("x", HistoryQuery(), 2.0)).position.epoch
        for seconds, expected in ((0.75, 1), (0.25, 0), (1.5, 0)):
            self.clock.advance(seconds)
            page = self.ask(self.broker.history("x", HistoryQuery(), 2.0))
            self.assertEqual((expected, epoch), (len(page.publications), page.position.epoch))
        self.clock.advance(2.0)
        self.assertNotEqual(epoch, self.ask(self.broker.history("x", HistoryQuery(), 2.0)).position.epoch)
        self.clock.advance(300 - self.clock.seconds())
        self.assertTrue(self.publish(key="k").fresh)


class EmptyStreamTests(MemoryBrokerCase):
    """Anybody who may ask can make channels: those that hold nothing are bounded."""

    def test_those_asked_for_last_keep_their_epoch(self) -> None:
        self.patch(broker_memory, "MOST_EMPTY", 3)
        self.ask(self.broker.subscribe("watched"))
        first = {name: self.epoch(name) for name in ("watched", "published")}
        self.publish("published")
        for number in range(10):
            self.epoch(f"c{number}")
        self.assertEqual(3 + 2, self.broker.streams)
        self.assertEqual(first, {name: self.epoch(name) for name in first})
        self.assertEqual(self.epoch("c9"), self.epoch("c9"))

    def test_one_that_nobody_watches_any_more_is_bounded_too(self) -> None:
        self.patch(broker_memory, "MOST_EMPTY", 1)
        self.ask(self.broker.subscribe("left"))
        before = self.epoch("left")
        self.ask(self.broker.unsubscribe("left"))
        self.assertEqual(before, self.epoch("left"))
        self.epoch("other")
        self.assertNotEqual(before, self.epoch("left"))
        self.assertEqual(1, self.broker.streams)

    def epoch(self, channel: str) -> str:
        page = self.ask(self.broker.history(channel, POSITION, 600.0))
        return str(page.position.epoch)
