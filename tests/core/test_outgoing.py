"""The end of the turn, on real sockets: what leaves then, in which order and in how many writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from realtime_svc import errors
from realtime_svc.core import messages
from realtime_svc.core.outbox import MOST_AT_ONCE
from realtime_svc.core.subscription import Subscription
from realtime_svc.model import Grant, LifecycleEvent, Publication
from realtime_svc.wire import centrifuge_json
from tests.core.turns import TurnCase, data_of, numbers, payloads, said
from tests.fakes import RAW, FakeLifecycle
from tests.transports.kernels import OnCompiled, OnTwin
from tests.transports.sockets import frames


class EndOfTurn(TurnCase):
    """Clients whose sockets keep writes apart."""

    def setUp(self) -> None:
        super().setUp()
        self.make_world()

    def test_publications_of_a_turn_leave_as_one_write(self) -> None:
        clients = [self.client("x") for _ in range(3)]
        before, bytes_before = self.world.instruments.messages_out["plain"], self.world.instruments.bytes_out
        self.publish(b"1", b"2", b"3")
        self.assertEqual([[]] * 3, [client.read() for client in clients])
        self.turn.end()
        records = [client.read() for client in clients]
        self.assertEqual([1] * 3, [len(record) for record in records])
        self.assertEqual([[1, 2, 3]] * 3, [data_of(said(record[0])) for record in records])
        self.assertEqual(9, self.world.instruments.messages_out["plain"] - before)
        self.assertEqual(3 * len(records[0][0]), self.world.instruments.bytes_out - bytes_before)
        self.assertTrue(self.turn.over)

    def test_coming_that_nobody_hears_of(self) -> None:
        """Divides nothing."""
        client = self.client("kept:x")
        self.publish(b"1", channel="kept:x")
        self.guest("kept:x")
        self.publish(b"2", channel="kept:x")
        self.turn.end()
        (record,) = client.read()
        self.assertEqual([1, 2], data_of(said(record)))

    def test_one_publication_to_a_few(self) -> None:
        clients = [self.client("x", dialect=RAW) for _ in range(3)]
        before, bytes_before = self.world.instruments.messages_out["raw"], self.world.instruments.bytes_out
        self.publish(b"1")
        self.turn.end()
        self.assertEqual([[b"\x81\x011"]] * 3, [client.read() for client in clients])
        self.assertEqual(3, self.world.instruments.messages_out["raw"] - before)
        self.assertEqual(9, self.world.instruments.bytes_out - bytes_before)
        self.assertEqual([0] * 3, [client.writes for client in clients], "past the session")

    def test_answer_that_was_there_before(self) -> None:
        """A publication never overtakes it, though others get theirs straight."""
        asking, other = self.client("x"), self.client("x")
        asking.type('{"ping":1}')
        self.publish(b"1")
        self.turn.end()
        (record,) = asking.read()
        self.assertEqual(["ok", "message"], [next(iter(one)) for one in said(record)])
        self.assertEqual([1], data_of(said(b"".join(other.read()))))
        self.assertEqual(0, asking.outlet.holds)
        self.publish(b"2")
        writes = asking.writes
        self.turn.end()
        self.assertEqual([2], data_of(said(b"".join(asking.read()))))
        self.assertEqual(writes, asking.writes, "straight again")

    def test_answers_that_are_being_joined(self) -> None:
        """What somebody wants to have delivered meanwhile does not pass them by."""
        client = self.client(dialect=centrifuge_json.WEBSOCKET)
        session = client.session
        assert session is not None
        subscription = Subscription(session, "x", Grant(), server_side=False)
        channel = self.hub.subscribe(subscription)
        self.assertTrue(channel.activate(subscription, None))
        self.hub.settle(subscription)
        session.cork()
        session.say(messages.Message(Publication("y", b"0")))
        self.publish(b"1")
        self.hub.finish(channel)
        session.uncork()
        self.turn.end()
        (record,) = client.read()
        said = frames(record)[0].payload.split(b"\n")
        self.assertEqual([0, 1], [json.loads(one)["push"]["pub"]["data"] for one in said])
        self.assertEqual(0, client.outlet.holds)

    def test_answers_of_a_turn_leave_as_one_write(self) -> None:
        client = self.client()
        for number in range(3):
            client.type(f'{{"ping":1,"id":{number}}}')
        self.assertEqual([], client.read())
        self.turn.end()
        (record,) = client.read()
        self.assertEqual([0, 1, 2], [one["id"] for one in said(record)])

    def test_who_comes_in_the_turn(self) -> None:
        """Gets its answer, then what was published from then on, and nothing of before."""
        old, newcomer = self.client("x"), self.client()
        self.publish(b"1")
        newcomer.type('{"subscribe":"x"}')
        self.publish(b"2")
        self.turn.end()
        (record,) = newcomer.read()
        self.assertEqual(["ok", "message"], [next(iter(one)) for one in said(record)])
        self.assertEqual([2], data_of(said(record)))
        self.assertEqual([1, 2], data_of(said(b"".join(old.read()))))
        self.publish(b"3")
        self.turn.end()
        self.assertEqual([3], data_of(said(b"".join(newcomer.read()))))

    def test_last_one_leaves_and_another_comes_in_the_turn(self) -> None:
        first, second = self.client("x"), self.client()
        self.publish(b"1")
        first.type('{"unsubscribe":"x"}')
        second.type('{"subscribe":"x"}')
        self.publish(b"2")
        self.turn.end()
        self.assertEqual([], data_of(said(b"".join(first.read()))))
        self.assertEqual([2], data_of(said(b"".join(second.read()))))
        self.assertTrue(self.turn.over)

    def test_who_leaves_in_the_turn_and_comes_back(self) -> None:
        client = self.client("x")
        self.publish(b"1")
        client.type('{"unsubscribe":"x"}', '{"subscribe":"x"}')
        self.publish(b"2")
        self.turn.end()
        self.assertEqual([2], data_of(said(b"".join(client.read()))))

    def test_large_batch(self) -> None:
        """In several writes, each at most a little more than is good for one; in order for all."""
        clients = [self.client("x") for _ in range(2)]
        held = self.client("x")
        held.type('{"ping":1}')
        texts = payloads(10, 20_000)
        self.publish(*texts)
        self.turn.end()
        for client in (*clients, held):
            records = client.read()
            self.assertEqual(3, len(records))
            self.assertLess(max(map(len, records)), MOST_AT_ONCE + 21_000)
            self.assertEqual([*range(10)], numbers(data_of(said(b"".join(records)))))
            self.assertEqual(0, client.outlet.holds)

    def test_excluded_ones_of_a_batch(self) -> None:
        """Each misses its own, and only that."""
        clients = [self.client("x") for _ in range(4)]
        before = self.world.instruments.messages_out["plain"]
        for number, client in enumerate(clients[:3]):
            assert client.session is not None
            self.publish(b"%d" % number, exclude=client.session.id)
        self.publish(b"3", exclude="nobody")
        self.turn.end()
        heard = [data_of(said(b"".join(client.read()))) for client in clients]
        self.assertEqual([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2, 3]], heard)
        self.assertEqual(13, self.world.instruments.messages_out["plain"] - before)
        self.assertEqual([0] * 4, [client.outlet.holds for client in clients])

    def test_same_payload_twice_and_each_excludes_another(self) -> None:
        clients = [self.client("x", dialect=RAW) for _ in range(2)]
        for client in clients:
            assert client.session is not None
            self.publish(b"1", exclude=client.session.id)
        self.turn.end()
        self.assertEqual([[b"\x81\x011"]] * 2, [client.read() for client in clients])


class Interfering(FakeLifecycle):
    """A backend that does something when it is told."""

    call: Callable[[], None] | None = None

    def emit(self, event: LifecycleEvent) -> None:
        if self.call is not None:
            self.call()


class Closing(TurnCase):
    """A session ends in the middle of the turn."""

    def setUp(self) -> None:
        super().setUp()
        self.make_world(queue_size=1000)

    def close(self, client: Any) -> None:
        client.session.close(errors.FORCED)
        self.assertEqual(errors.FORCED, client.closed)

    def test_what_was_published_before_comes_before(self) -> None:
        client, other = self.client("x", "y"), self.client("x")
        self.publish(b"1")
        client.type('{"ping":1}')
        self.publish(b"2", channel="y")
        self.publish(b"3", channel="")
        self.close(client)
        kinds = [next(iter(one)) for one in said(b"".join(client.read()))]
        self.assertEqual(("ok", "bye"), (kinds[0], kinds[-1]))
        self.assertEqual(["message"] * 3, kinds[1:-1])
        self.turn.rest()
        self.assertEqual([], client.read())
        self.assertEqual([1, 3], data_of(said(b"".join(other.read()))))

    def publish(self, *payloads: bytes, channel: str = "x", **options: Any) -> None:
        if channel:
            super().publish(*payloads, channel=channel, **options)
        else:
            for data in payloads:
                self.world.node.background(self.world.node.publishing.broadcast(data), "")

    def test_all_at_once(self) -> None:
        """As when the server drains: everybody gets what was published, then the reason."""
        clients = [self.client("x", "y") for _ in range(5)]
        self.publish(b"1")
        self.publish(b"2", channel="y")
        for client in clients:
            self.close(client)
        self.turn.rest()
        for client in clients:
            messages = said(b"".join(client.read()))
            self.assertEqual([1, 2], data_of(messages))
            self.assertEqual("bye", next(iter(messages[-1])))

    def test_what_was_published_before_is_too_much(self) -> None:
        """It is cut for that, in whichever of its channels; nothing else goes wrong."""
        client, other = self.client("x", "y", "z"), self.client("x", "y", "z")
        assert client.session is not None
        client.session.blocked()
        for channel in ("x", "y", "z"):
            self.publish(b'"%s"' % (b"." * 900), b"1", channel=channel)
        client.session.close(errors.FORCED)
        self.assertEqual(3008, client.closed and client.closed.code)
        self.turn.rest()
        self.assertEqual(6, len(data_of(said(b"".join(other.read())))))
        self.assertEqual({}, client.session.channels)

    def test_delivery_in_the_middle_of_the_end(self) -> None:
        """A connection is gone from one of its channels, and not yet from the next, where something is delivered."""
        lifecycle = Interfering("unsubscribe")
        self.make_world(lifecycle=lifecycle)
        client, other = self.client("x", "y"), self.client("y")

        def interfere() -> None:
            self.publish(b"1", channel="y")
            self.hub.finish(self.hub.channels["y"])

        lifecycle.call = interfere
        client.leave()
        self.assertEqual(([], None), (client.read(), client.outlet.owner))
        self.assertEqual([1, 1], data_of(said(b"".join(other.read()))))
        self.assertEqual([], self.world.reports)

    def test_nothing_follows(self) -> None:
        client = self.client("x")
        self.publish(b"1")
        client.leave()
        self.publish(b"2")
        self.turn.rest()
        self.assertEqual(([], None), (client.read(), client.outlet.owner))


class TwinEndOfTurnTests(EndOfTurn, OnTwin):
    """In Python."""


class CompiledEndOfTurnTests(EndOfTurn, OnCompiled):
    """Compiled."""


class TwinClosingTests(Closing, OnTwin):
    """In Python."""


class CompiledClosingTests(Closing, OnCompiled):
    """Compiled."""
