"""User code in the server's process: an object with handlers for connect, message and close.

    class Chat:
        def __init__(self, server): ...            a class is called with the `Server`; an object is taken as it is
        def connect(self, client): ...             after authentication; raise `Denied` to refuse (close 3507)
        def message(self, client, message): ...    a client publishes; return False to keep it from being passed on
        def close(self, client, code, reason): ... the connection has ended

Each may be left out and each may be an `async def` that awaits Deferreds; while one waits, the next commands of that
client wait, and no other's. An exception in one is logged and answered as an internal error (100; in `connect` the
connection is closed with 3004); nobody else notices. `ReplyError` answers with another error.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from realtime_svc import errors
from realtime_svc.core.messages import Message as Delivery
from realtime_svc.core.messages import Publish
from realtime_svc.core.node import DEFAULT_EVENT, EVENT_TAG, Node
from realtime_svc.core.session import Session
from realtime_svc.errors import ConfigError, ConnectionClosing, Disconnect, ErrorCode, ReplyError
from realtime_svc.model import ClientInfo, Publication

EVENTS = ("connect", "message", "close")


class Denied(Exception):
    """Raised by a handler: `connect` closes the connection with 3507, `message` answers 103 permission denied."""


class NoHandlers:
    """Where no user code is configured (`core.ports.Hooks`)."""

    async def connect(self, session: Session) -> None:
        return

    async def message(self, session: Session | None, publication: Publication) -> bool:
        return True

    async def close(self, session: Session, disconnect: Disconnect) -> None:
        return


class Server:
    """What user code may do with the server."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def publish(
        self, channel: str, data: Any, *, event: str | None = None, exclude: Client | None = None
    ) -> Deferred[None]:
        """Publish in a channel: anything JSON can say, or bytes in a namespace of bytes. `exclude` does not get it.

        Schemas hold for it, permissions do not. The Deferred fires when it was accepted, or fails with `ReplyError`.
        """
        tags = {EVENT_TAG: event} if event else None
        command = Publish(channel, _payload(data), isinstance(data, bytes), tags)
        return _deferred(self._node, self._node.publish(command, exclude=exclude.id if exclude else None))

    def broadcast(self, data: Any, *, exclude: Client | None = None) -> Deferred[None]:
        """Send to every client of the whole server, in no channel: anything JSON can say, or bytes."""
        is_json = not isinstance(data, bytes)
        work = self._node.broadcast(_payload(data), is_json=is_json, exclude=exclude.id if exclude else None)
        return _deferred(self._node, work)

    def clients(self, channel: str | None = None) -> list[Client]:
        """The clients of this process that were let in; those of one channel if it is given."""
        hub = self._node.hub
        sessions = hub.present() if channel is None else hub.subscribers(channel)
        return [Client(self._node, session.info, session) for session in sessions]


class Client:
    """One client, as user code sees it. One that publishes over HTTP has no connection: it can only be looked at."""

    def __init__(self, node: Node, info: ClientInfo, session: Session | None) -> None:
        self._node = node
        self._info = info
        self._session = session

    def __repr__(self) -> str:
        return f"<Client {self.id} user={self.user!r}>"

    def __eq__(self, other: object) -> bool:
        """The same connection? Each call of a handler gets an object of its own."""
        return self is other or (isinstance(other, Client) and self.id == other.id != "")

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def server(self) -> Server:
        return Server(self._node)

    @property
    def id(self) -> str:
        """Unique to the connection; "" for an HTTP publisher."""
        return self._info.client

    @property
    def user(self) -> str:
        """The user's id; "" for an anonymous client."""
        return self._info.user

    @property
    def address(self) -> str:
        """The peer's address; "" for an HTTP publisher."""
        return str(self._session.remote) if self._session else ""

    @property
    def channels(self) -> frozenset[str]:
        return frozenset(self._session.channels) if self._session else frozenset()

    def reply(self, data: Any) -> None:
        """Send to this client alone, in no channel: anything JSON can say, or bytes."""
        is_bytes = isinstance(data, bytes)
        self._connected().say(Delivery(Publication("", _payload(data), is_json=not is_bytes, binary=is_bytes)))

    def broadcast(self, channel: str, data: Any, *, event: str | None = None) -> Deferred[None]:
        """Publish in a channel, to all others: this client does not get it."""
        return self.server.publish(channel, data, event=event, exclude=self)

    def subscribe(self, channel: str) -> None:
        """Subscribe this client, whatever its permissions. Raises `ReplyError` (105: it is subscribed already).

        Nothing happens where it has left.
        """
        self._node.force_subscribe(self._connected(), channel)

    def unsubscribe(self, channel: str) -> None:
        self._node.unsubscribe(self._connected(), channel)

    def close(self, code: int = errors.FORCED.code, reason: str = errors.FORCED.reason) -> None:
        """Close the connection. 3000-3499: the client comes back; 3500-3999: it does not."""
        if not 3000 <= code <= 4999 or len(reason.encode()) > 123:
            raise ValueError("a close code is 3000 to 4999, a reason at most 123 bytes")
        self._connected().close(Disconnect(code, reason))

    def _connected(self) -> Session:
        if self._session is None:
            raise RuntimeError("this client publishes over HTTP: it has no connection")
        return self._session


class Message:
    """A publication on its way in."""

    def __init__(self, publication: Publication) -> None:
        self._publication = publication

    @property
    def channel(self) -> str:
        return self._publication.channel

    @property
    def event(self) -> str:
        """The tag `event`; "message" where there is none."""
        return (self._publication.tags or {}).get(EVENT_TAG, DEFAULT_EVENT)

    @property
    def data(self) -> Any:
        """The decoded JSON value, or the bytes of a namespace of bytes."""
        return msgspec.json.decode(self.raw) if self._publication.is_json else self.raw

    @property
    def raw(self) -> bytes:
        """The payload as it travels."""
        return self._publication.data


class UserHandlers:
    """Calls the user's object (`core.ports.Hooks`)."""

    def __init__(self, target: Any, node: Node, timeout: float = 30.0) -> None:
        """`timeout` is in seconds, for each call. Raises `ConfigError` where the user's class can't be called."""
        self._node = node
        self._timeout = timeout
        self._target = _made(target, Server(node)) if isinstance(target, type) else target
        self._connect, self._message, self._close = (getattr(self._target, event, None) for event in EVENTS)

    async def connect(self, session: Session) -> None:
        if self._connect is not None:
            try:
                await self._call(self._connect, Client(self._node, session.info, session))
            except Denied:
                raise ConnectionClosing(errors.PERMISSION_DENIED) from None

    async def message(self, session: Session | None, publication: Publication) -> bool:
        if self._message is None:
            return True
        assert publication.publisher is not None
        client = Client(self._node, publication.publisher, session)
        try:
            return await self._call(self._message, client, Message(publication)) is not False
        except Denied as denied:
            raise ReplyError(ErrorCode.PERMISSION_DENIED, str(denied) or None) from None

    async def close(self, session: Session, disconnect: Disconnect) -> None:
        if self._close is not None:
            client = Client(self._node, session.info, session)
            await self._call(self._close, client, disconnect.code, disconnect.reason)

    async def _call(self, handler: Callable[..., Any], *arguments: Any) -> Any:
        """What a handler returns, once it is there: it may be a coroutine or return a Deferred, and has its time.

        Raises what it raises; what is no `Exception` (SystemExit, a cancellation) as RuntimeError: it ends the handler
        only.
        """
        try:
            outcome = handler(*arguments)
            if inspect.iscoroutine(outcome):
                outcome = Deferred.fromCoroutine(outcome)
            if isinstance(outcome, Deferred):
                outcome.addTimeout(self._timeout, self._node.clock)  # type: ignore[arg-type]
            return await outcome if inspect.isawaitable(outcome) else outcome
        except Exception:
            raise
        except BaseException as error:
            raise RuntimeError(f"a handler raised {type(error).__name__}") from error


def load_target(path: str, folder: str = "") -> Any:
    """Import `package.module:name`, with `folder` searched first. Raises `ConfigError`."""
    module, _, name = path.partition(":")
    if folder and folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        target = importlib.import_module(module)
        for part in name.split("."):
            target = getattr(target, part)
    except Exception as error:
        raise ConfigError("", "handlers.object", f"can't load {path}: {_one_line(error)}") from error
    if not any(callable(getattr(target, event, None)) for event in EVENTS):
        raise ConfigError("", "handlers.object", f"{path} has none of the handlers {', '.join(EVENTS)}")
    if isinstance(target, type):
        try:
            inspect.signature(target).bind(None)
        except TypeError as error:
            raise ConfigError("", "handlers.object", f"{path} does not take the server: {error}") from None
        except ValueError:  # a class without a signature: seen when it is made
            pass
    return target


def _made(target: type, server: Server) -> Any:
    try:
        return target(server)
    except Exception as error:
        raise ConfigError("", "handlers.object", f"can't make {target.__name__}: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _payload(data: Any) -> bytes:
    return data if isinstance(data, bytes) else msgspec.json.encode(data)


def _deferred(node: Node, work: Coroutine[Any, Any, None]) -> Deferred[None]:
    """Run a use case and give its outcome to user code, which may await it. A failure nobody looks at is logged."""
    outcome: Deferred[None] = Deferred()

    def done(result: None, error: BaseException | None) -> None:
        if error is None:
            outcome.callback(result)
        else:
            outcome.errback(error)

    node.run(work, done)
    return outcome
