"""A connection and a dialler that do what a test says, and a client between them."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.client import Client
from realtime_svc.client.errors import ConnectionClosed


class FakeConnection:
    """What `Client` needs of a `Connection`; `deliver` and `lose` are the server's side."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.closes: list[int] = []
        self.refuse: Exception | None = None
        self._frames: list[str | bytes] = []
        self._waiting: list[Deferred[str | bytes]] = []
        self._mourners: list[Deferred[tuple[int, str]]] = []
        self._end: ConnectionClosed | None = None

    @property
    def sent(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]

    @property
    def verbs(self) -> list[str]:
        """Verb and channel of each command, in order."""
        return [" ".join(f"{key} {value}" for key, value in list(command.items())[:1]) for command in self.sent]

    def last_id(self) -> int:
        key: int = self.sent[-1]["id"]
        return key

    @property
    def closed(self) -> Deferred[tuple[int, str]]:
        if self._end is not None:
            return succeed((self._end.code, self._end.reason))
        self._mourners.append(Deferred())
        return self._mourners[-1]

    def send(self, line: str) -> None:
        if self._end is not None:
            raise self._end
        if self.refuse is not None:
            raise self.refuse
        self.lines.append(line)

    def receive(self) -> Deferred[str | bytes]:
        waiter: Deferred[str | bytes] = Deferred(self._waiting.remove)
        if self._frames:
            waiter.callback(self._frames.pop(0))
        elif self._end is not None:
            waiter.errback(self._end)
        else:
            self._waiting.append(waiter)
        return waiter

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.closes.append(code)

    def deliver(self, *objects: dict[str, Any]) -> None:
        self.deliver_text("\n".join(json.dumps(value) for value in objects))

    def deliver_text(self, frame: str | bytes) -> None:
        if self._waiting:
            self._waiting.pop(0).callback(frame)
        else:
            self._frames.append(frame)

    def hello(self) -> None:
        self.deliver({"hello": {"client": "c-1", "user": "42", "version": "1", "max_size": 65536}})

    def ok(self, position: int = -1, **fields: Any) -> None:
        """Answer a command that was sent: the last one."""
        self.deliver({"ok": "x", **fields, "id": self.sent[position]["id"]})

    def error(self, code: int, *, temporary: bool = False, position: int = -1) -> None:
        error = {"code": code, "message": "no", "temporary": temporary}
        self.deliver({"error": error, "id": self.sent[position]["id"]})

    def lose(self, code: int = 1006, reason: str = "") -> None:
        self._end = ConnectionClosed(code, reason)
        while self._waiting:
            self._waiting.pop(0).errback(self._end)
        while self._mourners:
            self._mourners.pop(0).callback((code, reason))


class FakeDial:
    """Stands in for `connect`; each attempt waits until the test answers it."""

    def __init__(self) -> None:
        self.options: list[dict[str, Any]] = []
        self.urls: list[str] = []
        self.attempts: list[Deferred[Any]] = []

    def __call__(self, reactor: object, url: str, **options: Any) -> Deferred[Any]:
        self.urls.append(url)
        self.options.append(options)
        self.attempts.append(Deferred())
        return self.attempts[-1]

    def succeed(self) -> FakeConnection:
        connection = FakeConnection()
        self.attempts[-1].callback(connection)
        return connection

    def fail(self, error: Exception) -> None:
        self.attempts[-1].errback(error)


class ClientCase(SynchronousTestCase):
    """Back-off without luck: 0.5 s plus the whole of what the jitter may add."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.dial = FakeDial()
        self.events: list[Any] = []
        self.client = self.make()

    def make(self, **options: Any) -> Client:
        return Client(
            self.clock,
            "ws://localhost/ws",
            dial=self.dial,
            uniform=lambda low, high: high,
            on_connected=lambda: self.events.append("connected"),
            on_disconnected=lambda error, again: self.events.append((error, again)),
            on_error=self.events.append,
            **options,
        )

    def connect(self) -> FakeConnection:
        """Started, and greeted."""
        self.client.start()
        return self.greet()

    def greet(self) -> FakeConnection:
        connection = self.dial.succeed()
        connection.hello()
        return connection

    def stop(self) -> None:
        self.client.stop()
