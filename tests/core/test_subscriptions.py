"""Who gets a subscription, in what order it is refused, and what it is like."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.config import Namespace
from realtime_svc.core import messages
from realtime_svc.core.messages import Failed, Message, Subscribe
from realtime_svc.core.tagsfilter import MAX_SIZE, FilterNode
from realtime_svc.engines.presence_memory import MemoryPresence
from realtime_svc.errors import ErrorCode, ReplyError
from realtime_svc.model import Grant
from tests.core.talker import NAMESPACES, OBJECTS, Outcome, Talker, UnreliableBroker, UnreliablePresence, grant, publish
from tests.fakes import START, World
from tests.object_dialect import ObjectDialect


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
        self.client.subscribe("bytes:x")
        kept = Namespace(payload="bytes", history_size=5, history_ttl=60.0, read_history=("authenticated",))
        world = World(namespaces={"default": kept})
        for dialect, number in ((ObjectDialect(json_only=True), 108), (OBJECTS, 0)):
            self.assertEqual(number, Talker(world, dialect=dialect).refused(messages.History("x")))

    def test_filter_where_there_is_none(self) -> None:
        wish = FilterNode(key="a", compare="ex")
        self.assertEqual(107, self.client.refused(Subscribe("x", tags_filter=wish)))

    def test_filters_of_one_client_take_a_bounded_memory(self) -> None:
        """Of short values a filter of one message would make a heap of objects; and a client has many channels."""
        world = World(namespaces={"default": Namespace(subscribe=("anonymous",), tags_filter=True)})
        client = Talker(world)
        heap = FilterNode(key="a", compare="in", values=("x",) * (MAX_SIZE // 128))
        half = FilterNode(key="a", compare="eq", value="x" * (MAX_SIZE // 2))
        self.assertEqual(106, client.refused(Subscribe("x", tags_filter=heap)))
        self.assertEqual(0, client.refused(Subscribe("x", tags_filter=half)))
        self.assertEqual(106, client.refused(Subscribe("y", tags_filter=half)))
        client.say(messages.Unsubscribe("x"))
        self.assertEqual(0, client.refused(Subscribe("y", tags_filter=half)))
        client.leave()

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

    def test_newest_ones_are_for_those_who_may_read_history(self) -> None:
        """`last` is no way around `read_history`; where no history is kept, there is nothing to refuse."""
        kept: dict[str, Any] = {"history_size": 5, "history_ttl": 60.0}
        world = World(
            namespaces={
                "default": Namespace(read_history=()),
                "nobody": Namespace(read_history=(), **kept),
                "bob": Namespace(read_history=("user:bob",), **kept),
                "any": Namespace(**kept),
                "wild": Namespace(read_history=(), insecure=True, **kept),
            }
        )
        for channel, alices, bobs in (("x", 0, 0), ("nobody:x", 103, 103), ("bob:x", 103, 0), ("any:x", 0, 0)):
            for token, number in (("a", alices), ("b", bobs)):
                client = Talker(world, token)
                self.assertEqual(number, client.refused(Subscribe(channel, 2, last=1)), channel)
                self.assertEqual(number == 0, channel in client.session.channels)
                self.assertEqual(0, client.refused(Subscribe(channel, 3)) if number else 0)
        self.assertEqual(0, Talker(world).refused(Subscribe("wild:x", 2, last=1)))

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
        small = World(namespaces=NAMESPACES, queue_size=30)
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
