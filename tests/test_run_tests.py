"""The counting behind the last line of `make test`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from twisted.trial.unittest import SynchronousTestCase


def load() -> ModuleType:
    """tools/run_tests.py, which is in no package."""
    path = Path(__file__).resolve().parent.parent / "tools" / "run_tests.py"
    spec = importlib.util.spec_from_file_location("run_tests", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


run_tests = load()


class ResultLineTests(SynchronousTestCase):
    """From trial's summary to the one line."""

    def test_summaries(self) -> None:
        cases = (
            ("PASSED (successes=12)", "12 passed, 0 failed"),
            ("PASSED (skips=2, successes=3)\n", "3 passed, 0 failed, 2 skipped"),
            ("PASSED (expectedFailures=1, successes=3)", "3 passed, 0 failed, 1 skipped"),
            ("FAILED (skips=1, failures=2, errors=3, successes=4)", "4 passed, 5 failed, 1 skipped"),
            ("FAILED (unexpectedSuccesses=1)", "0 passed, 1 failed"),
            ("PASSED", "0 passed, 0 failed"),
        )
        for line, expected in cases:
            self.assertEqual(expected, str(run_tests.parse_summary(line)), line)

    def test_other_lines_are_no_summaries(self) -> None:
        for line in ("", "  test_it ... [OK]", "PASSED the exam (easily)", "FAILED to (start)", "Ran 3 tests in 0.1s"):
            self.assertIsNone(run_tests.parse_summary(line), line)

    def test_a_run_without_result_is_a_failure_even_with_exit_code_0(self) -> None:
        self.assertEqual((1, (0, 1, 0)), run_tests.verdict(0, None, ci=False))

    def test_a_skip_is_a_failure_in_ci_only(self) -> None:
        result = run_tests.Result(passed=3, failed=0, skipped=1)
        self.assertEqual((0, result), run_tests.verdict(0, result, ci=False))
        self.assertEqual((1, result), run_tests.verdict(0, result, ci=True))

    def test_trials_exit_code_stays(self) -> None:
        result = run_tests.Result(passed=3, failed=1, skipped=0)
        self.assertEqual((7, result), run_tests.verdict(7, result, ci=True))


class HalvesTests(SynchronousTestCase):
    """Two runs side by side."""

    def test_every_part_of_the_suite_is_in_one_of_them(self) -> None:
        (integration, rest) = run_tests.halves()
        self.assertEqual(["tests.integration"], integration)
        folder = Path(__file__).resolve().parent
        with_tests = {path.relative_to(folder).parts[0].removesuffix(".py") for path in folder.rglob("test_*.py")}
        self.assertEqual({f"tests.{name}" for name in with_tests - {"integration"}}, set(rest))

    def test_results_are_added_up(self) -> None:
        one, two = run_tests.Result(3, 1, 0), run_tests.Result(4, 0, 2)
        self.assertEqual(run_tests.Result(7, 1, 2), run_tests.total([one, two]))

    def test_lines_are_passed_on_and_the_last_summary_counts(self) -> None:
        shown: list[str] = []
        lines = ["one\n", "PASSED (successes=1)\n", "FAILED (failures=2)\n"]
        self.assertEqual(run_tests.Result(0, 2, 0), run_tests.read(lines, shown.append))
        self.assertEqual(lines, shown)
