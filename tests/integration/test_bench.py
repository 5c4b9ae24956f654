"""`realtime-svc bench` against the real server, and against one that makes mistakes."""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

from twisted.trial.unittest import TestCase

from realtime_svc.devcert import make_dev_certificates
from tests.bench.toy import Fault, frame, start_toy
from tests.integration.server import ALICE, TOKENS, Process, Server, spawn, start_server, write_config

OPEN = """
[namespaces.default]
echo = true
[namespaces.quiet]
[namespaces.closed]
subscribe = ["authenticated"]
publish = []
[limits]
"""
NO_LIMITS = "messages_per_second = 0\nframes_per_second = 0\n"
CLEAN = {"lost": 0, "out_of_order": 0, "duplicates": 0, "unacknowledged": 0}
FAULTY = 20  # behind all that are published before measuring begins
SHORT = ("--connections", "5", "--seconds", "0.2")


class Case(TestCase):
    def bench(self, url: str, mode: str, *options: str, token: str = ALICE) -> Process:
        command = [sys.executable, "-m", "realtime_svc", "bench", mode, "--url", url, *options]
        return spawn(self, command, environ={"REALTIME_SVC_TOKEN": token} if token else {})

    async def figures(self, process: Process, code: int = 0) -> dict[str, Any]:
        """What it printed with --json."""
        self.assertEqual(code, await process.ended, process.output)
        self.assertNotIn(ALICE, process.output)
        line = next(line for line in process.output.splitlines() if line.startswith("{"))
        found: dict[str, Any] = json.loads(line)
        return found


class ServerTests(Case):
    async def test_every_mode_through_both_protocols(self) -> None:
        """All that is published comes, once and in order."""
        server = await start_server(self, TOKENS + OPEN + NO_LIMITS)
        for protocol, mode, unit in (
            ("raw", "fanout", "deliveries"),
            ("centrifugo", "fanout", "deliveries"),
            ("raw", "echo", "echoes"),
            ("centrifugo", "echo", "echoes"),
            ("centrifugo", "publish", "acknowledged"),
            ("centrifugo", "connect", "accepted"),
            ("raw", "idle", "held"),
        ):
            found = await self.figures(
                self.bench(server.url(""), mode, *SHORT, "--protocol", protocol, "--window", "4", "--json")
            )
            self.assertEqual((mode, protocol), (found["mode"], found["protocol"]))
            self.assertGreaterEqual(found[unit], 5, mode)
            self.assertEqual(CLEAN, CLEAN | {name: found[name] for name in CLEAN if name in found})
            if mode == "fanout":
                self.assertEqual(5 * found["publications"], found["deliveries"])

    async def test_over_tls_and_with_the_process_of_the_server(self) -> None:
        folder = write_config(self, "").parent
        made = make_dev_certificates(folder, ["localhost"])
        text = f'[tls]\ncertificate = "{made.certificate}"\nkey = "{made.key}"\n'
        listeners = '[listeners.public]\nhost = "127.0.0.1"\nport = 0\ntls = true\n[internal]\nport = 0\n'
        server = await start_server(self, TOKENS + text, listeners=listeners)
        url = server.url("", scheme="wss")
        trusted = ("--ca", str(made.ca), "--size", "20000", "--json")
        found = await self.figures(self.bench(url, "fanout", *SHORT, *trusted, "--pid", self.pid(server)))
        self.assertEqual((CLEAN, True), ({name: found[name] for name in CLEAN}, found["server_cpu_seconds"] >= 0))
        found = await self.figures(self.bench(url, "idle", *SHORT, *trusted, "--pid", self.pid(server)))
        self.assertGreater(found["memory_with_all"], 2**20)
        process = self.bench(url, "connect", *SHORT)
        self.assertEqual(1, await process.ended)
        self.assertIn("TLS: certificate verify failed; if the server has an authority of its own", process.output)

    def pid(self, server: Server) -> str:
        assert server.process.transport
        return str(server.process.transport.pid)

    async def test_text_for_people(self) -> None:
        server = await start_server(self, TOKENS + OPEN + NO_LIMITS)
        process = self.bench(server.url("/"), "fanout", *SHORT)
        self.assertEqual(0, await process.ended, process.output)
        self.assertIn("fanout: 6 connections, for 0.2 s", process.errors)
        self.assertRegex(process.output, r"(?m)^deliveries +[1-9]")
        self.assertRegex(process.output, r"(?m)^this program \(Python\) +[0-9]+ % of a core$")

    async def test_refusals_are_told_with_what_to_do(self) -> None:
        server = await start_server(self, TOKENS + OPEN + "connections_per_user = 3\n")
        for mode, options, token, said in (
            ("fanout", (), "", "status 401: valid credentials are required; give a token"),
            ("publish", (), "", "3501 bad request; give a token"),
            ("fanout", (), "wrong-" + ALICE, "status 401: valid credentials are required\n"),
            ("fanout", ("--channel", "nowhere:x"), ALICE, "status 404"),
            ("echo", ("--channel", "quiet:x"), ALICE, "set echo = true there"),
            ("fanout", ("--channel", "closed:x", "--connections", "1"), ALICE, "error 103: permission denied"),
            ("publish", ("--channel", "closed:x", "--connections", "1"), ALICE, "error 103: permission denied"),
            ("fanout", (), ALICE, "limits.connections_per_user"),
        ):
            process = self.bench(server.url(""), mode, *SHORT, *options, token=token)
            self.assertEqual(1, await process.ended, process.output)
            self.assertIn(said, process.errors)
            self.assertEqual(process.errors, process.output, "no figures")

    async def test_closed_for_a_rate_says_which_limit(self) -> None:
        """With the figures up to then."""
        for limits, said in (
            (
                "frames_per_second = 5\nmessages_per_second = 0\n",
                "1008 policy violation; raise limits.frames_per_second",
            ),
            (
                "frames_per_second = 0\nmessages_per_second = 5\n",
                "3013 too many requests; raise limits.messages_per_second",
            ),
        ):
            server = await start_server(self, TOKENS + OPEN + limits + 'flood_patience = "100ms"\n')
            process = self.bench(
                server.url(""), "echo", "--connections", "2", "--seconds", "20", "--window", "50", "--json"
            )
            found = await self.figures(process, code=1)
            self.assertIn(said, found["error"])
            self.assertIn(said, process.errors)
            self.assertGreater(found["publications"], 0)

    async def test_ctrl_c_gives_the_figures_so_far(self) -> None:
        server = await start_server(self, TOKENS + OPEN + NO_LIMITS)
        for mode in ("fanout", "idle", "connect"):
            process = self.bench(server.url(""), mode, "--connections", "5", "--seconds", "300", "--json")
            await process.when_printed(r"for 300 s")
            process.signal(signal.SIGINT)
            found = await self.figures(process, code=130)
            self.assertTrue(found["interrupted"])
            self.assertLess(found["seconds"], 300)
            self.assertEqual(0, found.get("lost", 0))

    async def test_server_that_goes_away(self) -> None:
        server = await start_server(self, TOKENS + OPEN + NO_LIMITS)
        process = self.bench(server.url(""), "idle", "--connections", "5", "--seconds", "300")
        await process.when_printed(r"for 300 s")
        await server.stop()
        self.assertEqual(1, await process.ended)
        self.assertIn("the server closed a connection: 1012 service restart", process.errors)


class FaultTests(Case):
    """A server that loses, repeats and changes the order."""

    async def fan_out(self, fault: Fault) -> dict[str, Any]:
        url = f"ws://127.0.0.1:{start_toy(self, fault)}"
        options = ("--connections", "3", "--seconds", "1", "--window", "4", "--json")
        process = self.bench(url, "fanout", *options)
        found = await self.figures(process, code=1)
        self.assertIn("not every message came once and in order", process.errors)
        return {name: found[name] for name in ("lost", "out_of_order", "duplicates")}

    async def test_loss(self) -> None:
        found = await self.fan_out(lambda number, payload: () if number == FAULTY else (frame(payload),))
        self.assertEqual({"lost": 1, "out_of_order": 0, "duplicates": 0}, found)

    async def test_repetition(self) -> None:
        found = await self.fan_out(lambda number, payload: (frame(payload),) * (1 + (number == FAULTY)))
        self.assertEqual({"lost": 0, "out_of_order": 0, "duplicates": 1}, found)

    async def test_order(self) -> None:
        held: list[bytes] = []

        def swap(number: int, payload: bytes) -> list[bytes]:
            if number == FAULTY:
                held.append(frame(payload))
                return []
            return [frame(payload), *held] if number == FAULTY + 1 else [frame(payload)]

        self.assertEqual({"lost": 0, "out_of_order": 1, "duplicates": 0}, await self.fan_out(swap))
