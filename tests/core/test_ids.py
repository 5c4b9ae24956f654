"""Ids of clients."""

from __future__ import annotations

import os
import uuid

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.core import ids


class IdTests(SynchronousTestCase):
    def test_form(self) -> None:
        """Random UUIDs, each written as the standard library writes it, and each another one."""
        made = [ids.client_id() for _ in range(5000)]
        self.assertEqual(len(set(made)), 5000)
        for text in made:
            parsed = uuid.UUID(text)
            self.assertEqual((str(parsed), parsed.version, parsed.variant), (text, 4, uuid.RFC_4122))

    def test_all_bits_are_random(self) -> None:
        """But the six that say what it is: each is 0 in some and 1 in others."""
        always, ever = (1 << 128) - 1, 0
        for _ in range(2000):
            number = uuid.UUID(ids.client_id()).int
            always &= number
            ever |= number
        self.assertEqual(always, uuid.UUID("00000000-0000-4000-8000-000000000000").int)
        self.assertEqual(ever, uuid.UUID("ffffffff-ffff-4fff-bfff-ffffffffffff").int)

    def test_a_child_makes_others(self) -> None:
        """What was made ahead is not made again by a process that was forked off."""
        ids.client_id()
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.write(writing, ids.client_id().encode())
            os._exit(0)
        os.waitpid(child, 0)
        theirs = os.read(reading, 100).decode()
        os.close(reading)
        os.close(writing)
        self.assertEqual(len(theirs), 36)
        self.assertNotIn(theirs, [ids.client_id() for _ in range(1000)])
