"""The load generator measures what is there, and notices what is not."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, TestCase

from bench.load import build, can_build
from realtime_svc.devcert import make_dev_certificates
from tests.bench.toy import Fault, frame, start_toy
from tests.integration.server import BOB, TOKENS, Process, spawn, start_server

CONFIG = (
    TOKENS
    + """
[limits]
connections_per_address = 0
connections_per_user = 0
messages_per_second = 0
frames_per_second = 0
[websocket.deflate]
enabled = true
[namespaces.default]
echo = true
[namespaces.kept]
history_size = 100
history_ttl = "5m"
"""
)
SHORT = ("--seconds", "0.1", "--warmup", "0.05")
RAW = ("--path", "/raw/bench")
MODES: dict[str, tuple[str, ...]] = {
    "fan-out": ("fanout", *RAW, "--window", "4", "--probe-path", "/raw/other", "--probe-every", "1"),
    "fan-out, compressed": ("fanout", *RAW, "--size", "1024", "--deflate"),
    "fan-out, protocol plain": (
        *("fanout", "--path", "/ws?channel=bench", "--joined", '"ok":"subscribe"'),
        *("--envelope", '{"publish":"bench","data":{payload}}'),
    ),
    "echo": ("echo", "--path", "/raw/own{n}?echo=1"),
    "connect": ("connect", *RAW),
    "publish, Centrifugo": ("publish", "--window", "4"),
    "publish, plain": ("publish", "--window", "4", "--protocol", "plain"),
    "recover": ("recover", "--history", "10", "--channel", "kept:storm"),
}
CLEAN = {"lost": 0, "out_of_order": 0, "duplicates": 0}


def run(test: TestCase, program: str, *arguments: str) -> Process:
    """`load` or `ceiling`; skips the test where it can't be built."""
    if not can_build():
        raise SkipTest("there is no C compiler, or no make")
    return spawn(test, [str(build() / program), *arguments])


async def load(test: TestCase, port: int, mode: str, *arguments: str, fails: bool = False) -> dict[str, Any]:
    """What a run prints."""
    process = run(test, "load", mode, "--port", str(port), "--json", *arguments)
    test.assertEqual(await process.ended, 1 if fails else 0, process.output)
    result: dict[str, Any] = json.loads(process.output)
    return result


def clean(result: dict[str, Any]) -> dict[str, int]:
    return {name: result.get(name, 0) for name in CLEAN}


class ProductTests(TestCase):
    async def test_modes(self) -> None:
        """Each mode against the real server: something is counted, nothing is lost, and the delays are there."""
        server = await start_server(self, CONFIG)
        header = ("--header", f"Authorization: Bearer {BOB}", "--pid", str(server.process.transport.pid))  # type: ignore[union-attr]
        for name, (mode, *arguments) in MODES.items():
            result = await load(self, server.port(), mode, *arguments, "--connections", "5", *SHORT, *header)
            self.assertEqual(clean(result), CLEAN, name)
            self.assertGreater(result["per_second"], 0, name)
            self.assertGreaterEqual(result["p99_us"], result["p50_us"], name)
            self.assertGreater(result["server_cpu_seconds"], 0, name)
            getattr(self, f"check_{mode}")(result, name)

    def check_fanout(self, result: dict[str, Any], name: str) -> None:
        self.assertEqual(result["deliveries"], 5 * result["publications"], name)
        if "compressed" in name:
            self.assertEqual(result["compressed_frames"], result["deliveries"])
            self.assertLess(result["compressed_size"], 1024)
        if "probes" in result:
            self.assertGreater(result["probes"], 0)

    def check_echo(self, result: dict[str, Any], name: str) -> None:
        self.assertGreater(result["deliveries"], 0)

    def check_connect(self, result: dict[str, Any], name: str) -> None:
        self.assertGreater(result["accepted"], 0)
        self.assertEqual(result["failed"], 0)

    def check_publish(self, result: dict[str, Any], name: str) -> None:
        self.assertGreater(result["acknowledged"], 0, name)
        self.assertEqual(result["acknowledged_out_of_order"], 0, name)

    def check_recover(self, result: dict[str, Any], name: str) -> None:
        self.assertEqual((result["recovered"], result["unrecovered_clients"]), (50, 0))

    async def test_idle(self) -> None:
        """Connections are held until the input ends; a line publishes one message to all."""
        server = await start_server(self, CONFIG)
        arguments = (
            "--port",
            str(server.port()),
            "--connections",
            "5",
            *RAW,
            "--header",
            f"Authorization: Bearer {BOB}",
        )
        process = run(self, "load", "idle", "--json", *arguments)
        await process.when_printed('"held":5')
        process.transport.write(b"one\n")  # type: ignore[union-attr]
        await process.when_printed('"delivered":5')
        process.transport.closeStdin()  # type: ignore[union-attr]
        self.assertEqual(await process.ended, 0)

    async def test_refused(self) -> None:
        """Who is not let in gets told why."""
        server = await start_server(self, CONFIG)
        result = await load(self, server.port(), "fanout", *RAW, fails=True)
        self.assertIn("401", result["error"])


class CeilingTests(TestCase):
    async def start_ceiling(self, *arguments: str) -> int:
        process = run(self, "ceiling", "--port", "0", *arguments)
        return int((await process.when_printed(r"listening (\d+)"))[1])

    async def test_plain(self) -> None:
        """The ceiling spreads, echoes and accepts; in batches, too."""
        for batched in ((), ("--batched",)):
            port = await self.start_ceiling(*batched)
            for mode in ("fanout", "echo", "connect"):
                result = await load(
                    self, port, mode, "--path", f"/{mode}", "--connections", "5", "--window", "4", *SHORT
                )
                self.assertEqual(clean(result), CLEAN)
                self.assertGreater(result["per_second"], 0)

    async def test_uring(self) -> None:
        """The same with io_uring on both sides, where the kernel allows it."""
        try:
            port = await self.start_ceiling("--uring")
        except AssertionError as error:
            if "io_uring" in str(error):
                raise SkipTest("io_uring is not to be had here") from error
            raise
        for mode, arguments in (("fanout", ()), ("echo", ("--uring",))):
            result = await load(self, port, mode, "--path", f"/{mode}", "--connections", "5", *SHORT, *arguments)
            self.assertEqual(clean(result), CLEAN)
            self.assertGreater(result["deliveries"], 0)

    async def test_tls(self) -> None:
        """The same over TLS; sessions are resumed when that is asked for, and only then."""
        folder = Path(self.mktemp())
        folder.mkdir()
        made = make_dev_certificates(folder, ["localhost"])
        try:
            port = await self.start_ceiling("--tls", str(made.certificate), str(made.key))
        except AssertionError as error:
            if "without OpenSSL" in str(error):
                raise SkipTest("OpenSSL's headers are not installed") from error
            raise
        for mode in ("fanout", "echo"):
            result = await load(self, port, mode, "--path", f"/{mode}", "--connections", "5", "--tls", *SHORT)
            self.assertEqual(clean(result), CLEAN)
            self.assertGreater(result["deliveries"], 0)
        full = await load(self, port, "connect", "--tls", "--concurrency", "2", *SHORT)
        self.assertEqual(full["resumed"], 0)
        for version in ("1.2", "1.3"):
            resuming = ("--tls", "--resume", "--tls-version", version, "--concurrency", "2", *SHORT)
            self.assertGreater((await load(self, port, "connect", *resuming))["resumed"], 0, version)


class NoticeTests(TestCase):
    async def fan_out(self, fault: Fault, *arguments: str, fails: bool = False) -> dict[str, Any]:
        """40 publications to 3 subscribers, one of which gets them as `fault` says."""
        port = start_toy(self, fault)
        counted = ("--connections", "3", "--count", "40", "--warmup", "0", "--window", "4", "--patience", "0.5")
        return await load(self, port, "fanout", *counted, *arguments, fails=fails)

    async def test_good(self) -> None:
        """All is well: all is counted."""
        result = await self.fan_out(lambda number, payload: (frame(payload),))
        self.assertEqual((result["deliveries"], clean(result)), (120, CLEAN))

    async def test_loss(self) -> None:
        """One message is left out."""
        result = await self.fan_out(lambda number, payload: () if number == 20 else (frame(payload),))
        self.assertEqual((result["deliveries"], clean(result)), (119, CLEAN | {"lost": 1}))

    async def test_loss_at_the_end(self) -> None:
        """From one on all are left out: there is none after them that would show it."""
        result = await self.fan_out(lambda number, payload: () if number > 20 else (frame(payload),))
        self.assertEqual(result["deliveries"] + result["lost"], 3 * result["publications"])
        self.assertGreater(result["lost"], 0)

    async def test_order(self) -> None:
        """One message comes after the next one: it is not lost."""
        held: list[bytes] = []

        def swap(number: int, payload: bytes) -> Iterable[bytes]:
            if number == 20:
                held.append(frame(payload))
                return ()
            return frame(payload), *(held.pop() for _ in tuple(held))

        result = await self.fan_out(swap)
        self.assertEqual((result["deliveries"], clean(result)), (120, CLEAN | {"out_of_order": 1}))

    async def test_twice(self) -> None:
        """One message comes twice: it counts once."""
        result = await self.fan_out(lambda number, payload: (frame(payload),) * (2 if number == 20 else 1))
        self.assertEqual((result["deliveries"], clean(result)), (120, CLEAN | {"duplicates": 1}))

    async def test_torn_stream(self) -> None:
        """Messages cut into frames anywhere, with pings between them: the marker is found."""
        for size in (1, 3, 7, 16, 50):

            def tear(number: int, payload: bytes, size: int = size) -> Iterable[bytes]:
                for at in range(0, len(payload), size):
                    yield frame(payload[at : at + size], 0x82) + frame(b"ping", 0x89)

            result = await self.fan_out(tear)
            self.assertEqual((result["deliveries"], clean(result)), (120, CLEAN), size)

    async def test_closed(self) -> None:
        """A connection that the server closes ends the run, with the reason."""
        closing = frame(b"\x0b\xc0slow", 0x88)
        result = await self.fan_out(lambda number, _: (closing,), fails=True)
        self.assertIn("closed by the server: 3008 slow", result["error"])


if not sys.platform.startswith("linux"):
    for case in (ProductTests, CeilingTests, NoticeTests):
        case.skip = "epoll is Linux's"  # type: ignore[attr-defined]
