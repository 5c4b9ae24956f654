"""What backends are told: each thing once, in order, and nothing that begins without its end."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc import errors
from realtime_svc.config import Namespace
from realtime_svc.core import messages
from realtime_svc.core.messages import Subscribe
from realtime_svc.engines.broker_memory import MemoryBroker
from realtime_svc.errors import ConnectionClosing
from realtime_svc.model import Grant, Identity, LifecycleEvent
from tests.core.talker import Outcome, Talker, UnreliableBroker, publish
from tests.fakes import START, FakeLifecycle, World
from tests.fakes_engines import DelayingBroker
from tests.object_dialect import ObjectDialect

WATCHED = Namespace(history_size=10, history_ttl=60.0, recovery="always", presence=True, join_leave="always")
NAMESPACES = {"default": Namespace(), "watched": WATCHED, "closed": Namespace(subscribe=())}

Told = tuple[str, str, str]


class Case(SynchronousTestCase):
    """A backend that hears everything."""

    def setUp(self) -> None:
        self.backend = FakeLifecycle()
        self.broker = UnreliableBroker(Clock())
        self.world = self.world_with(self.broker)

    def world_with(self, broker: Any, **options: Any) -> World:
        return World(namespaces=NAMESPACES, lifecycle=self.backend, broker=broker, **options)

    def told(self) -> list[Told]:
        return self.backend.take()


class LifeTests(Case):
    """A life of a client."""

    def test_all_of_it(self) -> None:
        client = Talker(self.world)
        self.assertEqual([("connect", "", "alice")], self.told())
        client.subscribe("x")
        self.assertEqual([("occupied", "x", ""), ("subscribe", "x", "alice")], self.told())
        other = Talker(self.world, "b")
        other.subscribe("x")
        self.assertEqual([("connect", "", "bob"), ("subscribe", "x", "bob")], self.told())
        client.ask(messages.Unsubscribe("x", 3))
        self.assertEqual([("unsubscribe", "x", "alice")], self.told())
        other.leave()
        self.assertEqual([("unsubscribe", "x", "bob"), ("vacated", "x", ""), ("disconnect", "", "bob")], self.told())
        client.leave()
        self.assertEqual([("disconnect", "", "alice")], self.told())

    def test_details(self) -> None:
        """Who, when, and why it ended."""
        self.world.fake_hooks.outcomes["subscribe"] = Grant(info=b"1")
        self.world.wall = START + 7.5
        client = Talker(self.world)
        client.subscribe("x")
        client.session.close(errors.FORCED)
        client.leave()
        info = client.session.info
        there = info._replace(channel_info=b"1")
        code, reason = errors.FORCED
        self.assertEqual(
            [
                LifecycleEvent("connect", START + 7.5, "", info),
                LifecycleEvent("occupied", START + 7.5, "x"),
                LifecycleEvent("subscribe", START + 7.5, "x", there),
                LifecycleEvent("unsubscribe", START + 7.5, "x", there, code, reason),
                LifecycleEvent("vacated", START + 7.5, "x"),
                LifecycleEvent("disconnect", START + 7.5, "", info, code, reason),
            ],
            self.backend.events,
        )

    def test_why_a_subscription_ended(self) -> None:
        def expire(client: Talker) -> None:
            self.world.pass_time(30)

        def lose(client: Talker) -> None:
            self.broker.losing = 1
            publish(self.world, b"1", b"2", channel="watched:x")

        for code, end in (
            (0, lambda client: client.say(messages.Unsubscribe("watched:x", 3))),
            (2000, lambda client: Outcome(self.world.node.control.unsubscribe(user="alice", channel="watched:x"))),
            (2500, lose),
            (2501, expire),
            (1006, lambda client: client.leave()),
            (3005, lambda client: client.session.close(errors.EXPIRED)),
        ):
            self.setUp()
            self.world.fake_hooks.outcomes["subscribe"] = Grant(expires_at=START + 5)
            client = Talker(self.world)
            client.subscribe("watched:x")
            end(client)
            found = [event.code for event in self.backend.events if event.kind == "unsubscribe"]
            self.assertEqual([code], found)

    def test_only_what_is_wanted(self) -> None:
        self.backend.kinds = frozenset(("occupied", "disconnect"))
        client = Talker(self.world)
        client.subscribe("x")
        client.leave()
        self.assertEqual([("occupied", "x", ""), ("disconnect", "", "alice")], self.told())

    def test_no_backend(self) -> None:
        client = Talker(World())
        client.subscribe("x")
        client.leave()

    def test_client_that_is_told_to_go_and_goes(self) -> None:
        """Its subscriptions end at once, its connection when it is gone; each is told once."""
        client = Talker(self.world)
        client.subscribe("x")
        self.told()
        client.session.close(errors.FORCED)
        client.session.close(errors.SLOW)
        self.assertEqual([("unsubscribe", "x", "alice"), ("vacated", "x", "")], self.told())
        client.leave()
        client.leave()
        self.assertEqual([("disconnect", "", "alice")], self.told())


class WayInTests(Case):
    """Who is not in is not told of."""

    def test_never_in(self) -> None:
        unheard = Talker(self.world, None)
        unheard.leave()
        for token in ("wrong", "expired"):
            Talker(self.world, token).leave()
        self.world.fake_hooks.outcomes["connect"] = ConnectionClosing(errors.PERMISSION_DENIED)
        Talker(self.world).leave()
        self.assertEqual([], self.told())

    def test_left_while_user_code_thought(self) -> None:
        gate: Deferred[None] = Deferred()
        self.world.fake_hooks.outcomes["connect"] = gate
        client = Talker(self.world)
        client.leave()
        gate.callback(None)
        self.assertEqual([], self.told())

    def test_first_subscriptions_come_after_it(self) -> None:
        """But for what is about the channel, which does not ask who it was."""
        self.world.authenticator.tokens["a"] = Identity("alice", subscriptions={"x": Grant(), "y": Grant()})
        Talker(self.world)
        self.assertEqual(
            [
                ("occupied", "x", ""),
                ("occupied", "y", ""),
                ("connect", "", "alice"),
                ("subscribe", "x", "alice"),
                ("subscribe", "y", "alice"),
            ],
            self.told(),
        )

    def test_left_while_its_first_subscriptions_were_made(self) -> None:
        broker = DelayingBroker(MemoryBroker(Clock()))
        world = self.world_with(broker)
        world.authenticator.tokens["a"] = Identity("alice", subscriptions={"x": Grant(), "y": Grant()})
        client = Talker(world)
        broker.release()
        client.leave()
        broker.release_all()
        told = self.told()
        self.assertEqual({"occupied", "vacated"}, {kind for kind, _, _ in told})
        for channel in {channel for _, channel, _ in told}:
            self.assertEqual(["occupied", "vacated"], [kind for kind, name, _ in told if name == channel])


class NeverLiveTests(Case):
    """A subscription that never was is not told of, nor that it ended."""

    def test_refused(self) -> None:
        client = Talker(self.world)
        self.told()
        for channel in ("closed:x", "nowhere:x", "no channel"):
            client.refused(Subscribe(channel, 2))
        self.assertEqual([], self.told())

    def test_ended_while_it_was_made(self) -> None:
        """By the server, with the connection, by a broker that fails."""

        def by_server(world: World, client: Talker) -> None:
            Outcome(world.node.control.unsubscribe_session(client.session, "watched:x"))

        def with_connection(world: World, client: Talker) -> None:
            client.leave()

        def by_failure(world: World, client: Talker) -> None:
            self.broker.failing = {"history", "subscribe"}

        for end in (by_server, with_connection, by_failure):
            self.broker.failing = set()
            broker = DelayingBroker(self.broker, effects=True)
            world = self.world_with(broker)
            client = Talker(world)
            self.told()
            client.say(Subscribe("watched:x", 2))
            end(world, client)
            broker.release_all()
            told = [one for one in self.told() if one[0] != "disconnect"]
            self.assertEqual([("occupied", "watched:x", ""), ("vacated", "watched:x", "")], told, end.__name__)
            self.assertEqual([], self.broker.announced, end.__name__)

    def test_lost_while_it_was_made(self) -> None:
        broker = DelayingBroker(self.broker)
        world = self.world_with(broker)
        client = Talker(world)
        self.told()
        client.say(Subscribe("watched:x", 2))
        broker.release()
        self.broker.losing = 1
        publish(world, b"1", b"2", channel="watched:x")
        broker.release_all()
        self.assertEqual([2500], [one.why.code for one in client.heard(messages.Unsubscribed)])
        self.assertEqual([("occupied", "watched:x", ""), ("vacated", "watched:x", "")], self.told())
        self.assertEqual([], self.broker.announced)

    def test_slow_client_cut_by_what_waited(self) -> None:
        broker = DelayingBroker(self.broker)
        world = self.world_with(broker, queue_size=1000)
        client = Talker(world, dialect=ObjectDialect(size=300))
        self.told()
        client.say(Subscribe("watched:x", 2))
        broker.release()
        publish(world, *[b"1"] * 9, channel="watched:x")
        client.session.blocked()
        broker.release_all()
        self.assertEqual(3008, client.closed)
        self.assertEqual([("occupied", "watched:x", ""), ("vacated", "watched:x", "")], self.told())
        self.assertEqual([], self.broker.announced)


class OccupiedTests(Case):
    """A channel is occupied from its first subscriber to its last."""

    def test_many_times(self) -> None:
        clients = [Talker(self.world) for _ in range(3)]
        self.told()
        for _ in range(2):
            for client in clients:
                client.subscribe("x")
            for client in clients:
                client.ask(messages.Unsubscribe("x", 3))
            kinds = [kind for kind, _, _ in self.told()]
            self.assertEqual(["occupied", *["subscribe"] * 3, *["unsubscribe"] * 3, "vacated"], kinds)

    def test_next_one_comes_while_the_last_one_leaves(self) -> None:
        """The broker has not answered yet."""
        broker = DelayingBroker(self.broker)
        world = self.world_with(broker)
        first, second = Talker(world), Talker(world, "b")
        first.say(Subscribe("x", 2))
        broker.release_all()
        self.told()
        first.say(messages.Unsubscribe("x", 3))
        second.say(Subscribe("x", 2))
        broker.release_all()
        self.assertEqual(
            [("unsubscribe", "x", "alice"), ("vacated", "x", ""), ("occupied", "x", ""), ("subscribe", "x", "bob")],
            self.told(),
        )
        self.assertEqual({"x"}, self.broker.listening)
