"""`realtime-svc connect URL`: a WebSocket client for the terminal.

A line in is a message out, a message in is a line out. Text is shown with its control characters escaped (a message
cannot play with the terminal), binary as `base64:...`. Ctrl-D, or the end of what is piped in, closes; what the server
still says before its own Close is shown. Ctrl-C closes and shows nothing more. Exit code 0: closed normally (1000); 1:
refused, failed, closed with another code; 130: Ctrl-C.
"""

from __future__ import annotations

import argparse
import base64
import signal
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from realtime_svc import client
from realtime_svc.cli.console import FAILURE, MAX_INPUT, OK, CommandFailed, Console, plain_failure
from realtime_svc.cli.lines import Lines
from realtime_svc.client.request import has_secrets, make_request
from realtime_svc.configfile import CLIENT_TOKEN
from realtime_svc.log import escape

RETRY = 0.05
GRACE = 2.0  # after Ctrl-C, for the server's answer
CLOSE_TIMEOUT = 30.0  # after the last line: a server that slows us down reads our Close after all that was piped in
INTERRUPTED = 130
ADVICE = f"give a token: --token-file, or {CLIENT_TOKEN}"
NOT_TRUSTED = "TLS: certificate verify failed"
TRUST = "if the server has an authority of its own, name it: --ca"


class Connection(Protocol):
    """What is used of `client.Connection`."""

    @property
    def subprotocol(self) -> str | None: ...
    @property
    def closed(self) -> Deferred[tuple[int, str]]: ...
    def send(self, message: str | bytes) -> None: ...
    def receive(self) -> Deferred[str | bytes]: ...
    def close(self, code: int = 1000, reason: str = "", *, drain: bool = False) -> None: ...


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "connect",
        help="a WebSocket client for the terminal: line in, line out",
        epilog=f"A token may also stand in the environment: {CLIENT_TOKEN}.",
    )
    command.add_argument("url", metavar="URL", help="ws:// or wss://")
    command.add_argument("--header", action="append", default=[], metavar="'NAME: VALUE'", help="repeatable")
    command.add_argument("--protocol", action="append", default=[], metavar="NAME", help="sub-protocol, repeatable")
    command.add_argument("--token-file", metavar="FILE", help="a bearer token")
    command.add_argument("--basic-file", metavar="FILE", help="user:password for Basic authentication")
    command.add_argument("--ca", metavar="FILE", help="trust the authorities of this PEM file, not the system's")
    command.add_argument("--insecure", action="store_true", help="send credentials over ws:// too, readable for anyone")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace, console: Console) -> int:
    options = _options(arguments, console)
    from twisted.internet import reactor as the_reactor  # here: importing it chooses the reactor for the whole process

    reactor: Any = the_reactor
    codes: list[int] = []
    talk = Conversation(reactor, console)

    def start() -> None:
        signal.signal(signal.SIGINT, lambda number, frame: reactor.callFromThread(talk.interrupt))
        over = talk.hold(partial(_dial, reactor, arguments.url, options))
        over.addErrback(unforeseen).addCallback(finished)

    def unforeseen(failure: Failure) -> int:
        console.note(f"realtime-svc: {escape(failure.getErrorMessage())}")
        return FAILURE

    def finished(code: int) -> None:
        codes.append(code)
        with suppress(ReactorNotRunning):  # SIGTERM was faster
            reactor.stop()

    reactor.callWhenRunning(start)
    reactor.run()
    return codes[0] if codes else INTERRUPTED


def _dial(reactor: Any, url: str, options: dict[str, Any]) -> Deferred[Any]:
    """`client.connect`; who is refused for want of a credential, or does not trust the server, is told what to give."""

    def advise(failure: Failure) -> Failure:
        error = failure.value
        if isinstance(error, client.HandshakeRefused) and error.status == 401:
            asked = {name: value for name, value in options.items() if name != "tls"}
            if not has_secrets(make_request(url, **asked)):
                raise CommandFailed(f"{error}; {ADVICE}")
        if isinstance(error, client.ConnectionFailed) and str(error) == NOT_TRUSTED and "tls" not in options:
            raise CommandFailed(f"{error}; {TRUST}")
        return failure

    return client.connect(reactor, url, close_timeout=CLOSE_TIMEOUT, **options).addErrback(advise)


def _options(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """What `client.connect` is to be told."""
    token = first_line(arguments.token_file) if arguments.token_file else console.environ.get(CLIENT_TOKEN)
    options: dict[str, Any] = {"headers": _headers(arguments.header), "protocols": arguments.protocol}
    options.update(token=token or None, insecure=arguments.insecure)
    if arguments.basic_file:
        user, colon, password = first_line(arguments.basic_file).partition(":")
        if not colon:
            raise CommandFailed(f"{arguments.basic_file}: is not user:password")
        options.update(basic=(user, password), token=None)
    if arguments.ca:
        with plain_failure():
            options["tls"] = client.client_tls(ca=arguments.ca)
    return options


def _headers(lines: list[str]) -> dict[str, str]:
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise CommandFailed("--header: must be 'Name: value'")
        headers[name.strip()] = value.strip()
    return headers


def first_line(path: str) -> str:
    """Of a file, without the space around it. Raises `CommandFailed`."""
    try:
        with Path(path).open(encoding="utf-8") as file:
            return file.readline(MAX_INPUT).strip()
    except (OSError, ValueError) as error:
        raise CommandFailed(f"{path}: can't be read: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None


class Conversation:
    """Between a terminal and a connection."""

    def __init__(self, reactor: Any, console: Console) -> None:
        self._reactor = reactor
        self._console = console
        self._typed: deque[str | None] = deque()  # lines that are not sent yet; None: the last one was sent
        self._retry: IDelayedCall | None = None
        self._connection: Connection | None = None
        self._over: Deferred[int] | None = None
        self._grace: IDelayedCall | None = None  # set by Ctrl-C

    def hold(self, connect: Callable[[], Deferred[Any]]) -> Deferred[int]:
        """Connect, talk until one side has enough; the exit code."""
        self._over = Deferred.fromCoroutine(self._hold(connect))
        return self._over

    def interrupt(self) -> None:
        """Ctrl-C: leave with 1000. At once where there is nobody to say it to, or when asked again."""
        assert self._over is not None
        if self._connection is None or self._grace is not None:
            self._over.cancel()
        else:
            self._grace = self._reactor.callLater(GRACE, self._over.cancel)
            self._connection.close()

    async def _hold(self, connect: Callable[[], Deferred[Any]]) -> int:
        try:
            return await self._talk(await connect())
        except CancelledError:
            return INTERRUPTED
        except (client.ConnectionFailed, client.HandshakeRefused, CommandFailed) as error:
            return self._fail(str(error))
        except ValueError as error:
            return self._fail(str(error).replace("insecure=True", "--insecure"))

    async def _talk(self, connection: Connection) -> int:
        self._connection = connection
        self._console.note("connected" + (f" ({connection.subprotocol})" if connection.subprotocol else ""))
        lines = Lines(self._reactor, self._console.stdin.fileno(), self._typed.append)
        lines.on_change = partial(self._pump, connection, lines)
        lines.start()
        try:
            code, reason = await self._listen(connection)
        finally:
            lines.stop()
            for timer in (self._retry, self._grace):
                if timer is not None and timer.active():
                    timer.cancel()
        if self._grace is not None:
            return INTERRUPTED
        self._console.note(f"closed: {code} {escape(reason)}".rstrip())
        return OK if code == 1000 else FAILURE

    def _fail(self, reason: str) -> int:
        self._console.note(f"realtime-svc: {escape(reason)}")
        return FAILURE

    async def _listen(self, connection: Connection) -> tuple[int, str]:
        """Show what comes until nothing can come any more."""
        try:
            while True:
                self._console.say(show(await connection.receive()))
        except client.ConnectionClosed:
            return await connection.closed
        except OSError:  # nobody reads our output any more
            connection.close()
            return await connection.closed

    def _pump(self, connection: Connection, lines: Lines) -> None:
        """Send what was typed; read no more of it while the server does not keep up."""
        while self._typed:
            line = self._typed[0]
            try:
                connection.close(drain=True) if line is None else connection.send(line)
            except client.SendBufferFull:
                lines.stop()
                self._retry = self._reactor.callLater(RETRY, self._pump, connection, lines)
                return
            except client.ConnectionClosed:
                return
            except ValueError as error:
                self._console.note(f"realtime-svc: not sent: {escape(str(error))}")
            self._typed.popleft()
        lines.start()


def show(message: str | bytes) -> str:
    """A message on one line."""
    if isinstance(message, bytes):
        return "base64:" + base64.b64encode(message).decode()
    return escape(message)
