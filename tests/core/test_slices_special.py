"""A fan-out in slices, for those for whom something has to be looked at: who joins, filters, takes deltas, hears of
others."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.config import Namespace
from realtime_svc.core import messages
from realtime_svc.core.messages import Joined, Message, Reply, Subscribe, Subscribed, Unsubscribed
from realtime_svc.core.tagsfilter import FilterNode
from realtime_svc.errors import Disconnect
from realtime_svc.model import HistoryPage, HistoryQuery
from tests.core.talker import Talker, UnreliableBroker, kinds, publish
from tests.core.test_deltas import Screen
from tests.core.turns import NAMESPACES, Halting, Turns, in_slices
from tests.fakes import World
from tests.object_dialect import ObjectDialect, ObjectFrame

LEFT = Disconnect(1006, "")
RED = FilterNode(key="color", compare="eq", value="red")
OF_SHORT_LIFE = Namespace(history_size=9, history_ttl=5.0, history_meta_ttl=10.0, recovery="always")


class Interrupting(ObjectDialect):
    """Calls something when it is to say `data`, once."""

    def __init__(self, data: bytes, call: Callable[[], None]) -> None:
        super().__init__()
        self._calls = {data: call}

    def encode(self, reply: Reply) -> ObjectFrame:
        if isinstance(reply, Message) and (call := self._calls.pop(reply.publication.data, None)):
            call()
        return super().encode(reply)


class LateBroker(UnreliableBroker):
    """Where `gates` is a list, a read takes effect when the first gate it puts there opens, and is answered with the
    next one."""

    gates: list[Deferred[None]] | None = None

    async def _pass(self) -> None:
        if self.gates is not None:
            self.gates.append(gate := Deferred[None]())
            await gate

    async def history(self, channel: str, query: HistoryQuery, meta_ttl: float) -> HistoryPage:
        await self._pass()
        page = await super().history(channel, query, meta_ttl)
        await self._pass()
        return page

    def top(self, channel: str) -> int:
        return self._streams[channel].top


class SpecialCase(SynchronousTestCase):
    """Each slice serves one client; turns end when the test says so."""

    def setUp(self) -> None:
        in_slices(self)
        self.turn = Turns()
        self.clock: Any = Clock()
        self.broker = LateBroker(self.clock)
        self.world = World(
            namespaces=NAMESPACES | {"short": OF_SHORT_LIFE},
            broker=self.broker,
            clock=self.clock,
            after_turn=self.turn,
            group=Halting,
        )

    def talker(self, channel: str = "", **options: Any) -> Talker:
        """A client that is in, and subscribed where a channel is given."""
        client = Talker(self.world)
        if channel:
            client.say(Subscribe(channel, 2, **options))
        self.turn.rest()
        client.heard()
        return client

    def publish(self, *payloads: bytes, channel: str, **options: Any) -> None:
        publish(self.world, *payloads, channel=channel, **options)

    def offsets(self, client: Talker) -> list[int]:
        return [one.publication.offset for one in client.heard(Message)]


class JoiningTests(SpecialCase):
    """Who comes while a fan-out is under way."""

    def test_answered_between_two_slices(self) -> None:
        """The stream is read after any of them, and the answer comes after any later one: then comes what is not in it,
        once and in order."""
        for read, answered in itertools.combinations_with_replacement(range(10), 2):
            for _ in range(3):
                self.talker("delta:x", tags_filter=RED)
            self.broker.gates = []
            newcomer = self.talker_later("delta:x")
            self.publish(b"1", b"2", b"3", channel="delta:x", tags={"color": "red"})
            for step in range(10):
                self.turn.end()
                for moment in (read, answered):
                    if step == moment:
                        self.broker.gates.pop(0).callback(None)
            self.broker.gates = None
            self.publish(b"4", channel="delta:x")
            self.turn.rest()
            answer, *live = newcomer.heard(Subscribed, Message, Unsubscribed)
            top = self.broker.top("delta:x")
            offsets = [*range(answer.result.position.offset + 1, top + 1)]
            self.assertEqual(offsets, [one.publication.offset for one in live], (read, answered))
            for session in tuple(self.world.node.hub.sessions.values()):
                session.ended(LEFT)

    def test_nothing_of_before_without_a_position(self) -> None:
        """Wherever in a batch of publications and comings it comes."""
        for moment in range(8):
            old = [self.talker("kept:x", join_leave=True) for _ in range(2)]
            self.publish(b"1", channel="kept:x")
            guest = self.talker_later("kept:x")
            self.publish(b"2", channel="kept:x")
            for _ in range(moment):
                self.turn.end()
            newcomer = self.talker_later("kept:x", join_leave=True)
            self.publish(b"3", channel="kept:x")
            self.turn.rest()
            heard = newcomer.heard(Joined, Message)
            self.assertEqual(["Joined", "Message"], kinds(heard), moment)
            self.assertEqual(newcomer.session.id, heard[0].info.client)
            for client in (*old, guest, newcomer):
                client.leave()

    def talker_later(self, channel: str, **options: Any) -> Talker:
        """In this turn."""
        client = Talker(self.world)
        client.say(Subscribe(channel, 2, **options))
        return client

    def test_first_one_with_a_position(self) -> None:
        """It has read what is on its way to those who watch nothing: they get it all the same."""
        careless = self.talker("kept:x", join_leave=True)
        other = self.talker("kept:x", join_leave=True)
        self.talker_later("kept:x")
        self.publish(b"1", channel="kept:x")
        self.turn.end()  # one of the two has heard of the third one
        newcomer = self.talker_later("kept:x", positioned=True)
        self.turn.rest()
        self.assertEqual(([1], [1], []), (self.offsets(careless), self.offsets(other), self.offsets(newcomer)))

    def test_first_one_with_a_position_and_a_loss(self) -> None:
        """Though somebody's coming waited when it came."""
        self.talker_later("kept:x")
        newcomer = self.talker_later("kept:x", positioned=True)
        self.turn.rest()
        self.broker.losing = 1
        self.publish(b"1", b"2", channel="kept:x")
        self.turn.rest()
        self.assertEqual([2500], [one.why.code for one in newcomer.heard(Message, Unsubscribed)])

    def test_who_was_there_and_read_beyond_a_gap(self) -> None:
        """It has lost nothing, and gets nothing again."""
        old = self.talker("watched:x")
        self.broker.gates = []
        newcomer = self.talker_later("watched:x")
        self.broker.losing = 1
        self.publish(b"1", b"2", b"3", channel="watched:x")
        gates, self.broker.gates = self.broker.gates, None
        gates[0].callback(None)
        self.publish(b"4", channel="watched:x")
        self.turn.rest()
        self.assertEqual([2500], [one.why.code for one in old.heard(Message, Unsubscribed)])
        heard = newcomer.heard(Subscribed, Message, Unsubscribed)
        self.assertEqual(["Subscribed", "Message"], kinds(heard))
        self.assertEqual((3, 4), (heard[0].result.position.offset, heard[1].publication.offset))

    def test_who_came_and_read_beyond_a_gap(self) -> None:
        """As well."""
        old = self.talker("watched:x")
        self.broker.losing = 1
        self.publish(b"1", b"2", b"3", channel="watched:x")
        newcomer = self.talker_later("watched:x")
        self.publish(b"4", channel="watched:x")
        self.turn.rest()
        self.assertEqual([2500], [one.why.code for one in old.heard(Message, Unsubscribed)])
        heard = newcomer.heard(Subscribed, Message, Unsubscribed)
        self.assertEqual(["Subscribed", "Message"], kinds(heard))
        self.assertEqual((3, 4), (heard[0].result.position.offset, heard[1].publication.offset))

    def test_new_stream_that_waits(self) -> None:
        """Who comes in the turn in which it begins has read it; who was there is told."""
        old = self.talker("short:x")
        self.publish(b"1", channel="short:x")
        self.turn.rest()
        old.heard()
        self.clock.advance(20)
        self.publish(b"2", channel="short:x")
        newcomer = self.talker_later("short:x")
        self.publish(b"3", channel="short:x")
        self.turn.rest()
        self.assertEqual([2500], [one.why.code for one in old.heard(Message, Unsubscribed)])
        self.assertEqual([2], [one.publication.offset for one in newcomer.heard(Message, Unsubscribed)])

    def test_new_stream_and_what_is_not_kept(self) -> None:
        """What waits for the newcomer says nothing about streams."""
        old = self.talker("short:x")
        self.publish(b"1", channel="short:x")
        self.turn.rest()
        old.heard()
        self.clock.advance(20)
        self.broker.gates = []
        newcomer = self.talker_later("short:x")
        self.publish(b"2", channel="short:x", skip_history=True)
        self.turn.rest()
        for gate in self.broker.gates:
            gate.callback(None)
        self.turn.rest()
        self.assertEqual([2500], [one.why.code for one in old.heard(Unsubscribed)])
        self.assertEqual([b"2"], newcomer.published())


class PresentTests(SpecialCase):
    """Who is there, while a fan-out is under way."""

    def test_gap_in_a_batch(self) -> None:
        """What was before it comes before it is told."""
        clients = [self.talker("watched:x", **options) for options in ({}, {"positioned": True})]
        self.publish(b"1", channel="watched:x")
        self.broker.losing = 1
        self.publish(b"2", b"3", channel="watched:x")
        self.turn.rest()
        for client in clients:
            message, told = client.heard()
            self.assertEqual((b"1", 2500), (message.publication.data, told.why.code))

    def test_who_filters_and_leaves(self) -> None:
        """Hears nothing more, whether its turn has come or not."""
        clients = [self.talker("delta:x", tags_filter=RED) for _ in range(3)]
        self.publish(b"1", channel="delta:x", tags={"color": "red"})
        self.turn.end()
        for client in clients[1:]:
            client.say(messages.Unsubscribe("delta:x", 3))
        self.turn.rest()
        self.assertEqual([[1], [], []], [self.offsets(client) for client in clients])

    def test_who_leaves_hears_of_nobody_any_more(self) -> None:
        clients = [self.talker("seen:x") for _ in range(3)]
        for client in clients:
            client.heard()
        guest = Talker(self.world)
        guest.say(Subscribe("seen:x", 2))
        self.turn.end()
        clients[1].say(messages.Unsubscribe("seen:x", 3))
        clients[2].say(messages.Unsubscribe("seen:x", 3), Subscribe("seen:x", 4))
        self.turn.rest()
        self.assertEqual("Joined", kinds(clients[0].heard())[0])
        self.assertEqual(["Done"], kinds(clients[1].heard()))
        done, answer, *rest = clients[2].heard()
        self.assertEqual(["Done", "Subscribed"], kinds([done, answer]))
        self.assertEqual([clients[2].session.id], [one.info.client for one in rest if isinstance(one, Joined)])

    def test_deltas_and_filters_in_a_batch(self) -> None:
        """Each sees all it wants, in order, as it was published; one who leaves in the middle nothing more."""
        screens = [Screen(self.world, subscribe=False) for _ in range(2)]
        for screen in screens:
            screen.client.say(Subscribe("delta:x", 2, delta="fossil"))
        picky, plain, leaver = self.talker("delta:x", tags_filter=RED), self.talker("delta:x"), self.talker("delta:x")
        for screen in screens:
            (answer,) = screen.client.heard(Subscribed)
            screen.begin(answer.result)
        texts = [b'"%s%d"' % (b"." * 40, number) for number in range(5)]
        for text in texts[:3]:
            self.publish(text, channel="delta:x", tags={"color": "red" if text.endswith(b'1"') else "blue"})
        self.turn.end()
        leaver.leave()
        late = Talker(self.world)
        late.say(Subscribe("delta:x", 2, delta="fossil"))
        for text in texts[3:]:
            self.publish(text, channel="delta:x", tags={"color": "red"})
        self.turn.rest()
        for screen in screens:
            self.assertEqual(texts, screen.hear().shown)
            self.assertEqual([False, True, True, True, True], screen.as_delta)
        self.assertEqual([texts[1], *texts[3:]], picky.published())
        self.assertEqual((texts, []), (plain.published(), leaver.published()))
        self.assertEqual(texts[3:], late.published())

    def test_excluded_ones_who_filter(self) -> None:
        clients = [self.talker("delta:x", tags_filter=RED) for _ in range(3)]
        for number, client in enumerate(clients):
            self.publish(b"%d" % number, channel="delta:x", tags={"color": "red"}, exclude=client.session.id)
        self.turn.rest()
        self.assertEqual([[2, 3], [1, 3], [1, 2]], [self.offsets(client) for client in clients])

    def test_to_be_finished_from_within(self) -> None:
        """Who wants to have it over while a step is being made gets it when that is done."""
        hub = self.world.node.hub

        def interrupt() -> None:
            self.publish(b"2", channel="x")
            hub.finish(hub.channels["x"])

        clients = [self.talker("x") for _ in range(2)]
        clients.append(Talker(self.world, dialect=Interrupting(b"0", interrupt)))
        clients[2].say(Subscribe("x", 2))
        self.turn.rest()
        clients[2].heard()
        self.publish(b"0", b"1", channel="x")
        self.turn.rest()
        for client in clients:
            self.assertEqual([b"0", b"1", b"2"], client.published())
        self.assertFalse(hub.channels["x"].busy)
