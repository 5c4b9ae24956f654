"""Runs the test suite once, under coverage, subprocesses included, and ends with one line: what passed and failed.

The exit code is trial's; where trial is content, that of the coverage floor. With CI=true a skipped test is a failure,
so that nothing stops being tested unnoticed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

COVERAGE = (sys.executable, "-m", "coverage")
SUMMARY = re.compile(r"(?:PASSED|FAILED)(?: \((?P<counts>[^()]*)\))?")


class Result(NamedTuple):
    """How many tests ended in which way."""

    passed: int
    failed: int
    skipped: int

    def __str__(self) -> str:
        line = f"{self.passed} passed, {self.failed} failed"
        return f"{line}, {self.skipped} skipped" if self.skipped else line


def parse_summary(line: str) -> Result | None:
    """Trial's last line, such as `FAILED (skips=1, failures=2, successes=3)`; None: `line` is another one."""
    match = SUMMARY.fullmatch(line.strip())
    if match is None:
        return None
    pairs = (part.split("=") for part in (match["counts"] or "").split(", ") if part)
    counts = {kind: int(number) for kind, number in pairs}
    return Result(
        passed=counts.get("successes", 0),
        failed=sum(counts.get(kind, 0) for kind in ("failures", "errors", "unexpectedSuccesses")),
        skipped=sum(counts.get(kind, 0) for kind in ("skips", "expectedFailures")),
    )


def run_trial(arguments: Sequence[str]) -> tuple[int, Result | None]:
    """Run trial under coverage, show its output as it comes, and return its exit code and its summary if it has one."""
    command = [*COVERAGE, "run", "-m", "twisted.trial", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as trial:
        assert trial.stdout is not None
        result = show(trial.stdout)
    return trial.returncode, result


def show(lines: Iterable[str]) -> Result | None:
    """Print each line; the last summary among them is the result."""
    result = None
    for line in lines:
        print(line, end="", flush=True)
        result = parse_summary(line) or result
    return result


def verdict(code: int, result: Result | None, *, ci: bool) -> tuple[int, Result]:
    """What counts in the end: (exit code, result). A run without a result is a failure, and so is, in CI, a skip."""
    if result is None:
        print(f"trial ended without a result (exit code {code})")
        return code or 1, Result(0, 1, 0)
    if ci and result.skipped:
        print("a test was skipped, and CI is set: that is a failure")
        return code or 1, result
    return code, result


def main() -> int:
    """Erase, run, combine, report, count."""
    os.environ["COVERAGE_FILE"] = os.path.abspath(".coverage")  # for subprocesses in other directories too
    subprocess.run([*COVERAGE, "erase"], check=True)
    code, result = run_trial(sys.argv[1:] or ["tests"])
    subprocess.run([*COVERAGE, "combine", "--quiet"], check=False)
    covered = subprocess.run([*COVERAGE, "report"], check=False).returncode
    code, result = verdict(code, result, ci=os.environ.get("CI") == "true")
    print(result)
    return code or covered


if __name__ == "__main__":
    sys.exit(main())
