"""WebSocket connections: Autobahn reads the frames, our session decides what they mean.

The protocol holds one thing of ours: its `Link`, which is the session's transport. Names that Autobahn uses on the
protocol are many, so nothing else is put there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from autobahn.websocket.types import ConnectionDeny
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from realtime_svc import errors
from realtime_svc.config import Config
from realtime_svc.core.node import Node
from realtime_svc.core.ports import Gatekeeper, Timer
from realtime_svc.core.ratelimit import RateLimit
from realtime_svc.errors import Disconnect, Refusal
from realtime_svc.model import RemoteAddress
from realtime_svc.transports.autobahn_fence import FencedServerProtocol, server_factory
from realtime_svc.transports.caps import Lease
from realtime_svc.transports.connection import Readers
from realtime_svc.transports.link import Link
from realtime_svc.wire.http_head import RequestHead
from realtime_svc.wire.routes import Route

ParseFrames = Callable[[bytes, int], tuple[list[tuple[bytes, bool]], int]]  # `kernel_twin.parse_frames`


class RealtimeProtocol(FencedServerProtocol):
    """One WebSocket connection. The front door has read the head; `onConnect` checks the authorization."""

    link: Link
    parse_frames: ClassVar[Any] = None  # `ParseFrames`, the short way of reading; without, Autobahn reads all
    consuming = False

    def onConnect(self, request: RequestHead) -> str | None:  # type: ignore[override]
        """Check the authorization header (or what stands for it), at once, and make the session.

        `request` is the head the link was made with. Returns the sub-protocol that is selected.
        """
        try:
            return self.link.admit()
        except Refusal as refusal:
            self.refuse(refusal)
        except Exception as error:
            self.link.hall.node.report("a handshake failed", error)
            self.refuse(Refusal(500, "internal", "internal error"))
        raise ConnectionDeny(self.refusal.status, self.refusal.cause)  # type: ignore[union-attr]

    def refuse(self, refusal: Refusal) -> None:
        self.refusal = refusal
        self.link.hall.node.refused(refusal, self.link.remote.host)

    def onOpen(self) -> None:
        self.link.guarded(self.link.open)

    def dataReceived(self, data: bytes) -> None:
        """Most of the time one whole plain message, and nothing is waiting."""
        link = self.link
        if not self.data and self._between_plain_messages():
            found, used = self.parse_frames(data, self.maxMessagePayloadSize)
            if used == len(data) and len(found) == 1:
                try:
                    link.receive(*found[0])
                except Exception as error:
                    link.crashed(error)
                link.count_plain_message()
                return
        link.guarded(self.consume, data)
        link.after_read()

    def consumeData(self) -> None:  # noqa: N802
        """Whole plain messages take the short way, all else is Autobahn's business.

        A session that pauses and reads on while it is given a message asks for more: it comes anyway.
        """
        if self.consuming:
            return
        self.consuming = True
        try:
            if self._between_plain_messages():
                self._take_short_way()
            if self.data:
                super().consumeData()
        finally:
            self.consuming = False

    def _between_plain_messages(self) -> bool:
        return (
            self.parse_frames is not None
            and self.state == self.STATE_OPEN
            and not self.halted
            and self.current_frame is None
            and not self.inside_message
            and self._perMessageCompress is None
        )

    def _take_short_way(self) -> None:
        """Give the session whole messages for as long as it takes them; the rest stays for Autobahn, or for later."""
        data, self.data = self.data, b""
        found, used = self.parse_frames(data, self.maxMessagePayloadSize)
        given = 0
        for payload, binary in found:
            given += 1
            self.link.receive(payload, binary)
            if self.halted or self.state != self.STATE_OPEN:
                used = sum([_masked_size(len(payload)) for payload, _ in found[:given]])
                break
        self.frames_in += given
        if self.state != self.STATE_CLOSED:
            self.data = data[used:]

    def onMessageBegin(self, isBinary: bool) -> None:  # noqa: N802, N803
        super().onMessageBegin(isBinary)
        self.link.message_began()

    def on_message(self, payload: bytes, binary: bool) -> None:
        self.link.receive(payload, binary)

    def onPing(self, payload: bytes) -> None:
        if self.state == self.STATE_OPEN:
            self.link.answer_ping(payload)

    def onPong(self, payload: bytes) -> None:
        if self.link.session is not None:
            self.link.session.pong()

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:  # noqa: N803
        self.link.lost(Disconnect(code or 1005, ""))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.forget()
        self.link.lost(Disconnect(1006, ""))

    def sendCloseFrame(self, *arguments: Any, **options: Any) -> None:  # noqa: N802
        self.link.flush()
        super().sendCloseFrame(*arguments, **options)

    def failing(self, code: int) -> None:
        self.link.failing(code)

    def linger(self) -> None:
        self.link.linger()


def _masked_size(length: int) -> int:
    """Of a client's frame with so many bytes of payload."""
    return length + (6 if length < 126 else 8 if length < 65536 else 14)


class Hall:
    """The factory's side: what all WebSocket connections of this process share.

    `readers`: who reads connections that were opened (None: who read them before). `parse_frames`: the short way of
    reading (None: Autobahn reads all).
    """

    def __init__(
        self,
        node: Node,
        gate: Gatekeeper,
        config: Config,
        readers: Readers | None = None,
        parse_frames: ParseFrames | None = None,
    ) -> None:
        self.node = node
        self.readers = readers
        self.gate = gate
        self.close_timeout = config.websocket.close_timeout
        self.frame_rate = RateLimit(
            config.limits.frames_per_second, 2 * config.limits.frames_per_second, config.limits.flood_patience
        )
        self._fragment_timeout = config.websocket.fragment_timeout
        self._assembling: dict[Link, None] = {}
        self._timer: Timer | None = None
        self._factory = server_factory(RealtimeProtocol, config.limits.message_size, config.websocket.deflate)
        configured: Any = self._factory.protocol
        self._protocol = configured
        configured.parse_frames = parse_frames and staticmethod(parse_frames)

    def open(self, transport: Any, head: RequestHead, route: Route, remote: RemoteAddress, lease: Lease) -> None:
        """Hand a connection with a checked upgrade request to Autobahn, and answer it."""
        protocol: Any = self._protocol()
        protocol.link = Link(self, protocol, head, route, remote, lease, getattr(transport, "outlet", None))
        if hasattr(transport, "wrappedProtocol"):
            transport.wrappedProtocol = protocol
        else:
            transport.protocol = protocol
        protocol.makeConnection(transport)
        protocol.shake_hands(head)

    def assembling(self, link: Link, unfinished: bool) -> None:
        """Watch the time a message takes to arrive, for those that did not come in one piece."""
        if not unfinished:
            self._assembling.pop(link, None)
            return
        self._assembling[link] = None
        if self._timer is None:
            self._timer = self.node.clock.callLater(self._fragment_timeout / 4, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self.node.clock.seconds()
        for link in tuple(self._assembling):
            if not link.reads:
                link.message_since = now  # what is missing may be waiting in the socket
            elif link.message_since <= now - self._fragment_timeout:
                del self._assembling[link]
                link.fail(errors.POLICY)
        if self._assembling:
            self._timer = self.node.clock.callLater(self._fragment_timeout / 4, self._look)
