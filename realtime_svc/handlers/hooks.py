"""Calls the user's object when the core says that something happens (`core.ports.Hooks`)."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from msgspec import structs
from twisted.internet.defer import Deferred

from realtime_svc import errors
from realtime_svc.core.messages import Subscribe
from realtime_svc.core.ports import Connecting
from realtime_svc.errors import ConnectionClosing, Disconnect, ErrorCode, ReplyError, Unsubscription
from realtime_svc.handlers.client import Client
from realtime_svc.handlers.grants import ConnectRequest, SubscribeRequest
from realtime_svc.handlers.loading import find_handlers, make
from realtime_svc.handlers.message import Message
from realtime_svc.handlers.server import Server
from realtime_svc.handlers.values import from_client, to_json
from realtime_svc.model import Grant, Publication

if TYPE_CHECKING:
    from realtime_svc.core.node import Node
    from realtime_svc.core.session import Session


class Denied(ReplyError):
    """Raised by a handler: 103, with a text for the client if one is given; `connect` closes with 3507."""

    def __init__(self, text: str | None = None) -> None:
        super().__init__(ErrorCode.PERMISSION_DENIED, text)


class MethodNotFound(ReplyError):
    """Raised by `rpc` (which may return NotImplemented instead): 104."""

    def __init__(self) -> None:
        super().__init__(ErrorCode.METHOD_NOT_FOUND)


class NoHandlers:
    """Where no user code is configured (`core.ports.Hooks`)."""

    handles_calls = False
    handles_messages = False
    handles_publications = False

    async def connect(self, session: Session, connecting: Connecting) -> None:
        return

    async def subscribe(self, session: Session, command: Subscribe, grant: Grant | None) -> Grant | None:
        return grant

    async def publish(self, session: Session | None, publication: Publication) -> Publication | None:
        return publication

    async def call(self, session: Session, method: str, data: bytes | None) -> bytes | None:
        raise ReplyError(ErrorCode.NOT_AVAILABLE)

    async def message(self, session: Session, data: bytes) -> None:
        return

    async def unsubscribe(self, session: Session, channel: str, why: Unsubscription) -> None:
        return

    async def close(self, session: Session, disconnect: Disconnect) -> None:
        return


class UserHandlers:
    """Calls the user's object (`core.ports.Hooks`)."""

    def __init__(self, target: Any, node: Node, timeout: float = 30.0) -> None:
        """`timeout` is in seconds, for each call. Raises `ConfigError` where the user's class can't be called."""
        self._node = node
        self._timeout = timeout
        self.server = Server(node)
        self.target = make(target, self.server)
        self._handlers = find_handlers(self.target, type(self.target).__name__)
        self.handles_calls = "rpc" in self._handlers
        self.handles_messages = "message" in self._handlers
        self._publish = "publish" if "publish" in self._handlers else "message"
        self.handles_publications = self._publish in self._handlers

    async def connect(self, session: Session, connecting: Connecting) -> None:
        request = ConnectRequest(connecting)
        client = Client(self.server, session.info, session, request)
        try:
            await self._call("connect", client, request)
        except ReplyError as error:
            raise ConnectionClosing(_closing(error)) from None
        finally:
            client.entered()

    async def subscribe(self, session: Session, command: Subscribe, grant: Grant | None) -> Grant | None:
        request = SubscribeRequest(command.channel, command.data, grant)
        await self._call("subscribe", self._client(session), command.channel, request)
        return request.result

    async def publish(self, session: Session | None, publication: Publication) -> Publication | None:
        assert publication.publisher is not None
        client = Client(self.server, publication.publisher, session)
        outcome = await self._call(self._publish, client, Message(publication))
        if outcome is False:
            return None
        return _changed(publication, outcome.publication) if isinstance(outcome, Message) else publication

    async def call(self, session: Session, method: str, data: bytes | None) -> bytes | None:
        outcome = await self._call("rpc", self._client(session), method, from_client(data))
        if outcome is NotImplemented:
            raise MethodNotFound
        return to_json(outcome)

    async def message(self, session: Session, data: bytes) -> None:
        value = from_client(data)
        is_json = not isinstance(value, bytes)  # no JSON value is decoded as bytes
        said = Publication("", data, is_json=is_json, binary=not is_json, publisher=session.info)
        await self._call("message", self._client(session), Message(said))

    async def unsubscribe(self, session: Session, channel: str, why: Unsubscription) -> None:
        await self._call("unsubscribe", self._client(session), channel, why.code, why.reason)

    async def close(self, session: Session, disconnect: Disconnect) -> None:
        await self._call("disconnect", self._client(session), disconnect.code, disconnect.reason)

    def _client(self, session: Session) -> Client:
        return Client(self.server, session.info, session)

    async def _call(self, event: str, *arguments: Any) -> Any:
        """What a handler returns, once it is there: it may be a coroutine or return a Deferred, and has its time.

        None where there is no such handler. Raises what it raises; what is no `Exception` (SystemExit, a cancellation)
        as RuntimeError: it ends the handler only.
        """
        handler = self._handlers.get(event)
        if handler is None:
            return None
        try:
            outcome = handler.function(*arguments[: handler.takes])
            if inspect.iscoroutine(outcome):
                outcome = Deferred.fromCoroutine(outcome)
            if isinstance(outcome, Deferred):
                outcome.addTimeout(self._timeout, self._node.clock)  # type: ignore[arg-type]
            return await outcome if inspect.isawaitable(outcome) else outcome
        except Exception:
            raise
        except BaseException as error:
            raise RuntimeError(f"a handler raised {type(error).__name__}") from error


def _changed(publication: Publication, by: Publication) -> Publication:
    """What a handler may change; channel and publisher stay, whichever message it returned."""
    exclude = by.exclude or publication.exclude
    return structs.replace(publication, data=by.data, binary=by.binary, tags=by.tags, exclude=exclude)


def _closing(error: ReplyError) -> Disconnect:
    return errors.PERMISSION_DENIED if isinstance(error, Denied) else errors.closing_for(error)
