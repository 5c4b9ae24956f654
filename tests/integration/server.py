"""Starts the real server process for a test, on free ports, and ends it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

reactor: Any = _reactor

ALICE = "alice-token-0123456789"
BOB = "bob-token-0123456789ab"
TOKENS = f"""
[auth.tokens]
alice = "{ALICE}"
bob = "{BOB}"
"""
LISTENERS = """
[listeners.public]
host = "127.0.0.1"
port = 0
[internal]
port = 0
"""
STOPPED = -signal.SIGTERM
_LISTENING = re.compile(r"listening: (\S+) on (\S+) port (\d+)")
_TWISTD = "from twisted.scripts.twistd import run; run()"


class Process(ProcessProtocol):
    """A child process whose output is collected. `output` is what it printed so far, both streams in order; `errors` is
    stderr alone.
    """

    def __init__(self) -> None:
        self.output = ""
        self.errors = ""
        self.ended: Deferred[int] = Deferred()
        self._waiting: list[tuple[re.Pattern[str], Deferred[re.Match[str]]]] = []

    def outReceived(self, data: bytes) -> None:  # noqa: N802 (Twisted)
        self.output += data.decode(errors="replace")
        for waiter in tuple(self._waiting):
            pattern, found = waiter
            if match := pattern.search(self.output):
                self._waiting.remove(waiter)
                found.callback(match)

    def errReceived(self, data: bytes) -> None:  # noqa: N802 (Twisted)
        self.errors += data.decode(errors="replace")
        self.outReceived(data)

    def when_printed(self, pattern: str) -> Deferred[re.Match[str]]:
        """Fires with the first match in the whole output; fails with the output when the process ends before."""
        found: Deferred[re.Match[str]] = Deferred()
        compiled = re.compile(pattern)
        if match := compiled.search(self.output):
            found.callback(match)
        else:
            self._waiting.append((compiled, found))
        return found

    def processEnded(self, reason: Failure) -> None:  # noqa: N802 (Twisted)
        value: Any = reason.value
        reason.trap(ProcessDone, ProcessTerminated)
        code = -value.signal if value.signal else value.exitCode
        waiting, self._waiting = self._waiting, []
        for pattern, found in waiting:
            found.errback(AssertionError(f"ended with {code} before printing {pattern.pattern!r}:\n{self.output}"))
        self.ended.callback(code)

    def signal(self, number: int) -> None:
        """Send a signal, if the process is still there."""
        with contextlib.suppress(ProcessExitedAlready):
            self.transport.signalProcess(number)  # type: ignore[union-attr]

    def kill(self) -> Deferred[int]:
        """End it at once, if it has not ended; fires when it is gone."""
        if not self.ended.called:
            self.signal(signal.SIGKILL)
        gone: Deferred[int] = Deferred()

        def ended(code: int) -> int:
            gone.callback(code)
            return code

        self.ended.addCallback(ended)
        return gone


def spawn(
    test: TestCase,
    arguments: list[str],
    *,
    cwd: str | None = None,
    environ: dict[str, str] | None = None,
    process: Process | None = None,
) -> Process:
    """Start a program (its path is `arguments[0]`); it is killed at the end of the test if it still runs."""
    process = process or Process()
    env = {name: value for name, value in os.environ.items() if not name.startswith("REALTIME_SVC_")}
    env.update(environ or {})
    reactor.spawnProcess(process, arguments[0], arguments, env=env, path=cwd)
    test.addCleanup(process.kill)
    return process


class Server:
    """A running server."""

    def __init__(self, process: Process, folder: Path) -> None:
        self.process = process
        self.folder = folder

    def port(self, name: str = "public") -> int:
        """The port of a listener, or of "internal"."""
        return next(int(port) for found, _, port in _LISTENING.findall(self.process.output) if found == name)

    def url(self, path: str, name: str = "public", scheme: str = "ws") -> str:
        return f"{scheme}://localhost:{self.port(name)}{path}"

    def metrics(self) -> Deferred[str]:
        """The text of /metrics."""
        return self.get_internal("/metrics")

    def get_internal(self, path: str) -> Deferred[str]:
        url = f"http://127.0.0.1:{self.port('internal')}{path}"
        return deferToThread(lambda: urlopen(url, timeout=10).read().decode())

    def stop(self) -> Deferred[int]:
        """SIGTERM; fires with `STOPPED`: twistd, once it has shut down, ends itself by the signal it got."""
        self.process.signal(signal.SIGTERM)
        return self.process.ended


def write_config(test: TestCase, text: str) -> Path:
    """A configuration file in a folder of its own."""
    folder = Path(test.mktemp()).absolute()
    folder.mkdir(parents=True)
    path = folder / "server.toml"
    path.write_text(text)
    return path


def spawn_server(test: TestCase, config: Path, *arguments: str, environ: dict[str, str] | None = None) -> Process:
    """`twistd -n realtime_svc --config CONFIG ARGUMENTS`, whatever comes of it."""
    command = [sys.executable, "-c", _TWISTD, "-n", "--pidfile=", "realtime_svc", "--config", str(config), *arguments]
    return spawn(test, command, cwd=str(config.parent), environ=environ)


async def start_server(
    test: TestCase, text: str = "", *arguments: str, environ: dict[str, str] | None = None, listeners: str = LISTENERS
) -> Server:
    """The server with configuration `text` behind the usual listeners, once it accepts connections."""
    config = write_config(test, listeners + text)
    process = spawn_server(test, config, *arguments, environ=environ)
    await process.when_printed(r"realtime_svc ready")
    return Server(process, config.parent)


def toml(value: object) -> str:
    """A string, number or list as TOML (JSON's notation is the same)."""
    return json.dumps(value)
