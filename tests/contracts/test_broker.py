"""What every broker must do (`core.ports.Broker`), whether it answers at once or later."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from twisted.trial.unittest import TestCase

from realtime_svc.core.ports import Broker, Clock
from realtime_svc.engines.broker_memory import MemoryBroker
from realtime_svc.model import Publication, StreamOptions, StreamPosition
from tests.contracts import reference
from tests.contracts.broker_delivery import DeliveryContract
from tests.contracts.broker_freshness import FreshnessContract
from tests.contracts.broker_streams import StreamContract
from tests.contracts.reference import CHANNELS, STEPS, WINDOW, ReferenceBroker, Step
from tests.fakes_engines import DELAY, DelayingBroker


class BrokerContract(DeliveryContract, StreamContract, FreshnessContract):
    """Mix it into a `TestCase` that gives `make_broker`, whose idempotency window is `reference.WINDOW`."""

    def test_any_calls(self) -> None:
        """In any order, the answers and deliveries are those of the reference."""

        @given(STEPS)
        @settings(deadline=None, max_examples=150)
        def check(steps: list[Step]) -> None:
            self.setUp()
            self.finish(self.compare(steps))

        check()

    async def compare(self, steps: list[Step]) -> None:
        """Epochs are matched with the reference's as they turn up; each of its own must be new."""
        model = ReferenceBroker()
        epochs: dict[str, int] = {"": 0}

        def known(position: StreamPosition | None, expected: Any) -> Any:
            if position is None:
                return None
            if position.epoch not in epochs and expected and expected[0] not in epochs.values():
                epochs[position.epoch] = expected[0]
            return (epochs.get(position.epoch), position.offset)

        await self.subscribe(*CHANNELS)
        for number, step in enumerate(steps):
            match step:
                case reference.Publish(channel, options):
                    result = await self.publish(b"%d" % number, channel, options)
                    position, fresh = model.publish(channel, options, number)
                    self.assertEqual((position, fresh), (known(result.position, position), result.fresh), step)
                case reference.History(channel, query, meta_ttl):
                    page = await self.history(query, channel, meta_ttl)
                    found, position = model.history(channel, query, meta_ttl)
                    self.assertEqual(position, known(page.position, position), step)
                    self.assertEqual(found, [(item.offset, int(item.data)) for item in page.publications], step)
                case reference.Remove(channel):
                    await self.ask(self.broker.remove_history(channel))
                    model.remove_history(channel)
                case reference.Wait(seconds):
                    self.clock.advance(seconds)
                    model.now += seconds
        for channel in CHANNELS:
            told = [(*known(item.position, None), int(item.data)) for item in await self.delivered(channel)]
            self.assertEqual(model.delivered[channel], told)


class MemoryBrokerTests(BrokerContract, TestCase):
    """The broker of one process."""

    def make_broker(self, clock: Clock) -> Broker:
        return MemoryBroker(clock, idempotency_window=WINDOW)


class LateAnswersTests(BrokerContract, TestCase):
    """The same, each answer delayed: calls take effect before those that made them know."""

    effects = False

    def make_broker(self, clock: Clock) -> Broker:
        return DelayingBroker(MemoryBroker(clock, idempotency_window=WINDOW), clock, effects=self.effects)

    def turn(self) -> None:
        self.clock.advance(DELAY)

    async def test_waits(self) -> None:
        """Else this suite shows nothing more than the one above."""
        answer = self.start(self.broker.publish(Publication("", b"1"), StreamOptions()))
        self.assertNoResult(answer)
        self.assertEqual(0 if self.effects else 1, len(self.received))
        self.turn()
        await answer
        self.assertEqual(1, len(self.received))


class LateEffectsTests(LateAnswersTests):
    """The same, each call delayed as a whole: other calls are made before it takes effect."""

    effects = True
