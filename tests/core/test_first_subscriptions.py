"""What the server subscribes a client to when it connects: its own channel, its token's, those of user code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.core.messages import Connect, Connected, Message, Subscribe
from realtime_svc.core.state import State
from realtime_svc.engines.broker_memory import MemoryBroker
from realtime_svc.model import Grant, Identity, StreamPosition
from tests.core.talker import NAMESPACES_FOR_ALL, Outcome, Talker, UnreliableBroker, kinds, publish
from tests.fakes import START, World
from tests.fakes_engines import DelayingBroker


class FirstSubscriptionsTests(SynchronousTestCase):
    """What the server subscribes a client to when it connects."""

    def world_with(self, grants: Mapping[str, Grant], **options: Any) -> World:
        world = World(namespaces=NAMESPACES_FOR_ALL, channels_per_client=10, **options)
        world.authenticator.tokens["a"] = Identity("alice", subscriptions=grants)
        return world

    def connect(self, world: World, **options: Any) -> tuple[Talker, Connected]:
        client = Talker(world, None)
        answer = client.ask(Connect("a", id=1, **options))[0]
        assert isinstance(answer, Connected)
        return client, answer

    def test_sources(self) -> None:
        """The personal channel, the token's, those of user code, which has the last word."""
        world = self.world_with({"a": Grant(data=b"1"), "b": Grant(data=b"2")}, personal_channel=True)
        world.fake_hooks.connect_subscriptions = {"b": Grant(data=b"3"), "c": Grant(data=b"4")}
        client, answer = self.connect(world)
        told = {channel: result.data for channel, result in answer.subscriptions.items()}
        self.assertEqual({"#alice": None, "a": b"1", "b": b"3", "c": b"4"}, told)
        self.assertEqual(set(told), set(client.session.channels))

    def test_personal_channel_is_personal(self) -> None:
        """A list of users in a user's id would open it to others."""
        for user, channels in (("alice", {"#alice"}), ("", set()), ("alice,bob", set()), ("a b", set())):
            world = World(personal_channel=True, anonymous=True)
            world.authenticator.tokens["a"] = Identity(user)
            self.assertEqual(channels, set(Talker(world).session.channels), user)

    def test_permissions_do_not_hold_for_them(self) -> None:
        world = self.world_with({"$secret": Grant(), "room#bob": Grant()})
        self.assertEqual({"$secret", "room#bob"}, set(self.connect(world)[1].subscriptions))

    def test_one_that_can_not_be_made_is_left_out(self) -> None:
        world = self.world_with({"a": Grant(), "nowhere:b": Grant(), "no channel": Grant(), "c": Grant()})
        client, answer = self.connect(world)
        self.assertEqual((0, {"a", "c"}), (client.closed, set(answer.subscriptions)))
        self.assertEqual((1, 1), (world.instruments.errors[102], world.instruments.errors[107]))
        self.assertEqual(["subscription"] * 2, [kind for kind, _ in world.notes])

    def test_recovery(self) -> None:
        """Offsets asked for in the connect command: whole, refused, and not asked for."""
        world = self.world_with({f"log:{name}": Grant() for name in "abc"})
        for name in "abc":
            publish(world, b"1", b"2", b"3", channel=f"log:{name}")
        epoch = self.connect(world)[1].subscriptions["log:a"].position.epoch  # type: ignore[union-attr]
        recover = {
            "log:a": StreamPosition(1, epoch),
            "log:b": StreamPosition(1, "gone"),
            "log:z": StreamPosition(1, ""),
        }
        _, answer = self.connect(world, recover=recover)
        found = {
            channel[-1]: (
                result.was_recovering,
                result.recovered,
                result.position and result.position.offset,
                [message.publication.data for message in result.messages],
            )
            for channel, result in answer.subscriptions.items()
        }
        expected = {"a": (True, True, 1, [b"2", b"3"]), "b": (True, False, 3, []), "c": (False, False, 3, [])}
        self.assertEqual(expected, found)

    def test_recovery_of_all_together_is_bounded(self) -> None:
        """They come in one answer, which is not to be larger than what may wait for a client."""
        world = self.world_with({f"log:{name}": Grant() for name in "abc"}, queue_size=1000)
        for name in "abc":
            publish(world, *[b'"%s"' % (b"x" * 198)] * 2, channel=f"log:{name}")
        recover = {f"log:{name}": StreamPosition(0, "") for name in "abc"}
        _, answer = self.connect(world, recover=recover)
        self.assertEqual([True, True, False], [result.recovered for result in answer.subscriptions.values()])

    def test_nothing_is_missed_while_it_is_answered(self) -> None:
        """Publications of any moment, whatever the broker takes: after the answer, each once, in order."""
        for before in range(4):
            broker = DelayingBroker(MemoryBroker(Clock()))
            world = self.world_with({"log:a": Grant(), "log:b": Grant()}, broker=broker)
            client = Talker(world, None)
            client.say(Connect("a", id=1))
            for _ in range(before):
                broker.release()
            for channel in ("log:a", "log:b"):
                publish(world, b"1", b"2", channel=channel)
            broker.release_all()
            answer, *others = client.heard(Connected, Message)
            for channel in ("log:a", "log:b"):
                start = answer.subscriptions[channel].position.offset
                mine = [one.publication.offset for one in others if one.publication.channel == channel]
                self.assertEqual([1, 2], [*range(1, start + 1), *mine], (before, channel))

    def test_client_leaves_while_they_are_made(self) -> None:
        """At any moment: nothing is left of it."""
        moments = 0
        while True:
            broker = DelayingBroker(MemoryBroker(Clock()))
            world = self.world_with({"log:a": Grant(), "log:b": Grant()}, broker=broker)
            client = Talker(world, None)
            client.say(Connect("a", id=1))
            for _ in range(moments):
                broker.release()
            done = not broker.waiting
            client.leave()
            broker.release_all()
            self.assertEqual(({}, 0), (world.node.hub.channels, world.instruments.subscriptions), moments)
            self.assertEqual(0, world.node.presence_store.channels, moments)  # type: ignore[attr-defined]
            self.assertEqual([], world.reports)
            if done:
                break
            moments += 1
        self.assertGreaterEqual(moments, 4)

    def test_one_that_ends_before_the_answer_is_not_in_it(self) -> None:
        broker = DelayingBroker(MemoryBroker(Clock()))
        world = self.world_with({"log:a": Grant(), "log:b": Grant()}, broker=broker)
        client = Talker(world)
        while "log:b" not in client.session.channels:
            broker.release()
        Outcome(world.node.control.unsubscribe_session(client.session, "log:a"))
        broker.release_all()
        (answer,) = client.heard(Connected)
        self.assertEqual(["log:b"], list(answer.subscriptions))
        self.assertEqual({}, Outcome(world.node.publishing.presence("log:a")).result)

    def test_broker_that_fails_keeps_nobody_out(self) -> None:
        for method in ("subscribe", "history", "announce"):
            broker = UnreliableBroker(Clock())
            broker.failing.add(method)
            world = self.world_with({"log:a": Grant()}, broker=broker)
            client, answer = self.connect(world)
            made = method == "announce"
            self.assertEqual(made, "log:a" in answer.subscriptions, method)
            self.assertEqual([], client.heard(), "a second answer")
            self.assertEqual(int(made), world.instruments.subscriptions, method)
            self.assertIs(State.OPEN, client.session.state)

    def test_nobody_is_half_in(self) -> None:
        """A fault of our own: the connection ends, and nothing is left of it."""
        broker = UnreliableBroker(Clock())
        broker.failing, broker.failure = {"history"}, ZeroDivisionError()
        world = self.world_with({"x": Grant(), "log:a": Grant()}, broker=broker)
        client = Talker(world, None)
        client.say(Connect("a", id=1), Subscribe("y", 2))
        self.assertEqual((3004, ["Bye"]), (client.closed, kinds(client.heard())))
        client.leave()
        self.assertEqual(({}, 0), (world.node.hub.channels, world.instruments.subscriptions))
        self.assertEqual(["a client's connect failed"], [what for what, _ in world.reports])

    def test_loss_ends_the_connection(self) -> None:
        """The client can't subscribe again by itself: 3010, and it comes back with its position."""
        broker = UnreliableBroker(Clock())
        world = self.world_with({"log:a": Grant()}, broker=broker)
        client, _ = self.connect(world)
        broker.losing = 1
        publish(world, b"1", b"2", channel="log:a")
        self.assertEqual((3010, []), (client.closed, client.published()))

    def test_one_that_runs_out_ends_the_connection(self) -> None:
        world = self.world_with({"x": Grant(expires_at=START + 10)})
        client, answer = self.connect(world)
        self.assertEqual(10, answer.subscriptions["x"].expires_in)
        world.pass_time(34.75)
        self.assertEqual(0, client.closed)
        world.pass_time(0.25)
        self.assertEqual(3006, client.closed)
