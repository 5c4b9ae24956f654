"""What clients read: history and presence, who may, and how much."""

from __future__ import annotations

from typing import Any

from realtime_svc.core.messages import History, Presence, PresenceStats
from realtime_svc.model import HistoryQuery, StreamPosition
from tests.core.talker import Outcome, Talker, publish
from tests.core.test_publishing import NAMESPACES, Case
from tests.fakes import World


class ReadTests(Case):
    """History and presence."""

    def ask(self, **options: Any) -> Any:
        return self.client.ask(History("free:x", **options))[0]

    def offsets(self, **options: Any) -> list[int]:
        return [one.offset for one in self.ask(**options).publications]

    def test_pages(self) -> None:
        world_page = self.world.node.limits.page
        self.assertEqual(300, world_page)
        publish(self.world, *[b"%d" % n for n in range(1, 8)], channel="free:x")
        epoch = self.ask().position.epoch
        since = StreamPosition(4, epoch)
        for options, expected in (
            ({"limit": 0}, []),
            ({"limit": 2}, [3, 4]),
            ({"limit": -1}, [3, 4, 5, 6, 7]),
            ({"limit": 2, "reverse": True}, [7, 6]),
            ({"limit": -1, "since": since}, [5, 6, 7]),
            ({"limit": -1, "since": since, "reverse": True}, [3]),
            ({"limit": -1, "since": StreamPosition(1, "")}, [3, 4, 5, 6, 7]),
        ):
            self.assertEqual(expected, self.offsets(**options), options)
            self.assertEqual(StreamPosition(7, epoch), self.ask(**options).position, "always the top")

    def test_page_is_bounded(self) -> None:
        world = World(namespaces=NAMESPACES, page=2, broker=self.broker)
        publish(world, b"1", b"2", b"3", channel="free:x")
        client = Talker(world)
        for limit in (-1, 3, 1000):
            (answer,) = client.ask(History("free:x", limit))
            self.assertEqual(2, len(answer.publications))
        page = Outcome(world.node.publishing.history("free:x", HistoryQuery())).result
        self.assertEqual(3, len(page.publications), "the server may have all")

    def test_positions_that_are_none(self) -> None:
        for since, reverse, number in (
            (StreamPosition(1, "other"), False, 112),
            (StreamPosition(0, ""), True, 107),
            (StreamPosition(0, ""), False, 0),
        ):
            self.assertEqual(number, self.client.refused(History("free:x", 1, since, reverse)))

    def test_removed(self) -> None:
        publish(self.world, b"1", channel="free:x")
        Outcome(self.publishing.remove_history("free:x"))
        answer = self.ask(limit=-1)
        self.assertEqual(([], 1), (answer.publications, answer.position.offset))

    def test_presence(self) -> None:
        others = [Talker(self.world, token) for token in ("a", "b")]
        for one in (self.client, *others):
            one.subscribe("x")
        (members,) = others[1].ask(Presence("x", 3))
        expected = {one.session.id: one.session.info for one in (self.client, *others)}
        self.assertEqual((expected, 3), (members.members, members.id))
        (counts,) = others[1].ask(PresenceStats("x", 4))
        self.assertEqual((3, 2, 4), (counts.clients, counts.users, counts.id))
