"""A server's process: started on its core, looked at in /proc, ended."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

CLOSE_TIMEOUT = 15.0
START_TIMEOUT = 20.0


class ServerFailed(Exception):
    """It did not start. The text ends with the last line it wrote."""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def children(pid: int) -> list[int]:
    """The processes that `pid` started, and those that they did."""
    found: list[int] = []
    with contextlib.suppress(OSError):  # a thread or process may end meanwhile
        for tasks in Path(f"/proc/{pid}/task").iterdir():
            for child in (tasks / "children").read_text().split():
                found += [int(child), *children(int(child))]
    return found


def private_bytes(smaps_rollup: str) -> int:
    """What only this process uses (USS), of the text of /proc/PID/smaps_rollup."""
    values = re.findall(r"^Private_(?:Clean|Dirty):\s+(\d+) kB", smaps_rollup, re.MULTILINE)
    return 1024 * sum(map(int, values))


class Running:
    """A server that accepts connections, once this is made. Use it as a context manager: it is ended at the exit."""

    def __init__(self, command: Sequence[str], port: int, core: int, log: Path, env: dict[str, str], cwd: Path) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                ["taskset", "-c", str(core), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=cwd,
            )
        try:
            self._wait_until_it_listens(port)
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _wait_until_it_listens(self, port: int) -> None:
        def listens() -> bool:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return True
            return False

        self._wait_until(listens)

    def wait_for_processes(self, count: int) -> None:
        """Until the server consists of so many."""
        self._wait_until(lambda: len(self.pids()) >= count)

    def _wait_until(self, done: Callable[[], bool]) -> None:
        """Raises `ServerFailed`: it ended first, or took too long."""
        ends = time.monotonic() + START_TIMEOUT
        while not done():
            if ended := self.ended():
                raise ServerFailed(ended)
            if time.monotonic() > ends:
                raise ServerFailed(f"did not start in time: {self.last_words()}")
            time.sleep(0.02)

    def ended(self) -> str:
        """Why it is not there any more; "": it is."""
        status = self.process.poll()
        return "" if status is None else f"the server ended with {status}: {self.last_words()}"

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1][:200] if lines else "it wrote nothing"

    def pids(self) -> list[int]:
        return [self.process.pid, *children(self.process.pid)]

    def uss(self) -> int:
        """Bytes of memory that only its processes use."""
        return sum(private_bytes(Path(f"/proc/{pid}/smaps_rollup").read_text()) for pid in self.pids())

    def collect(self) -> None:
        """Ask for a garbage collection (see collecting/)."""
        self.process.send_signal(signal.SIGWINCH)

    def stop(self) -> None:
        pids = self.pids()
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(CLOSE_TIMEOUT)
        for pid in pids:
            if pid != self.process.pid or self.process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait()
