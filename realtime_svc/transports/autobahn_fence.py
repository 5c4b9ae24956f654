"""What we override of Autobahn, and why. Everything here is pinned by `tests/transports/test_autobahn_fence.py`.

Autobahn's state machine reads frames. Its timers, its logging, its HTTP and its way of ending a connection are
replaced: the timers run on a global loop in whole seconds, disabled logging still formats its arguments, the front door
has read the head more strictly already, and a connection that is dropped may be held open by a peer that does not read.
So is permessage-deflate: an offer that can't be accepted is passed over instead of failing the handshake, and the
length of an inflated message is exact.

What Autobahn sets on each new connection is found on the class (`server_factory`): a connection that only listens has
no copy of it.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from autobahn.exception import PayloadCorruptError, PayloadExceededError
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket import USES_NVX
from autobahn.websocket.protocol import WebSocketProtocol
from autobahn.websocket.types import ConnectionDeny
from autobahn.websocket.utf8validator import Utf8Validator

from realtime_svc.config import Deflate
from realtime_svc.errors import Refusal
from realtime_svc.transports.entrance import half_closes
from realtime_svc.wire import deflate
from realtime_svc.wire.http_head import RequestHead
from realtime_svc.wire.http_response import refusal_response
from realtime_svc.wire.upgrade import answer_upgrade, offered_extensions

NVX = bool(USES_NVX)  # does Autobahn unmask and check UTF-8 in compiled code?
MAX_DISCARDED = 64 * 2**20  # bytes that are read and thrown away behind the end of a connection
_RESERVED_CODES = (1004, 1005, 1006)


class _Silent:
    """A logger that says nothing: what a stranger can cause is counted, not logged."""

    def _nothing(self, *args: object, **kwargs: object) -> None:
        return

    trace = debug = info = warn = error = critical = failure = _nothing


class _Deflate(deflate.MessageDeflate):
    """permessage-deflate in the words of Autobahn, which calls it for what comes in."""

    EXTENSION_NAME = deflate.NAME
    start_decompress_message = deflate.MessageDeflate.begin

    def decompress_message_data(self, data: bytes, max_output_len: int | None = None) -> bytes:
        try:
            return self.inflate(data)
        except deflate.TooBig:
            raise PayloadExceededError from None
        except deflate.Corrupt:
            raise PayloadCorruptError from None

    def end_decompress_message(self) -> None:
        try:
            self.finish()
        except deflate.Corrupt:
            raise PayloadCorruptError from None


class FencedServerProtocol(WebSocketServerProtocol):
    """Autobahn's server protocol without its timers, logs, HTTP answers and per-message Deferreds.

    A subclass gives `linger()` (start the timer that ends a connection whose peer does not take part) and
    `on_message(payload, binary)`.
    """

    log = _Silent()
    transport: Any
    maxMessagePayloadSize: int  # noqa: N815
    _perMessageCompress: Any  # noqa: N815
    _isMessageCompressed: bool  # noqa: N815
    deflate = Deflate()
    refusal: Refusal | None = None
    frames_in = 0
    discarded = 0
    halted = False

    def linger(self) -> None:
        raise NotImplementedError

    def on_message(self, payload: bytes, binary: bool) -> None:
        raise NotImplementedError

    # ---- handshake

    def __init__(self) -> None:
        """Without Autobahn's Deferreds, which nobody waits for."""

    @cached_property
    def utf8validator(self) -> Any:  # type: ignore[override]
        """Made for the first text that the state machine reads."""
        return Utf8Validator()

    def connectionMade(self) -> None:
        """Without Autobahn's description of the transport, and without its copies of what is on the class."""
        self.transport.setTcpNoDelay(True)

    def shake_hands(self, head: RequestHead) -> None:
        """Ask `onConnect`, and answer the upgrade request. `head` passed `check_websocket`."""
        try:
            subprotocol = self.onConnect(head)
        except ConnectionDeny as denied:
            self.failHandshake(denied.reason or "", denied.code)
            return
        extension = self._agree(head)
        self.transport.write(answer_upgrade(head, subprotocol, extension))
        self.state = self.STATE_OPEN
        self.onOpen()

    def onConnect(self, request: RequestHead) -> str | None:  # type: ignore[override]
        """The sub-protocol that is selected. Raises `ConnectionDeny`."""
        raise NotImplementedError

    def _agree(self, head: RequestHead) -> str:
        """Agree to an extension, or to none (""). Raises nothing: the offer was checked."""
        offers = offered_extensions(head)
        terms = deflate.agree(", ".join(offers), self.deflate) if offers else None
        if terms is None:
            return ""
        self._perMessageCompress = _Deflate(terms, self.deflate.memory_level, self.maxMessagePayloadSize)
        return terms.answer

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

    def onMessageFrameBegin(self, length: int) -> None:  # noqa: N802
        """A compressed message is measured while it is inflated; deflate makes some longer than they are."""
        if self._isMessageCompressed:
            length -= min(length, length // 64 + 64)
        super().onMessageFrameBegin(length)

    def onFrameEnd(self) -> bool | None:  # noqa: N802
        self.frames_in += 1
        result: bool | None = super().onFrameEnd()
        return result

    def consume(self, data: bytes) -> None:
        """Feed the state machine; throw away what comes behind the end, but not for ever."""
        if self.state == self.STATE_CLOSED:
            self.discarded += len(data)
            if self.discarded > MAX_DISCARDED:
                self.transport.abortConnection()
            return
        self.data += data
        self.consumeData()

    def consumeData(self) -> None:  # noqa: N802
        """As Autobahn's, but it stops between two frames while the session does not read."""
        if self.state not in (self.STATE_OPEN, self.STATE_CLOSING):
            super().consumeData()
            return
        while not self.halted and self.processData() and self.state != self.STATE_CLOSED:
            pass

    def onCloseFrame(self, code: int | None, reasonRaw: bytes | None) -> bool:  # noqa: N802, N803
        """Send code and reason back, if they are not the answer to ours, and end (RFC 6455 5.5.1, 7.4)."""
        if code is not None and not _may_be_sent(code):
            return self._protocol_violation("invalid close code")
        try:
            self.remoteCloseReason = reasonRaw.decode() if reasonRaw is not None else None
        except UnicodeDecodeError:
            return self._invalid_payload("the close reason is not UTF-8")
        self.remoteCloseCode = code
        self.wasClean = True
        self.sendCloseFrame(code=code, reasonUtf8=reasonRaw, isReply=True)
        self.dropConnection()
        return True

    # ---- writing

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:  # noqa: N802
        self.transport.write(data)

    # ---- ending

    def _protocol_violation(self, reason: str) -> bool:
        self._fail_connection(self.CLOSE_STATUS_CODE_PROTOCOL_ERROR, reason)
        return True

    def _invalid_payload(self, reason: str) -> bool:
        self._fail_connection(self.CLOSE_STATUS_CODE_INVALID_PAYLOAD, reason)
        return True

    def _fail_connection(self, code: int = 1001, reason: str = "") -> None:
        """A violation: say which code, and end. What still comes is not looked at (RFC 6455 7.1.7)."""
        if self.state not in (self.STATE_OPEN, self.STATE_CLOSING):
            return
        self.failedByMe = True
        if self.state == self.STATE_OPEN:
            self.failing(code)
            self.sendCloseFrame(code=code, reasonUtf8=reason.encode()[:123], isReply=False)
        self.dropConnection()

    def forget(self) -> None:
        """The connection is gone: without what Autobahn makes of the reason, which fails on some of OpenSSL's."""
        self.state = self.STATE_CLOSED
        if self.wasClean:
            self.onClose(True, self.remoteCloseCode, self.remoteCloseReason)
        else:
            self.onClose(False, self.CLOSE_STATUS_CODE_ABNORMAL_CLOSE, None)

    def failing(self, code: int) -> None:
        """A hook: we are about to close with `code` for a violation."""

    def dropConnection(self, abort: bool = False) -> None:  # noqa: N802
        """Orderly: what was written goes out, then FIN, and we read on until the peer's FIN. Closing at once would
        reset the connection where something unread is left, and take along what the peer has not got yet."""
        self.unregisterProducer()
        if self.state != self.STATE_CLOSED:
            self.droppedByMe = True
            self.state = self.STATE_CLOSED
            self.data = b""
            self.linger()
            if half_closes(self.transport):
                self.transport.loseWriteConnection()
            else:
                self.transport.loseConnection()


def _may_be_sent(code: int) -> bool:
    """RFC 6455 7.4 and the IANA registry of close codes."""
    return (1000 <= code <= 1014 and code not in _RESERVED_CODES) or 3000 <= code <= 4999


def server_factory(
    protocol: type[FencedServerProtocol], message_size: int, settings: Deflate
) -> WebSocketServerFactory:
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
    )
    options = {name: getattr(factory, name) for name in protocol.CONFIG_ATTRS}
    options["perMessageCompressionAccept"] = staticmethod(factory.perMessageCompressionAccept)
    options["deflate"] = settings
    options["factory"] = factory
    configured: Any = type(protocol.__name__, (protocol,), options)
    for name, value in _at_first(configured).items():
        setattr(configured, name, value)
    factory.protocol = configured
    return factory


def _at_first(configured: type[FencedServerProtocol]) -> dict[str, Any]:
    """What Autobahn sets on a connection when it is made, and when its handshake is done.

    Of what can be changed, `send_queue` stays empty (`sendData`), and nobody reads `trafficStats`.
    """
    pattern = configured()
    WebSocketProtocol._connectionMade(pattern)
    found = vars(pattern)
    del found["utf8validator"]
    behind = {"websocket_version": 13, "inside_message": False, "current_frame": None}
    return {**found, **behind, "_transport_details": None}
