"""Subscriptions: who gets one and in what order it is refused, what it is like, how it joins and how it ends."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.config import Namespace
from realtime_svc.core import messages
from realtime_svc.core.messages import Failed, Message, Subscribe, Subscribed, SubscriptionRefresh, Unsubscribed
from realtime_svc.core.subscription import MAX_LINE
from realtime_svc.core.tagsfilter import FilterNode
from realtime_svc.engines.broker_memory import MemoryBroker
from realtime_svc.engines.presence_memory import MemoryPresence
from realtime_svc.errors import ErrorCode, ReplyError
from realtime_svc.model import Grant, HistoryQuery, StreamPosition, SubscriptionClaims
from tests.core.talker import OBJECTS, Outcome, Talker, UnreliableBroker, UnreliablePresence, publish
from tests.fakes import RAW, START, World
from tests.fakes_engines import DelayingBroker
from tests.object_dialect import ObjectDialect

OPEN = Namespace(subscribe=("authenticated",))
LOG = Namespace(history_size=10, history_ttl=60.0, presence=True, join_leave="always")
WATCHED = Namespace(history_size=10, history_ttl=60.0, recovery="always", presence=True, join_leave="always")
NAMESPACES = {
    "default": OPEN,
    "log": LOG,
    "watched": WATCHED,
    "closed": Namespace(subscribe=()),
    "bytes": Namespace(payload="bytes"),
    "small": Namespace(subscribers=1),
}


def grant(world: World, token: str, channel: str, user: str = "alice", client: str = "", **options: Any) -> None:
    """From here on `token` is good for that."""
    world.authenticator.subscriptions[token] = SubscriptionClaims(user, channel, Grant(**options), client)


class RefusalTests(SynchronousTestCase):
    """Who gets no subscription."""

    def setUp(self) -> None:
        self.world = World(namespaces=NAMESPACES)
        self.client = Talker(self.world)

    def tearDown(self) -> None:
        self.assertEqual([], self.world.reports)
        self.client.leave()
        self.assertEqual(({}, 0), (self.world.node.hub.channels, self.world.instruments.subscriptions))

    def test_first_reason_counts(self) -> None:
        """In the order of the protocol: 107, 108, 105, 106, 102, 103, 109; each command has all faults from its own
        on."""
        self.client.subscribe("x")
        for command, number in (
            (Subscribe("no channel", kind=1), 107),
            (Subscribe("x" * 256, kind=1), 107),
            (Subscribe("x", kind=1), 108),
            (Subscribe("x", token="expired"), 105),
            (Subscribe("nowhere:x", token="expired"), 102),
            (Subscribe("closed:x"), 103),
            (Subscribe("closed:x", token="expired"), 109),
        ):
            self.assertEqual(number, self.client.refused(command), command)
        for channel in "yz":
            self.client.subscribe(channel)
        for command, number in (
            (Subscribe("x"), 105),
            (Subscribe("nowhere:x", token="expired"), 106),
            (Subscribe("closed:x"), 106),
        ):
            self.assertEqual(number, self.client.refused(command), command)

    def test_channel_is_full(self) -> None:
        other = Talker(self.world, "b")
        other.subscribe("small:x")
        self.assertEqual(106, self.client.refused(Subscribe("small:x")))
        other.leave()
        self.client.subscribe("small:x")

    def test_protocol_of_json_in_a_channel_of_bytes(self) -> None:
        json_only = Talker(self.world, dialect=ObjectDialect(json_only=True))
        self.assertEqual(108, json_only.refused(Subscribe("bytes:x")))
        self.assertEqual(108, json_only.refused(messages.History("bytes:x")))
        self.client.subscribe("bytes:x")

    def test_filter_where_there_is_none(self) -> None:
        wish = FilterNode(key="a", compare="ex")
        self.assertEqual(107, self.client.refused(Subscribe("x", tags_filter=wish)))

    def test_tokens(self) -> None:
        """An error where it is not good; the end of the connection where it is good for something else."""
        grant(self.world, "good", "closed:x")
        grant(self.world, "mine", "$y", client=self.client.session.id)
        grant(self.world, "another client's", "closed:x", client="7")
        grant(self.world, "another channel's", "closed:y")
        grant(self.world, "another user's", "closed:x", user="bob")
        grant(self.world, "nobody's", "closed:x", user="")
        grant(self.world, "over", "closed:x", expires_at=START)
        grant(self.world, "not over", "z", expires_at=START + 1)
        for channel, token, error, closed in (
            ("closed:x", "good", 0, 0),
            ("$y", "mine", 0, 0),
            ("z", "not over", 0, 0),
            ("x", "wrong", 103, 0),
            ("closed:x", "wrong", 103, 0),
            ("closed:x", "expired", 109, 0),
            ("closed:x", "over", 109, 0),
            ("closed:x", "another client's", 0, 3500),
            ("closed:x", "another channel's", 0, 3500),
            ("closed:x", "another user's", 0, 3500),
            ("closed:x", "nobody's", 0, 3500),
        ):
            client = self.client if token == "mine" else Talker(self.world)
            found = client.refused(Subscribe(channel, 2, token=token)), client.closed
            self.assertEqual((error, closed), found, token)
            self.assertEqual(not error and not closed, channel in client.session.channels, token)
            if client is not self.client:
                client.leave()

    def test_user_code(self) -> None:
        self.world.fake_hooks.outcomes["subscribe"] = ReplyError(ErrorCode.PERMISSION_DENIED)
        self.assertEqual(103, self.client.refused(Subscribe("x")))
        self.world.fake_hooks.outcomes["subscribe"] = Grant(data=b"1", expires_at=START + 5)
        result = self.client.subscribe("x")
        self.assertEqual((b"1", 5), (result.data, result.expires_in))

    def test_user_code_is_asked_last(self) -> None:
        """It may let in whom the rules refuse, but not who has a bad token, nor to where there is nothing."""
        for command in (Subscribe("closed:x", token="wrong"), Subscribe("x", token="expired"), Subscribe("nowhere:x")):
            self.assertTrue(self.client.refused(command))
        self.assertNotIn("subscribe", [call[0] for call in self.world.fake_hooks.calls])
        self.assertEqual(103, self.client.refused(Subscribe("closed:x")))
        self.world.fake_hooks.outcomes["subscribe"] = Grant()
        self.client.subscribe("closed:x")

    def test_what_happened_while_user_code_thought(self) -> None:
        gate: Deferred[None] = Deferred()
        self.world.fake_hooks.outcomes["subscribe"] = gate
        self.client.say(Subscribe("x", 2))
        Outcome(self.world.node.control.subscribe_session(self.client.session, "x", Grant()))
        self.client.heard()
        gate.callback(None)
        self.assertEqual([105], [one.error.number for one in self.client.heard(Failed)])

    def test_client_leaves_while_user_code_thinks(self) -> None:
        gate: Deferred[None] = Deferred()
        self.world.fake_hooks.outcomes["subscribe"] = gate
        self.client.say(Subscribe("log:x", 2))
        self.client.leave()
        gate.callback(None)
        self.assertEqual(({}, 0), (self.world.node.hub.channels, self.world.instruments.subscriptions))
        self.assertEqual({}, Outcome(self.world.node.publishing.presence("log:x")).result)
        self.assertEqual(0, self.world.instruments.errors[100], "nobody was told an error")

    def test_connection_ends_with_the_first_of_its_channels(self) -> None:
        """The channels in the address of a connection: nothing is subscribed for one that was cut meanwhile."""
        small = World(namespaces=NAMESPACES, queue_size=100)
        transport = small.connect(channels=("x", "log:y"), room=1)
        self.assertEqual(3008, transport.closed and transport.closed.code)
        transport.leave()
        self.assertEqual(({}, 0), (small.node.hub.channels, small.instruments.subscriptions))
        self.assertEqual({}, Outcome(small.node.publishing.presence("log:y")).result)

    def test_engines_that_fail(self) -> None:
        """The error says so, and nothing is left behind."""
        for method in ("subscribe", "history", "add"):
            broker, presence = UnreliableBroker(Clock()), UnreliablePresence()
            broker.failing, presence.failing = {method}, {method}
            world = World(namespaces=NAMESPACES, broker=broker, presence=presence)
            client = Talker(world)
            self.assertEqual(100, client.refused(Subscribe("watched:x", 2)), method)
            self.assertEqual(({}, 0), (world.node.hub.channels, world.instruments.subscriptions), method)
            self.assertEqual((set(), 0), (broker.listening, presence.channels), method)
            broker.failing, presence.failing = set(), set()
            client.subscribe("watched:x")

    def test_engines_that_fail_later(self) -> None:
        """What was done stays done: one answer, the rest is reported."""
        broker, presence = UnreliableBroker(Clock()), UnreliablePresence()
        world = World(namespaces=NAMESPACES, broker=broker, presence=presence)
        client = Talker(world)
        broker.failing, presence.failing = {"announce"}, {"remove"}
        self.assertEqual(["Subscribed"], [type(one).__name__ for one in client.ask(Subscribe("watched:x", 2))])
        self.assertEqual(["Done"], [type(one).__name__ for one in client.ask(messages.Unsubscribe("watched:x", 3))])
        self.assertEqual(3, len(world.reports), "a join, a leave, an absence")
        self.assertEqual((0, set()), (world.instruments.subscriptions, broker.listening))


class OptionTests(SynchronousTestCase):
    """Namespace, wish and grant: what a subscription is like."""

    def test_recovery_and_positions(self) -> None:
        """(recovery, positioning, wishes, granted) -> (recoverable, positioned)."""
        wants_recovery, wants_position = {"recoverable": True}, {"positioned": True}
        cases: tuple[tuple[Any, Any, dict[str, Any], dict[str, Any], tuple[bool, bool]], ...] = (
            ("allowed", "allowed", {}, {}, (False, False)),
            ("allowed", "allowed", wants_recovery, {}, (True, True)),
            ("allowed", "allowed", wants_position, {}, (False, True)),
            ("off", "allowed", wants_recovery, {}, (False, False)),
            ("off", "off", wants_position, {}, (False, False)),
            ("off", "always", {}, {}, (False, True)),
            ("always", "off", {}, {}, (True, True)),
            ("always", "off", {}, {"recoverable": False}, (False, False)),
            ("off", "off", {}, {"recoverable": True}, (True, True)),
            ("off", "off", {}, {"positioned": True}, (False, True)),
            ("off", "always", {}, {"positioned": False}, (False, False)),
        )
        for recovery, positioning, wishes, granted, expected in cases:
            for keeps in (True, False):
                namespace = Namespace(
                    recovery=recovery, positioning=positioning, history_size=5 * keeps, history_ttl=60.0
                )
                world = World(namespaces={"default": namespace})
                world.fake_hooks.outcomes["subscribe"] = Grant(**granted)
                result = Talker(world).subscribe(**wishes)
                case = (recovery, positioning, wishes, granted, keeps)
                found = result.recoverable, result.positioned
                self.assertEqual(expected if keeps else (False, False), found, case)
                self.assertEqual(result.positioned, result.position is not None, case)

    def test_joins_and_leaves(self) -> None:
        """(join_leave, wish, granted) -> (is it announced, does it hear of others)."""
        for setting, wish, granted, expected in (
            ("off", True, None, (False, False)),
            ("allowed", False, None, (True, False)),
            ("allowed", True, None, (True, True)),
            ("always", False, None, (True, True)),
            ("always", True, False, (False, False)),
            ("off", False, True, (True, True)),
        ):
            namespace = Namespace(join_leave=setting)  # type: ignore[arg-type]
            broker = UnreliableBroker(Clock())
            world = World(namespaces={"default": namespace}, broker=broker)
            world.fake_hooks.outcomes["subscribe"] = Grant(join_leave=granted)
            client = Talker(world)
            client.subscribe(join_leave=wish)
            case = (setting, wish, granted)
            self.assertEqual(expected[0], bool(broker.announced), case)
            world.fake_hooks.outcomes["subscribe"] = Grant(join_leave=True)
            other = Talker(world, "b")
            other.subscribe()
            other.leave()
            heard = [type(one).__name__ for one in client.heard()]
            self.assertEqual(["Joined", "Left"] if expected[1] else [], heard, case)

    def test_presence(self) -> None:
        for setting, granted, expected in ((False, None, 0), (True, None, 1), (True, False, 0), (False, True, 1)):
            presence = MemoryPresence()
            world = World(namespaces={"default": Namespace(presence=setting)}, presence=presence)
            world.fake_hooks.outcomes["subscribe"] = Grant(presence=granted, info=b"1")
            client = Talker(world)
            client.subscribe()
            members = Outcome(presence.members("x")).result
            self.assertEqual([b"1"] * expected, [info.channel_info for info in members.values()])
            client.leave()
            self.assertEqual(0, presence.channels)

    def test_data_and_time_of_the_grant(self) -> None:
        world = World()
        grant(world, "t", "x", data=b'{"n":1}', info=b'"i"', expires_at=START + 30)
        client, other = Talker(world), Talker(world, "b")
        other.subscribe()
        result = client.subscribe(token="t")
        self.assertEqual((b'{"n":1}', 30), (result.data, result.expires_in))
        client.ask(messages.Publish("x", b"1"))
        (heard,) = other.heard(Message)
        self.assertEqual(b'"i"', heard.publication.publisher.channel_info)


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
        """Who reads another epoch than the one this node was in tells the others; who watches nothing takes it."""
        clock = Clock()
        namespace = Namespace(
            history_size=10, history_ttl=10.0, history_meta_ttl=10.0, recovery="allowed", positioning="allowed"
        )
        world = World(namespaces={"default": namespace}, broker=MemoryBroker(clock), clock=clock)
        old, careless, newcomer = Talker(world), Talker(world, "b"), Talker(world)
        publish(world, b"1", b"2", b"3")
        old.subscribe(positioned=True)
        careless.subscribe(last=1)
        world.pass_time(11)
        newcomer.subscribe(positioned=True)
        self.assertEqual([2500], [one.why.code for one in old.heard(Message, Unsubscribed)])
        publish(world, b"4")
        self.assertEqual([b"4"], [one.publication.data for one in newcomer.heard(Message, Unsubscribed)])
        self.assertEqual([b"4"], [one.publication.data for one in careless.heard(Message, Unsubscribed)])


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


class DialectTests(SynchronousTestCase):
    """What differs by protocol."""

    def test_recovered_messages_follow_where_the_answer_can_not_hold_them(self) -> None:
        world = World(namespaces=NAMESPACES)
        publish(world, b"1", b"2", channel="log:x")
        behind = ObjectDialect(inline_recovery=False)
        for dialect, kinds in ((OBJECTS, ["Subscribed"]), (behind, ["Subscribed", "Message", "Message"])):
            answers = Talker(world, dialect=dialect).ask(Subscribe("log:x", 2, last=2))
            self.assertEqual(kinds, [type(one).__name__ for one in answers][: len(kinds)])
            self.assertEqual(len(kinds), len([one for one in answers if not isinstance(one, messages.Joined)]))
