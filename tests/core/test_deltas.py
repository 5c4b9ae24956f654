"""Deltas and tags: what a client has is always what was published, however little of it is sent."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.config import Namespace
from realtime_svc.core import messages
from realtime_svc.core.messages import Message, Subscribe, Unsubscribed
from realtime_svc.core.subscriptions import COMPARED
from realtime_svc.core.tagsfilter import FilterNode
from realtime_svc.engines.broker_memory import MemoryBroker
from realtime_svc.model import ChannelEvent, StreamPosition
from tests.core.talker import Talker, UnreliableBroker, publish
from tests.core.test_fossil import Applier
from tests.fakes import World
from tests.fakes_engines import DelayingBroker

NAMESPACES = {
    "default": Namespace(history_size=10, history_ttl=60.0, recovery="always", delta=True, tags_filter=True),
    "whole": Namespace(history_size=10, history_ttl=60.0, recovery="always"),
    "unkept": Namespace(delta=True),
}
RED = FilterNode(key="color", compare="eq", value="red")


class Screen:
    """A client that takes deltas, as an SDK does: it knows the payload before, and nothing else."""

    def __init__(self, world: World, *, subscribe: bool = True, **options: Any) -> None:
        self.client = Talker(world)
        self.before: bytes | None = None
        self.shown: list[bytes] = []
        self.as_delta: list[bool] = []
        self.position: StreamPosition | None = None
        if subscribe:
            self.subscribe(**options)

    def subscribe(self, channel: str = "x", **options: Any) -> messages.SubscriptionResult:
        result = self.client.subscribe(channel, delta="fossil", **options)
        self.begin(result)
        return result

    def begin(self, result: messages.SubscriptionResult) -> None:
        self.before = None
        for message in result.messages:
            self.take(message)

    def take(self, message: Message) -> None:
        assert message.fossil, "payloads travel as strings"
        data = message.publication.data
        if message.delta is not None:
            assert self.before is not None, "a difference to nothing"
            data = Applier(self.before, message.delta).apply()
            assert data == message.publication.data, "a difference to something else"
        self.before = data
        self.shown.append(data)
        self.as_delta.append(message.delta is not None)
        self.position = message.publication.position

    def hear(self) -> Screen:
        for message in self.client.heard(Message):
            self.take(message)
        return self


def text(number: int) -> bytes:
    """Each has the same in another place, so a difference applied to the wrong one does not come out right."""
    return b'{"%s":%d,"text":"a payload that is long enough for a difference to pay"}' % (b"k" * (number + 1), number)


def texts(*numbers: int) -> list[bytes]:
    return [text(number) for number in numbers]


class NegotiationTests(SynchronousTestCase):
    """Who gets deltas."""

    def test_who_asks_where_they_are_allowed(self) -> None:
        for channel, wish, expected in (
            ("x", "fossil", True),
            ("x", "", False),
            ("x", "other", False),
            ("whole:x", "fossil", False),
            ("unkept:x", "fossil", False),
        ):
            world = World(namespaces=NAMESPACES)
            client = Talker(world)
            self.assertIs(expected, client.subscribe(channel, delta=wish).delta, (channel, wish))
            publish(world, *texts(1, 2), channel=channel)
            found = [(one.fossil, one.delta is not None) for one in client.heard(Message)]
            self.assertEqual([(True, False), (True, True)] if expected else [(False, False)] * 2, found)


class FanOutTests(SynchronousTestCase):
    """First whole, then what changed; whole again after anything that the client did not get."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.broker = UnreliableBroker(self.clock)
        self.world = World(namespaces=NAMESPACES, broker=self.broker, channels_per_client=9)
        self.screen = Screen(self.world)

    def heard(self) -> list[bool]:
        self.screen.hear()
        found, self.screen.as_delta = self.screen.as_delta, []
        return found

    def test_first_whole_then_deltas(self) -> None:
        publish(self.world, *texts(1, 2, 3))
        self.assertEqual([False, True, True], self.heard())
        self.assertEqual(texts(1, 2, 3), self.screen.shown)

    def test_each_from_where_it_came_in(self) -> None:
        publish(self.world, *texts(1, 2))
        late = Screen(self.world)
        publish(self.world, *texts(3, 4))
        self.assertEqual([False, True, True, True], self.heard())
        self.assertEqual([False, True], late.hear().as_delta)

    def test_others_get_the_whole(self) -> None:
        other = Talker(self.world)
        other.subscribe()
        publish(self.world, *texts(1, 2))
        self.assertEqual([(False, None)] * 2, [(one.fossil, one.delta) for one in other.heard(Message)])

    def test_same_frame_for_all_that_take_the_same(self) -> None:
        screens = [self.screen, Screen(self.world), Screen(self.world)]
        for payload in texts(1, 2):
            publish(self.world, payload)
            frames = [screen.client.transport.frames[-1] for screen in screens]
            self.assertEqual(1, len({id(frame) for frame in frames}))

    def test_difference_that_does_not_pay(self) -> None:
        """It is not sent, but what comes after it builds on the whole."""
        publish(self.world, text(1), b"1", b"2", text(2), text(3))
        self.assertEqual([False, False, False, False, True], self.heard())

    def test_excluded(self) -> None:
        publish(self.world, *texts(1, 2))
        publish(self.world, text(3), exclude=self.screen.client.session.id)
        publish(self.world, *texts(4, 5))
        self.assertEqual([False, True, False, True], self.heard())
        self.assertEqual(texts(1, 2, 4, 5), self.screen.shown)

    def test_filtered(self) -> None:
        """What a client does not want is no base for it."""
        red = Screen(self.world, tags_filter=RED)
        for number, color in ((1, "red"), (2, "red"), (3, "blue"), (4, "red"), (5, "red")):
            publish(self.world, text(number), tags={"color": color})
        self.assertEqual([False, True, False, True], red.hear().as_delta)
        self.assertEqual(texts(1, 2, 4, 5), red.shown)
        self.assertEqual([False, True, True, True, True], self.heard())

    def test_subscribed_anew(self) -> None:
        publish(self.world, *texts(1, 2))
        self.heard()
        self.screen.client.ask(messages.Unsubscribe("x", 3))
        self.screen.subscribe()
        publish(self.world, *texts(3, 4))
        self.assertEqual([False, True], self.heard())

    def test_everybody_went_and_came_back(self) -> None:
        publish(self.world, *texts(1, 2))
        self.heard()
        self.screen.client.leave()
        again = Screen(self.world)
        publish(self.world, *texts(3, 4))
        self.assertEqual([False, True], again.hear().as_delta)

    def test_without_history(self) -> None:
        """What is not kept is a base like any other."""
        publish(self.world, text(1))
        publish(self.world, text(2), skip_history=True)
        publish(self.world, text(3))
        self.assertEqual([False, True, True], self.heard())

    def test_loss(self) -> None:
        """It is told, comes back with its position, and goes on from what it recovered."""
        publish(self.world, text(1))
        self.screen.hear()
        self.broker.losing = 1
        publish(self.world, *texts(2, 3))
        self.assertEqual([2500], [one.why.code for one in self.screen.client.heard(Message, Unsubscribed)])
        self.screen.subscribe(recover=self.screen.position)
        publish(self.world, *texts(4, 5))
        self.assertEqual([False, False, True, False, True], self.heard())
        self.assertEqual(texts(1, 2, 3, 4, 5), self.screen.shown)

    def test_loss_that_another_one_had(self) -> None:
        """Who read beyond the gap stays; what was before the gap is no base."""
        self.broker.losing = 1
        publish(self.world, text(1))
        newcomer = Screen(self.world)
        publish(self.world, *texts(2, 3))
        self.assertEqual([False, True], newcomer.hear().as_delta)

    def test_recovered(self) -> None:
        publish(self.world, *texts(1, 2, 3))
        late = Screen(self.world, recover=StreamPosition(0, ""))
        self.assertEqual([False, True, True], late.as_delta)
        red = Screen(self.world, recover=StreamPosition(0, ""), tags_filter=RED)
        self.assertEqual([], red.shown)
        self.assertEqual(texts(1, 2, 3), late.shown)

    def test_recovered_are_compared_up_to_a_bound(self) -> None:
        """Or one small command would compare for as long as the history is large."""
        world = World(namespaces=NAMESPACES, queue_size=2 * COMPARED)
        filling = b"x" * (COMPARED // 4 - 20)
        publish(world, *(b'"%s%d"' % (filling, number) for number in range(6)))
        screen = Screen(world, recover=StreamPosition(0, ""))
        self.assertEqual([False, True, True, True, False, False], screen.as_delta)
        self.assertEqual(6, len(screen.shown))

    def test_history_is_whole(self) -> None:
        publish(self.world, *texts(1, 2))
        self.heard()
        (answer,) = self.screen.client.ask(messages.History("x", -1))
        self.assertEqual(texts(1, 2), [one.data for one in answer.publications])


class LateTests(SynchronousTestCase):
    """Engines that take their time."""

    def test_what_waited(self) -> None:
        broker = DelayingBroker(MemoryBroker(Clock()))
        world = World(namespaces=NAMESPACES, broker=broker)
        screen = Screen(world, subscribe=False)
        screen.client.say(Subscribe("x", 2, delta="fossil"))
        broker.release()
        publish(world, *texts(1, 2))
        broker.release_all()
        answer, *rest = screen.client.heard(messages.Subscribed, Message)
        screen.begin(answer.result)
        for message in rest:
            screen.take(message)
        publish(world, *texts(3, 4))
        self.assertEqual(texts(1, 2, 3, 4), screen.hear().shown)
        self.assertEqual([False, False, True, True], screen.as_delta)

    def test_late_publication_that_the_newcomer_has_is_no_base_for_it(self) -> None:
        """It read up to 1; something that is not kept waited; then 1 comes for the others."""
        memory = UnreliableBroker(Clock())
        broker = DelayingBroker(memory)
        world = World(namespaces=NAMESPACES, broker=broker)
        screen = Screen(world, subscribe=False)
        other = Talker(world)
        other.say(Subscribe("x", 2))
        broker.release_all()
        late: list[ChannelEvent] = []
        receive, memory._receive = memory._receive, late.append
        publish(world, text(1))
        memory._receive = receive
        broker.release_all()
        screen.client.say(Subscribe("x", 2, delta="fossil"))
        broker.release()
        publish(world, text(2), skip_history=True)
        broker.release_all()
        screen.hear()
        receive(late[0])
        publish(world, *texts(3, 4))
        self.assertEqual(texts(2, 3, 4), screen.hear().shown)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(0, 3), st.sampled_from(["red", "blue"])),
        st.tuples(st.sampled_from(["exclude", "skip", "lose", "resubscribe", "newcomer"]), st.integers(0, 3)),
    ),
    max_size=30,
)


class AnyOrderTests(SynchronousTestCase):
    """Whatever happens, a difference is to what the client has."""

    @settings(deadline=None)
    @given(STEPS)
    def test_what_is_shown_was_published(self, steps: list[tuple[Any, ...]]) -> None:
        broker = UnreliableBroker(Clock())
        world = World(namespaces=NAMESPACES, broker=broker)
        screens = [Screen(world), Screen(world, tags_filter=RED)]
        for step in steps:
            number = step[1]
            one = screens[number % len(screens)]
            match step[0]:
                case "publish":
                    publish(world, text(number), tags={"color": step[2]})
                case "exclude":
                    publish(world, text(number), exclude=one.client.session.id)
                case "skip":
                    publish(world, text(number), skip_history=True)
                case "lose":
                    broker.losing = 1
                    publish(world, text(number))
                case "resubscribe":
                    one.hear()
                    if "x" in one.client.session.channels:
                        one.client.ask(messages.Unsubscribe("x", 3))
                    one.subscribe(recover=one.position)
                case _ if len(screens) < 5:
                    screens.append(Screen(world))
            for screen in screens:
                screen.hear()
