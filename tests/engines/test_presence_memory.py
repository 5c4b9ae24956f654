"""What is particular to presence in memory: it never waits, and empty channels take no memory."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.driver import run
from realtime_svc.engines.presence_memory import MemoryPresence
from realtime_svc.model import ClientInfo


class MemoryPresenceTests(SynchronousTestCase):
    def ask(self, work: Any) -> Any:
        """The answer, which is there when the call returns."""
        outcomes: list[tuple[Any, BaseException | None]] = []
        run(work, lambda result, error: outcomes.append((result, error)))
        ((result, error),) = outcomes
        self.assertIsNone(error)
        return result

    def test_empty_channels_are_forgotten(self) -> None:
        """Also asking about a channel, or removing who is not there, makes none."""
        store = MemoryPresence()
        for number in range(1000):
            for client in "ab":
                self.ask(store.add(f"x{number}", ClientInfo(client, "u")))
        self.assertEqual(1000, store.channels)
        for number in range(1000):
            for client in "ab":
                self.ask(store.remove(f"x{number}", client))
        self.ask(store.remove("y", "a"))
        self.ask(store.members("y"))
        self.ask(store.counts("y"))
        self.assertEqual(0, store.channels)
