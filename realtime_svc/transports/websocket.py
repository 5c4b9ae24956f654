"""WebSocket connections: Autobahn reads the frames, our session decides what they mean.

The protocol holds one thing of ours: its `Link`, which is the session's transport. Names that Autobahn uses on the
protocol are many, so nothing else is put there.
"""

from __future__ import annotations

from typing import Any

from autobahn.websocket.types import ConnectionDeny
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from realtime_svc import errors
from realtime_svc.config import Config
from realtime_svc.core.node import Node
from realtime_svc.core.ports import Admitted, Dialect, Frame, Gatekeeper, Timer
from realtime_svc.core.ratelimit import RateLimit, TokenBucket
from realtime_svc.core.reading import Hold
from realtime_svc.core.session import Session
from realtime_svc.errors import Disconnect, Refusal
from realtime_svc.model import RemoteAddress
from realtime_svc.transports.autobahn_fence import FencedServerProtocol, server_factory
from realtime_svc.transports.caps import Lease
from realtime_svc.wire import centrifuge_json, centrifuge_protobuf
from realtime_svc.wire.frames import OPCODE_BINARY, OPCODE_PING, OPCODE_PONG, OPCODE_TEXT, websocket_frame
from realtime_svc.wire.http_head import RequestHead
from realtime_svc.wire.plain import PlainDialect
from realtime_svc.wire.raw import RawDialect
from realtime_svc.wire.routes import Endpoint, Route
from realtime_svc.wire.upgrade import parse_protocols, rewrite_websocket_head

DIALECTS: dict[tuple[Endpoint, bool], Dialect] = {
    (Endpoint.PLAIN, False): PlainDialect(),
    (Endpoint.RAW, False): RawDialect(),
    (Endpoint.CENTRIFUGE, False): centrifuge_json.WEBSOCKET,
    (Endpoint.CENTRIFUGE, True): centrifuge_protobuf.WEBSOCKET,
}  # by endpoint, and whether it is to be Protobuf
PING = websocket_frame(OPCODE_PING, b"")
_OF_THE_HANDSHAKE = (
    *("http_headers", "http_request_data", "http_response_data"),
    *("extensions_answer", "websocket_extensions", "websocket_extensions_in_use"),
)  # what Autobahn would keep for as long as the connection lasts


class RealtimeProtocol(FencedServerProtocol):
    """One WebSocket connection. The front door has read the head; `onConnect` checks the authorization."""

    link: Link

    def onConnect(self, request: object) -> tuple[str | None, dict[str, str]]:
        """Check the authorization header (or what stands for it), at once, and open the session.

        `request` is not looked at: it is made from a head that we wrote, which holds no credentials.
        """
        try:
            return self.link.admit(), {}
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
        for name in _OF_THE_HANDSHAKE:
            self.__dict__.pop(name, None)
        self.link.guarded(self.link.open)

    def dataReceived(self, data: bytes) -> None:
        self.link.guarded(self.consume, data)
        self.link.after_read()

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
        self.forget(reason)
        self.link.lost(Disconnect(1006, ""))

    def failing(self, code: int) -> None:
        self.link.failing(code)

    def linger(self) -> None:
        self.link.linger()


class Hall:
    """The factory's side: what all WebSocket connections of this process share."""

    def __init__(self, node: Node, gate: Gatekeeper, config: Config) -> None:
        self.node = node
        self.gate = gate
        self.close_timeout = config.websocket.close_timeout
        self.frame_rate = RateLimit(
            config.limits.frames_per_second, 2 * config.limits.frames_per_second, config.limits.flood_patience
        )
        self._fragment_timeout = config.websocket.fragment_timeout
        self._assembling: dict[Link, None] = {}
        self._timer: Timer | None = None
        self._factory = server_factory(RealtimeProtocol, config.limits.message_size, config.websocket.deflate)

    def open(self, transport: Any, head: RequestHead, route: Route, remote: RemoteAddress, lease: Lease) -> None:
        """Hand a connection with a checked upgrade request to Autobahn, which answers it."""
        protocol: Any = self._factory.buildProtocol(None)
        protocol.link = Link(self, protocol, head, route, remote, lease)
        if hasattr(transport, "wrappedProtocol"):
            transport.wrappedProtocol = protocol
        else:
            transport.protocol = protocol
        protocol.makeConnection(transport)
        selectable = [name for name in parse_protocols(head) if not name.startswith("bearer.")]
        protocol.dataReceived(rewrite_websocket_head(head, selectable))

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


@implementer(IPushProducer)
class Link:
    """The session's transport over one WebSocket connection (`core.ports.Transport`)."""

    __slots__ = (
        "_frames",
        "_head",
        "_lease",
        "_linger_timer",
        "_pong",
        "_protocol",
        "_route",
        "_stopped",
        "hall",
        "message_since",
        "remote",
        "session",
    )

    def __init__(
        self,
        hall: Hall,
        protocol: RealtimeProtocol,
        head: RequestHead,
        route: Route,
        remote: RemoteAddress,
        lease: Lease,
    ) -> None:
        self.hall = hall
        self.session: Session | None = None
        self.message_since = 0.0
        self._protocol = protocol
        self._head: RequestHead | None = head
        self._route = route
        self.remote = remote
        self._lease = lease
        self._frames = TokenBucket(hall.frame_rate, hall.node.clock)
        self._linger_timer: Timer | None = None
        self._pong: bytes | None = None
        self._stopped = False

    # ---- opening

    def admit(self) -> str | None:
        """Ask the gatekeeper, make the session; returns the sub-protocol to select. Raises `Refusal`."""
        assert self._head is not None
        admitted = self.hall.gate.admit(self._head, self._route)
        identity = admitted.identity
        if identity is not None and not self.hall.node.claim_user(identity.user):
            raise Refusal(429, "connections_per_user", "too many connections of this user", {"Retry-After": "10"})
        raw = self._route.endpoint is Endpoint.RAW
        self.session = Session(
            self.hall.node,
            DIALECTS[self._route.endpoint, admitted.protobuf],
            self,
            identity,
            self.remote,
            home=self._route.channel,
            exclude_self=raw and not admitted.echo,
            channels=self._first_channels(admitted),
            since=admitted.since,
            last=admitted.last,
            frame_pings=admitted.frame_pings,
        )
        self._head = None
        return admitted.subprotocol

    def _first_channels(self, admitted: Admitted) -> tuple[str, ...]:
        """A raw client listens to its channel, where it may; one that may only publish does not."""
        if self._route.endpoint is not Endpoint.RAW:
            return admitted.channels
        assert admitted.identity is not None
        listens = self.hall.node.may_subscribe(admitted.identity, self._route.channel)
        return (self._route.channel,) if listens else ()

    def open(self) -> None:
        assert self.session is not None
        self._protocol.transport.registerProducer(self, True)
        self.session.opened()

    # ---- reading

    def guarded(self, call: Any, *args: Any) -> None:
        """An exception ends this connection with 1011 and nothing else."""
        try:
            call(*args)
        except Exception as error:
            self.hall.node.report("a WebSocket connection failed", error)
            self.fail(errors.SERVER_ERROR)

    def message_began(self) -> None:
        self.message_since = self.hall.node.clock.seconds()

    @property
    def reads(self) -> bool:
        """Is reading not paused for one of the session's reasons?"""
        return self.session is None or bool(self.session.reading)

    def receive(self, payload: bytes, binary: bool) -> None:
        if self.session is not None:
            self.session.receive(payload, binary)

    def after_read(self) -> None:
        """Account for the frames of one read, and watch a message that is not complete."""
        protocol = self._protocol
        if protocol.state != protocol.STATE_OPEN or self.session is None:
            self.hall.assembling(self, False)
            return
        self.hall.assembling(self, protocol.inside_message)
        if not protocol.frames_in:
            return
        delay = self._frames.take(protocol.frames_in, self.hall.node.clock)
        protocol.frames_in = 0
        if delay:
            if self._frames.flooded(self.hall.node.clock):
                self.fail(errors.POLICY)
            else:
                self.session.reading.hold(Hold.FRAMES, delay)

    def answer_ping(self, payload: bytes) -> None:
        """RFC 6455 5.5.3: while the peer does not read, only the newest ping needs an answer."""
        if self._stopped:
            self._pong = payload
        else:
            self._protocol.transport.write(websocket_frame(OPCODE_PONG, payload))

    # ---- core.ports.Transport

    def write(self, frame: Frame) -> None:
        protocol = self._protocol
        if protocol.state != protocol.STATE_OPEN:
            return
        if protocol._perMessageCompress is None:
            protocol.transport.write(frame.wire)
        else:
            opcode = OPCODE_BINARY if frame.binary else OPCODE_TEXT
            protocol.transport.write(protocol.compress(frame.payload, opcode))

    def ping(self) -> bool:
        protocol = self._protocol
        if protocol.state != protocol.STATE_OPEN:
            return False
        if not self._stopped:
            protocol.transport.write(PING)
        return True

    def close(self, disconnect: Disconnect) -> None:
        """The closing handshake (RFC 6455 7.1.2); by force when the peer does not take part in time."""
        protocol = self._protocol
        if protocol.state == protocol.STATE_OPEN:
            protocol.sendCloseFrame(code=disconnect.code, reasonUtf8=disconnect.reason.encode()[:123])
            self.linger()

    def fail(self, disconnect: Disconnect) -> None:
        """Close for something that the frames did, below the session."""
        self._protocol._fail_connection(disconnect.code, disconnect.reason)

    def abort(self) -> None:
        self._protocol.transport.abortConnection()

    def pause_reading(self) -> None:
        self._protocol.halted = True
        self._protocol.transport.pauseProducing()

    def resume_reading(self) -> None:
        """First what was read already, then the socket."""
        protocol = self._protocol
        protocol.halted = False
        if protocol.data:
            self.guarded(protocol.consumeData)
            self.after_read()
        if not protocol.halted and protocol.transport.connected:
            protocol.transport.resumeProducing()

    # ---- IPushProducer: the socket's buffer says when it has enough

    def pauseProducing(self) -> None:
        self._stopped = True
        if self.session is not None:
            self.session.blocked()

    def resumeProducing(self) -> None:
        self._stopped = False
        if self._pong is not None:
            pong, self._pong = self._pong, None
            self.answer_ping(pong)
        if self.session is not None:
            self.session.unblocked()

    def stopProducing(self) -> None:
        """The connection is gone; `lost` follows."""

    # ---- ending

    def failing(self, code: int) -> None:
        """The frames broke a rule: Close with `code` is sent next."""
        self.hall.node.failed(code, self.remote)
        if self.session is not None:
            self.session.leave(Disconnect(code, ""))

    def linger(self) -> None:
        """The end has begun, on our side or on the peer's, and gets some time."""
        if self.session is not None:
            self.session.leave(Disconnect(self._protocol.remoteCloseCode or 1005, ""))
        if self._linger_timer is None:
            self._linger_timer = self.hall.node.clock.callLater(self.hall.close_timeout, self._give_up)

    def _give_up(self) -> None:
        self._linger_timer = None
        self.abort()

    def lost(self, disconnect: Disconnect) -> None:
        """The connection is gone. Called once or twice."""
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None
        self.hall.assembling(self, False)
        self._lease.release()
        if self.session is not None:
            self.session.ended(disconnect)
