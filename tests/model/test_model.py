"""The model check, as much of it as a test run has time for. `make model` runs the whole: 200,000 steps."""

from __future__ import annotations

import unittest
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.core.messages import Message, SubscriptionResult
from realtime_svc.model import ClientInfo, Join, Leave, Publication, StreamPosition
from tests.model.machine import seeded
from tests.model.reference import Listener, Truth

SEED, RUNS, STEPS = 20_000_101, 40, 100


class ModelTests(SynchronousTestCase):
    """Never a loss, a duplicate, a wrong order, a gap that nobody tells, or one that is told where nothing is lost."""

    def test_node_agrees_with_the_reference(self) -> None:
        machine: Any = seeded(SEED, RUNS, STEPS)
        result = unittest.TestResult()
        machine.TestCase("runTest").run(result)
        self.assertEqual([], [text for _, text in result.failures + result.errors])
        self.assertGreater(machine.steps, RUNS * STEPS / 2, "the machine did not run")


class ReferenceTests(SynchronousTestCase):
    """The reference notices what it is there for."""

    def setUp(self) -> None:
        self.truth = Truth()
        for number in range(1, 8):
            self.truth.publish(b"%d" % number)
        self.truth.epoch_named("e")
        self.listener = Listener(self.truth, me="m")
        self.listener.subscribed(SubscriptionResult(position=StreamPosition(7, "e"), positioned=True), None, set())

    def arrive(self, offset: int, data: bytes, epoch: str = "e", exclude: str | None = None) -> Publication:
        publication = Publication("x", data, offset=offset, epoch=epoch, exclude=exclude)
        self.truth.arrived.append(publication)
        return publication

    def say(self, *publications: Publication) -> None:
        for publication in publications:
            self.listener.heard(Message(publication))

    def test_next_one_is_heard(self) -> None:
        self.truth.publish(b"8")
        self.say(self.arrive(8, b"8"))
        self.listener.check_complete()

    def test_gap_duplicate_and_wrong_data(self) -> None:
        self.truth.publish(b"8")
        self.truth.publish(b"9")
        for offset, data, epoch in ((9, b"9", "e"), (7, b"7", "e"), (8, b"9", "e"), (8, b"8", "f")):
            self.assertRaises(AssertionError, self.say, self.arrive(offset, data, epoch))
        self.assertRaises(AssertionError, self.listener.check_complete)

    def test_what_is_not_kept(self) -> None:
        """Is heard once, in order, and from the moment on at which the client was registered."""
        before, first, second = (self.arrive(0, data, "") for data in (b"a", b"b", b"c"))
        self.listener.at = 1
        for wrong in ((before,), (second,), (first, first), (first, second, second), (second, first)):
            self.listener.at = 1
            self.assertRaises(AssertionError, self.say, *wrong)
        self.listener.at = 1
        self.assertRaises(AssertionError, self.listener.check_complete)
        self.listener.at = 1
        self.say(first)
        self.listener.check_heard(2)
        self.say(second)
        self.listener.check_complete()

    def test_its_own_is_not_heard(self) -> None:
        self.truth.publish(b"8", "m")
        self.truth.publish(b"9")
        own, other = self.arrive(8, b"8", exclude="m"), self.arrive(9, b"9")
        self.assertRaises(AssertionError, self.say, own)
        self.listener.at = 0
        self.say(other)
        self.listener.check_complete()

    def test_comings_and_goings(self) -> None:
        """Those before its answer may be missed, later ones not; never out of order."""
        one, two = ClientInfo("1", ""), ClientInfo("2", "")
        self.truth.arrived += [Join("x", one), Leave("x", one), Join("x", two)]
        self.listener.sure = 1
        self.listener.heard_of(Leave, one)
        self.assertRaises(AssertionError, self.listener.heard_of, Join, one)
        self.listener.at = 2
        self.assertRaises(AssertionError, self.listener.check_complete)

    def test_what_came_with_the_answer_does_not_come_again(self) -> None:
        """Also where the client does not watch its position."""
        publication = self.arrive(7, b"7")
        result = SubscriptionResult(position=StreamPosition(7, "e"), messages=(Message(publication),))
        self.listener.subscribed(result, None, set())
        self.listener.check_complete()
        self.listener.subscribed(result, None, set())
        self.assertRaises(AssertionError, self.say, publication)
        gap = SubscriptionResult(
            position=publication.position, messages=(Message(self.arrive(5, b"5")), Message(publication))
        )
        self.assertRaises(AssertionError, self.listener.subscribed, gap, None, set())

    def test_what_can_be_recovered(self) -> None:
        cases = ((7, "e", True), (3, "e", True), (2, "e", False), (8, "e", False), (7, "f", False), (7, "", True))
        for offset, epoch, possible in cases:
            self.assertIs(possible, self.truth.recoverable(StreamPosition(offset, epoch)), (offset, epoch))
        self.truth.trim()
        self.assertFalse(self.truth.recoverable(StreamPosition(6, "e")))
        self.assertTrue(self.truth.recoverable(StreamPosition(7, "e")))

    def test_partial_or_needless_refusal(self) -> None:
        since = StreamPosition(6, "e")
        part = SubscriptionResult(
            position=since, was_recovering=True, positioned=True, messages=(Message(Publication("x", b"7")),)
        )
        for result in (part, SubscriptionResult(position=StreamPosition(7, "e"), was_recovering=True, positioned=True)):
            self.assertRaises(AssertionError, self.listener.subscribed, result, since, {True})
        wrong = SubscriptionResult(position=since, was_recovering=True, recovered=True, positioned=True)
        self.assertRaises(AssertionError, self.listener.subscribed, wrong, since, {False})
