"""Autobahn's client, tamed: its options all set, its log silent, its timers replaced by ours, its input bounded."""

from __future__ import annotations

from typing import Any

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from autobahn.websocket.types import ConnectingRequest, ConnectionResponse
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from realtime_svc.client.errors import ConnectionFailed, HandshakeRefused
from realtime_svc.client.link import Limits, Link
from realtime_svc.client.request import Request

_log = Logger()


class Silence:
    """Autobahn logs every handshake at debug level, the Authorization header in it included, and computes what it would
    log even where nobody listens."""

    def debug(self, *args: object, **values: object) -> None:
        pass

    info = warn = error = debug


class ClientProtocol(WebSocketClientProtocol):
    """Only hooks: everything is passed on to the link."""

    log = Silence()

    def __init__(self, link: Link, request: Request) -> None:
        super().__init__()
        self.link = link
        self.wanted = request

    def connectionMade(self) -> None:
        self.link.connected(self)
        super().connectionMade()

    def onConnecting(self, transport_details: object) -> ConnectingRequest:  # noqa: N802 (Autobahn)
        wanted = self.wanted
        return ConnectingRequest(
            wanted.host_header, wanted.port, wanted.resource, wanted.headers, protocols=list(wanted.protocols)
        )

    def dataReceived(self, data: bytes) -> None:
        """No input, however strange, gets an exception out of here: Autobahn was not written for a hostile server."""
        self.link.heard()
        try:
            if self.state == self.STATE_CONNECTING:
                data = self.link.reply.feed(data)
            if data:
                super().dataReceived(data)
        except (ConnectionFailed, HandshakeRefused) as error:
            self.link.failed(error)
        except Exception:
            _log.failure("a server's bytes could not be read")
            self.link.cause = "what the server sends can't be read"
            self.drop()

    def drop(self) -> None:
        """End the connection now."""
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()

    def read(self, reading: bool) -> None:
        """Go on, or stop, taking bytes from the socket."""
        transport: Any = self.transport
        if reading:
            transport.resumeProducing()
        else:
            transport.pauseProducing()

    def failHandshake(self, reason: str) -> None:  # noqa: N802 (Autobahn)
        self.link.failed(ConnectionFailed("the server's answer is no WebSocket handshake"))

    def onConnect(self, response: ConnectionResponse) -> None:
        self.link.subprotocol = response.protocol

    def onOpen(self) -> None:
        self.link.opened()

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N803 (Autobahn)
        if not self.wasClean:  # nothing counts behind the server's Close (RFC 6455 5.5.1)
            self.link.message(bytes(payload) if isBinary else payload.decode())

    def onPing(self, payload: bytes) -> None:
        self.link.pinged(payload)

    def sendCloseFrame(self, *args: Any, **options: Any) -> None:  # noqa: N802 (Autobahn)
        """Every way to close comes by here: ours, Autobahn's own for a broken frame, the answer to the server's."""
        super().sendCloseFrame(*args, **options)
        self.link.closing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not isinstance(reason.value, ConnectionDone | ConnectionLost):
            self.link.cause = describe(reason)
        if isinstance(reason.value, SSL.Error):
            reason = Failure(ConnectionLost())  # Autobahn fails on a TLS error that has no entry in OpenSSL's queue
        super().connectionLost(reason)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:  # noqa: N803 (Autobahn)
        if self.failedByMe and self.localCloseCode is not None:
            self.link.lost(self.localCloseCode, (self.localCloseReason or b"").decode())
        elif wasClean:
            self.link.lost(code or 1005, reason or "")
        else:
            self.link.lost(1006, self.link.cause)


class ClientFactory(WebSocketClientFactory):
    """For one connection."""

    log = Silence()
    noisy = False

    def __init__(self, clock: IReactorTime, link: Link, request: Request) -> None:
        super().__init__(protocols=list(request.protocols), reactor=clock)
        self._link = link
        self._request = request
        set_options(self, link.limits)

    def buildProtocol(self, addr: IAddress | None) -> ClientProtocol:
        protocol = ClientProtocol(self._link, self._request)
        protocol.factory = self
        return protocol


def set_options(factory: WebSocketClientFactory, limits: Limits) -> None:
    """All of them, in one call. The timers are 0: Autobahn's run on the global reactor and in whole seconds."""
    factory.setProtocolOptions(
        version=18,
        utf8validateIncoming=True,
        acceptMaskedServerFrames=False,
        maskClientFrames=True,
        applyMask=True,
        maxFramePayloadSize=limits.max_size,
        maxMessagePayloadSize=limits.max_size,
        autoFragmentSize=0,
        failByDrop=False,
        echoCloseCodeReason=False,
        serverConnectionDropTimeout=0,
        openHandshakeTimeout=0,
        closeHandshakeTimeout=0,
        tcpNoDelay=True,
        perMessageCompressionOffers=[],
        autoPingInterval=0,
        autoPingTimeout=0,
    )


def describe(reason: Failure) -> str:
    """Why there is no connection, in words of ours or of OpenSSL's tables; nothing the server sent."""
    error = reason.value
    if isinstance(error, VerificationError):
        return "TLS: the server's certificate is for another name"
    if isinstance(error, SSL.Error):
        entries = error.args[0] if error.args and isinstance(error.args[0], list) else []
        return "TLS: " + ("; ".join(str(entry[-1]) for entry in entries) or "the handshake failed")
    if isinstance(error, ConnectionDone | ConnectionLost):
        return "the server closed the connection"
    return str(error) or type(error).__name__
