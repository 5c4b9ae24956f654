"""What every broker must do (`core.ports.Broker`), whether it answers at once or later."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.core.ports import Broker
from realtime_svc.driver import run
from realtime_svc.engines.broker_memory import MemoryBroker
from realtime_svc.model import ClientInfo, Publication
from tests.fakes import DelayingBroker

SECONDS = 10.0  # more than any broker here takes for what a test gives it


class BrokerContract:
    """Mix it into a `TestCase` that gives `make_broker`. `self.clock` drives brokers that answer later."""

    def make_broker(self, clock: Clock) -> Broker:
        raise NotImplementedError

    def setUp(self) -> None:
        self.clock: Any = Clock()
        self.broker = self.make_broker(self.clock)
        self.received: list[Publication] = []
        self.accepted: list[str] = []

    def receive(self, publication: Publication) -> None:
        self.received.append(publication)

    def publish(self: Any, publication: Publication, name: str = "") -> None:
        def done(result: None, error: BaseException | None) -> None:
            self.assertIsNone(error)
            self.accepted.append(name)

        run(self.broker.publish(publication), done)

    def settle(self) -> None:
        for _ in range(100):
            self.clock.advance(SECONDS / 100)

    def test_every_field_arrives(self: Any) -> None:
        publication = Publication(
            "bytes:x", b"\x00\xff", False, True, {"event": "e"}, ClientInfo("c", "u", b'{"n":1}'), exclude="c"
        )
        self.broker.on_publication(self.receive)
        self.publish(publication)
        self.settle()
        self.assertEqual([publication], self.received)

    def test_publication_without_a_channel(self: Any) -> None:
        self.broker.on_publication(self.receive)
        self.publish(Publication("", b"1"))
        self.settle()
        self.assertEqual([""], [publication.channel for publication in self.received])

    def test_order_of_a_channel_is_that_of_the_calls(self: Any) -> None:
        """Also where the publisher does not wait for the answers."""
        self.broker.on_publication(self.receive)
        for number in range(50):
            self.publish(Publication("x" if number % 2 else "y", b"%d" % number), str(number))
        self.settle()
        for channel, first in (("x", 1), ("y", 0)):
            found = [int(publication.data) for publication in self.received if publication.channel == channel]
            self.assertEqual(list(range(first, 50, 2)), found)

    def test_each_is_delivered_once_and_answered_once(self: Any) -> None:
        self.broker.on_publication(self.receive)
        for number in range(20):
            self.publish(Publication("x", b"%d" % number), str(number))
        self.settle()
        self.assertEqual(20, len(self.received))
        self.assertEqual([str(number) for number in range(20)], sorted(self.accepted, key=int))

    def test_publishing_out_of_a_delivery(self: Any) -> None:
        """Nothing is lost and nothing comes twice when who receives publishes, too."""

        def reply(publication: Publication) -> None:
            self.received.append(publication)
            if publication.channel == "question":
                self.publish(Publication("answer", publication.data))

        self.broker.on_publication(reply)
        self.publish(Publication("question", b"1"))
        self.settle()
        self.assertEqual(["question", "answer"], [publication.channel for publication in self.received])

    def test_nobody_listens(self: Any) -> None:
        self.publish(Publication("x", b"1"), "x")
        self.settle()
        self.assertEqual(["x"], self.accepted)


class MemoryBrokerTests(BrokerContract, SynchronousTestCase):
    """The broker of one process."""

    def make_broker(self, clock: Clock) -> Broker:
        return MemoryBroker()

    def test_never_waits(self) -> None:
        """Delivered and answered in the same call."""
        self.broker.on_publication(self.receive)
        self.publish(Publication("x", b"1"), "x")
        self.assertEqual((1, ["x"]), (len(self.received), self.accepted))


class DelayedMemoryBrokerTests(BrokerContract, SynchronousTestCase):
    """The same, each answer delayed: so what calls a broker is used to waiting."""

    def make_broker(self, clock: Clock) -> Broker:
        return DelayingBroker(MemoryBroker(), clock)

    def test_waits(self) -> None:
        self.publish(Publication("x", b"1"), "x")
        self.assertEqual([], self.accepted)
