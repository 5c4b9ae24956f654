"""How a subscription ends, and how it is renewed."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.core import messages
from realtime_svc.core.messages import SubscriptionRefresh, Unsubscribed
from tests.core.talker import NAMESPACES, Outcome, Talker, UnreliableBroker, grant, publish
from tests.fakes import START, World
from tests.object_dialect import ObjectDialect


class EndTests(SynchronousTestCase):
    """How a subscription ends."""

    def setUp(self) -> None:
        self.broker = UnreliableBroker(Clock())
        self.world = World(namespaces=NAMESPACES, broker=self.broker)
        self.client, self.other = Talker(self.world), Talker(self.world, "b")
        for one in (self.client, self.other):
            one.subscribe("watched:x")
        for one in (self.client, self.other):
            one.heard()

    def test_by_the_client(self) -> None:
        (answer,) = self.client.ask(messages.Unsubscribe("watched:x", 3))
        self.assertEqual(messages.Done("unsubscribe", "watched:x", 3), answer)
        (left,) = self.other.heard()
        self.assertEqual(self.client.session.info, left.info)
        publish(self.world, b"1", channel="watched:x")
        self.assertEqual(([], [b"1"]), (self.client.heard(), self.other.published()))
        self.assertEqual([("unsubscribe", "watched:x", 0)], self.world.fake_hooks.calls[-1:])

    def test_again_is_no_error(self) -> None:
        self.client.ask(messages.Unsubscribe("watched:x", 3))
        for channel in ("watched:x", "nowhere:x", "y"):
            (answer,) = self.client.ask(messages.Unsubscribe(channel, 4))
            self.assertEqual(messages.Done("unsubscribe", channel, 4), answer)
        self.assertEqual(1, len([call for call in self.world.fake_hooks.calls if call[0] == "unsubscribe"]))

    def test_by_the_server(self) -> None:
        Outcome(self.world.node.control.unsubscribe(user="alice", channel="watched:x"))
        (told,) = self.client.heard()
        self.assertEqual(("watched:x", 2000), (told.channel, told.why.code))
        self.assertEqual(["Left"], [type(one).__name__ for one in self.other.heard()])
        self.assertEqual([("unsubscribe", "watched:x", 2000)], self.world.fake_hooks.calls[-1:])
        self.client.subscribe("watched:x")

    def test_with_the_connection(self) -> None:
        self.client.leave()
        self.assertEqual(["Left"], [type(one).__name__ for one in self.other.heard()])
        self.assertNotIn("unsubscribe", [call[0] for call in self.world.fake_hooks.calls])

    def test_last_one_leaves_the_broker(self) -> None:
        self.client.leave()
        self.assertEqual({"watched:x"}, self.broker.listening)
        self.other.leave()
        self.assertEqual(set(), self.broker.listening)

    def test_while_user_code_is_told(self) -> None:
        """The client may subscribe again before user code is done with the first time."""
        self.world.fake_hooks.outcomes["unsubscribe"] = Deferred()
        Outcome(self.world.node.control.unsubscribe(user="alice", channel="watched:x"))
        self.client.heard()
        self.client.subscribe("watched:x")
        publish(self.world, b"1", channel="watched:x")
        self.assertEqual([b"1"], self.client.published())

    def test_failure_of_user_code_is_reported(self) -> None:
        self.world.fake_hooks.outcomes["unsubscribe"] = ZeroDivisionError()
        (answer,) = self.client.ask(messages.Unsubscribe("watched:x", 3))
        self.assertEqual(messages.Done("unsubscribe", "watched:x", 3), answer)
        self.assertEqual(["an unsubscribe handler failed"], [what for what, _ in self.world.reports])

    def test_nothing_follows_even_of_the_same_publication(self) -> None:
        """A client that is cut in a delivery takes another one's subscription with it: user code did that."""
        first = Talker(self.world, dialect=ObjectDialect(size=9000))
        last = Talker(self.world, "b")
        for one in (first, last):
            one.subscribe("y")
        world = self.world

        class Cutting(type(world.fake_hooks)):  # type: ignore[misc]
            async def close(self, session: Any, disconnect: Any) -> None:
                await world.node.control.unsubscribe_session(last.session, "y")

        world.node.hooks = Cutting()
        first.transport.close = lambda disconnect: first.session.ended(disconnect)  # type: ignore[method-assign]
        first.session.blocked()
        publish(world, b"1", channel="y")
        publish(world, b"2", channel="y")
        self.assertEqual(["Message", "Unsubscribed"], [type(one).__name__ for one in last.heard()])


class RefreshTests(SynchronousTestCase):
    """A subscription token that runs out in 60 seconds; the client gets 25 more to renew it."""

    def setUp(self) -> None:
        self.world = World(namespaces=NAMESPACES)
        grant(self.world, "t", "closed:x", expires_at=START + 60)
        self.client = Talker(self.world)
        self.client.subscribe("closed:x", token="t")

    def test_runs_out(self) -> None:
        self.world.pass_time(84.75)
        self.assertEqual([], self.client.heard())
        self.world.pass_time(0.25)
        (told,) = self.client.heard()
        self.assertEqual(("closed:x", 2501, 0), (told.channel, told.why.code, self.client.closed))
        self.assertEqual([("unsubscribe", "closed:x", 2501)], self.world.fake_hooks.calls[-1:])

    def test_no_grace_for_who_is_not_told(self) -> None:
        """Protocols without a handshake."""
        client = Talker(self.world, None, dialect=ObjectDialect(handshake=False), identity=self.client.session.identity)
        client.subscribe("closed:x", token="t")
        self.world.pass_time(60)
        self.assertEqual([2501], [one.why.code for one in client.heard(Unsubscribed)])

    def test_refresh_moves_the_end(self) -> None:
        self.world.pass_time(80)
        grant(self.world, "newer", "closed:x", expires_at=START + 200, info=b"1")
        (answer,) = self.client.ask(SubscriptionRefresh("closed:x", "newer", 3))
        self.assertEqual(messages.Refreshed(120, "closed:x", 3), answer)
        self.assertEqual(b"1", self.client.session.info_in("closed:x").channel_info)
        self.world.pass_time(120 + 24.75)
        self.assertEqual([], self.client.heard())
        self.world.pass_time(0.25)
        self.assertEqual([2501], [one.why.code for one in self.client.heard(Unsubscribed)])

    def test_refresh_for_ever(self) -> None:
        grant(self.world, "lasting", "closed:x")
        (answer,) = self.client.ask(SubscriptionRefresh("closed:x", "lasting", 3))
        self.assertIs(None, answer.expires_in)
        self.world.pass_time(200)
        self.assertEqual([], self.client.heard())

    def test_refused(self) -> None:
        """Error or close."""
        grant(self.world, "y", "closed:y")
        grant(self.world, "bob's", "closed:x", user="bob")
        for channel, token, error, closed in (
            ("closed:y", "y", 103, 0),
            ("closed:x", "", 107, 0),
            ("closed:x", "expired", 109, 0),
            ("closed:x", "wrong", 0, 3500),
            ("closed:x", "y", 0, 3500),
            ("closed:x", "bob's", 0, 3500),
        ):
            client = Talker(self.world)
            client.subscribe("closed:x", token="t")
            found = client.refused(SubscriptionRefresh(channel, token, 3)), client.closed
            self.assertEqual((error, closed), found, (channel, token))

    def test_the_earlier_end_counts(self) -> None:
        """Of two subscriptions, whichever was made first."""
        grant(self.world, "short", "closed:y", expires_at=START + 10)
        self.client.subscribe("closed:y", token="short")
        self.world.pass_time(35)
        self.assertEqual(["closed:y"], [one.channel for one in self.client.heard(Unsubscribed)])
        self.world.pass_time(50)
        self.assertEqual(["closed:x"], [one.channel for one in self.client.heard(Unsubscribed)])
