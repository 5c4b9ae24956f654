"""Commands under way: each has an id, an answer to come, and a time limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from realtime_svc.client import plain
from realtime_svc.client.errors import CommandTimeout, TooManyCommands

Reply = dict[str, Any]

MAX_WAITING = 1000
MAX_WAITING_BYTES = 4 * 1024 * 1024


@dataclass(slots=True)
class _Command:
    line: str
    answer: Deferred[Reply]
    sent: bool = False


class Commands:
    """Survives connections: what was not sent yet waits for the next one, what was sent fails with its connection."""

    def __init__(self, clock: IReactorTime, timeout: float) -> None:
        self._clock = clock
        self._timeout = timeout
        self._last_id = 0
        self._waiting: dict[int, _Command] = {}
        self._size = 0
        self._send: Callable[[str], None] | None = None

    def issue(self, command: dict[str, Any]) -> Deferred[Reply]:
        """The server's reply. Fails with `CommandError`, `CommandTimeout`, or what kept it from coming."""
        self._last_id += 1
        key = self._last_id
        try:
            line = plain.encode({**command, "id": key})
        except (ValueError, TypeError, RecursionError):
            return fail(ValueError("JSON can't hold this"))
        if len(self._waiting) >= MAX_WAITING or self._size + len(line) > MAX_WAITING_BYTES:
            return fail(TooManyCommands())
        answer: Deferred[Reply] = Deferred(lambda _: self._forget(key))
        self._waiting[key] = _Command(line, answer)
        self._size += len(line)
        answer.addTimeout(self._timeout, self._clock, timed_out)
        if self._send is not None:
            self._send_one(key)
        return answer

    def connected(self, send: Callable[[str], None]) -> None:
        """From now on commands go out by `send`; what waits goes with `flush`."""
        self._send = send

    def flush(self) -> None:
        for key in [key for key, command in self._waiting.items() if not command.sent]:
            self._send_one(key)

    def disconnected(self, error: Exception) -> None:
        """Whether commands that were sent were carried out is not known: they fail with `error`."""
        self._send = None
        self._fail([key for key, command in self._waiting.items() if command.sent], error)

    def fail_all(self, error: Exception) -> None:
        self._send = None
        self._fail(list(self._waiting), error)

    def answered(self, fields: dict[str, Any]) -> bool:
        """An `ok` or an `error` came. False: no command waits for it. Raises `ProtocolViolation`."""
        error = plain.read_error(fields) if "error" in fields else None
        key = fields.get("id")
        command = self._take(key) if isinstance(key, int) else None
        if command is None:
            return False
        if error is None:
            command.answer.callback(fields)
        else:
            command.answer.errback(error)
        return True

    def _send_one(self, key: int) -> None:
        command = self._waiting.get(key)
        if command is None or self._send is None:
            return
        try:
            command.sent = True
            self._send(command.line)
        except Exception as error:
            self._fail([key], error)

    def _fail(self, keys: list[int], error: Exception) -> None:
        for key in keys:
            command = self._take(key)
            if command is not None:
                command.answer.errback(error)

    def _forget(self, key: int) -> None:
        self._take(key)

    def _take(self, key: int) -> _Command | None:
        command = self._waiting.pop(key, None)
        if command is not None:
            self._size -= len(command.line)
        return command


def timed_out(result: object, seconds: float) -> Failure:
    """For `addTimeout`: `CommandTimeout` in place of Twisted's own error."""
    if isinstance(result, Failure) and not result.check(CancelledError):
        return result
    return Failure(CommandTimeout(f"no answer in {seconds:g} s"))
