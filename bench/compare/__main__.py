"""realtime_svc beside its peers and beside the ceiling, in one run.

    python -m bench.compare [--quick] [--only fanout,echo] [--servers realtime_svc,ws] [--runs 5]

Installs the peers into .make/peers (bench/peers pins them), builds the load generator, measures round robin, and prints
a table a figure. A full run besides writes docs/benchmarks.md and docs/benchmarks.svg; any other writes the same two
into .make/peers/report. bench/README.md says how figures are taken.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.compare.conditions import conditions
from bench.compare.figures import SERVERS, Figure, chosen, figures
from bench.compare.install import ROOT, SCRATCH, install
from bench.compare.plot import Bar, Panel, svg
from bench.compare.runner import Plan, Results, Runner, plan
from bench.compare.table import as_text, failures, included, report, rows, summaries
from bench.load import build

DESCRIPTORS = 10_200  # 10,000 connections and what a process has besides
HEADING = "# Benchmarks\n"


def names(text: str) -> set[str]:
    return {name for name in text.split(",") if name}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m bench.compare", description="realtime_svc beside its peers.")
    made.add_argument(
        "--quick", action="store_true", help="one short run each, fewer servers, 1,000 connections for 10,000"
    )
    known = ", ".join(dict.fromkeys(name for figure in figures(False) for name in (figure.group, figure.name)))
    made.add_argument("--only", type=names, default=set(), help=f"figures or groups of them: {known}")
    made.add_argument("--servers", type=names, default=set(), help=f"some of: {', '.join(SERVERS)}")
    made.add_argument("--runs", type=int, help="rounds (default 5; with --quick 1)")
    made.add_argument("--seconds", type=float, help="seconds of a run (default 1; with --quick 0.3)")
    made.add_argument("--output", type=Path, help="folder for the report and the plot")
    return made


def raise_descriptor_limit() -> None:
    """For this process and all it starts."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS:
        print(
            f"10,000 connections need {DESCRIPTORS} file descriptors, the limit is {hard}: ulimit -n", file=sys.stderr
        )


def panel(figure: Figure, results: Results) -> Panel:
    found = [(name, one.rate) for name, one in summaries(figure, results).items() if one.rate is not None]
    unit = "KB a connection, less is better" if figure.mode == "idle" else f"{figure.unit}/s"

    def bar(name: str, rate: float) -> Bar:
        kind = "ours" if name.startswith("realtime_svc") else "ceiling" if name.startswith("ceiling") else "other"
        text = f"{rate / 1000:,.1f}" if figure.mode == "idle" else f"{rate:,.0f}"
        return Bar(SERVERS[name].title, rate, text, kind)

    return Panel(f"{figure.title} ({unit})", [bar(name, rate) for name, rate in found])


def write(
    folder: Path, wanted: Sequence[Figure], results: Results, told: list[tuple[str, str]], missing: dict[str, str]
) -> None:
    """The report, the plot, and every single run."""
    folder.mkdir(parents=True, exist_ok=True)
    page, plotted = folder / "benchmarks.md", folder / "benchmarks.svg"
    plotted.write_text(svg([panel(figure, results) for figure in wanted if results.get(figure.name)]))
    before = page.read_text() if page.exists() else HEADING
    page.write_text(included(before, report(wanted, results, told, missing, plotted.name)))
    runs = {
        figure: {server: [dataclasses.asdict(one) for one in samples] for server, samples in servers.items()}
        for figure, servers in results.items()
    }
    raw = SCRATCH / "report" / "runs.json"
    raw.parent.mkdir(parents=True, exist_ok=True)
    raw.write_text(json.dumps({"conditions": dict(told), "missing": missing, "runs": runs}, indent=1) + "\n")
    print(f"\nWrote {page}, {plotted.name} beside it, and every single run into {raw}")


def print_tables(wanted: Sequence[Figure], results: Results) -> None:
    for figure in wanted:
        if results.get(figure.name):
            print(f"\n{figure.title}\n\n{as_text(rows(figure, results))}")
            for line in failures(figure, results):
                print(f"failed: {line}")


def measure(wanted: Sequence[Figure], who: set[str], how: Plan, folder: Path) -> bool:
    """All of it; returns: did realtime_svc have no failed run?"""
    installed = install({SERVERS[name].peer for name in who} - {""})
    for name, reason in installed.missing.items():
        print(f"{name} can't be installed and is left out: {reason}", file=sys.stderr)
    build()
    begun, busy = time.monotonic(), os.getloadavg()[0]
    present = {name for name in who if SERVERS[name].peer not in installed.missing}
    results = Runner(how, installed, present).measure(wanted)
    print_tables(wanted, results)
    command = "python -m bench.compare " + shlex.join(sys.argv[1:])
    told = conditions(how, installed, command.strip(), time.monotonic() - begun, busy)
    write(folder, wanted, results, told, installed.missing)
    ours = [
        one for servers in results.values() for name, runs in servers.items() if name == "realtime_svc" for one in runs
    ]
    return not any(one.error for one in ours)


def main() -> int:
    given = parser().parse_args()
    try:
        wanted = chosen(given.quick, given.only)
        how = plan(given.quick, given.runs, given.seconds, sorted(os.sched_getaffinity(0)))
    except KeyError as error:
        sys.exit(f"no figure is called {error.args[0]}: see --help")
    except ValueError as error:
        sys.exit(str(error))
    if unknown := given.servers - set(SERVERS):
        sys.exit(f"no server is called {sorted(unknown)[0]}: see --help")
    raise_descriptor_limit()
    full = not (given.quick or given.only or given.servers)
    folder = given.output or (ROOT / "docs" if full else SCRATCH / "report")
    return 0 if measure(wanted, given.servers or set(SERVERS), how, folder) else 1


if __name__ == "__main__":
    sys.exit(main())
