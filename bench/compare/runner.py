"""The runs: round robin over the servers, each in a process of its own on its core, the load on the other."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from bench.compare import load
from bench.compare.certificates import make_certificate
from bench.compare.figures import Figure
from bench.compare.install import SCRATCH, Installed
from bench.compare.load import Sample
from bench.compare.processes import Running, ServerFailed, free_port
from bench.compare.servers import Server, Setting, environment

MOST_STARTS = 3  # of a server that does not start; then it is left alone
WARM_UP = 200  # connections that come and go before memory is looked at

Results = dict[str, dict[str, list[Sample]]]  # by figure, by server, one a round


@dataclass(frozen=True)
class Plan:
    """`seconds` and `warmup` of each run; `settle`: seconds to wait before memory is looked at. `shared`: one process
    of a server serves all figures it is started for in the same way, which is quicker; else each group has its own.
    """

    runs: int
    seconds: float
    warmup: float
    settle: float
    server_core: int
    load_core: int
    shared: bool = False


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def groups(figures: Iterable[Figure], shared: bool = False) -> list[list[Figure]]:
    """Figures by group, in order; `shared`: by how servers are started, memory apart."""
    found: dict[str, list[Figure]] = {}
    for figure in figures:
        key = figure.kind if shared and figure.mode != "idle" else figure.group
        found.setdefault(key, []).append(figure)
    return list(found.values())


def rotated(servers: Sequence[Server], by: int) -> list[Server]:
    """No server is always measured after the same one's warm caches, or first."""
    start = by % len(servers) if servers else 0
    return [*servers[start:], *servers[:start]]


class _Target(NamedTuple):
    """A server that runs."""

    server: Server
    setting: Setting
    running: Running


class Runner:
    """Measures figures; `names`: of the servers that take part."""

    def __init__(self, plan: Plan, installed: Installed, names: set[str]) -> None:
        self.plan = plan
        self.installed = installed
        self.names = names
        self.results: Results = {}
        self._not_started: dict[tuple[str, str], list[str]] = {}  # by (server, kind): why, each time

    def measure(self, figures: Sequence[Figure]) -> Results:
        for group in groups(figures, self.plan.shared):
            servers = list(dict.fromkeys(server for figure in group for server in self._taking_part(figure)))
            for number in range(self.plan.runs):
                for server in rotated(servers, number):
                    self._round(group, server, number)
        return self.results

    def _taking_part(self, figure: Figure) -> list[Server]:
        return [server for server in figure.servers() if server.name in self.names]

    def _round(self, group: Sequence[Figure], server: Server, number: int) -> None:
        """One round of one server: it is started once for each way in which the group wants it."""
        for kind in dict.fromkeys(figure.kind for figure in group):
            here = [figure for figure in group if figure.kind == kind and server in self._taking_part(figure)]
            for figure, sample in zip(here, self._samples(here, server, kind), strict=True):
                self.results.setdefault(figure.name, {}).setdefault(server.name, []).append(sample)
                said = f"failed: {sample.error}" if sample.error else f"{sample.rate:12,.0f}"
                progress(f"{figure.name:16} {number + 1}/{self.plan.runs} {server.name:22} {said}")

    def _samples(self, figures: Sequence[Figure], server: Server, kind: str) -> list[Sample]:
        """One of each figure, on one process; after a run that failed, on another one."""
        made: list[Sample] = []
        failures = self._not_started.setdefault((server.name, kind), [])
        while len(made) < len(figures):
            if len(failures) < MOST_STARTS:
                try:
                    setting = self._setting(server, kind)
                    with self._start(server, setting) as running:
                        made += self._until_one_fails(figures[len(made) :], _Target(server, setting, running))
                    continue
                except ServerFailed as error:
                    failures.append(str(error))
            made += [Sample(error=failures[-1])] * (len(figures) - len(made))
        return made

    def _until_one_fails(self, figures: Sequence[Figure], target: _Target) -> list[Sample]:
        made: list[Sample] = []
        for figure in figures:
            made.append(self._sample(figure, target))
            if ended := target.running.ended():
                made[-1] = Sample(error=ended)
            if made[-1].error:
                break
        return made

    def _setting(self, server: Server, kind: str) -> Setting:
        folder = SCRATCH / "run" / server.name.replace("/", "-")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        certificate, key = make_certificate(SCRATCH / "certificates", kind) if kind in ("rsa", "p256") else ("", "")
        return Setting(free_port(), folder, kind == "deflate", certificate, key)

    def _start(self, server: Server, setting: Setting) -> Running:
        command = server.command(self.installed, setting)
        log, core = setting.folder / "output", self.plan.server_core
        running = Running(command, setting.port, core, log, environment(self.installed), server.cwd)
        running.wait_for_processes(server.processes)
        return running

    def _command(self, figure: Figure, target: _Target, *more: str, pids: Sequence[int] = ()) -> list[str]:
        setting = target.setting
        arguments = [*target.server.routes[figure.route].arguments(figure.size), "--size", str(figure.size), *more]
        arguments += ["--tls"] if setting.certificate else []
        arguments += ["--deflate"] if setting.deflate else []
        return load.command(figure.mode, setting.port, self.plan.load_core, arguments, pids)

    def _sample(self, figure: Figure, target: _Target) -> Sample:
        if figure.mode == "idle":
            return self._idle(figure, target)
        more = ["--seconds", str(self.plan.seconds), "--warmup", str(self.plan.warmup), *figure.arguments]
        if figure.connections:
            more += ["--connections", str(figure.connections)]
        if figure.probe and target.server.name.startswith("realtime_svc"):
            more += ["--probe-path", figure.probe]
        return load.run(self._command(figure, target, *more, pids=target.running.pids()))

    def _idle(self, figure: Figure, target: _Target) -> Sample:
        """(USS with all of them - USS with none) / how many, after a warm-up, each after one garbage collection; then
        one message goes to all, so that none of them is dead weight.
        """
        count = figure.connections
        try:
            load.Held(self._command(figure, target, "--connections", str(WARM_UP))).close()
            before = self._settled(target)
            held = load.Held(self._command(figure, target, "--connections", str(count)))
        except RuntimeError as error:
            return Sample(error=str(error))
        try:
            after = self._settled(target)
            delivered = held.deliver()
        finally:
            held.close()
        if delivered < count:
            return Sample(error=f"{count - delivered} of {count} did not get a message")
        return Sample(rate=max(0, after - before) / count)

    def _settled(self, target: _Target) -> int:
        """Bytes, when what was under way is over and garbage is collected."""
        time.sleep(self.plan.settle)
        if target.server.collects:
            target.running.collect()
            time.sleep(self.plan.settle)
        return target.running.uss()


def plan(quick: bool, runs: int | None, seconds: float | None, cores: Sequence[int]) -> Plan:
    """`cores`: those that there are. Raises `ValueError`: too few."""
    if len(cores) < 2:
        raise ValueError("two cores are needed: one for the server, one for the load")
    made = Plan(5, 1.0, 0.2, 0.7, cores[0], cores[1])
    if quick:
        made = replace(made, runs=1, seconds=0.3, warmup=0.1, settle=0.2, shared=True)
    return replace(made, runs=runs or made.runs, seconds=seconds or made.seconds)
