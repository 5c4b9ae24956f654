"""The comparison's own arithmetic and output: no peer, no server, no load."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from bench.compare import conditions, install, ours, processes, runner, table
from bench.compare.figures import SERVERS, Figure, chosen, figures
from bench.compare.load import Sample, fault, parse
from bench.compare.plot import Bar, Panel, svg
from bench.compare.servers import Route, Setting
from bench.compare.stats import median, ratio, summary

REPORT: dict[str, Any] = {
    "deliveries": 5000,
    "lost": 0,
    "out_of_order": 0,
    "duplicates": 0,
    "seconds": 2.0,
    "per_second": 2500.0,
    "load_cpu_seconds": 0.5,
    "server_cpu_per_million": 4.5,
    "p50_us": 1500.0,
    "p99_us": 9000.0,
}
ECHO = Figure("echo", "echo", "Echo", "echoes", "echo", ("realtime_svc", "ws", "ceiling"), ceiling="ceiling")
RESULTS = {
    "echo": {
        "realtime_svc": [Sample(100.0), Sample(110.0), Sample(120.0)],
        "ws": [Sample(80.0), Sample(error="3 lost"), Sample(60.0)],
        "ceiling": [Sample(200.0), Sample(220.0), Sample(200.0)],
        "picows": [Sample(error="refused")] * 3,
    }
}


class StatisticsTests(SynchronousTestCase):
    def test_median_of_what_is_there(self) -> None:
        self.assertEqual(median([3.0, None, 1.0, 2.0]), 2.0)
        self.assertIsNone(median([None]))

    def test_a_ratio_is_taken_within_each_round(self) -> None:
        """A slow hour that hits one round of both changes nothing; a round that one of them failed does not count."""
        runs = [Sample(10.0), Sample(1.0), Sample(10.0), Sample(error="lost")]
        others = [Sample(20.0), Sample(2.0), Sample(error="lost"), Sample(1.0)]
        self.assertEqual(ratio(runs, others), 0.5)
        self.assertIsNone(ratio(runs, []))

    def test_a_failed_run_is_counted_and_not_averaged(self) -> None:
        runs = [Sample(100.0, cpu=4.0, p99=2.0), Sample(error="1 lost"), Sample(300.0, cpu=6.0), Sample(error="1 lost")]
        found = summary(runs, ceiling=[Sample(200.0)] * 4)
        self.assertEqual((found.runs, found.failed, found.errors), (4, 2, ("1 lost",)))
        self.assertEqual(
            (found.rate, found.lowest, found.highest, found.cpu, found.p99), (200.0, 100.0, 300.0, 5.0, 2.0)
        )
        self.assertEqual(found.ceiling, 1.0)

    def test_nothing_but_failures_gives_no_rate(self) -> None:
        self.assertIsNone(summary([Sample(error="refused")]).rate)


class ReportOfARunTests(SynchronousTestCase):
    def test_units(self) -> None:
        found = parse("\n" + json.dumps(REPORT))
        self.assertEqual(found, Sample(rate=2500.0, cpu=4.5, p50=1.5, p99=9.0, load_busy=0.25))

    def test_every_fault_fails_the_run(self) -> None:
        cases = (
            ({"lost": 3}, "3 lost"),
            ({"out_of_order": 1, "duplicates": 2}, "1 out of order, 2 more than once"),
            ({"acknowledged": 9, "acknowledged_out_of_order": 1}, "1 acknowledged out of order"),
            ({"plain_frames": 7, "compressed_frames": 60}, "7 not compressed"),
            ({"accepted": 9, "failed": 2, "first_failure": "answered 503"}, "2 refused: answered 503"),
            ({"deliveries": 0}, "nothing arrived"),
            ({"error": "connection 1 was closed"}, "connection 1 was closed"),
        )
        for more, text in cases:
            self.assertEqual(fault({**REPORT, **more}), text)
        self.assertEqual(fault(REPORT), "")

    def test_a_few_small_frames_may_be_plain(self) -> None:
        self.assertEqual(fault({**REPORT, "plain_frames": 7, "compressed_frames": 70}), "")

    def test_sessions_that_were_to_be_resumed_and_were_not(self) -> None:
        report = {"accepted": 10, "failed": 0, "resumed": 8}
        self.assertEqual(fault(report, resumes=True), "2 not resumed")
        self.assertEqual(fault(report), "")
        self.assertEqual(fault({**report, "accepted": 0, "resumed": 0}, resumes=True), "no session to resume")

    def test_output_that_is_no_report(self) -> None:
        for text in ("", "\n", "usage: load", '{"deliv'):
            self.assertEqual(parse(text).error, "the load generator reported nothing")


class FiguresTests(SynchronousTestCase):
    def test_names_are_unique_and_every_server_is_known(self) -> None:
        for quick in (False, True):
            names = [figure.name for figure in figures(quick)]
            self.assertEqual(len(names), len(set(names)))
            for figure in figures(quick):
                self.assertLessEqual({*figure.who, figure.ceiling} - {""}, set(SERVERS))
                self.assertIn("realtime_svc", figure.who)
                self.assertIn(figure.ceiling, (*figure.who, ""))

    def test_each_server_has_the_route_of_each_of_its_figures(self) -> None:
        for figure in figures(False):
            for server in figure.servers():
                self.assertIn(figure.route, server.routes, f"{figure.name} {server.name}")

    def test_a_server_is_not_asked_for_what_it_has_not(self) -> None:
        (deflate,) = chosen(False, {"deflate"})
        self.assertIn("picows", deflate.who)
        self.assertNotIn("picows", [server.name for server in deflate.servers()])

    def test_quick_leaves_no_figure_out(self) -> None:
        self.assertEqual([one.name for one in figures(True)], [one.name for one in figures(False)])
        for quick, full in zip(figures(True), figures(False), strict=True):
            self.assertLessEqual(set(quick.who), set(full.who))

    def test_only_takes_figures_and_groups(self) -> None:
        self.assertEqual([one.name for one in chosen(False, {"fanout", "echo"})], ["fanout1", "fanout16", "echo"])
        self.assertEqual([one.name for one in chosen(False, {"fanout16"})], ["fanout16"])
        self.assertRaises(KeyError, chosen, False, {"fanout", "nonsense"})

    def test_the_size_of_the_payload_is_in_the_envelope(self) -> None:
        route = Route("/", headers=("A: b",), joined="PONG", envelope="PUB x{n} {size}\\r\\n{payload}", binary=True)
        expected = ["--path", "/", "--envelope", "PUB x{n} 128\\r\\n{payload}", "--header", "A: b", "--joined", "PONG"]
        self.assertEqual(route.arguments(128), [*expected, "--binary"])


class RunnerTests(SynchronousTestCase):
    def test_each_round_starts_with_another_server(self) -> None:
        servers = [SERVERS[name] for name in ("ws", "nats", "picows")]
        firsts = [runner.rotated(servers, number)[0].name for number in range(4)]
        self.assertEqual(firsts, ["ws", "nats", "picows", "ws"])
        self.assertEqual(runner.rotated([], 3), [])

    def test_figures_of_a_group_are_together(self) -> None:
        found = [[figure.name for figure in group] for group in runner.groups(chosen(False, {"fanout", "tls", "echo"}))]
        self.assertEqual(found, [["fanout1", "fanout16"], ["echo"], ["tls1", "tls16"]])

    def test_one_process_can_serve_all_figures_but_memory(self) -> None:
        found = [
            [figure.name for figure in group] for group in runner.groups(chosen(True, {"echo", "accept", "idle"}), True)
        ]
        self.assertEqual(found, [["echo", "accept"], ["idle"]])

    def test_one_core_is_refused(self) -> None:
        self.assertRaises(ValueError, runner.plan, False, None, None, [0])
        self.assertEqual(runner.plan(False, None, None, [2, 3]).runs, 5)
        self.assertEqual(runner.plan(True, 4, 2.0, [0, 1]).seconds, 2.0)


class TableTests(SynchronousTestCase):
    def test_best_first_failed_last(self) -> None:
        self.assertEqual(list(table.summaries(ECHO, RESULTS)), ["ceiling", "realtime_svc", "ws", "picows"])

    def test_least_memory_first(self) -> None:
        idle = chosen(False, {"idle"})[0]
        self.assertEqual(
            list(table.summaries(idle, {"idle": RESULTS["echo"]})), ["ws", "realtime_svc", "ceiling", "picows"]
        )

    def test_every_row_is_as_long_as_the_head(self) -> None:
        for figure in figures(False):
            for line in table.rows(figure, {figure.name: RESULTS["echo"]}):
                self.assertEqual(len(line), len(table.head(figure)), figure.name)

    def test_cells(self) -> None:
        lines = {line[0]: line for line in table.rows(ECHO, RESULTS)}
        self.assertEqual(lines["ws (Node)"][1:4], ["70", "0.35", "0.65"])
        self.assertEqual(lines["ws (Node)"][-1], "2 of 3")
        self.assertEqual(lines["picows"][1], "failed")

    def test_every_failure_is_told(self) -> None:
        self.assertEqual(table.failures(ECHO, RESULTS), ["ws (Node): 3 lost", "picows: refused"])

    def test_text_has_columns(self) -> None:
        self.assertEqual(table.as_text([["server", "a/s"], ["x", "1,000"]]), "server    a/s\nx       1,000")

    def test_markdown(self) -> None:
        found = table.as_markdown([["server", "a"], ["x", "1"], ["y", ""]], bold="y")
        self.assertEqual(found, "| server | a |\n|---|---:|\n| x | 1 |\n| **y** |  |")

    def test_report_names_conditions_and_what_is_missing(self) -> None:
        found = table.report([ECHO], RESULTS, [("date", "today")], {"nchan": "no apt-get"}, "plot.svg")
        for part in ("* date: today", "* nchan: no apt-get", "(plot.svg)", "### Echo", "Failed: picows: refused"):
            self.assertIn(part, found)

    def test_report_replaces_the_one_before(self) -> None:
        once = table.included("# Title\n\ntext\n", "one")
        twice = table.included(once + "after\n", "two")
        self.assertEqual(twice, f"# Title\n\ntext\n\n{table.BEGIN}\n\ntwo\n\n{table.END}\nafter\n")
        self.assertRaises(ValueError, table.included, f"{table.END} {table.BEGIN}", "x")
        self.assertRaises(ValueError, table.included, table.BEGIN, "x")


class PlotTests(SynchronousTestCase):
    def test_bars_are_drawn_to_the_longest(self) -> None:
        bars = [Bar("a & b", 10.0, "10k", "ours"), Bar("c", 5.0, "5k", "other"), Bar("d", 0.0, "0", "other")]
        root = ElementTree.fromstring(svg([Panel("<Echo>", bars)]))
        name = "{http://www.w3.org/2000/svg}"
        widths = [float(r.attrib["width"]) for r in root.iter(f"{name}rect") if r.attrib["class"] != "back"]
        self.assertAlmostEqual(widths[0], 2 * widths[1], delta=0.2)
        self.assertEqual(widths[2], 1.0)
        texts = [text.text for text in root.iter(f"{name}text")]
        self.assertEqual(texts[:3], ["<Echo>", "a & b", "10k"])

    def test_nothing_to_draw(self) -> None:
        ElementTree.fromstring(svg([Panel("empty", [])]))


class SurroundingsTests(SynchronousTestCase):
    def test_private_memory(self) -> None:
        text = "Rss: 90 kB\nPrivate_Clean:   4 kB\nPrivate_Dirty:  16 kB\nPrivate_Hugetlb: 0 kB\n"
        self.assertEqual(processes.private_bytes(text), 20 * 1024)

    def test_what_the_system_says_of_itself(self) -> None:
        self.assertEqual(conditions.processor("processor : 0\nmodel name\t: A CPU @ 3 GHz\n"), "A CPU @ 3 GHz")
        self.assertEqual(conditions.system('ID=x\nPRETTY_NAME="A System 12"\n'), "A System 12")

    def test_every_python_peer_is_pinned_with_all_it_needs(self) -> None:
        found = install.sections((install.PEERS / "requirements.txt").read_text())
        self.assertEqual(set(found), set(install.CHECKS))
        for lines in found.values():
            for line in lines:
                self.assertRegex(line, r"^[a-z0-9-]+==[0-9][0-9a-z.]*$")

    def test_every_peer_can_be_installed(self) -> None:
        known = {*install.CHECKS, *install.NODE_PEERS, "nchan", "nats", ""}
        self.assertLessEqual({server.peer for server in SERVERS.values()}, known)

    def test_our_configuration_is_toml(self) -> None:
        setting = Setting(8000, Path("/somewhere"), deflate=True, certificate="/a.pem", key="/a.key")
        found = tomllib.loads(ours.config(setting, "stock"))
        self.assertTrue(found["listeners"]["public"]["tls"])
        self.assertEqual((found["tls"]["key"], found["sockets"]["path"]), ("/a.key", "stock"))
        self.assertNotIn("tls", tomllib.loads(ours.config(Setting(8000, Path("/somewhere")), "auto")))
