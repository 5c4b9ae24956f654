"""What the server does to its clients from outside."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc import errors
from realtime_svc.config import Namespace
from realtime_svc.core import messages
from realtime_svc.core.messages import Connect, ServerSubscribed, Unsubscribed
from realtime_svc.engines.broker_memory import MemoryBroker
from realtime_svc.errors import Disconnect, ErrorCode, ReplyError
from realtime_svc.model import Grant, Identity, StreamPosition, SubscriptionClaims
from tests.core.talker import Outcome, Talker, publish
from tests.fakes import START, World
from tests.fakes_engines import DelayingBroker

NAMESPACES = {
    "default": Namespace(),
    "log": Namespace(history_size=10, history_ttl=60.0, presence=True, recovery="always"),
    "closed": Namespace(subscribe=()),
}


class Case(SynchronousTestCase):
    """Alice twice, once over an emulated connection, Bob, and an anonymous client."""

    def setUp(self) -> None:
        self.world = World(namespaces=NAMESPACES, anonymous=True)
        self.control = self.world.node.control
        self.alice, self.emulated = Talker(self.world), Talker(self.world, emulated=True)
        self.bob, self.nobody = Talker(self.world, "b"), Talker(self.world, "nobody")
        self.all = {"alice": self.alice, "emulated": self.emulated, "bob": self.bob, "nobody": self.nobody}

    def cases(self) -> list[tuple[dict[str, Any], set[str]]]:
        """Whom the arguments mean."""
        alice, bob = self.alice.session.id, self.bob.session.id
        return [
            ({"user": "alice"}, {"alice", "emulated"}),
            ({"user": "bob"}, {"bob"}),
            ({"user": "nobody is called so"}, set()),
            ({"user": "alice", "client": alice}, {"alice"}),
            ({"user": "", "client": alice}, {"alice"}),
            ({"user": "alice", "client": bob}, set()),
            ({"user": "alice", "client": "unknown"}, set()),
            ({"user": "alice", "session": self.emulated.session.key}, {"emulated"}),
            ({"user": "bob", "session": self.emulated.session.key}, set()),
            ({"user": "alice", "session": "unknown"}, set()),
            ({"user": "", "client": self.nobody.session.id}, {"nobody"}),
        ]


class NamingTests(Case):
    """Whom a call is about."""

    def test_somebody_has_to_be_named(self) -> None:
        """Nobody at all is not everybody, nor all anonymous clients."""
        for work in (
            self.control.disconnect(user=""),
            self.control.subscribe(user="", channel="x", grant=Grant()),
            self.control.unsubscribe(user="", channel="x"),
            self.control.refresh(user=""),
        ):
            self.assertEqual(107, Outcome(work).refused)
        self.assertEqual([0] * 4, [one.closed for one in self.all.values()])


class DisconnectTests(Case):
    """Connections are closed."""

    def test_who_is_meant(self) -> None:
        for number in range(len(self.cases())):
            self.setUp()
            arguments, meant = self.cases()[number]
            self.assertEqual(0, Outcome(self.control.disconnect(**arguments)).refused)
            self.assertEqual(meant, {name for name, one in self.all.items() if one.closed}, arguments)

    def test_code_and_reason(self) -> None:
        for disconnect in (errors.FORCED, Disconnect(4100, "by"), errors.FORCED_RECONNECT):
            client = Talker(self.world)
            Outcome(self.control.disconnect(user="alice", client=client.session.id, disconnect=disconnect))
            self.assertEqual(disconnect, client.transport.closed)
        Outcome(self.control.disconnect(user="bob"))
        self.assertEqual(3503, self.bob.closed)

    def test_whitelist(self) -> None:
        Outcome(self.control.disconnect(user="alice", whitelist=[self.alice.session.id, "unknown"]))
        self.assertEqual((0, 3503), (self.alice.closed, self.emulated.closed))

    def test_who_is_on_the_way_in(self) -> None:
        """User code still thinks about it: it does not get in."""
        gate: Deferred[None] = Deferred()
        self.world.fake_hooks.outcomes["connect"] = gate
        client = Talker(self.world, None)
        client.say(Connect("b", id=1))
        Outcome(self.control.disconnect(user="bob"))
        gate.callback(None)
        self.assertEqual((3503, ["Bye"]), (client.closed, [type(one).__name__ for one in client.heard()]))


class SubscribeTests(Case):
    """Subscriptions are made and ended."""

    def test_who_is_meant(self) -> None:
        for number, (arguments, meant) in enumerate(self.cases()):
            channel = f"closed:{number}"
            self.assertEqual(0, Outcome(self.control.subscribe(channel=channel, grant=Grant(), **arguments)).refused)
            found = {name for name, one in self.all.items() if channel in one.session.channels}
            self.assertEqual(meant, found, arguments)
            self.assertEqual(0, Outcome(self.control.unsubscribe(channel=channel, **arguments)).refused)
            self.assertEqual((), self.world.node.hub.subscribers(channel))

    def test_clients_are_told(self) -> None:
        publish(self.world, b"1", b"2", channel="log:x")
        grant = Grant(data=b"3", expires_at=START + 9, recover=StreamPosition(1, ""))
        Outcome(self.control.subscribe(user="bob", channel="log:x", grant=grant))
        (told,) = self.bob.heard()
        self.assertIsInstance(told, ServerSubscribed)
        result = told.result
        self.assertEqual(("log:x", b"3", 9, True), (told.channel, result.data, result.expires_in, result.recovered))
        self.assertEqual([b"2"], [message.publication.data for message in result.messages])
        publish(self.world, b"4", channel="log:x")
        self.assertEqual([b"4"], self.bob.published())

    def test_one_that_is_there_stays_as_it_is(self) -> None:
        self.bob.subscribe("x")
        self.assertEqual(0, Outcome(self.control.subscribe(user="bob", channel="x", grant=Grant(data=b"1"))).refused)
        self.assertEqual([], self.bob.heard())

    def test_refused(self) -> None:
        for channel, number in (("no channel", 107), ("nowhere:x", 102)):
            for user in ("alice", "not here"):
                works = (
                    self.control.subscribe(user=user, channel=channel, grant=Grant()),
                    self.control.unsubscribe(user=user, channel=channel),
                )
                self.assertEqual([number] * 2, [Outcome(work).refused for work in works], (channel, user))

    def test_one_that_has_no_room_does_not_keep_it_from_the_others(self) -> None:
        for channel in "abc":
            self.alice.subscribe(channel)
        self.assertEqual(106, Outcome(self.control.subscribe(user="alice", channel="x", grant=Grant())).refused)
        self.assertEqual((self.emulated.session,), self.world.node.hub.subscribers("x"))

    def test_client_leaves_meanwhile(self) -> None:
        broker = DelayingBroker(MemoryBroker(Clock()))
        world = World(namespaces=NAMESPACES, broker=broker)
        first, second = Talker(world), Talker(world)
        outcome = Outcome(world.node.control.subscribe(user="alice", channel="log:x", grant=Grant()))
        second.leave()
        first.leave()
        broker.release_all()
        self.assertTrue(outcome.done)
        self.assertEqual(({}, 0), (world.node.hub.channels, world.instruments.subscriptions))

    def test_unsubscribed_are_told_once(self) -> None:
        self.bob.subscribe("x")
        for _ in range(2):
            Outcome(self.control.unsubscribe(user="bob", channel="x"))
        self.assertEqual([2000], [one.why.code for one in self.bob.heard(Unsubscribed)])
        publish(self.world, b"1")
        self.assertEqual([], self.bob.heard())


class RefreshTests(Case):
    """Connections last longer, or not."""

    def test_expired_now(self) -> None:
        Outcome(self.control.refresh(user="alice", client=self.alice.session.id, expired=True))
        self.assertEqual((3005, 0), (self.alice.closed, self.emulated.closed))

    def test_end_and_info(self) -> None:
        Outcome(self.control.refresh(user="alice", expire_at=START + 10, info=b'"i"'))
        self.assertEqual(b'"i"', self.alice.session.info.info)
        self.world.pass_time(20)
        Outcome(self.control.refresh(user="alice", client=self.alice.session.id, expire_at=None))
        self.assertEqual(b'"i"', self.alice.session.info.info, "it stays where none is given")
        self.world.pass_time(15)
        self.assertEqual((0, 3005, 0), (self.alice.closed, self.emulated.closed, self.bob.closed))

    def test_who_has_not_connected_yet_has_to_all_the_same(self) -> None:
        """Its request brought a credential, its connect has not come: the time for that runs on."""
        waiting = Talker(self.world, None, identity=Identity("alice"))
        Outcome(self.control.refresh(user="alice"))
        self.world.pass_time(20)
        self.assertEqual(3502, waiting.closed)


class RevokeTests(Case):
    """Tokens are good no more."""

    def setUp(self) -> None:
        super().setUp()
        tokens = self.world.authenticator.tokens
        tokens["one"] = Identity("carol", token_id="1")
        tokens["two"] = Identity("carol", token_id="2")
        self.one, self.other, self.same = (Talker(self.world, token) for token in ("one", "two", "one"))

    def closed(self) -> list[int]:
        return [client.closed for client in (self.one, self.other, self.same, self.bob, self.nobody)]

    def test_token(self) -> None:
        self.assertEqual(0, Outcome(self.control.revoke(token_id="1", expires_at=START + 5)).refused)
        self.assertEqual([3500, 0, 3500, 0, 0], self.closed())
        self.assertEqual(([("1", START + 5)], []), (self.world.revocations.tokens, self.world.revocations.users))

    def test_user(self) -> None:
        self.world.pass_time(3)
        self.assertEqual(0, Outcome(self.control.revoke(user="carol")).refused)
        self.assertEqual([3500, 3500, 3500, 0, 0], self.closed())
        self.assertEqual(
            ([], [("carol", START + 3, None)]), (self.world.revocations.tokens, self.world.revocations.users)
        )

    def test_token_that_nobody_uses(self) -> None:
        self.assertEqual(0, Outcome(self.control.revoke(token_id="3")).refused)
        self.assertEqual([0] * 5, self.closed())

    def test_token_after_a_refresh(self) -> None:
        """A connection speaks by the token it brought last."""
        self.one.ask(messages.Refresh("two", 2))
        Outcome(self.control.revoke(token_id="1"))
        self.assertEqual([0, 0, 3500, 0, 0], self.closed())

    def test_subscription_token(self) -> None:
        """What it opened, or keeps open, ends; the connections stay."""
        self.world.authenticator.subscriptions |= {
            "s1": SubscriptionClaims("carol", "$x", Grant(), token_id="s1"),
            "s2": SubscriptionClaims("carol", "$x", Grant(), token_id="s2"),
        }
        for client, token in ((self.one, "s1"), (self.other, "s2"), (self.same, "s1")):
            client.subscribe("$x", token=token)
        self.other.ask(messages.SubscriptionRefresh("$x", "s1", 3))
        self.same.ask(messages.SubscriptionRefresh("$x", "s2", 3))
        self.assertEqual(0, Outcome(self.control.revoke(token_id="s1")).refused)
        told = [client.heard() for client in (self.one, self.other, self.same)]
        gone = [messages.Unsubscribed("$x", errors.UNSUBSCRIBED_BY_SERVER)]
        self.assertEqual([gone, gone, []], told)
        self.assertEqual((self.same.session,), self.world.node.hub.subscribers("$x"))
        self.assertEqual([0] * 5, self.closed())

    def test_exactly_one_is_to_be_named(self) -> None:
        for token_id, user in (("", ""), ("1", "carol")):
            self.assertEqual(107, Outcome(self.control.revoke(token_id=token_id, user=user)).refused)
        self.assertEqual([0] * 5, self.closed())

    def test_no_room(self) -> None:
        def full(token_id: str, expires_at: float | None) -> None:
            raise ReplyError(ErrorCode.LIMIT_EXCEEDED)

        self.world.revocations.revoke_token = full  # type: ignore[method-assign]
        self.assertEqual(106, Outcome(self.control.revoke(token_id="1")).refused)
        self.assertEqual([0] * 5, self.closed(), "nobody is closed who could come back with it")


class LookTests(Case):
    """Channels and figures."""

    def test_channels(self) -> None:
        for client, channel in ((self.bob, "x"), (self.alice, "x"), (self.alice, "log:a.b")):
            Outcome(self.control.subscribe_session(client.session, channel, Grant()))
        Outcome(self.control.subscribe_session(self.emulated.session, "log:1", Grant()))
        for pattern, expected in (
            ("", {"x": 2, "log:a.b": 1, "log:1": 1}),
            ("*", {"x": 2, "log:a.b": 1, "log:1": 1}),
            ("log:*", {"log:a.b": 1, "log:1": 1}),
            ("log:?", {"log:1": 1}),
            ("log:[12]", {"log:1": 1}),
            ("log", {}),
            ("X", {}),
            ("x*x", {}),
            ("log:a?b", {"log:a.b": 1}),
            ("[", {}),
        ):
            self.assertEqual(expected, self.control.channels(pattern), pattern)
        self.bob.leave()
        self.assertEqual({"x": 1}, self.control.channels("x"))

    def test_pattern_is_bounded(self) -> None:
        self.assertEqual({}, self.control.channels("y" * 255))
        with self.assertRaises(ReplyError) as caught:
            self.control.channels("y" * 256)
        self.assertEqual(107, caught.exception.number)

    def test_pattern_costs_no_more_than_it_is_long(self) -> None:
        """A glob of stars against a name that almost matches: answered, not searched for ever."""
        self.alice.subscribe("a" * 255)
        self.assertEqual({}, self.control.channels("*a" * 127 + "b"))

    def test_info(self) -> None:
        self.alice.subscribe("x")
        self.alice.subscribe("y")
        self.bob.subscribe("x")
        self.world.clock.advance(90.5)
        info = self.control.info()
        self.assertEqual(self.world.node.uid, info.uid)
        self.assertEqual((4, 2, 2, 3, 90), (info.num_clients, info.num_users, *info[5:]))
        for client in self.all.values():
            client.leave()
        info = self.control.info()
        self.assertEqual((0, 0, 0, 0), (info.num_clients, info.num_users, info.num_channels, info.num_subs))
