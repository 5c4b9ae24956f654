"""What we override of Autobahn, and why. Everything here is pinned by `tests/transports/test_autobahn_fence.py`.

Autobahn's state machine reads frames. Its timers, its logging, its HTTP answers and its way of ending a connection are
replaced: the timers run on a global loop in whole seconds, disabled logging still formats its arguments, the answers
repeat what the client sent, and a connection that is dropped may be held open by a peer that does not read.
"""

from __future__ import annotations

from typing import Any

import autobahn.websocket.protocol
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept

from realtime_svc.config import Deflate
from realtime_svc.errors import Refusal
from realtime_svc.wire.frames import websocket_frame
from realtime_svc.wire.http_response import refusal_response


def _no_format(value: object) -> str:
    return ""


autobahn.websocket.protocol.pformat = _no_format  # type: ignore[assignment, attr-defined]  # 29 options were formatted for every connection

MAX_DISCARDED = 64 * 2**20  # bytes that are read and thrown away after we failed a connection


class _Silent:
    """A logger that says nothing: what a stranger can cause is counted, not logged."""

    def _nothing(self, *args: object, **kwargs: object) -> None:
        return

    trace = debug = info = warn = error = critical = failure = _nothing


class FencedServerProtocol(WebSocketServerProtocol):
    """Autobahn's server protocol without its timers, logs, HTTP answers and per-message Deferreds.

    A subclass gives `linger()` (start the timer that ends a connection whose peer does not take part) and
    `on_message(payload, binary)`.
    """

    log = _Silent()
    transport: Any
    refusal: Refusal | None = None
    frames_in = 0
    discarded = 0

    def linger(self) -> None:
        raise NotImplementedError

    def on_message(self, payload: bytes, binary: bool) -> None:
        raise NotImplementedError

    # ---- handshake

    def connectionMade(self) -> None:
        """Without Autobahn's description of the transport, which reads certificates and formats addresses."""
        self.transport.setTcpNoDelay(True)
        self._transport_details = None  # type: ignore[assignment]
        self._connectionMade()

    def _onOpen(self) -> None:  # noqa: N802
        self.onOpen()

    def failHandshake(self, reason: str, code: int = 400, responseHeaders: object = None) -> None:  # noqa: N802, N803
        """Our own answer: fixed words, a JSON body, the connection closed."""
        refusal = self.refusal or Refusal(code, "bad_handshake", "the WebSocket handshake is not valid")
        self.wasNotCleanReason = refusal.cause
        self.sendData(refusal_response(refusal))
        self.dropConnection(abort=False)

    # ---- reading

    def onMessageEnd(self) -> None:  # noqa: N802
        """Without the Future that Autobahn makes for every message."""
        if not self.failedByMe:
            self.on_message(b"".join(self.message_data), self.message_is_binary)
        self.message_data = []

    def onFrameData(self, payload: bytes) -> bool | None:  # noqa: N802
        """Once we failed the connection, payloads are thrown away: a control frame may claim any length."""
        if self.failedByMe:
            return None
        result: bool | None = super().onFrameData(payload)
        return result

    def onFrameEnd(self) -> bool | None:  # noqa: N802
        self.frames_in += 1
        result: bool | None = super().onFrameEnd()
        return result

    def consume(self, data: bytes) -> None:
        """Feed the state machine. After a failure only the peer's Close is of interest, and not for ever."""
        if self.failedByMe:
            self.discarded += len(data)
            if self.discarded > MAX_DISCARDED:
                self.transport.abortConnection()
                return
        self.data += data
        self.consumeData()

    # ---- writing

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:  # noqa: N802
        self.transport.write(data)

    def compress(self, payload: bytes, opcode: int) -> bytes:
        """One compressed message (RFC 7692). Autobahn's `sendMessage` would measure it against the inbound limit."""
        deflate: Any = self._perMessageCompress
        deflate.start_compress_message()
        body = deflate.compress_message_data(payload) + deflate.end_compress_message()
        return websocket_frame(opcode, body, compressed=True)

    # ---- ending

    def _fail_connection(self, code: int = 1001, reason: str = "") -> None:
        """A violation: say which code, then read on (and throw away) until the peer has closed or the time is up."""
        if self.state in (self.STATE_OPEN, self.STATE_CLOSING):
            self.failedByMe = True
        if self.state == self.STATE_OPEN:
            self.failing(code)
            self.sendCloseFrame(code=code, reasonUtf8=reason.encode()[:123], isReply=False)
            self.linger()
        elif self.state == self.STATE_CLOSING:
            self.dropConnection(abort=False)

    def failing(self, code: int) -> None:
        """A hook: we are about to close with `code` for a violation."""

    def dropConnection(self, abort: bool = False) -> None:  # noqa: N802
        """Orderly: what was written goes out first. Autobahn would reset the connection after a clean close."""
        self.unregisterProducer()
        if self.state != self.STATE_CLOSED:
            self.droppedByMe = True
            self.state = self.STATE_CLOSED
            self.linger()
            self.transport.loseConnection()


def server_factory(protocol: type[FencedServerProtocol], message_size: int, deflate: Deflate) -> WebSocketServerFactory:
    """A factory with every option set once, and the protocol's options as class attributes, which saves memory."""
    factory = WebSocketServerFactory(None, server=None)
    factory.setProtocolOptions(
        versions=[13],
        webStatus=False,
        failByDrop=False,
        maxFramePayloadSize=message_size,
        maxMessagePayloadSize=message_size,
        openHandshakeTimeout=0,  # the front door has read the head already
        closeHandshakeTimeout=0,  # `linger`
        autoPingInterval=0,  # our own wheel
        echoCloseCodeReason=True,
        allowedOrigins=["*"],  # the gatekeeper decides about origins
        allowNullOrigin=True,
        maxConnections=0,  # caps
        trustXForwardedFor=0,
        serveFlashSocketPolicy=False,
        utf8validateIncoming=True,
        requireMaskedClientFrames=True,
        perMessageCompressionAccept=_acceptor(deflate, message_size),
    )
    options = {name: getattr(factory, name) for name in protocol.CONFIG_ATTRS}
    options["perMessageCompressionAccept"] = staticmethod(factory.perMessageCompressionAccept)
    configured: Any = type(protocol.__name__, (protocol,), options)
    factory.protocol = configured
    return factory


def _acceptor(deflate: Deflate, message_size: int) -> Any:
    """Choose among a client's offers of permessage-deflate; None: speak without it."""

    def accept(offers: list[Any]) -> PerMessageDeflateOfferAccept | None:
        for offer in offers:
            if deflate.enabled and isinstance(offer, PerMessageDeflateOffer):
                asked = offer.request_max_window_bits
                if asked == 8:  # zlib can't make a raw stream with so small a window
                    continue
                return PerMessageDeflateOfferAccept(
                    offer,
                    request_no_context_takeover=offer.accept_no_context_takeover and not deflate.context_takeover,
                    request_max_window_bits=deflate.window_bits if offer.accept_max_window_bits else 0,
                    no_context_takeover=offer.request_no_context_takeover or not deflate.context_takeover,
                    window_bits=min(asked, deflate.window_bits) if asked else deflate.window_bits,
                    mem_level=deflate.memory_level,
                    max_message_size=message_size,
                )
        return None

    return accept
