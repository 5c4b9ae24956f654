"""The soak in small, against the real process."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.integration.server import spawn

ROOT = Path(__file__).resolve().parents[2]


class SoakTests(TestCase):
    timeout = 120

    async def test_short(self) -> None:
        """100 clients, 10 channels, 10 seconds: something of everything happens, and no promise is broken."""
        command = [sys.executable, "-m", "tests.soak", "--clients", "100", "--channels", "10", "--seconds", "10"]
        process = spawn(self, [*command, "--rate", "50"], cwd=str(ROOT))
        code = await process.ended
        found = re.findall(r"^(\w+(?: \w+)?) +([\d,]+)$", process.output, re.M)
        figures = {name: int(count.replace(",", "")) for name, count in found}
        broken = {name: figures.get(name) for name in ("lost", "duplicated", "reordered", "unsignalled gaps")}
        self.assertEqual(dict.fromkeys(broken, 0), broken, process.output)
        self.assertEqual(0, code, process.output)
        self.assertNotIn("did not arrive", process.output)
        for name, least in (("acknowledged", 200), ("delivered", 5000), ("recoveries", 50), ("signalled gaps", 1)):
            self.assertGreaterEqual(figures[name], least, process.output)
