"""What several runs of one figure come to."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.compare.load import Sample


@dataclass(frozen=True)
class Summary:
    """Medians over the runs that count. `ceiling`, `ours`: median of the ratios to the ceiling and to realtime_svc in
    the same round. `errors`: what went wrong in the others, each text once.
    """

    runs: int
    failed: int
    rate: float | None = None
    lowest: float | None = None
    highest: float | None = None
    ceiling: float | None = None
    ours: float | None = None
    cpu: float | None = None
    p50: float | None = None
    p99: float | None = None
    probe_p99: float | None = None
    load_busy: float | None = None
    errors: tuple[str, ...] = ()


def median(values: Iterable[float | None]) -> float | None:
    """Of those that are there; None: there is none."""
    found = [value for value in values if value is not None]
    return statistics.median(found) if found else None


def ratio(runs: Sequence[Sample], others: Sequence[Sample]) -> float | None:
    """Median of the ratios of the rates, round by round, where both runs count."""
    pairs = zip(runs, others, strict=False)
    return median(one.rate / other.rate for one, other in pairs if not one.error and not other.error and other.rate)


def summary(runs: Sequence[Sample], ceiling: Sequence[Sample] = (), ours: Sequence[Sample] = ()) -> Summary:
    """`runs` in the order of the rounds, and those of the ceiling and of realtime_svc in the same rounds."""
    good = [run for run in runs if not run.error]
    errors = tuple(dict.fromkeys(run.error for run in runs if run.error))
    if not good:
        return Summary(len(runs), len(runs), errors=errors)
    rates = [run.rate for run in good]
    return Summary(
        runs=len(runs),
        failed=len(runs) - len(good),
        rate=median(rates),
        lowest=min(rates),
        highest=max(rates),
        ceiling=ratio(runs, ceiling),
        ours=ratio(runs, ours),
        cpu=median(run.cpu for run in good),
        p50=median(run.p50 for run in good),
        p99=median(run.p99 for run in good),
        probe_p99=median(run.probe_p99 for run in good),
        load_busy=median(run.load_busy for run in good),
        errors=errors,
    )
