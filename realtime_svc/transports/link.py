"""One WebSocket connection, as its session sees it: what comes in and goes out between the session and Autobahn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from realtime_svc import errors
from realtime_svc.core.outbox import INDIRECT
from realtime_svc.core.ports import Admitted, Deflation, Dialect, Frame, Outlet, Timer
from realtime_svc.core.ratelimit import TokenBucket
from realtime_svc.core.reading import Hold
from realtime_svc.core.session import Session
from realtime_svc.errors import Disconnect, Refusal
from realtime_svc.model import RemoteAddress
from realtime_svc.transports.caps import Lease
from realtime_svc.transports.connection import Connection
from realtime_svc.wire import centrifuge_json, centrifuge_protobuf
from realtime_svc.wire.frames import OPCODE_PING, OPCODE_PONG, websocket_frame
from realtime_svc.wire.http_head import RequestHead
from realtime_svc.wire.plain import PlainDialect
from realtime_svc.wire.raw import RawDialect
from realtime_svc.wire.routes import Endpoint, Route

if TYPE_CHECKING:
    from realtime_svc.transports.websocket import Hall, RealtimeProtocol

DIALECTS: dict[tuple[Endpoint, bool], Dialect] = {
    (Endpoint.PLAIN, False): PlainDialect(),
    (Endpoint.RAW, False): RawDialect(),
    (Endpoint.CENTRIFUGE, False): centrifuge_json.WEBSOCKET,
    (Endpoint.CENTRIFUGE, True): centrifuge_protobuf.WEBSOCKET,
}  # by endpoint, and whether it is to be Protobuf
PING = websocket_frame(OPCODE_PING, b"")


@implementer(IPushProducer)
class Link:
    """The session's transport over one WebSocket connection (`core.ports.Transport`)."""

    __slots__ = (
        "_frames",
        "_frames_left",
        "_head",
        "_lease",
        "_linger_timer",
        "_pong",
        "_protocol",
        "_route",
        "_stopped",
        "deflation",
        "hall",
        "message_since",
        "outlet",
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
        outlet: Outlet | None,
    ) -> None:
        """`outlet`: that of the connection, where it has one."""
        self.hall = hall
        self.session: Session | None = None
        self.message_since = 0.0
        self._protocol = protocol
        self._head: RequestHead | None = head
        self._route = route
        self.remote = remote
        self._lease = lease
        self._frames: TokenBucket | None = None  # most clients only listen
        self._frames_left = hall.frame_rate.step  # until they are accounted for
        self._linger_timer: Timer | None = None
        self._pong: bytes | None = None
        self._stopped = False
        self.outlet: Outlet = outlet or hall.node.new_outlet()
        self.deflation: Deflation | None = None

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
        transport: Any = self._protocol.transport
        if self.hall.readers is not None and isinstance(transport, Connection):
            transport.attach(self.hall.readers)
        compress = self._protocol._perMessageCompress
        if compress is not None:
            self.deflation = compress.shared
            if self.deflation is None:
                self.outlet.holds |= INDIRECT  # what goes to this client is compressed for it alone
        transport.registerProducer(self, True)
        self.session.opened()

    # ---- reading

    def guarded(self, call: Any, *args: Any) -> None:
        """An exception ends this connection with 1011 and nothing else."""
        try:
            call(*args)
        except Exception as error:
            self.crashed(error)

    def crashed(self, error: Exception) -> None:
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
        clock = self.hall.node.clock
        if self._frames is None:
            self._frames = TokenBucket(self.hall.frame_rate, clock)
        delay = self._frames.take(protocol.frames_in, clock)
        protocol.frames_in = 0
        self._frames_left = self._frames.ahead
        if delay:
            if self._frames.flooded(clock):
                self.fail(errors.POLICY)
            else:
                self.session.reading.hold(Hold.FRAMES, delay)

    def count_plain_message(self) -> None:
        """As `after_read`, for one frame that was a whole message; it is accounted for with those that follow."""
        self._protocol.frames_in += 1
        self._frames_left -= 1
        if self._frames_left <= 0:
            self.after_read()

    def answer_ping(self, payload: bytes) -> None:
        """RFC 6455 5.5.3: while the peer does not read, only the newest ping needs an answer."""
        if self._stopped:
            self._pong = payload
        else:
            self._protocol.transport.write(websocket_frame(OPCODE_PONG, payload))

    # ---- core.ports.Transport

    def write(self, frame: Frame) -> None:
        protocol = self._protocol
        if protocol.state == protocol.STATE_OPEN:
            protocol.transport.write(self._wire(frame))

    def write_all(self, frames: Sequence[Frame]) -> None:
        protocol = self._protocol
        if protocol.state == protocol.STATE_OPEN:
            protocol.transport.write(b"".join([self._wire(frame) for frame in frames]))

    def write_rest(self, data: bytes) -> None:
        self._protocol.transport.queue_rest(data)

    def _wire(self, frame: Frame) -> bytes:
        compress = self._protocol._perMessageCompress
        wire: bytes = frame.wire if compress is None else compress.wire(frame)
        return wire

    def flush(self) -> None:
        """The protocol is about to say goodbye: what the session has said comes before."""
        if self.session is not None:
            self.session.flush()

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
        """The frames broke a rule: Close with `code` is sent next, behind what came of the frames before."""
        self.flush()
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
