"""`realtime-svc bench`: its command line, what it says, and what it advises."""

from __future__ import annotations

import io
import json
import os
import socket
import sys

from realtime_svc.channel import MAX_CHANNEL_BYTES
from realtime_svc.cli import main
from realtime_svc.cli.bench_modes import Plan, Result
from realtime_svc.cli.bench_peer import Closed
from realtime_svc.cli.bench_report import BOTTLENECK, advice, as_json, as_text, figures, limited_by, notes
from realtime_svc.cli.bench_tally import Meter, Tally, memory, processor_seconds
from realtime_svc.cli.bench_wire import DIALECTS, Numbered, RunFailed
from realtime_svc.cli.console import CommandFailed, Console
from realtime_svc.client.errors import ConnectionFailed, HandshakeRefused
from tests.cli.test_cli import Case

SECRET = "very-secret-token-0123456789"
URL = "ws://127.0.0.1:1"
NOBODY = 2**22 + 1  # above what Linux gives to a process


class CommandLineTests(Case):
    def test_wrong_command_lines(self) -> None:
        for argv in (
            [],
            ["fanout"],
            ["all", "--url", URL],
            ["fanout", "--url", URL, "--connections", "0"],
            ["fanout", "--url", URL, "--connections", "10001"],
            ["fanout", "--url", URL, "--connections", "many"],
            ["fanout", "--url", URL, "--seconds", "301"],
            ["fanout", "--url", URL, "--seconds", "nan"],
            ["fanout", "--url", URL, "--window", "0"],
            ["fanout", "--url", URL, "--token", SECRET, "--token-file", "file"],
        ):
            said = io.StringIO()
            self.patch(sys, "stderr", said)
            stop = self.assertRaises(SystemExit, main, ["bench", *argv], Console())
            self.assertEqual(2, stop.code, argv)
            self.assertNotIn(SECRET, said.getvalue())

    def test_what_does_not_go_together_is_told_before_anything_is_sent(self) -> None:
        for argv, said in (
            (["fanout", "--url", "http://127.0.0.1:1"], "--url: the address must begin with ws:// or wss://"),
            (["fanout", "--url", f"ws://user:{SECRET}@127.0.0.1:1"], "--url: the address must not hold a user"),
            (["fanout", "--url", f"{URL}/?token={SECRET}"], "--url: must have no query"),
            (["fanout", "--url", f"{URL}/raw/chat:hello"], "--url: only up to the port"),
            (["fanout", "--url", f"{URL}/connection/websocket"], "--url: only up to the port"),
            (["fanout", "--url", "ws://192.0.2.1", "--token", SECRET], "use wss://, or --insecure"),
            (["fanout", "--url", URL, "--token", SECRET + "\n"], "--url: the token"),
            (["fanout", "--url", URL, "--token-file", "/none"], "/none: can't be read"),
            (["fanout", "--url", "wss://127.0.0.1:1", "--ca", "/none"], "/none: No such file"),
            (["publish", "--url", URL, "--protocol", "raw"], "--protocol: publish counts acknowledgements"),
            (["fanout", "--url", URL, "--channel", "a b"], "--channel: is not a channel's name"),
            (["echo", "--url", URL, "--channel", "a" * MAX_CHANNEL_BYTES], "--channel: is not a channel's name"),
            (["fanout", "--url", URL, "--size", "20"], "--size: must be at least"),
            (["fanout", "--url", URL, "--payload", "{}"], "--payload: must hold {fill}"),
            (["fanout", "--url", URL, "--pid", str(NOBODY)], f"--pid: /proc/{NOBODY}/stat: No such file"),
            (["idle", "--url", URL, "--pid", str(NOBODY)], f"--pid: /proc/{NOBODY}/smaps_rollup: No such file"),
        ):
            result = self.run_command("bench", *argv)
            self.assertEqual((1, ""), (result.code, result.out), argv)
            self.assertIn(said, result.err)
            self.assertNotIn(SECRET, result.err)

    def test_nobody_listens(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            result = self.run_command("bench", "echo", "--url", f"ws://127.0.0.1:{unused.getsockname()[1]}")
        self.assertEqual((1, "realtime-svc: can't connect: Connection refused\n"), (result.code, result.err))

    def test_unknown_host(self) -> None:
        def fail(*_: object) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        self.patch(socket, "create_connection", fail)
        result = self.run_command("bench", "echo", "--url", "ws://nobody.invalid")
        self.assertEqual((1, "realtime-svc: can't connect: Name or service not known\n"), (result.code, result.err))


class ReportTests(Case):
    def plan(self, mode: str = "fanout") -> Plan:
        return Plan(mode, DIALECTS["raw"], "bench", 50, 1, 128, 5.0, Numbered(128))

    def result(self, *, own: float = 1.0, publications: int = 100) -> Result:
        meter = Meter(None)
        meter.seconds, meter.own = 5.0, own
        tally = Tally(publications=publications)
        tally.note(0.002, 5000)
        tally.in_time = tally.deliveries = tally.done
        return Result(meter, tally)

    def test_figures_for_programs(self) -> None:
        found = json.loads(as_json(figures(self.plan(), self.result())))
        expected = {"generator": "python", "mode": "fanout", "protocol": "raw", "connections": 50, "window": 1}
        expected |= {"deliveries": 5000, "per_second": 1000.0, "lost": 0, "load_busy": 0.2}
        self.assertEqual(expected, {name: found[name] for name in expected})
        self.assertLess(abs(found["p99_us"] - 2000), 20)

    def test_figures_for_people(self) -> None:
        result = self.result()
        result.meter.server = 0.5
        lines = as_text(figures(self.plan(), result))
        for line in ("per second 1,000.0", "delay p99 2.00 ms", "this program (Python) 20 % of a core"):
            self.assertIn(line, [" ".join(found.split()) for found in lines])
        self.assertIn("server 10 % of a core", [" ".join(found.split()) for found in lines])

    def test_memory_of_those_that_are_held(self) -> None:
        result = self.result()
        result.tally, result.memory = Tally(done=50), (2**20, 2**20 + 50 * 4000)
        found = figures(self.plan("idle"), result)
        self.assertEqual((50, 4000), (found["held"], found["bytes_a_connection"]))
        self.assertNotIn("per_second", found)

    def test_nothing_measured_no_figures(self) -> None:
        self.assertEqual(
            {"generator", "mode", "protocol", "connections"}, set(figures(self.plan(), Result(Meter(None))))
        )

    def test_says_when_it_is_the_bottleneck(self) -> None:
        self.assertEqual([BOTTLENECK], notes(self.plan(), self.result(own=4.6)))
        self.assertEqual([], notes(self.plan(), self.result(own=4.4)))

    def test_says_when_a_limit_was_measured(self) -> None:
        for mode, publications, said in (
            ("fanout", 3490, True),
            ("fanout", 2000, False),
            ("fanout", 9000, False),
            ("echo", 3490, False),
            ("echo", 50 * 3490, True),
            ("connect", 3490, False),
        ):
            found = notes(self.plan(mode), self.result(publications=publications))
            self.assertEqual(said, any("limits.messages_per_second" in text for text in found), (mode, publications))
        self.assertEqual("limits.frames_per_second", limited_by(14_000, 5))
        self.assertEqual("", limited_by(1_000, 0.5))

    def test_advice(self) -> None:
        for error, mode, has_token, said in (
            (HandshakeRefused(401), "fanout", False, "give a token: --token-file"),
            (HandshakeRefused(401), "fanout", True, "status 401\\Z"),
            (Closed(3501, "bad request"), "publish", False, "give a token"),
            (HandshakeRefused(403), "echo", True, "echo = true"),
            (HandshakeRefused(403), "fanout", True, "right to subscribe"),
            (HandshakeRefused(404), "fanout", True, "namespace"),
            (HandshakeRefused(429), "fanout", True, "limits.connections_per_address or limits.connections_per_user"),
            (HandshakeRefused(503), "fanout", True, "limits.connections "),
            (Closed(1008, "policy violation"), "echo", True, "1008 policy violation; raise limits.frames_per_second"),
            (Closed(3013, ""), "echo", True, "limits.messages_per_second"),
            (Closed(3008, "slow"), "echo", True, "limits.queue_size"),
            (Closed(1012, "service restart"), "echo", True, "1012 service restart\\Z"),
            (ConnectionFailed("TLS: certificate verify failed"), "echo", True, "--ca"),
            (RunFailed("as it is"), "echo", True, "\\Aas it is\\Z"),
        ):
            self.assertRegex(advice(error, mode, has_token), said)


class ProcessTests(Case):
    """Figures of another process; here: of this one."""

    def test_memory_and_processor_time(self) -> None:
        self.assertGreater(memory(os.getpid()), 2**20)
        self.assertGreater(processor_seconds(os.getpid()), 0)
        meter = Meter(os.getpid())
        meter.start()
        meter.stop()
        self.assertEqual(0, round(meter.server or 0))

    def test_process_that_is_gone(self) -> None:
        meter = Meter(NOBODY)
        self.assertRaises(CommandFailed, meter.start)
        meter.stop()
        self.assertIsNone(meter.server)
