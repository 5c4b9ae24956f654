"""A fan-out in slices, on real sockets: what happens between two of them, to those who had it and those who had not."""

from __future__ import annotations

from typing import Any

from realtime_svc import errors
from realtime_svc.core import hub
from realtime_svc.core.outbox import EXCLUDED
from tests.core.turns import Halting, SocketTransport, TurnCase, data_of, in_slices, said
from tests.fakes import limits
from tests.transports.kernels import OnCompiled, OnTwin


class Slices(TurnCase):
    """Each slice serves one client."""

    def setUp(self) -> None:
        super().setUp()
        in_slices(self)
        self.make_world(group=lambda: Halting(self.kernel))
        self.got: dict[SocketTransport, list[Any]] = {}

    def clients(self, count: int, channel: str = "x") -> list[SocketTransport]:
        clients = [self.client(channel) for _ in range(count)]
        self.got |= {client: [] for client in clients}
        return clients

    def newcomer(self, command: str) -> SocketTransport:
        """In this turn."""
        client = self.guest()
        self.got[client] = []
        client.type(command)
        return client

    def hear(self) -> list[list[Any]]:
        """What was published, as each of them has heard it so far."""
        for client, got in self.got.items():
            got += data_of(said(b"".join(client.read())))
        return [*self.got.values()]

    def test_one_after_another(self) -> None:
        self.clients(3)
        self.publish(b"1", b"2")
        steps = []
        while not self.turn.over:
            self.turn.end()
            steps.append([len(got) for got in self.hear()])
        self.assertEqual([[2, 0, 0], [2, 2, 0], [2, 2, 2]], steps)
        self.assertFalse(self.hub.channels["x"].busy)

    def test_who_leaves_gets_nothing_more(self) -> None:
        _, second, third, _ = self.clients(4)
        self.publish(b"1")
        self.turn.end()
        second.type('{"unsubscribe":"x"}')
        third.leave()
        self.turn.rest()
        self.assertEqual([[1], [], [], [1]], self.hear())
        self.publish(b"2")
        self.turn.rest()
        self.assertEqual([[1, 2], [], [], [1, 2]], self.hear())

    def test_all_leave(self) -> None:
        clients = self.clients(3)
        self.publish(b"1")
        self.turn.end()
        for client in clients:
            client.leave()
        self.turn.rest()
        self.assertEqual(([[1], [], []], {}), (self.hear(), self.hub.channels))

    def test_who_comes_gets_what_is_published_from_then_on(self) -> None:
        """Also at the place of one who left, and whatever waited then."""
        clients = self.clients(4)
        self.publish(b"1")
        self.turn.end()
        clients[3].leave()
        self.publish(b"2")
        self.newcomer('{"subscribe":"x"}')
        self.publish(b"3")
        self.turn.rest()
        self.assertEqual([[1, 2, 3]] * 3 + [[], [3]], self.hear())
        self.publish(b"4")
        self.turn.rest()
        self.assertEqual([[1, 2, 3, 4]] * 3 + [[], [3, 4]], self.hear())

    def test_who_comes_with_a_position_gets_the_rest_of_it(self) -> None:
        """What is under way, what waits and what comes: once, in order."""
        self.clients(3, "kept:x")
        self.publish(b"0", channel="kept:x")
        self.turn.rest()
        position = self.hub.channels["kept:x"].position
        assert position is not None
        self.publish(b"1", channel="kept:x")
        self.turn.end()
        self.publish(b"2", channel="kept:x")
        for offset in (0, 2):
            self.newcomer(f'{{"subscribe":"kept:x","since":"{position.epoch}:{offset}"}}')
        self.publish(b"3", channel="kept:x")
        self.turn.rest()
        self.publish(b"4", channel="kept:x")
        self.turn.rest()
        every = [0, 1, 2, 3, 4]
        self.assertEqual([every] * 3 + [every, every[2:]], self.hear())

    def test_next_one_begins_when_all_have_this_one(self) -> None:
        self.clients(4)
        self.publish(b"1")
        self.turn.end()
        self.publish(b"2")
        coming = [b"3"]
        while not self.turn.over:
            self.turn.end()
            lengths = {len(got) for got in self.hear()}
            self.assertLessEqual(max(lengths) - min(lengths), 1)
            if coming and lengths == {1, 2}:
                self.publish(coming.pop())
        self.assertEqual([[1, 2, 3]] * 4, self.hear())

    def test_another_channel_passes_between(self) -> None:
        self.clients(4)
        (other,) = self.clients(1, "y")
        writes = other.writes
        self.publish(b"1")
        self.turn.end()
        self.publish(b"2", channel="y")
        self.turn.end()
        self.assertEqual([[1], [1], [], [], [2]], self.hear())
        self.turn.rest()
        self.assertEqual([[1]] * 4 + [[2]], self.hear())
        self.assertEqual(writes, other.writes, "straight")

    def test_two_fan_outs_take_turns(self) -> None:
        self.clients(3)
        self.clients(3, "y")
        self.publish(b"1")
        self.publish(b"2", channel="y")
        self.turn.end()
        self.turn.end()
        self.turn.end()
        self.assertEqual([[1], [1], [], [2], [2], []], self.hear())

    def test_comings_and_goings_keep_their_place(self) -> None:
        clients = self.clients(3, "seen:x")
        for client in clients:
            client.read()
        self.publish(b"1", channel="seen:x")
        self.turn.end()
        guest = self.guest()
        guest.type('{"subscribe":"seen:x"}')
        self.publish(b"2", channel="seen:x")
        guest.type('{"unsubscribe":"seen:x"}')
        self.publish(b"3", channel="seen:x")
        self.turn.rest()
        for client in clients:
            kinds = [next(iter(one)) for one in said(b"".join(client.read()))]
            self.assertEqual(["message", "join", "message", "leave", "message"], kinds)
        kinds = [next(iter(one)) for one in said(b"".join(guest.read()))]
        self.assertEqual(["hello", "ok", "ok"], kinds)

    def test_excluded_one_is_open_for_others_between(self) -> None:
        clients = self.clients(4)
        mine = clients[3]
        mine.type('{"subscribe":"y"}')
        self.turn.rest()
        assert mine.session is not None
        self.publish(b"1", exclude=mine.session.id)
        self.publish(b"2")
        self.turn.end()
        self.assertFalse(mine.outlet.holds & EXCLUDED)
        writes = mine.writes
        self.publish(b"3", channel="y")
        self.turn.end()
        self.assertEqual([[1, 2], [1, 2], [], [3]], self.hear())
        self.assertEqual(writes, mine.writes)
        self.turn.rest()
        self.assertEqual([[1, 2]] * 3 + [[3, 2]], self.hear())
        self.assertEqual([0] * 4, [client.outlet.holds for client in clients])

    def test_slow_one_is_cut_and_the_others_go_on(self) -> None:
        clients = self.clients(4)
        self.world.node.limits = limits(queue_size=10)
        slow = clients[1]
        assert slow.session is not None
        slow.session.blocked()
        self.publish(b"1")
        self.turn.rest()
        self.assertEqual([[1], [], [1], [1]], self.hear())
        self.assertEqual(3008, slow.closed and slow.closed.code)
        self.assertFalse(self.hub.channels["x"].busy)

    def test_closed_one_gets_it_before(self) -> None:
        """Whether its turn has come or not; what is under way is delivered to all, once."""
        clients = self.clients(4)
        self.publish(b"1")
        self.turn.end()
        self.publish(b"2")
        for client in (clients[0], clients[2]):
            assert client.session is not None
            client.session.close(errors.FORCED)
        self.assertEqual([[1, 2]] * 4, self.hear())
        self.turn.rest()
        self.publish(b"3")
        self.turn.rest()
        self.assertEqual([[1, 2], [1, 2, 3]] * 2, self.hear())

    def test_publisher_pays_for_what_waits_too_long(self) -> None:
        self.patch(hub, "MOST_EVENTS", 3)
        self.clients(3)
        self.publish(b"1")
        self.turn.end()
        self.publish(b"2", b"3", b"4")
        self.assertEqual([[1], [], []], self.hear())
        self.publish(b"5")
        self.assertEqual([[1, 2, 3, 4, 5]] * 3, self.hear())
        self.publish(b"6")
        self.turn.rest()
        self.assertEqual([[1, 2, 3, 4, 5, 6]] * 3, self.hear())
        self.assertTrue(self.turn.over)

    def test_counts(self) -> None:
        clients = self.clients(4)
        assert clients[2].session is not None
        before = self.world.instruments.messages_out["plain"]
        self.publish(b"1", b"2", exclude=clients[2].session.id)
        self.publish(b"3")
        self.turn.rest()
        self.assertEqual(10, self.world.instruments.messages_out["plain"] - before)


class TwinSlicesTests(Slices, OnTwin):
    """In Python."""


class CompiledSlicesTests(Slices, OnCompiled):
    """Compiled."""
