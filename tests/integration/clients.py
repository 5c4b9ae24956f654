"""WebSocket clients of all kinds, ours and others', as a test sees them: open, send a text, receive a text.

Those of others are child processes. Nothing is skipped when one is not installed: the test fails and says what to do.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredQueue
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from realtime_svc import client
from tests.integration.server import Process, reactor, spawn

HERE = Path(__file__).parent
NODE = HERE / "node"


class Refused(Exception):
    """There is no connection (any more); the text is what the client has to say about it."""


class Connection:
    """One connection of some client. `opened` fires when it can be used, or fails with `Refused`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.opened: Deferred[Any] = Deferred()
        self._inbox: DeferredQueue[str | Refused] = DeferredQueue()

    def send(self, text: str) -> None:
        raise NotImplementedError

    async def receive(self) -> str:
        """The next message. Raises `Refused` when there is none to come."""
        text = await self._inbox.get()
        if isinstance(text, Refused):
            self._inbox.put(text)  # for whoever asks next
            raise text
        return text

    def open(self, details: object = None) -> None:
        if not self.opened.called:
            self.opened.callback(details)

    def deliver(self, text: str) -> None:
        self._inbox.put(text)

    def end(self, reason: str) -> None:
        """The first reason counts."""
        ended = Refused(f"{self.name}: {reason}")
        self._inbox.put(ended)
        if not self.opened.called:
            self.opened.errback(ended)


class _Lines(Process):
    """A child process whose lines go to a connection: those of standard output, those of standard error."""

    def __init__(self, connection: ChildConnection) -> None:
        super().__init__()
        self._connection = connection
        self._rest = {1: b"", 2: b""}

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N802, N803 (Twisted)
        super().childDataReceived(childFD, data)
        *lines, self._rest[childFD] = (self._rest[childFD] + data).split(b"\n")
        for line in lines:
            self._connection.line(line.decode(), error=childFD == 2)

    def processEnded(self, reason: Failure) -> None:  # noqa: N802 (Twisted)
        super().processEnded(reason)
        self._connection.end(f"the process ended, having printed: {self.output}")


class ChildConnection(Connection):
    """A connection that a child process holds. `ended` fires with its exit code."""

    def __init__(self, test: TestCase, name: str, command: list[str], environ: dict[str, str] | None = None) -> None:
        super().__init__(name)
        self._process = spawn(test, command, environ=environ, process=_Lines(self))

    @property
    def ended(self) -> Deferred[int]:
        return self._process.ended

    def line(self, line: str, *, error: bool) -> None:
        """The child has printed a line."""
        raise NotImplementedError

    def send(self, text: str) -> None:
        self._write(text)

    def close(self) -> None:
        """The end of its standard input."""
        self._process.transport.closeStdin()  # type: ignore[union-attr]

    def _write(self, line: str) -> None:
        self._process.transport.write(line.encode() + b"\n")  # type: ignore[union-attr]


class Scripted(ChildConnection):
    """A client library behind a script. `bytes_read`: what `ws` had read from its socket by the last message."""

    bytes_read = 0

    def line(self, line: str, *, error: bool) -> None:
        if error:
            return  # a traceback; it is part of what `end` reports
        event = json.loads(line)
        if "open" in event:
            self.open(event["open"])
        elif "message" in event:
            self.bytes_read = event.get("read", 0)
            self.deliver(event["message"])
        elif "failed" in event:
            self.end(event["failed"])
        else:
            self.end(f"closed {event['closed']}")

    def send(self, text: str) -> None:
        self._write(json.dumps(text))


class Wscat(ChildConnection):
    """wscat with pipes: it prints messages, with its prompt before some of them, and nothing when it is connected.

    With `-P` it prints pings: the first thing that comes, a ping or the server's hello, shows that it is connected.
    """

    def line(self, line: str, *, error: bool) -> None:
        if error:
            if line.startswith("error: "):
                self.end(line)
            return
        self.open()
        text = re.sub(r"^(> )+", "", line)
        if not text.startswith("Received ping"):
            self.deliver(text)


class ConnectCommand(ChildConnection):
    """`realtime-svc connect`: messages on standard output, what happens to the connection on standard error."""

    def line(self, line: str, *, error: bool) -> None:
        if not error:
            self.deliver(line)
        elif line.startswith("connected"):
            self.open(line)
        else:
            self.end(line)


class Library(Connection):
    """`realtime_svc.client.connect` in the test's own process."""

    def __init__(self, test: TestCase, name: str, url: str, **options: Any) -> None:
        super().__init__(name)
        self._connection: client.Connection | None = None
        done = Deferred.fromCoroutine(self._hold(url, options))
        test.addCleanup(lambda: done)
        test.addCleanup(self.close)

    async def _hold(self, url: str, options: dict[str, Any]) -> None:
        try:
            self._connection = connection = await client.connect(reactor, url, **options)
            self.open(connection.subprotocol)
            while True:
                message = await connection.receive()
                self.deliver(message if isinstance(message, str) else repr(message))
        except (client.ConnectionFailed, client.ConnectionClosed, client.HandshakeRefused) as error:
            self.end(f"{type(error).__name__}: {error}")

    def send(self, text: str) -> None:
        assert self._connection is not None
        self._connection.send(text)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


def node_ws(
    test: TestCase,
    name: str,
    url: str,
    headers: dict[str, str],
    ca: Path | None,
    *,
    deflate: bool = False,
) -> Scripted:
    """npm `ws`; `ca` is what it trusts besides the system."""
    options = {"url": url, "headers": headers, "ca": str(ca) if ca else None, "deflate": deflate}
    return Scripted(test, name, [find_node("ws"), str(NODE / "ws_client.js"), json.dumps(options)])


def wscat(test: TestCase, name: str, url: str, arguments: list[str], ca: Path | None) -> Wscat:
    """npm `wscat`."""
    trust = ["--ca", str(ca)] if ca else []
    script = str(NODE / "node_modules" / "wscat" / "bin" / "wscat")
    return Wscat(test, name, [find_node("wscat"), script, "-P", *arguments, *trust, "-c", url])


def websockets(test: TestCase, name: str, url: str, headers: dict[str, str], ca: Path | None) -> Scripted:
    """PyPI `websockets`."""
    options = {"url": url, "headers": headers, "ca": str(ca) if ca else None}
    return Scripted(test, name, [sys.executable, str(HERE / "websockets_client.py"), json.dumps(options)])


def connect_command(test: TestCase, name: str, url: str, arguments: list[str], ca: Path | None) -> ConnectCommand:
    """`realtime-svc connect`."""
    trust = ["--ca", str(ca)] if ca else []
    return ConnectCommand(test, name, [sys.executable, "-m", "realtime_svc", "connect", url, *arguments, *trust])


def find_node(package: str) -> str:
    """The path of Node, where one of its packages is installed."""
    if not (NODE / "node_modules" / package / "package.json").exists():
        raise AssertionError(f"the Node package {package} is not installed: run tools/node_packages.sh")
    return find_program("node")


def find_program(*names: str) -> str:
    """The path of the first of these programs that is there."""
    for name in names:
        if found := shutil.which(name):
            return found
    raise AssertionError(f"{names[0]} is not installed: run tools/system_packages.sh")
