"""How a subscription joins a running stream, and how it learns of what it missed."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.config import Namespace
from realtime_svc.core import messages
from realtime_svc.core.messages import Message, Subscribe, Subscribed, Unsubscribed
from realtime_svc.core.subscription import MAX_LINE
from realtime_svc.engines.broker_memory import MemoryBroker
from realtime_svc.model import HistoryQuery, StreamPosition
from tests.core.talker import NAMESPACES, Outcome, Talker, UnreliableBroker, publish
from tests.fakes import RAW, World
from tests.fakes_engines import DelayingBroker
from tests.object_dialect import ObjectDialect


class OrderTests(SynchronousTestCase):
    """How a subscription joins a running stream when the broker takes its time."""

    def test_any_moment(self) -> None:
        """Publications before, between and after any two steps: the answer first, then each that is not before the
        answer's position once, in order."""
        for last in (0, 2):
            for moment in range(4):
                broker = DelayingBroker(MemoryBroker(Clock()))
                world = World(namespaces=NAMESPACES, broker=broker)
                client = Talker(world)
                client.say(Subscribe("watched:x", 2, last=last))
                for _ in range(moment):
                    broker.release()
                publish(world, b"1", b"2", channel="watched:x")
                broker.release_all()
                publish(world, b"3", channel="watched:x")
                answer, *rest = client.heard(Subscribed, Message)
                top = answer.result.position.offset
                self.assertEqual([*range(top + 1, 4)], [one.publication.offset for one in rest], (last, moment))
                before = [one.publication.offset for one in answer.result.messages]
                self.assertEqual([*range(1, top + 1)][-last:] if last else [], before)

    def test_unpositioned_too(self) -> None:
        """Nothing is read for it; what is published while it is made follows the answer."""
        broker = DelayingBroker(MemoryBroker(Clock()))
        world = World(namespaces=NAMESPACES, broker=broker)
        client = Talker(world)
        client.say(Subscribe("log:x", 2), messages.Publish("log:x", b"2", id=3))
        publish(world, b"1", channel="log:x")
        broker.release_all()
        kinds = [type(one).__name__ for one in client.heard()]
        self.assertEqual(["Subscribed", "Message", "Joined", "Message", "Published"], kinds)

    def test_joins_come_after_the_answer(self) -> None:
        """Its own among them."""
        broker = DelayingBroker(MemoryBroker(Clock()))
        world = World(namespaces=NAMESPACES, broker=broker)
        first, second = Talker(world), Talker(world, "b")
        for client in (first, second):
            client.say(Subscribe("watched:x", 2))
        broker.release_all()
        ids = [first.session.id, second.session.id]
        self.assertEqual(ids, [one.info.client for one in first.heard(messages.Joined)])
        answer, *rest = second.heard()
        self.assertIsInstance(answer, Subscribed)
        self.assertEqual(ids[1:], [one.info.client for one in rest])

    def test_line_is_bounded(self) -> None:
        broker = DelayingBroker(MemoryBroker(Clock()))
        world = World(namespaces=NAMESPACES, broker=broker)
        client = Talker(world)
        client.say(Subscribe("log:x", 2))
        publish(world, *[b"1"] * (MAX_LINE + 1), channel="log:x")
        broker.release_all()
        (answer,) = client.heard()
        self.assertEqual((100, True), (answer.error.number, answer.error.temporary))
        self.assertEqual(({}, 0), (world.node.hub.channels, world.instruments.subscriptions))
        self.assertEqual({}, Outcome(world.node.publishing.presence("log:x")).result)

    def test_line_that_is_just_long_enough(self) -> None:
        broker = DelayingBroker(MemoryBroker(Clock()))
        world = World(namespaces=NAMESPACES, broker=broker)
        client = Talker(world)
        client.say(Subscribe("log:x", 2))
        publish(world, *[b"%d" % n for n in range(MAX_LINE)], channel="log:x")
        broker.release_all()
        self.assertEqual([b"%d" % n for n in range(MAX_LINE)], client.published())

    def test_slow_client_is_cut_by_what_waited(self) -> None:
        """Joins and leaves come in pairs or not at all, and presence is empty."""
        memory = UnreliableBroker(Clock())
        broker = DelayingBroker(memory)
        world = World(namespaces=NAMESPACES, broker=broker, queue_size=1000)
        client = Talker(world, dialect=ObjectDialect(size=300))
        client.say(Subscribe("watched:x", 2))
        broker.release()
        publish(world, *[b"1"] * 9, channel="watched:x")
        client.session.blocked()
        broker.release_all()
        self.assertEqual(3008, client.closed)
        self.assertEqual([], memory.announced)
        self.assertEqual({}, Outcome(world.node.publishing.presence("watched:x")).result)
        self.assertEqual(({}, 0), (world.node.hub.channels, world.instruments.subscriptions))

    def test_slow_client_is_cut_by_the_answer(self) -> None:
        memory = UnreliableBroker(Clock())
        world = World(namespaces=NAMESPACES, broker=memory, queue_size=1000)
        client = Talker(world, dialect=ObjectDialect(size=300, handshake=False, inline_recovery=False), token=None)
        client.say(messages.Authenticate("a"))
        publish(world, *[b"1"] * 9, channel="watched:x")
        client.session.blocked()
        client.say(Subscribe("watched:x", 2, last=9))
        self.assertEqual((3008, []), (client.closed, memory.announced))
        self.assertEqual({}, Outcome(world.node.publishing.presence("watched:x")).result)
        self.assertEqual(({}, 0), (world.node.hub.channels, world.instruments.subscriptions))

    def test_publications_before_the_answer_are_not_for_the_newcomer_twice(self) -> None:
        """It read further than this node has heard: what comes late is for the others."""
        broker = UnreliableBroker(Clock())
        world = World(namespaces=NAMESPACES, broker=broker)
        first, newcomer = Talker(world), Talker(world, "b")
        first.subscribe("watched:x")
        late: list[Any] = []
        broker._receive, receive = late.append, broker._receive
        publish(world, b"1", b"2", channel="watched:x")
        result = newcomer.subscribe("watched:x", last=5)
        self.assertEqual([b"1", b"2"], [one.publication.data for one in result.messages])
        broker._receive = receive
        for event in late:
            world.node.hub.deliver(event)
        publish(world, b"3", channel="watched:x")
        self.assertEqual([b"1", b"2", b"3"], first.published())
        self.assertEqual([b"3"], newcomer.published())


class LossTests(SynchronousTestCase):
    """A gap is told to those who have to know, and to nobody else."""

    def setUp(self) -> None:
        self.broker = UnreliableBroker(Clock())
        self.world = World(namespaces=NAMESPACES, broker=self.broker)

    def test_who_is_told(self) -> None:
        watched, careless = Talker(self.world), Talker(self.world, "b")
        watched.subscribe("log:x", positioned=True)
        careless.subscribe("log:x")
        raw = self.world.connect(dialect=RAW, home="log:x", channels=("log:x",))
        self.broker.losing = 1
        publish(self.world, b"1", b"2", b"3", channel="log:x")
        (told,) = watched.heard(Message, Unsubscribed)
        self.assertEqual((2500, "log:x"), (told.why.code, told.channel))
        self.assertEqual([b"2", b"3"], careless.published())
        self.assertEqual((3010, []), (raw.closed and raw.closed.code, raw.take()), "it comes back with its position")
        self.assertEqual((2, 1), (self.world.instruments.positions_lost, self.world.instruments.subscriptions))

    def test_client_comes_back_with_its_position(self) -> None:
        client = Talker(self.world)
        position = client.subscribe("watched:x").position
        publish(self.world, b"1", channel="watched:x")
        self.broker.losing = 1
        publish(self.world, b"2", b"3", channel="watched:x")
        self.assertEqual([b"1"], client.published())
        assert position is not None
        again = client.subscribe("watched:x", recover=StreamPosition(1, position.epoch))
        self.assertTrue(again.recovered)
        self.assertEqual([b"2", b"3"], [one.publication.data for one in again.messages])
        publish(self.world, b"4", channel="watched:x")
        self.assertEqual([b"4"], client.published())

    def test_who_came_after_the_loss_has_lost_nothing(self) -> None:
        """It read the stream up to a place beyond the gap."""
        old = Talker(self.world)
        old.subscribe("watched:x")
        self.broker.losing = 2
        publish(self.world, b"1", b"2", channel="watched:x")
        newcomer = Talker(self.world, "b")
        newcomer.subscribe("watched:x")
        publish(self.world, b"3", b"4", channel="watched:x")
        self.assertEqual([2500], [one.why.code for one in old.heard(Unsubscribed)])
        self.assertEqual([b"3", b"4"], [one.publication.data for one in newcomer.heard(Message, Unsubscribed)])
        self.assertEqual(1, self.world.instruments.positions_lost)

    def test_who_came_in_the_middle_of_the_loss_has_lost_something(self) -> None:
        newcomer = Talker(self.world, "b")
        Talker(self.world).subscribe("watched:x")
        self.broker.losing = 1
        publish(self.world, b"1", channel="watched:x")
        newcomer.subscribe("watched:x")
        self.broker.losing = 1
        publish(self.world, b"2", b"3", channel="watched:x")
        self.assertEqual([2500], [one.why.code for one in newcomer.heard(Message, Unsubscribed)])

    def test_loss_while_it_is_made(self) -> None:
        """Read up to 0, then 1 is lost and 2 waits for it: told at once."""
        broker = DelayingBroker(self.broker)
        world = World(namespaces=NAMESPACES, broker=broker)
        client = Talker(world)
        client.say(Subscribe("watched:x", 2))
        broker.release()
        self.broker.losing = 1
        publish(world, b"1", b"2", channel="watched:x")
        broker.release_all()
        answer, told = client.heard(Subscribed, Message, Unsubscribed)
        self.assertEqual((0, 2500), (answer.result.position.offset, told.why.code))
        self.assertEqual([], self.broker.announced, "others never heard of it")
        self.assertEqual({}, Outcome(world.node.publishing.presence("watched:x")).result)

    def test_old_ones_are_dropped(self) -> None:
        client = Talker(self.world)
        client.subscribe("watched:x")
        publish(self.world, b"1", b"2", channel="watched:x")
        page = Outcome(self.world.node.publishing.history("watched:x", HistoryQuery())).result
        for publication in page.publications:
            self.world.node.hub.deliver(publication)
        self.assertEqual([b"1", b"2"], [one.publication.data for one in client.heard(Message, Unsubscribed)])

    def test_new_stream(self) -> None:
        """Who reads another epoch than the one this node was in tells the others; who watches nothing takes it,
        whatever it had of the old one."""
        clock = Clock()
        namespace = Namespace(
            history_size=10, history_ttl=10.0, history_meta_ttl=10.0, recovery="allowed", positioning="allowed"
        )
        broker = UnreliableBroker(clock)
        world = World(namespaces={"default": namespace}, broker=broker, clock=clock)
        old, careless, newcomer = Talker(world), Talker(world, "b"), Talker(world)
        old.subscribe(positioned=True)
        broker.losing = 3
        publish(world, b"1", b"2", b"3")
        careless.subscribe(last=1)
        world.pass_time(11)
        newcomer.subscribe(positioned=True)
        self.assertEqual([2500], [one.why.code for one in old.heard(Message, Unsubscribed)])
        publish(world, b"4")
        self.assertEqual([b"4"], [one.publication.data for one in newcomer.heard(Message, Unsubscribed)])
        self.assertEqual([b"4"], [one.publication.data for one in careless.heard(Message, Unsubscribed)])
