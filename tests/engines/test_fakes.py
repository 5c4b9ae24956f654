"""The late engines of `tests.fakes_engines`, as a test drives them by hand."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from realtime_svc.engines.broker_memory import MemoryBroker
from realtime_svc.engines.presence_memory import MemoryPresence
from realtime_svc.errors import ErrorCode, ReplyError
from realtime_svc.model import ChannelEvent, ClientInfo, Publication, PublishResult, StreamOptions
from tests.contracts.asking import Asking
from tests.fakes_engines import DelayingBroker, DelayingPresence

ANN = ClientInfo("1", "ann")


class BrokenBroker(MemoryBroker):
    """Can't be reached."""

    async def publish(self, publication: Publication, options: StreamOptions) -> PublishResult:
        raise ReplyError(ErrorCode.INTERNAL)


class DelayingTests(Asking, TestCase):
    def test_answers_in_the_order_of_the_calls(self) -> None:
        broker = DelayingBroker(MemoryBroker(Clock()))
        received: list[ChannelEvent] = []
        broker.on_event(received.append)
        first, second = (self.start(broker.publish(Publication("x", b"1"), StreamOptions())) for _ in range(2))
        self.assertEqual((2, 2), (len(received), len(broker.waiting)))
        self.assertNoResult(first)
        broker.release()
        self.successResultOf(first)
        self.assertNoResult(second)
        broker.release()
        self.successResultOf(second)

    def test_effects_in_the_order_of_the_calls(self) -> None:
        store = MemoryPresence()
        late = DelayingPresence(store, effects=True)
        added, removed = self.start(late.add("x", ANN)), self.start(late.remove("x", "1"))
        self.assertEqual(0, store.channels)
        late.release()
        self.successResultOf(added)
        self.assertEqual(1, store.channels)
        late.release()
        self.successResultOf(removed)
        self.assertEqual(0, store.channels)

    def test_release_all(self) -> None:
        """Also what is called meanwhile."""
        late = DelayingPresence(MemoryPresence())

        async def both() -> dict[str, ClientInfo]:
            await late.add("x", ANN)
            return await late.members("x")

        answer = self.start(both())
        late.release_all()
        self.assertEqual({"1": ANN}, self.successResultOf(answer))

    def test_errors_are_late_too(self) -> None:
        for effects in (False, True):
            broker = DelayingBroker(BrokenBroker(Clock()), effects=effects)
            answer = self.start(broker.publish(Publication("x", b"1"), StreamOptions()))
            self.assertNoResult(answer)
            broker.release()
            self.failureResultOf(answer, ReplyError)

    def test_a_clock_releases(self) -> None:
        """What was released by hand before is not released again."""
        clock = Clock()
        late = DelayingPresence(MemoryPresence(), clock, delay=1.0)
        first = self.start(late.add("x", ANN))
        clock.advance(0.5)
        second = self.start(late.counts("x"))
        late.release()
        self.successResultOf(first)
        clock.advance(0.5)
        self.assertNoResult(second)
        clock.advance(0.5)
        self.assertEqual((1, 1), self.successResultOf(second))
