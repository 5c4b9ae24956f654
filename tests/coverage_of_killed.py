"""A plugin of coverage.py: processes that end themselves by a signal, as twistd does after SIGTERM, save what they ran.

twistd stops in good order, then sends itself the same signal with the default handler, so that its parent sees how it
ended. No exit handler runs then, and with it what coverage saw would be lost.
"""

from __future__ import annotations

import os

from coverage import Coverage
from coverage.plugin_support import Plugins


def coverage_init(_plugins: Plugins, _options: dict[str, object]) -> None:
    """Called by coverage.py when it starts, in every process it measures."""
    kill = os.kill

    def save_and_kill(pid: int, signal: int) -> None:
        coverage = Coverage.current()
        if pid == os.getpid() and coverage is not None:
            coverage.save()
        kill(pid, signal)

    os.kill = save_and_kill
