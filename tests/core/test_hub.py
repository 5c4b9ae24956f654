"""Who is here, and who listens to what."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc import errors
from realtime_svc.core.session import Session
from realtime_svc.core.subscription import Subscription
from realtime_svc.model import Grant, Publication
from tests.fakes import World


class HubTests(SynchronousTestCase):
    """Two clients, Alice and her other self, on one node."""

    def setUp(self) -> None:
        self.world = World()
        self.hub = self.world.node.hub
        self.first, self.second = self.world.connect(), self.world.connect()
        assert self.first.session is not None and self.second.session is not None
        self.sessions = self.first.session, self.second.session

    def subscribe(self, session: Session, channel: str) -> None:
        subscription = Subscription(session, channel, Grant(), server_side=False)
        self.assertTrue(self.hub.subscribe(subscription).activate(subscription, None))

    def test_who_hears_of_comings_and_goings_is_known(self) -> None:
        """A join in a channel of ten thousand costs what those few cost who want to hear of it."""
        one, two = self.sessions
        self.subscribe(one, "x")
        listener = Subscription(two, "x", Grant(), server_side=False)
        listener.hears_joins = True
        channel = self.hub.subscribe(listener)
        self.assertEqual({two: listener}, channel.hearing)
        self.hub.unsubscribe(listener)
        self.assertEqual(({}, (one,)), (channel.hearing, self.hub.subscribers("x")))

    def test_subscribers_come_in_order_and_leave(self) -> None:
        one, two = self.sessions
        self.subscribe(two, "x")
        self.subscribe(one, "x")
        self.assertEqual((two, one), self.hub.subscribers("x"))
        self.assertFalse(self.hub.unsubscribe(two.channels["x"]), "it was not the last one")
        self.assertEqual((one,), self.hub.subscribers("x"))
        self.assertTrue(self.hub.unsubscribe(one.channels["x"]))
        self.assertEqual({}, self.hub.channels)
        self.assertEqual((), self.hub.subscribers("y"))

    def test_nothing_is_left_of_who_has_left(self) -> None:
        one, _ = self.sessions
        for channel in ("x", "y", "z"):
            self.subscribe(one, channel)
        self.first.leave()
        self.assertEqual(([], {}), ([c for c in "xyz" if self.hub.subscribers(c)], one.channels))
        self.assertNotIn(one.id, self.hub.sessions)

    def test_delivery_goes_to_the_channel_only(self) -> None:
        one, _ = self.sessions
        self.subscribe(one, "x")
        self.hub.deliver(Publication("x", b"1"))
        self.hub.deliver(Publication("y", b"2"))
        self.assertEqual(([{"message": "x", "data": 1}], []), (self.first.take(), self.second.take()))

    def test_delivery_without_a_channel_goes_to_who_was_let_in(self) -> None:
        """Not to one that has not authenticated, that a handler has not let in, or that is leaving."""
        nobody = self.world.connect(None)
        self.world.fake_hooks.outcomes["connect"] = Deferred()
        waiting = self.world.connect()
        self.sessions[1].close(errors.FORCED)
        self.second.take()
        self.hub.deliver(Publication("", b"1"))
        self.assertEqual([{"message": "", "data": 1}], self.first.take())
        self.assertEqual([[], [], []], [transport.take() for transport in (self.second, nobody, waiting)])
        self.assertEqual((self.sessions[0],), self.hub.present())

    def test_what_is_published_out_of_a_delivery_comes_after_it_for_all(self) -> None:
        """As user code does when a slow client is cut in the middle of one."""
        for session in self.sessions:
            self.subscribe(session, "x")
        write = self.first.write

        def publish_once(frame: Any) -> None:
            self.first.write = write  # type: ignore[method-assign]
            write(frame)
            self.hub.deliver(Publication("x", b"2"))

        self.first.write = publish_once  # type: ignore[method-assign]
        self.hub.deliver(Publication("x", b"1"))
        both = [{"message": "x", "data": 1}, {"message": "x", "data": 2}]
        self.assertEqual((both, both), (self.first.take(), self.second.take()))

    def test_claims_of_a_user(self) -> None:
        self.assertEqual([True, True, False], [self.hub.claim_user("u", 2) for _ in range(3)])
        self.hub.release_user("u")
        self.assertTrue(self.hub.claim_user("u", 2))
        self.assertTrue(self.hub.claim_user("v", 2))

    def test_anonymous_clients_are_not_counted_as_one_user(self) -> None:
        self.assertEqual([True] * 5, [self.hub.claim_user("", 1) for _ in range(5)])
        self.hub.release_user("")
        self.assertTrue(all(self.hub.claim_user("u", 0) for _ in range(5)), "0 is no limit")
