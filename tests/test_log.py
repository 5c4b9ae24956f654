"""Log lines: their form, what can't be forged in them, how many strangers can cause, and writing that never hurts."""

from __future__ import annotations

import errno
import io
import json
import os
import select
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel, globalLogPublisher
from twisted.python import log as legacy_log
from twisted.python.failure import Failure
from twisted.python.logfile import LogFile
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.config import Log
from realtime_svc.core.instruments import Instruments
from realtime_svc.log import MAX_KINDS, MAX_TEXT, LogObserver, escape, observer, redact

MOMENT = 1_795_357_440.1234


class Case(SynchronousTestCase):
    """An observer that writes into a string."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.instruments = Instruments()
        self.out = io.StringIO()

    def observe(self, **options: Any) -> LogObserver:
        return observer(Log(**options), self.out, instruments=self.instruments, now=self.clock.seconds)

    def emit(self, target: LogObserver, text: str, /, **values: Any) -> None:
        values.setdefault("log_level", LogLevel.info)
        values.setdefault("log_namespace", "realtime_svc.test")
        target({"log_format": text, "log_time": MOMENT, **values})

    def lines(self) -> list[str]:
        text = self.out.getvalue()
        self.assertTrue(text == "" or text.endswith("\n"))
        return text.split("\n")[:-1]


def failure() -> Failure:
    try:
        raise ValueError("first\n2026-11-22T14:24:00.123Z INFO  realtime_svc.auth admin logged in\x1b[2J")
    except ValueError:
        return Failure()


class TextTests(Case):
    """For people."""

    def test_line_has_time_level_namespace_and_message(self) -> None:
        self.emit(self.observe(), "{count} clients", count=3, log_level=LogLevel.warn)
        self.assertEqual(["2026-11-22T14:24:00.123Z WARN  realtime_svc.test 3 clients"], self.lines())

    def test_no_value_starts_a_line_or_moves_the_cursor(self) -> None:
        target = self.observe()
        for evil in (
            "\r\n",
            "\n",
            "\x1b[2J",
            "\x0b",
            "\x85",
            "\x9b31m",
            "\u2028",
            "\u2029",
            "\u202e",
            "\x00",
            "\x7f",
            "\ud800",
        ):
            self.out.truncate(0)
            self.out.seek(0)
            self.emit(target, "peer {peer} left", peer=f"a{evil}2026-01-01 INFO forged", log_namespace=f"x{evil}y")
            self.assertEqual(1, len(self.out.getvalue().splitlines()), repr(evil))
            self.assertTrue(self.out.getvalue()[:-1].isprintable(), repr(self.out.getvalue()))

    def test_traceback_is_marked_so_that_no_line_of_it_looks_like_a_log_line(self) -> None:
        self.emit(self.observe(), "handler failed", log_failure=failure(), log_level=LogLevel.critical)
        first, *rest = self.lines()
        self.assertTrue(first.endswith("CRITICAL realtime_svc.test handler failed"), first)
        self.assertTrue(any("ValueError: first" in line for line in rest))
        self.assertTrue(any("admin logged in\\x1b[2J" in line for line in rest))
        self.assertEqual([], [line for line in rest if not line.startswith("    | ")])

    def test_message_is_bounded(self) -> None:
        self.emit(self.observe(), "{text}", text="a" * (MAX_TEXT + 7))
        self.assertTrue(self.lines()[0].endswith("a ... (7 characters more)"))

    def test_event_that_cannot_be_shown_is_reported(self) -> None:
        class Broken:
            def __str__(self) -> str:
                raise RuntimeError("no")

            __repr__ = __str__

        self.emit(self.observe(), "{thing}", thing=Broken())
        self.emit(self.observe(), "{missing.thing}")
        self.emit(self.observe(), "fine", log_time="yesterday")
        self.assertEqual(3, len(self.lines()))
        self.assertIn("an event of realtime_svc.test can't be shown", self.lines()[2])


class JsonTests(Case):
    """For machines."""

    def event(self, text: str, /, **values: Any) -> dict[str, Any]:
        self.emit(self.observe(format="json"), text, **values)
        line = self.lines()[-1]
        self.assertTrue(line.isascii() and line.isprintable())
        found: dict[str, Any] = json.loads(line, parse_constant=self.fail)
        return found

    def test_one_object_a_line(self) -> None:
        expected = {
            "time": "2026-11-22T14:24:00.123Z",
            "level": "warn",
            "namespace": "realtime_svc.test",
            "message": "closed 1002\n{forged}",
            "code": 1002,
            "why_not": None,
            "peer": "\u2028\x1b é",
        }
        values = {"code": 1002, "why_not": None, "peer": "\u2028\x1b é", "thing": object(), "log_secret": "x"}
        self.assertEqual(expected, self.event("closed {code}\n{{forged}}", log_level=LogLevel.warn, **values))

    def test_fields_of_an_event_cannot_replace_ours(self) -> None:
        found = self.event("text", time="never", level="none", namespace="forged", message="forged", traceback="forged")
        self.assertEqual({"time", "level", "namespace", "message"}, set(found))
        self.assertEqual("text", found["message"])

    def test_what_json_does_not_have(self) -> None:
        found = self.event("{a} {b}", a=float("nan"), b=float("inf"), c="\ud800")
        self.assertEqual(("nan", "inf", "\\ud800"), (found["a"], found["b"], found["c"]))

    def test_traceback_is_a_field(self) -> None:
        found = self.event("failed", log_failure=failure())
        self.assertIn("ValueError: first\n", found["traceback"])


class FilterTests(Case):
    """What is not written at all."""

    def test_level(self) -> None:
        target = self.observe(level="warn")
        for level in (LogLevel.debug, LogLevel.info, LogLevel.warn, LogLevel.error, LogLevel.critical):
            self.emit(target, level.name, log_level=level)
        self.assertEqual(["warn", "error", "critical"], [line.split()[-1] for line in self.lines()])

    def test_noise_of_autobahn_is_dropped_below_error(self) -> None:
        target = self.observe(level="debug")
        for namespace in ("autobahn.websocket.protocol", "txaio.tx"):
            self.emit(target, "noise", log_namespace=namespace, log_level=LogLevel.warn)
            self.emit(target, "broken", log_namespace=namespace, log_level=LogLevel.error)
        self.assertEqual(["broken", "broken"], [line.split()[-1] for line in self.lines()])

    def test_events_of_twisted_loggers_old_and_new(self) -> None:
        target = self.observe()
        globalLogPublisher.addObserver(target)
        self.addCleanup(globalLogPublisher.removeObserver, target)
        Logger(namespace="realtime_svc.mine").info("new {n}", n=1)
        legacy_log.msg("old 100%")
        self.assertEqual(
            ["realtime_svc.mine new 1", "log_legacy old 100%"], [line.split("  ")[1] for line in self.lines()]
        )


class LimitTests(Case):
    """Strangers can't fill the log."""

    def test_burst_is_written_and_the_rest_is_told_in_one_line(self) -> None:
        target = self.observe(burst=3)
        for number in range(10):
            self.emit(target, "refused {number}", number=number, log_kind="refused")
        self.assertEqual(["0", "1", "2"], [line.split()[-1] for line in self.lines()])
        self.assertEqual(7, self.instruments.log_lines_suppressed)
        self.clock.advance(10)
        self.emit(target, "again", log_kind="refused")
        self.assertEqual(5, len(self.lines()))
        self.assertTrue(self.lines()[3].endswith("7 more lines left out of kind: refused"), self.lines()[3])

    def test_kinds_are_limited_apart_and_other_lines_not_at_all(self) -> None:
        target = self.observe(burst=1)
        for _ in range(3):
            self.emit(target, "a", log_kind="one")
            self.emit(target, "b", log_kind="two")
            self.emit(target, "c")
        self.assertEqual(["a", "b", "c", "c", "c"], [line.split()[-1] for line in self.lines()])

    def test_what_libraries_log_is_limited_by_its_format(self) -> None:
        target = self.observe(burst=2)
        for number in range(5):
            self.emit(target, "Timing out client: {peer}", peer=number, log_namespace="twisted.web.http.HTTPChannel")
            self.emit(target, "other {n}", n=number, log_namespace="twisted.web.http.HTTPChannel")
        self.assertEqual(4, len(self.lines()))

    def test_end_of_the_window_is_told_by_any_later_event_and_by_flush(self) -> None:
        target = self.observe(burst=1)
        for _ in range(2):
            self.emit(target, "a", log_kind="one")
        self.clock.advance(10)
        self.emit(target, "b")
        self.assertEqual(["a", "one", "b"], [line.split()[-1] for line in self.lines()])
        for _ in range(3):
            self.emit(target, "c", log_kind="two")
        target.flush()
        target.flush()
        self.assertEqual(["c", "two"], [line.split()[-1] for line in self.lines()[3:]])
        self.assertIn("2 more lines left out", self.lines()[-1])

    def test_kinds_themselves_are_bounded(self) -> None:
        target = self.observe(burst=1)
        for number in range(MAX_KINDS + 50):
            self.emit(target, "a", log_kind=f"kind {number}")
        self.assertEqual(MAX_KINDS + 1, len(self.lines()))


class Broken(io.StringIO):
    """A stream whose disk is full while `full` is set."""

    full = True

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


class WriteTests(Case):
    """A line that can't be written is dropped and counted; nothing is raised, nothing waits."""

    def test_full_disk_and_what_comes_after(self) -> None:
        self.out = out = Broken()
        target = self.observe()
        for _ in range(3):
            self.emit(target, "lost")
        self.assertEqual(3, self.instruments.log_lines_suppressed)
        out.full = False
        self.emit(target, "back")
        self.emit(target, "more")
        self.assertEqual(["written", "back", "more"], [line.split()[-1] for line in self.lines()])
        self.assertIn("3 lines could not be written", self.lines()[0])

    def test_closed_stream(self) -> None:
        target = self.observe()
        self.out.close()
        self.emit(target, "lost")
        self.assertEqual(1, self.instruments.log_lines_suppressed)

    def pipe(self) -> tuple[int, LogObserver]:
        reader, writer = os.pipe()
        stream = os.fdopen(writer, "w")
        self.addCleanup(stream.close)
        return reader, observer(Log(), stream, instruments=self.instruments, now=self.clock.seconds)

    def test_pipe_that_nobody_reads_does_not_block(self) -> None:
        """It is a blocking pipe: without care the write would wait for ever."""
        reader, target = self.pipe()
        self.addCleanup(os.close, reader)
        for _ in range(200):
            self.emit(target, "{text}", text="x" * 1000)
        self.assertGreater(self.instruments.log_lines_suppressed, 50)
        written = b""
        while select.select([reader], [], [], 0)[0]:
            written += os.read(reader, 65536)
        self.emit(target, "read again")
        written += os.read(reader, 65536)
        lines = written.decode().split("\n")
        self.assertTrue(lines[-2].endswith("read again") and lines[-1] == "", lines[-2:])
        self.assertEqual(200 - self.instruments.log_lines_suppressed, sum(line.endswith("x" * 1000) for line in lines))
        self.assertTrue(any("lines could not be written" in line for line in lines))

    def test_line_that_was_cut_is_ended_before_the_next(self) -> None:
        reader, target = self.pipe()
        self.addCleanup(os.close, reader)
        while not self.instruments.log_lines_suppressed:
            self.emit(target, "{text}", text="\x01" * 3000)  # 12,000 bytes a line: no pipe ends with a whole one
        written = b""
        while select.select([reader], [], [], 0)[0]:
            written += os.read(reader, 65536)
        self.assertFalse(written.endswith(b"\n"), "the last line was cut, or this test tests nothing")
        self.emit(target, "whole")
        self.assertTrue(os.read(reader, 65536).startswith(b"\n2"))

    def test_pipe_whose_reader_is_gone(self) -> None:
        reader, target = self.pipe()
        os.close(reader)
        self.emit(target, "lost")
        self.assertEqual(1, self.instruments.log_lines_suppressed)

    def test_device_that_is_full(self) -> None:
        target = observer(Log(), "/dev/full", instruments=self.instruments)
        self.emit(target, "lost")
        self.assertEqual(1, self.instruments.log_lines_suppressed)

    def test_path_is_appended_to(self) -> None:
        path = Path(self.mktemp())
        path.write_text("before\n")
        self.emit(observer(Log(), path), "é\ud800")
        self.assertEqual(["before", "é\\ud800"], [line.split()[-1] for line in path.read_text().splitlines()])

    def test_log_file_that_rotates(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        file = LogFile("a.log", str(folder))
        self.addCleanup(file.close)
        target = observer(Log(), file)
        self.emit(target, "old")
        file.rotate()
        self.emit(target, "new")
        self.assertIn("old", (folder / "a.log.1").read_text())
        self.assertIn("new", (folder / "a.log").read_text())


class RedactTests(SynchronousTestCase):
    """What may be secret in an address does not come into the log."""

    def test_query_fragment_and_user_are_taken_out(self) -> None:
        for url, expected in (
            ("/raw/lobby?token=secret", "/raw/lobby"),
            ("/raw/lobby#secret?x", "/raw/lobby"),
            ("wss://user:secret@a.example/x?token=secret#f", "wss://a.example/x"),
            ("http://a@b@a.example:80", "http://a.example:80"),
            ("//user:secret@a.example/x", "//a.example/x"),
            ("wss://a.example/user@example", "wss://a.example/user@example"),
            ("wss://a.example?secret@", "wss://a.example"),
            ("", ""),
        ):
            self.assertEqual(expected, redact(url))

    def test_escapes_are_readable(self) -> None:
        self.assertEqual("a\\nb\\x1b\\x85\\u2028é", escape("a\nb\x1b\x85\u2028é"))
