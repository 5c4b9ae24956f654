"""Servers for tests of the client: an echo server on Autobahn, and one that says exactly what it is told to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionRequest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase


class EchoProtocol(WebSocketServerProtocol):
    """Text `close <code> <reason>` closes; all else comes back as it is."""

    factory: EchoFactory

    def onConnect(self, request: ConnectionRequest) -> str | None:
        self.factory.requests.append(request)
        self.factory.protocols.append(self)
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
        if self in self.factory.protocols:
            self.factory.protocols.remove(self)
        if not self.factory.protocols and self.factory.empty is not None:
            empty, self.factory.empty = self.factory.empty, None
            empty.callback(None)


class EchoFactory(WebSocketServerFactory):
    protocol = EchoProtocol
    noisy = False

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor=reactor)
        self.setProtocolOptions(openHandshakeTimeout=0, closeHandshakeTimeout=0, failByDrop=False)
        self.requests: list[ConnectionRequest] = []
        self.protocols: list[EchoProtocol] = []
        self.left: list[int | None] = []
        self.empty: Deferred[None] | None = None


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

    def listen(self, factory: IProtocolFactory) -> int:
        port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    def tearDown(self) -> Deferred[None] | None:
        if not self.echo.protocols:
            return None
        self.echo.empty = Deferred()
        for protocol in list(self.echo.protocols):
            transport: Any = protocol.transport
            transport.abortConnection()
        return self.echo.empty
