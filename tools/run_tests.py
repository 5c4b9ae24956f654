"""Runs the test suite once, under coverage, subprocesses included, and ends with one line: what passed and failed.

The exit code is trial's; where trial is content, that of the coverage floor. With CI=true a skipped test is a failure,
so that nothing stops being tested unnoticed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import STDOUT
from typing import NamedTuple

TESTS = Path(__file__).resolve().parent.parent / "tests"
INTEGRATION = "integration"
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


def halves() -> list[list[str]]:
    """The suite as two runs of about the same length, for two cores: the real process, and everything else."""
    names = sorted(path.stem for path in TESTS.iterdir() if (path / "__init__.py").exists() or path.match("test_*.py"))
    rest = [f"tests.{name}" for name in names if name != INTEGRATION]
    return [[f"tests.{INTEGRATION}"], rest]


def run_trial(arguments: Sequence[str], lines: Callable[[str], None]) -> tuple[int, Result | None]:
    """Run trial under coverage and pass its output on as it comes. Returns its exit code, and its summary if any."""
    command = [*COVERAGE, "run", "-m", "twisted.trial", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=STDOUT, text=True, errors="replace") as trial:
        assert trial.stdout is not None
        result = read(trial.stdout, lines)
    return trial.returncode, result


def run_beside(runs: Sequence[Sequence[str]]) -> list[tuple[int, Result | None]]:
    """Several trials at once. The first is shown as it goes, the others when they and it have ended."""
    kept: list[list[str]] = [[] for _ in runs[1:]]
    with ThreadPoolExecutor(len(runs)) as pool:
        others = [pool.submit(run_trial, run, lines.append) for run, lines in zip(runs[1:], kept, strict=True)]
        outcomes = [run_trial(runs[0], show), *(other.result() for other in others)]
    for lines in kept:
        for line in lines:
            show(line)
    return outcomes


def show(line: str) -> None:
    print(line, end="", flush=True)


def read(lines: Iterable[str], pass_on: Callable[[str], None]) -> Result | None:
    """Pass on each line; the last summary among them is the result."""
    result = None
    for line in lines:
        pass_on(line)
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


def total(results: Iterable[Result]) -> Result:
    """All of them in one."""
    return Result(*(sum(counts) for counts in zip(*results, strict=True)))


def main() -> int:
    """Erase, run, combine, report, count."""
    os.environ["COVERAGE_FILE"] = os.path.abspath(".coverage")  # for subprocesses in other directories too
    subprocess.run([*COVERAGE, "erase"], check=True)
    runs = [sys.argv[1:]] if sys.argv[1:] else halves()
    verdicts = [verdict(*outcome, ci=os.environ.get("CI") == "true") for outcome in run_beside(runs)]
    subprocess.run([*COVERAGE, "combine", "--quiet"], check=False)
    covered = subprocess.run([*COVERAGE, "report"], check=False).returncode
    print(total(result for _, result in verdicts))
    return next((code for code, _ in verdicts if code), covered)


if __name__ == "__main__":
    sys.exit(main())
