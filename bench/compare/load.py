"""The load generator: how it is run, and what it reports."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.load import FOLDER

LOAD = FOLDER / "build" / "load"
TIMEOUT = 180.0
MOST_PLAIN = 0.1  # of frames may be too small for a server to compress them, such as pings of its protocol
MOST_FULL = 0.01  # of handshakes may be of those that were under way before the first session could be resumed


@dataclass(frozen=True)
class Sample:
    """One run. `rate`: a second (of memory: bytes a connection). `cpu`: seconds of processor time a million. `p50` and
    `p99` in milliseconds. `load_busy`: the share of its core that the load generator used, 0 to 1. None: not measured.
    `error` is not "": the run failed, and says nothing else.
    """

    rate: float = 0.0
    cpu: float | None = None
    p50: float | None = None
    p99: float | None = None
    probe_p99: float | None = None
    load_busy: float | None = None
    error: str = ""


def parse(text: str, resumes: bool = False) -> Sample:
    """A sample of the line of JSON that a run prints; `resumes`: TLS sessions were to be resumed."""
    try:
        report: dict[str, Any] = json.loads(text.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return Sample(error="the load generator reported nothing")
    if error := fault(report, resumes):
        return Sample(error=error)
    seconds = float(report["seconds"])

    def milliseconds(name: str) -> float | None:
        return report[name] / 1000 if name in report else None

    return Sample(
        rate=float(report["per_second"]),
        cpu=report.get("server_cpu_per_million"),
        p50=milliseconds("p50_us"),
        p99=milliseconds("p99_us"),
        probe_p99=milliseconds("probe_p99_us"),
        load_busy=report["load_cpu_seconds"] / seconds if seconds else None,
    )


def fault(report: dict[str, Any], resumes: bool = False) -> str:
    """Why a run does not count; "": it does."""
    if "error" in report:
        return str(report["error"])
    told = {
        "lost": "lost",
        "out_of_order": "out of order",
        "duplicates": "more than once",
        "acknowledged_out_of_order": "acknowledged out of order",
    }
    found = [f"{report[name]} {text}" for name, text in told.items() if report.get(name)]
    plain = report.get("plain_frames", 0)
    if plain > MOST_PLAIN * report.get("compressed_frames", 0):
        found.append(f"{plain} not compressed")
    if resumes and report["accepted"] - report["resumed"] > MOST_FULL * report["accepted"]:
        found.append(f"{report['accepted'] - report['resumed']} not resumed")
    if report.get("failed"):
        found.append(f"{report['failed']} refused: {report.get('first_failure', '')}")
    done = next((report[name] for name in ("acknowledged", "accepted", "deliveries") if name in report), 1)
    return ", ".join(found) or ("" if done else "no session to resume" if resumes else "nothing arrived")


def command(mode: str, port: int, core: int, arguments: Sequence[str], pids: Sequence[int] = ()) -> list[str]:
    made = [str(LOAD), mode, "--json", "--port", str(port), "--core", str(core), *arguments]
    for pid in pids:
        made += ["--pid", str(pid)]
    return made


def run(words: Sequence[str]) -> Sample:
    """One run of `command(...)`."""
    try:
        done = subprocess.run(words, capture_output=True, check=False, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return Sample(error=f"no end after {TIMEOUT:.0f} s")
    return parse((done.stdout or done.stderr).decode(errors="replace"), "--resume" in words)


class Held:
    """Connections that are open and idle until this is closed. Raises `RuntimeError` if they can't be opened."""

    def __init__(self, words: Sequence[str]) -> None:
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        report = json.loads(line) if line else {"error": "the load generator ended"}
        if "error" in report:
            self.close()
            raise RuntimeError(report["error"])

    def deliver(self) -> int:
        """Publish one message; how many connections got it."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(json.loads(self.process.stdout.readline()).get("delivered", 0))

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
