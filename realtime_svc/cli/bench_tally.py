"""What `realtime-svc bench` counts: deliveries, delays, and what two processes used."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from realtime_svc.cli.console import CommandFailed

_PRECISION = 8  # bits: a delay is kept within 1 %
_PRIVATE = re.compile(r"^Private_(?:Clean|Dirty):\s+(\d+) kB", re.MULTILINE)


class Delays:
    """Delays in seconds, kept in microseconds within 1 %, in memory that does not grow with their number."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def note(self, seconds: float, count: int = 1) -> None:
        microseconds = int(seconds * 1e6)
        shift = microseconds.bit_length() - _PRECISION
        self._counts[microseconds if shift <= 0 else microseconds >> shift << shift] += count

    def quantile(self, share: float) -> int | None:
        """Microseconds that `share` (0 to 1) of them do not exceed; None: there is none."""
        needed = share * self._counts.total()
        for delay in sorted(self._counts):
            needed -= self._counts[delay]
            if needed <= 0:
                return delay
        return None


@dataclass(slots=True)
class Tally:
    """The counts of a run. `done` is what its rate is about: deliveries, acknowledgements or connections, by mode.

    `in_time`: what of it came while time was taken. `lost` never came; `out_of_order` came behind a later one;
    `duplicates` came again. `delays`: of what is done, from the send to the end of the turn that read it.
    """

    done: int = 0
    in_time: int = 0
    deliveries: int = 0
    publications: int = 0
    lost: int = 0
    out_of_order: int = 0
    duplicates: int = 0
    unacknowledged: int = 0
    delays: Delays = field(default_factory=Delays)

    def note(self, delay: float, count: int = 1) -> None:
        """So many are done, after so many seconds."""
        self.done += count
        self.delays.note(delay, count)

    @property
    def faultless(self) -> bool:
        return not (self.lost or self.out_of_order or self.duplicates or self.unacknowledged)


class Meter:
    """Time and processor time of a run, ours and those of process `pid` (None: of no other)."""

    def __init__(self, pid: int | None) -> None:
        self._pid = pid
        self._started = self._own_before = self._server_before = 0.0
        self.seconds = 0.0
        self.own = 0.0
        self.server: float | None = None

    def start(self) -> None:
        """Raises `CommandFailed`: there is no such process."""
        self._server_before = 0.0 if self._pid is None else processor_seconds(self._pid)
        self._own_before = time.process_time()
        self._started = time.perf_counter()

    def stop(self) -> None:
        """A server that is gone has used nothing that can be told."""
        self.seconds = time.perf_counter() - self._started
        self.own = time.process_time() - self._own_before
        if self._pid is not None:
            try:
                self.server = processor_seconds(self._pid) - self._server_before
            except CommandFailed:
                self.server = None


def processor_seconds(pid: int) -> float:
    """What all threads of a process have used (proc(5): utime and stime). Raises `CommandFailed`."""
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> int:
    """USS: bytes of memory that only this process uses. Raises `CommandFailed`."""
    return 1024 * sum(map(int, _PRIVATE.findall(_read(pid, "smaps_rollup"))))


def _read(pid: int, name: str) -> str:
    path = Path("/proc", str(pid), name)
    try:
        return path.read_text()
    except OSError as error:
        raise CommandFailed(f"--pid: {path}: {error.strerror}") from None
