"""A client of this server that stays: it reconnects, subscribes again, and answers for every command."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from realtime_svc.client import backoff, plain
from realtime_svc.client.asking import Asking
from realtime_svc.client.commands import Commands, Reply, timed_out
from realtime_svc.client.connection import Connection, connect
from realtime_svc.client.errors import (
    ClientStopped,
    CommandTimeout,
    ConnectionClosed,
    ConnectionFailed,
    HandshakeRefused,
    ProtocolViolation,
)
from realtime_svc.client.plain import Message
from realtime_svc.client.request import make_request
from realtime_svc.client.subscriptions import Subscriptions, Wanted
from realtime_svc.client.tls import ClientTls
from realtime_svc.model import StreamPosition

_log = Logger(namespace="realtime_svc.client")

Dial = Callable[..., Deferred[Connection]]  # `connect`, or what stands in for it
_RANDOM = random.SystemRandom()


class Client(Asking):
    """Speaks protocol `plain.v1` with `url` (`ws://host:8000/ws`).

    The token is `token`, or what `get_token` returns (text, a Deferred or a coroutine), which is called before each
    connection. Commands that are issued while there is no connection wait for one, within `command_timeout`; a command
    that was sent when the connection went fails, because nobody knows whether it was carried out.

    `on_connected()`; `on_disconnected(error, again)` after each connection and each failed attempt, `again` False when
    the client gives up; `on_error(error)` for what belongs to no command. A callback that raises is logged.

    Each failed attempt and each connection that ends is one line of the log (twisted.logger, namespace
    `realtime_svc.client`, level warn); giving up is one of level critical, which is printed also by a program that has
    set up no log.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        url: str,
        *,
        token: str | None = None,
        get_token: Callable[[], Any] | None = None,
        headers: Mapping[str, str] | None = None,
        basic: tuple[str, str] | None = None,
        tls: ClientTls | None = None,
        insecure: bool = False,
        max_size: int = 1024 * 1024,
        command_timeout: float = 10.0,
        on_connected: Callable[[], object] | None = None,
        on_disconnected: Callable[[Exception, bool], object] | None = None,
        on_error: Callable[[Exception], object] | None = None,
        dial: Dial = connect,
        uniform: backoff.Uniform = _RANDOM.uniform,
    ) -> None:
        """Raises `ValueError` for a request that can't be made, as `connect` does."""
        if token is not None and get_token is not None:
            raise ValueError("either token or get_token")
        make_request(url, headers=headers, token="-" if get_token else token, basic=basic, insecure=insecure)
        self.client_id = ""
        self.user = ""
        self._clock = reactor
        self._url = url
        self._get_token = get_token or (lambda: token)
        self._options = {"headers": headers, "basic": basic, "tls": tls, "insecure": insecure, "max_size": max_size}
        self._timeout = command_timeout
        self._on_connected = on_connected
        self._on_disconnected = on_disconnected
        self._on_error = on_error
        self._dial = dial
        self._uniform = uniform
        self._commands = Commands(reactor, command_timeout)
        self._subscriptions = Subscriptions(
            reactor, self._commands, command_timeout, uniform, self._report, self._hang_up, self._event
        )
        self._connection: Connection | None = None
        self._bye: ConnectionClosed | None = None
        self._wait: Deferred[Any] | None = None
        self._over: Exception | None = None
        self._started = self._stopping = False
        self._stopped: list[Deferred[None]] = []

    def __repr__(self) -> str:
        return f"<Client {'connected' if self.connected else 'not connected'}>"

    @property
    def connected(self) -> bool:
        """Is there a connection, and has the server said hello?"""
        return self._connection is not None and self.client_id != ""

    def start(self) -> None:
        """Connect, and stay connected until `stop` or until the server sends us away. Once only."""
        if self._started:
            raise RuntimeError("a client starts once")
        self._started = True
        Deferred.fromCoroutine(self._run()).addErrback(lambda failure: _log.failure("the client failed", failure))

    def stop(self) -> Deferred[None]:
        """Fires when the connection is closed. Everything that waits fails with `ClientStopped`."""
        self._stopping = True
        if not self._started or self._over is not None:
            self._finish(ClientStopped())
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._stopped.append(done)
        if self._connection is not None:
            self._connection.close()
        elif self._wait is not None:
            self._wait.cancel()
        return done

    def subscribe(
        self,
        channel: str,
        on_message: Callable[[Message], object],
        *,
        on_recovered: Callable[[bool], object] | None = None,
        on_join: Callable[[dict[str, Any]], object] | None = None,
        on_leave: Callable[[dict[str, Any]], object] | None = None,
        since: StreamPosition | None = None,
        history: int = 0,
        token: str | None = None,
    ) -> Deferred[None]:
        """Fires when the server has confirmed; from then on the subscription is renewed after each reconnect.

        Where the channel keeps history, a renewal goes on after the last message that was handed out, and the first
        time after `since`. `on_recovered(True)`: nothing is missing, what was missed follows; `on_recovered(False)`:
        something may be missing. `history` messages of the past come first. `on_join` and `on_leave` get who comes and
        goes (`client`, `user`, `info`), where the channel tells. `token` is a subscription token.

        Fails with `CommandError`, `CommandTimeout`, or what made the client give up: then there is no subscription.
        """
        if self._over is not None:
            return fail(self._over)
        return self._subscriptions.add(
            Wanted(channel, on_message, on_recovered, on_join, on_leave, since, history, token)
        )

    def unsubscribe(self, channel: str) -> Deferred[None]:
        """No message of this channel is handed out from now on. Fires when the server has confirmed."""
        self._subscriptions.remove(channel)
        if not self.connected:
            return succeed(None)
        done = self._commands.issue({"unsubscribe": channel}).addCallback(lambda _: None)
        return done.addErrback(_over_with_connection)

    def _ask(self, command: dict[str, Any]) -> Deferred[Reply]:
        return fail(self._over) if self._over is not None else self._commands.issue(command)

    async def _run(self) -> None:
        attempt, again = 0, True
        while again:
            error, lasted, what = await self._connect_once()
            attempt = 0 if lasted >= backoff.MAX_DELAY else attempt
            again = not self._stopping and backoff.comes_back(error)
            delay = backoff.delay_after(error, attempt, self._uniform)
            if again:
                _log.warn("{what}; again in {delay:.1f} s", what=what, delay=delay)
            elif not self._stopping:
                _log.critical("{what}; not coming back", what=what)
            if not again:
                self._finish(ClientStopped() if self._stopping else error)
            self._event(self._on_disconnected, error, again)
            again = again and await self._pause(delay)
            attempt += 1
        self._finish(ClientStopped())
        while self._stopped:
            self._stopped.pop().callback(None)

    async def _pause(self, seconds: float) -> bool:
        """False when `stop` was called meanwhile."""
        try:
            await self._cancellable(deferLater(self._clock, seconds))
        except CancelledError:
            return False
        return True

    async def _connect_once(self) -> tuple[Exception, float, str]:
        """Why it ended, how many seconds the connection lasted, and what is to be said about it."""
        try:
            token = await self._cancellable(maybeDeferred(self._get_token))
        except CancelledError:
            return ClientStopped(), 0.0, "stopped"
        except Exception as failed:  # its text is the caller's, and may hold anything
            return failed, 0.0, f"not connected: get_token failed: {type(failed).__name__}"
        try:
            dialling = self._dial(self._clock, self._url, token=token, protocols=(plain.SUBPROTOCOL,), **self._options)
            connection = await self._cancellable(dialling)
        except CancelledError:
            return ClientStopped(), 0.0, "stopped"
        except Exception as failed:
            return failed, 0.0, f"not connected: {_reason(failed)}"
        self._connection, self._bye = connection, None
        began = self._clock.seconds()
        error = await self._converse(connection)
        self._connection, self.client_id, self.user = None, "", ""
        self._commands.disconnected(error)
        self._subscriptions.disconnected()
        return error, self._clock.seconds() - began, f"disconnected: {_reason(error)}"

    async def _converse(self, connection: Connection) -> Exception:
        """Read until the end; what ended it."""
        try:
            self._read(await connection.receive().addTimeout(self._timeout, self._clock, timed_out), connection)
            while True:
                self._read(await connection.receive(), connection)
        except ConnectionClosed as closed:
            return self._bye if self._bye is not None and closed.code in (1005, 1006) else closed
        except (ProtocolViolation, CommandTimeout) as error:
            connection.close(1002 if isinstance(error, ProtocolViolation) else 1000)
            await connection.closed
            return error

    def _read(self, frame: str | bytes, connection: Connection) -> None:
        for fields in plain.decode_frame(frame):
            if "message" in fields:
                self._subscriptions.received(plain.read_message(fields))
            elif "ok" in fields or "error" in fields:
                if not self._commands.answered(fields) and "error" in fields:
                    self._report(plain.read_error(fields))
            elif "join" in fields:
                self._subscriptions.joined(*plain.read_member(fields, "join"))
            elif "leave" in fields:
                self._subscriptions.left(*plain.read_member(fields, "leave"))
            elif "hello" in fields:
                self._greeted(fields["hello"], connection)
            elif "unsubscribed" in fields:
                self._subscriptions.ended(fields["unsubscribed"], *plain.read_end(fields))
            elif "bye" in fields and isinstance(fields["bye"], dict):
                self._bye = ConnectionClosed(*plain.read_end(fields["bye"]))

    def _greeted(self, hello: object, connection: Connection) -> None:
        if not isinstance(hello, dict) or not isinstance(hello.get("client"), str) or not hello["client"]:
            raise ProtocolViolation("a hello without a client")
        user = hello.get("user")
        self.client_id, self.user = hello["client"], user if isinstance(user, str) else ""
        self._commands.connected(connection.send)
        self._subscriptions.connected()
        self._commands.flush()
        self._event(self._on_connected)

    async def _cancellable(self, deferred: Deferred[Any]) -> Any:
        """Wait for what `stop` may cancel."""
        if self._stopping:
            deferred.addErrback(lambda _: None).cancel()
            raise CancelledError
        self._wait = deferred
        try:
            return await deferred
        finally:
            self._wait = None

    def _hang_up(self) -> None:
        """The server is there but does not do its work: try another connection."""
        if self._connection is not None:
            self._connection.close()

    def _finish(self, error: Exception) -> None:
        if self._over is None:
            self._over = error
            self._commands.fail_all(error)
            self._subscriptions.fail_all(error)

    def _report(self, error: Exception) -> None:
        self._event(self._on_error, error)

    def _event(self, callback: Callable[..., object] | None, *arguments: object) -> None:
        try:
            if callback is not None:
                callback(*arguments)
        except Exception:
            _log.failure("a callback of the client raised")


def _reason(error: Exception) -> str:
    """What may be logged of `error`: the texts of our own errors hold no credential."""
    ours = ConnectionFailed, HandshakeRefused, ConnectionClosed, ProtocolViolation, CommandTimeout, ValueError
    return str(error) if isinstance(error, ours) else type(error).__name__


def _over_with_connection(failure: Failure) -> None:
    """What ends a subscription as well as its confirmation."""
    failure.trap(ConnectionClosed)
