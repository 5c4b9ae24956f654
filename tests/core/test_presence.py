"""No ghosts: whatever clients and the server do while the engines answer late, who is present is who is subscribed."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc import errors
from realtime_svc.config import Namespace
from realtime_svc.core import messages
from realtime_svc.core.messages import Connect, Subscribe, Unsubscribe
from realtime_svc.model import Grant, Identity
from tests.core.talker import Outcome, Talker, UnreliableBroker, UnreliablePresence, publish
from tests.fakes import FakeLifecycle, World
from tests.fakes_engines import DelayingBroker, DelayingPresence

NAMESPACE = Namespace(history_size=10, history_ttl=60.0, recovery="always", presence=True, join_leave="always")
CHANNELS = ("x", "y")
CLIENTS = 3
OPENING, CLOSING = {"join", "subscribe", "occupied"}, {"leave", "unsubscribe", "vacated"}


class Stage:
    """Three clients, two channels, and engines whose answers (or effects) come when the test says so.

    Effects come in the order of the calls, as the engines promise; answers come in any.
    """

    def __init__(self, effects: bool) -> None:
        self.effects = effects
        self.backend = FakeLifecycle("subscribe", "unsubscribe", "occupied", "vacated")
        self.memory, self.members = UnreliableBroker(Clock()), UnreliablePresence()
        self.broker = DelayingBroker(self.memory, effects=effects)
        self.presence = DelayingPresence(self.members, effects=effects)
        self.world = World(
            namespaces={"default": NAMESPACE}, broker=self.broker, presence=self.presence, lifecycle=self.backend
        )
        subscriptions = dict.fromkeys(CHANNELS, Grant())
        self.world.authenticator.tokens["both"] = Identity("alice", subscriptions=subscriptions)
        self.clients = [Talker(self.world) for _ in range(CLIENTS)]

    def do(self, what: str, number: int, channel: str) -> None:
        client = self.clients[number]
        control = self.world.node.control
        match what:
            case "subscribe":
                client.say(Subscribe(channel, 2))
            case "unsubscribe":
                client.say(Unsubscribe(channel, 3))
            case "server subscribes":
                Outcome(control.subscribe_session(client.session, channel, Grant()))
            case "server subscribes without presence":
                Outcome(control.subscribe_session(client.session, channel, Grant(presence=False, join_leave=False)))
            case "server unsubscribes":
                Outcome(control.unsubscribe_session(client.session, channel))
            case "leave":
                client.leave()
            case "close":
                client.session.close(errors.FORCED)
            case "reconnect" | "reconnect with subscriptions":
                client.leave()
                client = self.clients[number] = Talker(self.world, None)
                client.say(Connect("both" if "with" in what else "a", id=1))
            case "publish":
                publish(self.world, b"1", channel=channel)
            case "lose":
                self.memory.losing = 1
                publish(self.world, b"1", b"2", channel=channel)
            case _:
                self.release(self.broker if what == "broker" else self.presence, number)

    def release(self, engine: DelayingBroker | DelayingPresence, number: int) -> None:
        if engine.waiting:
            number = 0 if self.effects else number % len(engine.waiting)
            turn = engine.waiting[number]
            del engine.waiting[number]
            turn.callback(None)

    def settle(self) -> None:
        while self.broker.waiting or self.presence.waiting:
            self.broker.release_all()
            self.presence.release_all()

    def live(self, *, present: bool = False) -> dict[str, set[str]]:
        """The clients subscribed to each channel."""
        found: dict[str, set[str]] = {}
        for name, channel in self.world.node.hub.channels.items():
            for session, subscription in channel.subscriptions.items():
                assert subscription.line is None and not subscription.ended, "it is being made for ever"
                assert session.channels[name] is subscription and not session.closing
                if subscription.presence or not present:
                    found.setdefault(name, set()).add(session.id)
        return found

    def check(self) -> None:
        self.settle()
        live, present = self.live(), self.live(present=True)
        members = {name: set(self.members_of(name)) for name in CHANNELS}
        assert {name: ids for name, ids in members.items() if ids} == present, "presence"
        assert self.world.instruments.subscriptions == sum(map(len, live.values())), "the count"
        assert self.memory.listening == set(live), "what the broker believes"
        announced = [(what, (channel, client)) for what, channel, client in self.memory.announced]
        assert open_pairs(announced) == {(name, one) for name, ids in present.items() for one in ids}, (
            "joins and leaves"
        )
        told = [(one.kind, (one.channel, one.client.client)) for one in self.backend.events if one.client]
        assert open_pairs(told) == {(name, one) for name, ids in live.items() for one in ids}, "backends"
        assert open_pairs([(one.kind, one.channel) for one in self.backend.events if not one.client]) == set(live)
        assert not self.world.reports, self.world.reports

    def members_of(self, channel: str) -> dict[str, Any]:
        members: dict[str, Any] = Outcome(self.members.members(channel)).result
        return members


def open_pairs(events: list[tuple[str, Any]]) -> set[Any]:
    """What has begun and not ended; nothing begins twice, and nothing ends that did not begin."""
    state: dict[Any, bool] = defaultdict(bool)
    for kind, key in events:
        assert kind in OPENING | CLOSING
        assert state[key] is (kind in CLOSING), (kind, key, events)
        state[key] = kind in OPENING
    return {key for key, is_open in state.items() if is_open}


ACTIONS = (
    "subscribe",
    "unsubscribe",
    "server subscribes",
    "server subscribes without presence",
    "server unsubscribes",
    "leave",
    "close",
    "reconnect",
    "reconnect with subscriptions",
    "publish",
    "lose",
    "broker",
    "presence",
)
STEP = st.tuples(
    st.one_of(st.sampled_from(ACTIONS), st.sampled_from(("broker", "presence", "subscribe"))),
    st.integers(0, CLIENTS - 1),
    st.sampled_from(CHANNELS),
)
Step = tuple[str, int, str]


class GhostTests(SynchronousTestCase):
    """Any order."""

    @settings(max_examples=300, deadline=None)
    @given(st.booleans(), st.lists(STEP, max_size=40))
    @example(
        False,
        [("reconnect with subscriptions", 0, "x"), *[("broker", 0, "x"), ("presence", 0, "x")] * 3, ("leave", 0, "x")],
    )
    def test_whatever_happens(self, effects: bool, steps: list[Step]) -> None:
        stage = Stage(effects)
        for step in steps:
            stage.do(*step)
        stage.check()

    def test_every_end_at_every_moment(self) -> None:
        """A subscribe (by the client, by the server, with the connection) and what ends it, after any number of
        answers; then the same client comes again, or not."""
        begins = ("subscribe", "server subscribes", "reconnect with subscriptions")
        ends = ("unsubscribe", "server unsubscribes", "leave", "close", "reconnect", "lose")
        for effects in (False, True):
            for begin in begins:
                for end in ends:
                    for moment in range(12):
                        for again in ("", "subscribe", "server subscribes"):
                            stage = Stage(effects)
                            stage.do(begin, 0, "x")
                            for number in range(moment):
                                stage.do(("broker", "presence")[number % 2], 0, "x")
                            stage.do(end, 0, "x")
                            if again:
                                stage.do(again, 0, "x")
                            try:
                                stage.check()
                            except AssertionError as error:
                                raise AssertionError(effects, begin, end, moment, again) from error

    def test_second_subscription_overtakes_the_first(self) -> None:
        """The first was ended by the server while it was made; what clears it up does not touch the second."""
        for released in range(6):
            stage = Stage(False)
            stage.do("server subscribes", 0, "x")
            for number in range(released):
                stage.do(("broker", "presence")[number % 2], 0, "x")
            stage.do("server unsubscribes", 0, "x")
            stage.do("server subscribes", 0, "x")
            stage.check()
            self.assertEqual({"x": {stage.clients[0].session.id}}, stage.live())

    def test_everybody_leaves(self) -> None:
        for effects in (False, True):
            stage = Stage(effects)
            for number in range(CLIENTS):
                for channel in CHANNELS:
                    stage.do("subscribe", number, channel)
                    stage.do("presence", 0, channel)
            for number in range(CLIENTS):
                stage.do("leave", number, "x")
            stage.check()
            self.assertEqual(({}, 0, set()), (stage.live(), stage.members.channels, stage.memory.listening))


class ViewTests(SynchronousTestCase):
    """What clients see of each other."""

    def setUp(self) -> None:
        self.stage = Stage(False)
        self.stage.settle()

    def test_members_are_there_when_they_are_announced(self) -> None:
        """And gone when it is announced that they are."""
        stage = self.stage
        seen: list[tuple[str, bool]] = []
        receive = stage.memory._receive

        def look(event: Any) -> None:
            if isinstance(event, messages.Joined | messages.Left) or hasattr(event, "info"):
                there = event.info.client in stage.members_of(event.channel)
                seen.append((type(event).__name__, there))
            receive(event)

        stage.memory._receive = look
        for what in ("subscribe", "unsubscribe"):
            stage.do(what, 0, "x")
            stage.settle()
        self.assertEqual([("Join", True), ("Leave", False)], seen)

    def test_client_that_unsubscribed_does_not_see_itself(self) -> None:
        """Its next command finds the presence as it left it, however slow the engine is."""
        world = World(
            namespaces={"default": Namespace(presence=True, read_presence=("authenticated",))},
            presence=(store := DelayingPresence(UnreliablePresence(), effects=True)),
        )
        client = Talker(world)
        client.say(Subscribe("x", 2), Unsubscribe("x", 3), messages.Presence("x", 4))
        store.release_all()
        (answer,) = client.heard(messages.PresenceResult)
        self.assertEqual({}, answer.members)

    def test_one_user_with_several_clients(self) -> None:
        for number in range(CLIENTS):
            self.stage.do("subscribe", number, "x")
        self.stage.settle()
        self.assertEqual((CLIENTS, 1), Outcome(self.stage.members.counts("x")).result)
        self.stage.do("leave", 1, "x")
        self.stage.settle()
        self.assertEqual((CLIENTS - 1, 1), Outcome(self.stage.members.counts("x")).result)

    def test_engine_that_fails_keeps_nobody_from_going(self) -> None:
        self.stage.do("subscribe", 0, "x")
        self.stage.settle()
        self.stage.members.failing = {"remove"}
        self.stage.do("leave", 0, "x")
        self.stage.settle()
        self.assertEqual({}, self.stage.live())
        self.assertEqual(["join", "leave"], [what for what, _, _ in self.stage.memory.announced])
        self.assertEqual(["leaving the presence of a channel failed"], [what for what, _ in self.stage.world.reports])
