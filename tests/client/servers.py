"""Servers for tests of the client: an echo server on Autobahn, and one that says exactly what it is told to."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionRequest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

_Error = TypeVar("_Error", bound=Exception)


class EchoProtocol(WebSocketServerProtocol):
    """Text `close <code> <reason>` closes; all else comes back as it is."""

    factory: EchoFactory

    def connectionMade(self) -> None:
        super().connectionMade()
        self.factory.protocols.append(self)

    def onConnect(self, request: ConnectionRequest) -> str | None:
        self.factory.requests.append(request)
        chosen: str | None = next(iter(request.protocols), None)
        return chosen

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N803 (Autobahn)
        verb, *words = payload.split(b" ", 2)
        if verb == b"close":
            self.sendCloseFrame(int(words[0]), words[1])
        elif verb == b"drop":
            transport: Any = self.transport
            transport.abortConnection()
        else:
            self.sendMessage(payload, isBinary)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self.factory.left.append(self.remoteCloseCode)
        self.factory.protocols.remove(self)
        if not self.factory.protocols and self.factory.empty is not None:
            self.factory.empty.callback(None)


class EchoFactory(WebSocketServerFactory):
    protocol: Any = EchoProtocol
    noisy = False

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor=reactor)
        self.setProtocolOptions(openHandshakeTimeout=0, closeHandshakeTimeout=0, failByDrop=False)
        self.requests: list[ConnectionRequest] = []
        self.protocols: list[EchoProtocol] = []
        self.left: list[int | None] = []
        self.empty: Deferred[None] | None = None


class PlainProtocol(WebSocketServerProtocol):
    """As much of plain.v1 as a client needs to be content: hello, ok, and one's own messages."""

    factory: PlainFactory

    def onConnect(self, request: ConnectionRequest) -> str:
        self.factory.connections += 1
        return "plain.v1"

    def onOpen(self) -> None:
        self.factory.newest = self
        self.say({"hello": {"client": "c-1", "user": "42", "version": "1", "max_size": 65536}})

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N803 (Autobahn)
        command = json.loads(payload)
        if "publish" in command:
            self.say({"message": command["publish"], "data": command["data"]})
        self.say({"ok": next(iter(command)), "id": command["id"]})

    def say(self, value: dict[str, Any]) -> None:
        self.sendMessage(json.dumps(value).encode())


class PlainFactory(WebSocketServerFactory):
    protocol: Any = PlainProtocol
    noisy = False

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor=reactor)
        self.setProtocolOptions(openHandshakeTimeout=0, closeHandshakeTimeout=0)
        self.connections = 0
        self.newest: PlainProtocol | None = None

    def drop(self) -> None:
        """Break the newest connection."""
        assert self.newest is not None
        transport: Any = self.newest.transport
        transport.abortConnection()


class ScriptProtocol(Protocol):
    """Answers the request head with `script`; the rest is kept in `received`."""

    def __init__(self, script: Callable[[bytes], bytes], *, close: bool) -> None:
        self.received = b""
        self.gone: Deferred[None] = Deferred()
        self._script = script
        self._close = close
        self._answered = False

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if not self._answered and b"\r\n\r\n" in self.received:
            self._answered = True
            assert self.transport is not None
            self.transport.write(self._script(self.received))
            if self._close:
                self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gone.callback(None)


class ScriptFactory(Factory):
    noisy = False

    def __init__(self, script: Callable[[bytes], bytes], *, close: bool = False) -> None:
        self._script = script
        self._close = close
        self.protocols: list[ScriptProtocol] = []

    def buildProtocol(self, addr: Any) -> ScriptProtocol:
        protocol = ScriptProtocol(self._script, close=self._close)
        protocol.factory = self
        self.protocols.append(protocol)
        return protocol


class SocketCase(TestCase):
    """Real sockets on loopback; the test ends when both sides of all of them are closed."""

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.echo = EchoFactory(reactor)
        self.addCleanup(self._drop_all)

    def listen(self, factory: IProtocolFactory) -> int:
        port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    def _drop_all(self) -> Deferred[None] | None:
        if not self.echo.protocols:
            return None
        self.echo.empty = Deferred()
        for protocol in list(self.echo.protocols):
            transport: Any = protocol.transport
            transport.abortConnection()
        return self.echo.empty

    async def failure(self, deferred: Deferred[Any], kind: type[_Error]) -> _Error:
        """The error `deferred` fails with, which must be of this kind."""
        error = await self.assertFailure(deferred, kind)
        assert isinstance(error, kind)
        return error
