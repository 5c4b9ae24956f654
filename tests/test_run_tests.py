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
