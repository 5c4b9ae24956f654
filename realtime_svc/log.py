"""What is logged, as text for people or as JSON for machines, one line an event.

* Nothing in an event can start a line of its own or move a terminal's cursor: control characters become escapes.
* Lines that strangers can cause carry `log_kind="..."`; of each kind `log.burst` lines are written in 10 s, the rest is
  counted and told in one line. What Twisted and Autobahn log by themselves is limited by its own format text.
* Writing never blocks and never raises: a line that can't be written (disk full, nobody reads the pipe) is dropped and
  counted in `Instruments.log_lines_suppressed`.
"""

from __future__ import annotations

import json
import math
import os
import re
import select
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import implementer

from realtime_svc.config import Log
from realtime_svc.core.instruments import Instruments

WINDOW = 10.0
MAX_TEXT = 4000
MAX_TRACEBACK = 16000
MAX_KINDS = 1000

_FOREIGN = ("twisted.", "autobahn", "txaio", "log_legacy", "-")
_NOISY = ("autobahn", "txaio")
_RESERVED = frozenset(
    {"time", "level", "namespace", "message", "traceback", "format", "isError", "failure", "why", "system"}
)
# C0, DEL, C1, line and paragraph separators, and marks that reorder the text around them.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_AUTHORITY = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*:)?//[^/]*@")


class Writable(Protocol):
    """A text stream, or a log file of twisted.python.logfile."""

    def write(self, text: str, /) -> Any: ...
    def flush(self) -> Any: ...


def redact(url: str) -> str:
    """`url` without what may be secret: query, fragment, user name and password."""
    return _AUTHORITY.sub(lambda match: f"{match[1] or ''}//", re.split(r"[?#]", url, maxsplit=1)[0])


def escape(text: str) -> str:
    """`text` on one line, control characters as `\\n`, `\\x1b`, `\\u2028`."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape", "surrogatepass").decode(), text)


def observer(
    options: Log,
    out: Writable | str | Path,
    *,
    instruments: Instruments | None = None,
    now: Callable[[], float] = time.monotonic,
) -> LogObserver:
    """An observer that writes to `out`: a stream, or a path that is appended to (raises `OSError` if it can't be)."""
    if isinstance(out, str | Path):
        out = open(out, "a", encoding="utf-8")  # noqa: SIM115 (open as long as the process lives)
    render = render_json if options.format == "json" else render_text
    return LogObserver(options, LineWriter(out), render, instruments or Instruments(), now)


@implementer(ILogObserver)
class LogObserver:
    """Filters, limits, renders, writes. May be called from any thread."""

    def __init__(
        self,
        options: Log,
        writer: LineWriter,
        render: Callable[[LogEvent], str],
        instruments: Instruments,
        now: Callable[[], float],
    ) -> None:
        self._level = LogLevel.levelWithName(options.level)
        self._limiter = Limiter(options.burst, now)
        self._writer = writer
        self._render = render
        self._instruments = instruments
        self._lost = 0
        self._lock = threading.RLock()  # an RLock: a warning raised while we write may be logged too

    def __call__(self, event: LogEvent) -> None:
        level = event.get("log_level") or LogLevel.info
        if level < self._level or (level < LogLevel.error and _namespace(event).startswith(_NOISY)):
            return
        with self._lock:
            self._tell(self._limiter.expired())
            if self._limiter.admits(_kind(event)):
                self._write(event)
            else:
                self._instruments.log_lines_suppressed += 1

    def flush(self) -> None:
        """Tell at once what was left out; call it before the process ends."""
        with self._lock:
            self._tell(self._limiter.everything())

    def _tell(self, left_out: list[tuple[str, int]]) -> None:
        for kind, count in left_out:
            self._write(_own_event("{count} more lines left out of kind: {kind}", count=count, kind=kind))

    def _write(self, event: LogEvent) -> None:
        lines = self._line(event)
        if self._lost:
            lines = self._line(_own_event("{count} lines could not be written", count=self._lost)) + lines
        if self._writer.write(lines):
            self._lost = 0
        else:
            self._lost += 1
            self._instruments.log_lines_suppressed += 1

    def _line(self, event: LogEvent) -> str:
        try:
            return self._render(event) + "\n"
        except Exception:  # an object in the event whose text can't be made: say so, and where it came from
            return self._render(_own_event("an event of {source} can't be shown", source=_namespace(event))) + "\n"


def _own_event(text: str, **values: Any) -> LogEvent:
    fixed = {"log_namespace": "realtime_svc.log", "log_level": LogLevel.warn, "log_time": time.time()}
    return {**fixed, "log_format": text, **values}


def _namespace(event: LogEvent) -> str:
    return str(event.get("log_namespace") or "-")


def _kind(event: LogEvent) -> str | None:
    """What limits the event: its own kind; its format text if it comes from a library; None: nothing."""
    kind = event.get("log_kind")
    if kind is None and _namespace(event).startswith(_FOREIGN):
        kind = f"{_namespace(event)} {event.get('log_format')}"
    return None if kind is None else str(kind)[:200]


class Limiter:
    """At most `burst` events of one kind in `WINDOW` seconds; what goes beyond is counted."""

    def __init__(self, burst: int, now: Callable[[], float]) -> None:
        self._burst = burst
        self._now = now
        self._windows: dict[str, list[float]] = {}  # kind: end of its window, events in it

    def admits(self, kind: str | None) -> bool:
        """Count one event; is it to be written? Call `expired` before, so that old windows are gone."""
        if kind is None:
            return True
        if kind not in self._windows and len(self._windows) >= MAX_KINDS:
            kind = "other kinds"
        window = self._windows.setdefault(kind, [self._now() + WINDOW, 0])
        window[1] += 1
        return window[1] <= self._burst

    def expired(self) -> list[tuple[str, int]]:
        """(kind, events left out) of windows that have ended since."""
        now = self._now()
        return self._forget([kind for kind, (end, _) in self._windows.items() if end <= now])

    def everything(self) -> list[tuple[str, int]]:
        """The same for all windows."""
        return self._forget(list(self._windows))

    def _forget(self, kinds: list[str]) -> list[tuple[str, int]]:
        counts = ((kind, int(self._windows.pop(kind)[1]) - self._burst) for kind in kinds)
        return [(kind, count) for kind, count in counts if count > 0]


def _time(event: LogEvent) -> str:
    moment = datetime.fromtimestamp(event.get("log_time") or time.time(), UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(event: LogEvent) -> str:
    return _shorten(formatEvent(event), MAX_TEXT)


def _traceback(event: LogEvent) -> str:
    failure = event.get("log_failure")
    return "" if failure is None else _shorten(failure.getTraceback(), MAX_TRACEBACK)


def _shorten(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]} ... ({len(text) - most} characters more)"


def _level_name(event: LogEvent) -> str:
    level: str = (event.get("log_level") or LogLevel.info).name
    return level


def render_text(event: LogEvent) -> str:
    """`2026-11-22T14:24:00.123Z WARN  realtime_svc.tap message`; a traceback follows, indented and marked with `|`."""
    line = f"{_time(event)} {_level_name(event).upper():<5} {escape(_namespace(event))} {escape(_message(event))}"
    return "\n    | ".join([line, *(escape(part) for part in re.split(r"\r\n|\n", _traceback(event).rstrip()) if part)])


def render_json(event: LogEvent) -> str:
    """One ASCII object: time (UTC), level, namespace, message, the event's simple fields, traceback if there is one."""
    fields: dict[str, Any] = {
        "time": _time(event),
        "level": _level_name(event),
        "namespace": _namespace(event),
        "message": _message(event),
    }
    for name, value in event.items():
        if not name.startswith("log_") and name not in _RESERVED and isinstance(value, str | int | float | None):
            fields[name] = _shorten(value, MAX_TEXT) if isinstance(value, str) else value
    traceback = _traceback(event)
    if traceback:
        fields["traceback"] = traceback
    return json.dumps({name: _portable(value) for name, value in fields.items()})


def _portable(value: Any) -> Any:
    """`value` as every JSON parser takes it: no lone surrogates, no NaN, no infinity."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


class LineWriter:
    """Writes whole lines, or drops them: never waits, never raises."""

    def __init__(self, out: Writable) -> None:
        self._out = out
        self._torn = False  # the last line was cut in its middle
        self._descriptor = _descriptor_of(out)
        self._poll = select.poll()
        if self._descriptor is not None:
            self._poll.register(self._descriptor, select.POLLOUT)

    def write(self, lines: str) -> bool:
        """Were `lines` written in full?"""
        try:
            if self._descriptor is None:
                self._out.write(lines)
                self._out.flush()
                return True
            return self._write_descriptor(self._descriptor, lines.encode("utf-8", "backslashreplace"))
        except Exception:  # disk full, stream closed, a broken stream object: there is nowhere left to say so
            return False

    def _write_descriptor(self, descriptor: int, data: bytes) -> bool:
        """In pieces of PIPE_BUF: a pipe that polls as writable takes that much without blocking (pipe(7))."""
        if self._torn:
            data = b"\n" + data
        start = 0
        try:
            while start < len(data) and self._poll.poll(0):
                start += os.write(descriptor, data[start : start + select.PIPE_BUF])
        finally:
            if start:
                self._torn = start < len(data)
        return start == len(data)


def _descriptor_of(out: Writable) -> int | None:
    """The descriptor behind a stream, if there is one that can be polled."""
    try:
        descriptor: int = out.fileno()  # type: ignore[attr-defined]
        out.flush()
        return descriptor
    except (AttributeError, OSError, ValueError):
        return None
