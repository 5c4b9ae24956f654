"""What may go wrong at the end of the turn: too much waits, sockets take a part, something raises."""

from __future__ import annotations

from typing import Any

from realtime_svc import errors
from realtime_svc.core import hub, messages
from realtime_svc.core.messages import Reply
from realtime_svc.core.outbox import BLOCKED
from realtime_svc.core.ports import Frame
from realtime_svc.core.session import Session
from realtime_svc.wire.plain import PlainDialect
from tests.core.turns import TurnCase, data_of, numbers, payloads, said
from tests.fakes import PLAIN, limits
from tests.transports.kernels import OnCompiled, OnTwin


class Bounds(TurnCase):
    """What waits for the end of the turn is bounded: the publisher pays."""

    def setUp(self) -> None:
        super().setUp()
        self.make_world(queue_size=1 << 22)

    def test_bytes(self) -> None:
        client = self.client("x", records=False)
        text = b'"%s"' % (b"." * (hub.MOST_WAITING // 20))
        self.publish(*[text] * 19)
        self.assertEqual([], client.read())
        self.publish(text)
        self.assertEqual((0, []), (self.hub.channels["x"].size, self.hub.channels["x"].waiting))
        self.check_order(client, 20)

    def test_events(self) -> None:
        client = self.client("x", records=False)
        self.publish(*[b"1"] * hub.MOST_EVENTS)
        self.assertEqual([], client.read())
        self.publish(b"1")
        self.assertEqual([], self.hub.channels["x"].waiting)
        self.check_order(client, hub.MOST_EVENTS + 1)

    def check_order(self, client: Any, count: int) -> None:
        """What follows in the same turn follows."""
        self.publish(b"0")
        first = client.drain()
        self.turn.end()
        heard = data_of(said(first + client.drain()))
        self.assertEqual((count + 1, 0), (len(heard), heard[-1]))
        self.assertTrue(self.turn.over)
        self.assertFalse(self.hub.channels["x"].busy)


class ShortWrites(TurnCase):
    """Sockets that take a part."""

    def setUp(self) -> None:
        super().setUp()
        self.make_world(queue_size=1 << 20)

    def test_rest_comes_before_anything_else(self) -> None:
        """Of publications and of answers, and of what passes other clients by; all of it counts once."""
        slow, fast = self.client("x", records=False, buffer=4096), self.client("x", records=False)
        before = self.world.instruments.messages_out["plain"]
        heard = b""
        for number, text in enumerate(payloads(30, 3000)):
            self.publish(text)
            if number % 5 == 4:
                slow.type('{"ping":1}')
            self.turn.end()
            heard += fast.drain()
        self.assertTrue(slow.outlet.holds & BLOCKED)
        messages = said(slow.drain())
        self.turn.rest()
        messages += said(slow.drain())
        self.assertEqual([*range(30)], numbers(data_of(messages)))
        self.assertEqual(6, len(messages) - 30)
        self.assertEqual([*range(30)], numbers(data_of(said(heard))))
        self.assertEqual(66, self.world.instruments.messages_out["plain"] - before)
        self.assertEqual((0, 0), (slow.outlet.holds, fast.outlet.holds))
        self.publish(b"1")
        writes = slow.writes
        self.turn.end()
        self.assertEqual([1], data_of(said(slow.drain())))
        self.assertEqual(writes, slow.writes, "straight again")

    def test_one_that_takes_nothing_now(self) -> None:
        """It was tried, so these bytes are the first that it has to be given next (TLS)."""
        slow = self.client("x", "y", records=False, buffer=4096)
        for channel in ("x", "y"):  # to a few, and in a round
            filled = 0
            while taken := slow.outlet.send(b"." * 1000):
                filled += taken
            rests, writes = slow.rests, slow.writes
            self.publish(*[b"1"] * (1 + (channel == "y")), channel=channel)
            self.turn.end()
            self.assertEqual((rests + 1, writes), (slow.rests, slow.writes))
            self.assertEqual([1] * (1 + (channel == "y")), data_of(said(slow.drain()[filled:])))
            self.assertEqual(0, slow.outlet.holds)

    def test_one_that_takes_nothing(self) -> None:
        """Is cut, others go on, and it is told why once it takes something."""
        slow, fast = self.client("x", records=False, buffer=4096), self.client("x", records=False)
        self.world.node.limits = limits(queue_size=5000)
        heard = b""
        for text in payloads(30, 3000):
            self.publish(text)
            self.turn.end()
            heard += fast.drain()
        self.assertEqual([*range(30)], numbers(data_of(said(heard))))
        self.assertEqual(3008, slow.closed and slow.closed.code)
        messages = said(slow.drain())
        self.assertEqual([*range(len(messages) - 1)], numbers(data_of(messages)))
        self.assertEqual("bye", next(iter(messages[-1])))
        self.assertFalse(self.hub.channels["x"].busy)


class Clumsy(PlainDialect):
    """Can't say some things."""

    def encode(self, reply: Reply) -> Frame | None:
        if isinstance(reply, messages.Message) and reply.publication.data == b'"bad"':
            raise ValueError("an encoder's fault")
        return super().encode(reply)


class Failures(TurnCase):
    """What must not happen is reported, and costs little."""

    def setUp(self) -> None:
        super().setUp()
        self.make_world()

    def fail(self, clients: list[Any], channel: str = "x") -> None:  # type: ignore[override]
        """The channel goes on."""
        self.assertEqual(["a fan-out failed"], [what for what, _ in self.world.reports])
        self.world.reports.clear()
        self.assertFalse(self.hub.channels[channel].busy)
        self.publish(b"1", channel=channel)
        self.turn.end()
        self.assertEqual([[1]] * len(clients), [data_of(said(b"".join(client.read())))[-1:] for client in clients])
        self.assertTrue(self.turn.over)

    def test_encoder_of_one(self) -> None:
        clients = [self.client("x", dialect=dialect) for dialect in (Clumsy(),)]
        self.publish(b'"bad"')
        self.turn.end()
        self.fail(clients)

    def test_encoder_of_several(self) -> None:
        clients = [self.client("x", dialect=dialect) for dialect in (PLAIN, Clumsy())]
        self.publish(b"0", b'"bad"', b"2")
        self.turn.end()
        self.fail(clients)

    def test_while_a_client_is_closed(self) -> None:
        """It is closed all the same."""
        client, other = (self.client("x", dialect=Clumsy()) for _ in range(2))
        self.publish(b'"bad"')
        assert client.session is not None
        client.session.close(errors.FORCED)
        self.assertEqual(["bye"], [next(iter(one)) for one in said(b"".join(client.read()))])
        self.fail([other])

    def test_who_has_to_know_of_a_loss_is_told(self) -> None:
        client = self.client("watched:x", dialect=Clumsy())
        self.publish(b"0", b'"bad"', channel="watched:x")
        self.turn.end()
        (told,) = said(b"".join(client.read()))
        self.assertEqual(("watched:x", 2500), (told["unsubscribed"], told["code"]))

    def test_transport(self) -> None:
        """One that raises, though it must not, is cut; the others get theirs, in this turn and in later ones."""
        broken, other = self.client(), self.client()
        broken.write = lambda frame: 1 / 0  # type: ignore[method-assign, assignment]
        for _ in range(2):
            broken.type('{"ping":1}')
            other.type('{"ping":1}')
            self.turn.end()
            self.assertEqual(1, len(said(b"".join(other.read()))))
        self.assertTrue(broken.aborted)
        self.assertEqual(["writing to a client failed"] * 2, [what for what, _ in self.world.reports])

    def test_from_within_a_write(self) -> None:
        """What is published out of a fan-out comes after it for all, even where somebody waits for it to be over."""
        first, second = self.client("x"), self.client("x")
        self.hold(first)
        self.hold(second)
        assert first.session is not None
        send = first.session.send

        def publish_then_send(frame: Frame) -> None:
            Session.send = original  # type: ignore[method-assign]
            self.publish(b"2")
            self.hub.finish(self.hub.channels["x"])
            send(frame)

        original = Session.send
        Session.send = lambda session, frame: publish_then_send(frame)  # type: ignore[method-assign, assignment]
        self.addCleanup(setattr, Session, "send", original)
        self.publish(b"1")
        self.turn.rest()
        for client in (first, second):
            assert client.session is not None
            client.session.unblocked()
            self.assertEqual([1, 2], data_of(said(b"".join(client.read()))))
        self.assertFalse(self.hub.channels["x"].busy)

    def hold(self, client: Any) -> None:
        client.session.blocked()


class TwinBoundsTests(Bounds, OnTwin):
    """In Python."""


class CompiledBoundsTests(Bounds, OnCompiled):
    """Compiled."""


class TwinShortWritesTests(ShortWrites, OnTwin):
    """In Python."""


class CompiledShortWritesTests(ShortWrites, OnCompiled):
    """Compiled."""


class TwinFailuresTests(Failures, OnTwin):
    """In Python."""


class CompiledFailuresTests(Failures, OnCompiled):
    """Compiled."""
