"""The queue: batches, order, trying again, bounds, the end. The backend is a fake, time is the test's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc import config
from realtime_svc.core.instruments import Instruments
from realtime_svc.model import ClientInfo, LifecycleEvent
from realtime_svc.webhooks import Answer, CallFailed, Webhooks
from realtime_svc.webhooks.body import signature
from realtime_svc.webhooks.delivery import LONGEST_WAIT, retry_after

WALL = 1_700_000_000.5
SECRET = "the secret of the test"


class Case(SynchronousTestCase):
    """Each call is answered when the test says so, or by what stands in `answers`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.calls: list[tuple[list[str], Mapping[str, str], bytes]] = []
        self.open: list[Deferred[Answer]] = []
        self.answers: list[Answer | Exception] = []
        self.notes: list[tuple[str, str]] = []
        self.cancelled = 0
        self.chance = 1.0
        self.instruments = Instruments()

    def webhooks(self, *, start: bool = True, **options: Any) -> Webhooks:
        values: dict[str, Any] = {"url": "http://127.0.0.1/", "secret": SECRET, "batch": 3, "timeout": 5.0, **options}
        made = Webhooks(
            config.Webhooks(**values),
            self.post,
            self.clock,
            self.instruments,
            lambda kind, text: self.notes.append((kind, text)),
            wall_clock=lambda: WALL + self.clock.seconds(),
            chance=lambda: self.chance,
        )
        if start:
            made.start()
            self.clock.advance(0)
        return made

    async def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        events = json.loads(body)["events"]
        self.calls.append(([event.get("client") or event["channel"] for event in events], headers, body))
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        waiting: Deferred[Answer] = Deferred(self.cancel)
        self.open.append(waiting)
        return await waiting

    def cancel(self, _waiting: object) -> None:
        self.cancelled += 1

    def answer(self, status: int = 200, header: str = "") -> None:
        """Answer the call under way."""
        self.open.pop(0).callback(Answer(status, header))
        self.clock.advance(0)

    def emit(self, webhooks: Webhooks, *names: str) -> None:
        for name in names:
            webhooks.emit(LifecycleEvent("connect", WALL, "", ClientInfo(name, "u")))
        self.clock.advance(0)

    @property
    def told(self) -> list[list[str]]:
        return [call[0] for call in self.calls]

    @property
    def counts(self) -> dict[str, int]:
        return {name: count for name, count in self.instruments.webhooks.items() if count}


class BatchTests(Case):
    def test_one_call_at_a_time_in_order(self) -> None:
        """What comes meanwhile goes together, as much as a batch may hold."""
        webhooks = self.webhooks()
        self.emit(webhooks, "a")
        self.emit(webhooks, "b", "c", "d", "e")
        self.assertEqual([["a"]], self.told)
        self.answer()
        self.assertEqual([["a"], ["b", "c", "d"]], self.told)
        self.answer()
        self.answer()
        self.assertEqual(([["a"], ["b", "c", "d"], ["e"]], {"sent": 5}), (self.told, self.counts))
        self.assertEqual(([], [], []), (self.open, self.notes, self.clock.getDelayedCalls()))

    def test_what_is_one_turn_is_one_call(self) -> None:
        webhooks = self.webhooks()
        self.emit(webhooks, "a", "b")
        self.assertEqual([["a", "b"]], self.told)

    def test_before_the_start_it_waits(self) -> None:
        webhooks = self.webhooks(start=False)
        self.emit(webhooks, "a")
        self.assertEqual([], self.told)
        webhooks.start()
        self.clock.advance(0)
        self.assertEqual([["a"]], self.told)

    def test_headers(self) -> None:
        """Each call has an id; the signature is of the time it is made."""
        webhooks = self.webhooks()
        self.emit(webhooks, "a")
        self.answer()
        self.clock.advance(10)
        self.emit(webhooks, "b")
        (_, first, _), (_, second, body) = self.calls
        self.assertNotEqual(first["X-Realtime-Event-Id"], second["X-Realtime-Event-Id"])
        self.assertEqual(32, len(first["X-Realtime-Event-Id"]))
        self.assertEqual(signature(SECRET, int(WALL) + 10, body), second["X-Realtime-Signature"])
        self.assertEqual("application/json", second["Content-Type"])

    def test_only_what_is_wanted(self) -> None:
        """Occupied and vacated are needed together: one cancels the other."""
        for wanted, kinds in (
            (("connect",), {"connect"}),
            (("connect", "vacated"), {"connect", "vacated", "occupied"}),
            (("occupied",), {"vacated", "occupied"}),
        ):
            self.assertEqual(kinds, self.webhooks(events=wanted).kinds)
        webhooks = self.webhooks(events=("vacated",))
        for kind in ("occupied", "vacated"):
            webhooks.emit(LifecycleEvent(kind, WALL, kind))
        self.clock.advance(3)
        self.clock.advance(0)
        self.assertEqual([["vacated"]], self.told)


class RetryTests(Case):
    def test_what_is_tried_again(self) -> None:
        """The same bytes and the same id; signed anew. What is behind waits."""
        for answer in (Answer(500), Answer(503), Answer(429), CallFailed("ConnectionRefusedError"), OSError("secret")):
            webhooks = self.webhooks()
            self.calls.clear()
            self.answers = [answer]
            self.emit(webhooks, "a")
            self.emit(webhooks, "b")
            self.assertEqual([["a"]], self.told)
            self.clock.advance(1)
            self.assertEqual([["a"], ["a"]], self.told)
            (_, first, body), (_, second, again) = self.calls
            self.assertEqual((body, first["X-Realtime-Event-Id"]), (again, second["X-Realtime-Event-Id"]))
            self.assertNotEqual(first["X-Realtime-Signature"], second["X-Realtime-Signature"])
            self.answer()
            self.assertEqual([["a"], ["a"], ["b"]], self.told)
            self.answer()
        self.assertEqual({"sent": 10, "retried": 5}, self.counts)
        self.assertNotIn("secret", str(self.notes))
        self.assertIn(("webhooks failed", "webhooks: ConnectionRefusedError: trying again"), self.notes)

    def test_what_is_final(self) -> None:
        """Also a redirect, which is not followed. The next batch goes at once."""
        webhooks = self.webhooks()
        for status in (301, 307, 400, 401, 404, 410):
            self.answers = [Answer(status)]
            self.emit(webhooks, "a")
            self.emit(webhooks, "b")
            self.assertEqual(["b"], self.told[-1])
            self.answer(204)
        self.assertEqual({"sent": 6, "failed": 6}, self.counts)
        self.assertEqual(("webhooks failed", "webhooks: status 301: given up"), self.notes[0])

    def test_no_answer_in_time(self) -> None:
        webhooks = self.webhooks()
        self.emit(webhooks, "a")
        self.clock.advance(5)
        self.assertEqual((1, 1), (self.cancelled, len(self.calls)))
        self.assertEqual([("webhooks failed", "webhooks: no answer within 5 seconds: trying again")], self.notes)
        self.clock.advance(1)
        self.assertEqual([["a"], ["a"]], self.told)

    def waits(self, count: int, answer: Answer, **options: Any) -> list[float]:
        """How long it waits before each of the next tries."""
        webhooks = self.webhooks(**options)
        self.calls.clear()
        self.answers = [answer] * count
        self.emit(webhooks, "a")
        waits = []
        while self.answers:
            (call,) = self.clock.getDelayedCalls()
            waits.append(round(call.getTime() - self.clock.seconds(), 6))
            self.clock.advance(waits[-1] + 1e-6)
        self.clock.advance(LONGEST_WAIT)
        self.answer()
        return waits

    def test_back_off(self) -> None:
        """It doubles, up to a limit, and chance takes any part of it; a success ends it."""
        self.assertEqual([0.5, 1, 2, 4, 8, 16, 32, 60, 60], self.waits(10, Answer(500), retry=10000.0))
        self.chance = 0.25
        self.assertEqual([0.125, 0.25, 0.5, 1.0], self.waits(5, Answer(500)))
        self.chance = 0.0
        self.assertEqual([0.1, 0.1, 0.1], self.waits(4, Answer(500)))

    def test_retry_after(self) -> None:
        """Is the least it waits; within bounds."""
        self.assertEqual([7.0, 7.0], self.waits(3, Answer(429, "7")))
        self.assertEqual([60.0], self.waits(2, Answer(503, "100000")))
        self.assertEqual([0.5, 1.0], self.waits(3, Answer(503, "0")))

    def test_retry_after_header(self) -> None:
        now = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT
        for header, expected in (
            ("", 0.0),
            ("12", 12.0),
            ("9" * 400, LONGEST_WAIT),
            ("-1", 0.0),
            ("1.5", 0.0),
            ("٣", 0.0),
            ("soon", 0.0),
            ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
            ("Tue, 14 Nov 2023 22:13:00 GMT", 0.0),
            ("Tue, 14 Nov 2099 22:13:00 GMT", LONGEST_WAIT),
            ("Tue, 99 Nov 2023 22:13:00 GMT", 0.0),
        ):
            self.assertEqual(expected, retry_after(header, now), header)

    def test_given_up_in_the_end(self) -> None:
        """When the time of its first event is over; the back-off goes on, for it is the backend that is down."""
        webhooks = self.webhooks(retry=10.0)
        self.answers = [CallFailed("x")] * 100
        self.emit(webhooks, "a")
        self.emit(webhooks, "b")
        for _ in range(40):
            self.clock.advance(0.25)
        self.assertEqual([["a"]] * 6, self.told)  # at 0, 0.5, 1.5, 3.5, 7.5 and, at the end of its time, 10
        self.assertEqual({"retried": 5, "failed": 1}, self.counts)
        for _ in range(64):
            self.clock.advance(0.25)
        self.assertEqual([["b"]], self.told[6:])  # 16 seconds later, once: its time is over, too
        self.assertEqual({"retried": 5, "failed": 2}, self.counts)
        self.answers.clear()
        self.emit(webhooks, "c")
        self.clock.advance(32)
        self.answer()
        self.emit(webhooks, "d")
        self.answer()
        self.assertEqual(([["c"], ["d"]], 2), (self.told[7:], self.counts["sent"]))


class BoundTests(Case):
    def test_full_queue(self) -> None:
        """New ones are dropped and counted; what is under way, and what is held back, is in it."""
        webhooks = self.webhooks(queue=4)
        self.emit(webhooks, "a")
        webhooks.emit(LifecycleEvent("vacated", WALL, "x"))
        self.emit(webhooks, "b", "c", "d")
        webhooks.emit(LifecycleEvent("vacated", WALL, "y"))
        self.assertEqual({"dropped": 2}, self.counts)
        self.assertEqual(("webhooks dropped", "webhooks: events dropped, the queue is full"), self.notes[0])
        self.answer()
        self.emit(webhooks, "e")
        self.answer()
        self.answer()
        self.clock.advance(3)
        self.clock.advance(0)
        self.answer()
        self.assertEqual([["a"], ["b", "c"], ["e"], ["x"]], self.told)


class StopTests(Case):
    def test_nothing_to_send(self) -> None:
        stopped = self.webhooks().stop(2.0)
        self.clock.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(([], []), (self.told, self.clock.getDelayedCalls()))

    def test_what_waits_is_sent(self) -> None:
        """What is held back, too, and what comes meanwhile."""
        webhooks = self.webhooks()
        self.emit(webhooks, "a")
        self.emit(webhooks, "b")
        webhooks.emit(LifecycleEvent("vacated", WALL, "x"))
        stopped = webhooks.stop(2.0)
        webhooks.emit(LifecycleEvent("vacated", WALL, "y"))
        self.answer()
        self.assertNoResult(stopped)
        self.answer()
        self.successResultOf(stopped)
        self.assertEqual([["a"], ["b", "x", "y"]], self.told)
        self.assertEqual(({"sent": 4}, []), (self.counts, self.clock.getDelayedCalls()))

    def test_back_off_is_cut_short(self) -> None:
        webhooks = self.webhooks()
        self.answers = [Answer(503, "60")]
        self.emit(webhooks, "a")
        stopped = webhooks.stop(2.0)
        self.clock.advance(0)
        self.answer()
        self.successResultOf(stopped)
        self.assertEqual([["a"], ["a"]], self.told)

    def test_limit(self) -> None:
        """What is not sent then is dropped, and nothing happens any more."""
        for answers in ([], [Answer(500)] * 100):
            self.instruments.webhooks.clear()
            webhooks = self.webhooks()
            self.answers = list(answers)
            self.emit(webhooks, "a", "b", "c", "d")
            stopped = webhooks.stop(2.0)
            for _ in range(19):
                self.clock.advance(0.1)
            self.assertNoResult(stopped)
            self.clock.advance(0.2)
            self.successResultOf(stopped)
            self.assertEqual(4, self.counts["dropped"])
            self.assertEqual("webhooks: 4 events not sent before the server stopped", self.notes[-1][1])
            calls = len(self.calls)
            self.emit(webhooks, "late")
            webhooks.emit(LifecycleEvent("vacated", WALL, "x"))
            self.clock.advance(100)
            self.assertEqual((calls, 6, []), (len(self.calls), self.counts["dropped"], self.clock.getDelayedCalls()))

    def test_never_started(self) -> None:
        webhooks = self.webhooks(start=False)
        self.emit(webhooks, "a")
        self.successResultOf(webhooks.stop(2.0))
        self.assertEqual({"dropped": 1}, self.counts)
