"""The position check: a loss at the end of a stream is found in time, and nothing is found where nothing was lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.config import Namespace
from realtime_svc.core.messages import Message, Subscribe, Unsubscribed
from realtime_svc.core.positions import SECOND_LOOK, SLICE
from realtime_svc.model import ChannelEvent, Grant
from tests.core.talker import Outcome, Talker, UnreliableBroker, publish
from tests.fakes import World
from tests.fakes_engines import DelayingBroker

INTERVAL = 20.0
IN_TIME = INTERVAL + SECOND_LOOK
WATCHED = Namespace(
    history_size=10, history_ttl=3600.0, history_meta_ttl=30.0, recovery="always", publish=("authenticated",)
)
CARELESS = Namespace(history_size=10, history_ttl=3600.0)


class Case(SynchronousTestCase):
    """A watched channel with one client in it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.broker = UnreliableBroker(self.clock)
        self.world = self.world_with(self.broker)
        self.client = Talker(self.world)
        self.client.subscribe()

    def world_with(self, broker: Any, interval: float = INTERVAL) -> World:
        world = World(
            namespaces={"default": WATCHED, "careless": CARELESS},
            broker=broker,
            clock=self.clock,
            channels_per_client=1000,
            position_check=interval,
        )
        world.node.positions.start()
        return world

    def lose(self, *payloads: bytes) -> None:
        """They are kept, and do not reach this node."""
        self.broker.losing = len(payloads)
        publish(self.world, *payloads)

    def told(self, client: Talker | None = None) -> list[int]:
        return [one.why.code for one in (client or self.client).heard(Unsubscribed)]


def begin_anew(world: World, broker: UnreliableBroker) -> None:
    """From here on `broker` is another one, which knows no stream."""
    other = UnreliableBroker(world.clock)
    other.on_event(world.node.hub.deliver)
    for method in ("publish", "history"):
        setattr(broker, method, getattr(other, method))


class LossTests(Case):
    """Something was lost, and nothing comes after it."""

    def test_found_in_time_whenever_it_happened(self) -> None:
        """Also directly after other publications, and shortly before or after a check."""
        for before in (0.0, 0.25, 10.0, 19.75, 20.0, 20.25, 33.0):
            for chatty in (False, True):
                self.setUp()
                self.world.pass_time(before)
                if chatty:
                    publish(self.world, b"0")
                self.lose(b"1")
                self.world.pass_time(IN_TIME)
                self.assertEqual([2500], self.told(), (before, chatty))

    def test_client_gets_what_it_lost(self) -> None:
        publish(self.world, b"1")
        (heard,) = self.client.heard(Message)
        self.lose(b"2", b"3")
        self.world.pass_time(IN_TIME)
        again = self.client.subscribe(recover=heard.publication.position)
        self.assertEqual([b"2", b"3"], [message.publication.data for message in again.messages])
        self.world.pass_time(3 * IN_TIME)
        self.assertEqual([], self.told(), "told once")

    def test_server_side_subscription(self) -> None:
        client = Talker(self.world, "b")
        Outcome(self.world.node.control.subscribe_session(client.session, "x", Grant()))
        self.lose(b"1")
        self.world.pass_time(IN_TIME)
        self.assertEqual((3010, [2500]), (client.closed, self.told()))

    def test_who_came_later_has_lost_nothing(self) -> None:
        self.lose(b"1")
        newcomer = Talker(self.world, "b")
        newcomer.subscribe()
        self.world.pass_time(2 * IN_TIME)
        publish(self.world, b"2")
        self.assertEqual([2500], self.told())
        self.assertEqual([b"2"], [one.publication.data for one in newcomer.heard(Message, Unsubscribed)])

    def test_new_stream(self) -> None:
        """As after a restart of the broker: what the client knows of its position is worth nothing."""
        begin_anew(self.world, self.broker)
        self.world.pass_time(IN_TIME)
        self.assertEqual([2500], self.told())

    def test_publication_that_comes_after_all(self) -> None:
        """Those who were told get it by recovery, so it is not given to them twice."""
        late: list[ChannelEvent] = []
        receive, self.broker._receive = self.broker._receive, late.append
        publish(self.world, b"1")
        self.broker._receive = receive
        self.world.pass_time(IN_TIME)
        self.assertEqual([2500], self.told())
        result = self.client.subscribe(last=5)
        self.assertEqual(1, len(result.messages))
        receive(late[0])
        publish(self.world, b"2")
        self.assertEqual([b"2"], self.client.published())


class FalseAlarmTests(Case):
    """Nothing was lost."""

    def test_quiet_channel(self) -> None:
        self.world.pass_time(5 * INTERVAL)
        self.assertEqual([], self.told())
        self.assertIn("x", self.broker.asked[1:], "it was looked at")

    def test_busy_channel(self) -> None:
        for number in range(100):
            publish(self.world, b"%d" % number)
            self.world.pass_time(1)
        self.assertEqual(100, len(self.client.heard(Message, Unsubscribed)))

    def test_publication_on_its_way(self) -> None:
        """It was in the answer before it came; it comes before the second look."""
        late: list[ChannelEvent] = []
        receive, self.broker._receive = self.broker._receive, late.append
        self.world.pass_time(INTERVAL - 0.25)
        publish(self.world, b"1")
        self.broker._receive = receive
        self.world.pass_time(SECOND_LOOK)
        receive(late[0])
        self.world.pass_time(IN_TIME)
        self.assertEqual([b"1"], [one.publication.data for one in self.client.heard(Message, Unsubscribed)])

    def test_publication_while_the_broker_answers(self) -> None:
        """An answer that comes late is compared with what the node had seen when it asked."""
        broker = DelayingBroker(self.broker)
        world = self.world_with(broker)
        client = Talker(world)
        client.say(Subscribe("x", 2))
        broker.release_all()
        client.heard()
        world.pass_time(INTERVAL)
        self.assertEqual(1, len(broker.waiting))
        publish(world, b"1")
        broker.release_all()
        world.pass_time(IN_TIME)
        broker.release_all()
        self.assertEqual([b"1"], [one.publication.data for one in client.heard(Message, Unsubscribed)])

    def test_stream_that_begins_anew_in_between(self) -> None:
        """Everybody was told by the first publication of the new stream; who came back to it is not told again."""
        careless = Talker(self.world, "b")
        grant = Grant(recoverable=False, positioned=False)
        Outcome(self.world.node.control.subscribe_session(careless.session, "x", grant))
        self.world.pass_time(INTERVAL - 0.25)
        self.lose(b"1")
        self.world.pass_time(0.25)  # the first look
        begin_anew(self.world, self.broker)
        publish(self.world, b"2")
        self.assertEqual([2500], self.told())
        self.client.subscribe()
        self.world.pass_time(SECOND_LOOK)
        publish(self.world, b"3")
        self.assertEqual([b"3"], [one.publication.data for one in self.client.heard(Message, Unsubscribed)])

    def test_who_watches_nothing(self) -> None:
        careless = Talker(self.world, "b")
        careless.subscribe("careless:x")
        self.broker.losing = 1
        publish(self.world, b"1", channel="careless:x")
        self.broker.asked.clear()
        self.world.pass_time(IN_TIME)
        self.assertEqual(([], {"x"}), (self.told(careless), set(self.broker.asked)), "nor is it asked for")

    def test_everybody_left(self) -> None:
        """Between the two looks."""
        self.lose(b"1")
        self.world.pass_time(INTERVAL)
        self.client.leave()
        again = Talker(self.world)
        again.subscribe()
        self.world.pass_time(IN_TIME)
        self.assertEqual([], self.told(again))

    def test_epoch_lives_while_somebody_watches(self) -> None:
        """The check keeps the position of a stream in which nothing happens alive."""
        self.world.pass_time(10 * 30.0)
        publish(self.world, b"1")
        self.assertEqual([b"1"], [one.publication.data for one in self.client.heard(Message, Unsubscribed)])


class CourseTests(Case):
    """Slices, failures, begin and end."""

    def subscribe_to(self, client: Talker, many: int) -> None:
        for number in range(many):
            client.subscribe(f"c{number}")
            self.clock.advance(0)  # a client has so many commands a turn
        self.broker.asked.clear()

    def between_slices(self, times: int, do: Callable[[], object], delay: float = INTERVAL) -> None:
        """At the next check call `do` after each slice, in a turn of its own."""

        def turn() -> None:
            do()
            self.between_slices(times - 1, do, 0.0)

        if times:
            self.clock.callLater(delay, turn)

    def calls(self) -> list[Any]:
        """What the clock is going to call for the check."""
        positions = self.world.node.positions
        calls: list[Any] = list(self.clock.getDelayedCalls())
        return [one for one in calls if getattr(one.func, "__self__", None) is positions]

    def test_many_channels_are_looked_at_in_slices(self) -> None:
        self.subscribe_to(self.client, 2 * SLICE + 50)
        self.broker.losing = 1
        publish(self.world, b"1", channel=f"c{2 * SLICE + 49}")
        asked: list[int] = []
        self.between_slices(4, lambda: asked.append(len(self.broker.asked)))
        self.clock.advance(INTERVAL)
        self.assertEqual([SLICE, 2 * SLICE, 2 * SLICE + 51, 2 * SLICE + 51], asked)
        self.assertEqual(2 * SLICE + 51, len(set(self.broker.asked)), "each once")
        self.clock.advance(SECOND_LOOK)
        self.assertEqual([2500], self.told())

    def test_channels_that_went_meanwhile(self) -> None:
        other = Talker(self.world, "b")
        self.subscribe_to(other, SLICE + 10)
        self.between_slices(1, other.leave)
        self.clock.advance(INTERVAL)
        self.assertEqual((SLICE, []), (len(self.broker.asked), self.world.reports))

    def test_broker_that_fails_is_asked_again(self) -> None:
        self.lose(b"1")
        self.broker.failing = {"history"}
        self.world.pass_time(2 * INTERVAL)
        self.assertEqual(["a position check failed"] * 2, [what for what, _ in self.world.reports])
        self.broker.failing = set()
        self.world.pass_time(IN_TIME)
        self.assertEqual([2500], self.told())

    def test_never(self) -> None:
        self.world.node.positions.stop()
        self.world = self.world_with(self.broker, 0.0)
        self.assertEqual([], self.calls())

    def test_stopped(self) -> None:
        """At any moment: nothing is left behind, and nobody is told anything more."""
        for moment, going_on in ((0.0, 1), (10.0, 1), (INTERVAL, 2), (INTERVAL + SECOND_LOOK / 2, 2)):
            self.setUp()
            self.lose(b"1")
            self.clock.advance(moment)
            self.assertEqual(going_on, len(self.calls()), moment)
            self.world.node.positions.stop()
            self.assertEqual([], self.calls(), moment)
            self.world.pass_time(3 * INTERVAL)
            self.assertEqual([], self.told(), moment)

    def test_stopped_while_the_broker_answers(self) -> None:
        broker = DelayingBroker(self.broker)
        world = self.world_with(broker)
        client = Talker(world)
        client.say(Subscribe("x", 2))
        broker.release_all()
        self.lose(b"1")
        world.pass_time(INTERVAL)
        world.node.positions.stop()
        broker.release_all()
        world.pass_time(3 * INTERVAL)
        self.assertEqual(([], 0), (self.told(client), len(broker.waiting)))
