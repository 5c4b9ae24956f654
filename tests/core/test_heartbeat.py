"""The wheel that pings: how often, how spread, and whom it closes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc import errors
from realtime_svc.core.reading import Hold
from tests.fakes import FakeTransport, World


class HeartbeatTests(SynchronousTestCase):
    """A ping every 25 s, 10 s to answer."""

    def setUp(self) -> None:
        self.world = World(ping_interval=25.0, ping_timeout=10.0)
        self.world.heartbeat.start()
        self.addCleanup(self.world.heartbeat.stop)

    def answer(self, transport: FakeTransport) -> None:
        assert transport.session is not None
        transport.session.pong()

    def test_every_interval(self) -> None:
        transport = self.world.connect()
        for _ in range(100):
            self.world.pass_time(1)
            self.answer(transport)
        self.assertIn(transport.pings, (3, 4))
        self.assertIsNone(transport.closed)

    def test_first_ping_is_not_at_once(self) -> None:
        """A client that has just come is alive; a wave of them does not become a wave of pings."""
        transports = [self.world.connect() for _ in range(200)]
        self.world.pass_time(11.75)
        self.assertEqual({0}, {transport.pings for transport in transports})
        busiest = 0
        for _ in range(14):
            before = sum(transport.pings for transport in transports)
            self.world.pass_time(1)
            busiest = max(busiest, sum(transport.pings for transport in transports) - before)
            for transport in transports:
                self.answer(transport)
        self.assertEqual({1}, {transport.pings for transport in transports})
        self.assertLess(busiest, 60)

    def test_no_answer(self) -> None:
        """3012, without waiting for what is queued; found within interval and timeout."""
        silent, lively = self.world.connect(), self.world.connect()
        for _ in range(144):
            self.world.pass_time(0.25)
            self.answer(lively)
        self.assertEqual((errors.NO_PONG, None), (silent.closed, lively.closed))

    def test_only_an_answer_counts_as_life(self) -> None:
        """A peer that sends but never answers is closed as well."""
        transport = self.world.connect()
        for _ in range(36):
            transport.type("ping")
            self.world.pass_time(1)
        self.assertEqual(errors.NO_PONG, transport.closed)

    def test_answer_that_we_do_not_read_is_waited_for(self) -> None:
        """Reading is paused by us, so the answer may be in the socket: the time begins again."""
        transport = self.world.connect()
        assert transport.session is not None
        transport.session.reading.pause(Hold.BACKLOG)
        self.world.pass_time(100)
        self.assertIsNone(transport.closed)
        transport.session.reading.resume(Hold.BACKLOG)
        self.world.pass_time(40)
        self.assertEqual(errors.NO_PONG, transport.closed)

    def test_who_takes_no_part_in_pings(self) -> None:
        """Such as an event stream: it is pinged and nothing is expected."""
        transport = self.world.connect()
        transport.answers = False
        self.world.pass_time(100)
        self.assertIsNone(transport.closed)
        self.assertGreaterEqual(transport.pings, 3)

    def test_who_has_left_is_forgotten(self) -> None:
        transport = self.world.connect()
        while not transport.pings:
            self.world.pass_time(1)
        transport.leave()
        self.world.pass_time(60)
        self.assertEqual((1, None), (transport.pings, transport.closed))

    def test_stop(self) -> None:
        transport = self.world.connect()
        self.world.heartbeat.stop()
        self.world.heartbeat.stop()
        self.world.pass_time(60)
        self.assertEqual(0, transport.pings)

    def test_interval_of_zero_is_never(self) -> None:
        world = World(ping_interval=0.0)
        world.heartbeat.start()
        transport = world.connect()
        world.pass_time(60)
        self.assertEqual((0, []), (transport.pings, world.clock.getDelayedCalls()))

    def test_short_interval(self) -> None:
        world = World(ping_interval=0.4, ping_timeout=0.2)
        world.heartbeat.start()
        self.addCleanup(world.heartbeat.stop)
        transport = world.connect()
        for _ in range(40):
            world.clock.advance(0.05)
            self.answer(transport)
        self.assertIn(transport.pings, (4, 5))
