"""A WebSocket connection whose TCP is a fake: what the server wrote and did to it is there to be looked at."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.config import Config, Namespace
from realtime_svc.core.messages import Publish
from realtime_svc.core.ports import Admitted
from realtime_svc.model import ANONYMOUS, Identity, RemoteAddress
from realtime_svc.transports.caps import Caps
from realtime_svc.transports.websocket import Hall
from realtime_svc.wire.http_head import HeadLimits, HeadParser
from realtime_svc.wire.routes import route
from tests.fakes import World
from tests.integration.ws_peer import CLOSE, Wire, parse

FIELDS = (
    "Host: h",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


class Socket:
    """As much of a TCP transport as the code asks for. `did` is what was done to it, in order."""

    def __init__(self) -> None:
        self.connected = 1
        self.written = b""
        self.did: list[str] = []
        self.producer: Any = None

    def write(self, data: bytes) -> None:
        self.written += data

    def take(self) -> bytes:
        """What was written since the last time."""
        written, self.written = self.written, b""
        return written

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: N802
        self.did.append(f"no delay {enabled}")

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def pauseProducing(self) -> None:
        self.did.append("pause")

    def resumeProducing(self) -> None:
        self.did.append("resume")

    def loseWriteConnection(self) -> None:  # noqa: N802
        self.did.append("fin")

    def loseConnection(self) -> None:
        self.did.append("close")

    def abortConnection(self) -> None:
        self.did.append("abort")


class Gate:
    """Lets in whom it is told to: an identity, or what it raises."""

    def __init__(self) -> None:
        self.answer: Identity | Exception | None = ANONYMOUS
        self.subprotocol: str | None = None
        self.options: dict[str, Any] = {}

    def prepare(self, head: object) -> None:
        return None

    def check(self, head: object) -> None:
        """Anything."""

    def admit(self, head: object, found: object) -> Admitted:
        if isinstance(self.answer, Exception):
            raise self.answer
        return Admitted(self.answer, self.subprotocol, (), True, None, **self.options)


class House:
    """A hall on a node that stands still, with `config` over the defaults."""

    def __init__(self, config: Config | None = None, **changes: Any) -> None:
        self.world = World(**changes)
        self.clock = self.world.clock
        self.node = self.world.node
        self.gate = Gate()
        self.caps = Caps(0, 0)
        self.hall = Hall(self.node, self.gate, config or Config())

    def request(self, path: str = "/ws", *headers: str) -> tuple[Any, Socket]:
        """The server's protocol and its socket, behind an upgrade request with the answer in `written`."""
        text = "\r\n".join((f"GET {path} HTTP/1.1", *FIELDS, *headers, "", ""))
        parsed = HeadParser(HeadLimits()).feed(text.encode())
        assert parsed is not None
        socket: Any = Socket()
        lease = self.caps.accept("192.0.2.1")
        assert lease is not None
        self.hall.open(socket, parsed[0], route(parsed[0]), RemoteAddress("192.0.2.1", 40000), lease)
        return socket.protocol, socket

    def connect(self, path: str = "/ws", *headers: str) -> tuple[Any, Socket]:
        """The same, open, and what was said first is taken."""
        protocol, socket = self.request(path, *headers)
        assert socket.take().startswith(b"HTTP/1.1 101 ")
        socket.did.clear()
        return protocol, socket


EVERYBODY = {"default": Namespace(subscribe=("anonymous",), publish=("anonymous",), payload="bytes", echo=True)}


def frames(data: bytes) -> list[Wire]:
    """What the server wrote, as frames."""
    found, at = [], 0
    while (parsed := parse(bytearray(data), at)) is not None:
        one, at = parsed
        found.append(one)
    assert at == len(data), data
    return found


def close_code(data: bytes) -> int:
    """The code of the Close frame that was written last."""
    last = frames(data)[-1]
    assert last.opcode == CLOSE
    return int.from_bytes(last.payload[:2], "big")


class WebsocketTestCase(SynchronousTestCase):
    """Connections to a house with `config`, where everybody may do everything."""

    config = Config()

    def setUp(self) -> None:
        self.house = House(self.config, namespaces=EVERYBODY, anonymous=True)
        self.node, self.clock = self.house.node, self.house.clock

    def connect(self, path: str = "/raw/x") -> tuple[Any, Socket]:
        return self.house.connect(path)

    def publish(self, text: bytes) -> None:
        work = self.node.publishing.publish(Publish("x", text))
        self.node.run(work, lambda result, error: self.assertIsNone(error))

    def gone(self, protocol: Any, socket: Socket, why: type[Exception] = ConnectionDone) -> None:
        socket.connected = 0
        protocol.connectionLost(Failure(why()))

    def flood(self, protocol: Any, socket: Socket, data: bytes) -> None:
        """Send whenever the server reads, until it closes."""
        while protocol.state == protocol.STATE_OPEN and self.clock.seconds() < 100:
            protocol.dataReceived(data)
            while socket.did[-1:] == ["pause"]:
                self.clock.advance(0.01)

    def assert_nothing_left(self) -> None:
        counts = [
            *self.node.instruments.connections.values(),
            self.node.instruments.subscriptions,
            self.house.caps.open,
        ]
        self.assertEqual((counts, self.node.hub.sessions), ([0] * len(counts), {}))
        self.clock.advance(self.config.websocket.fragment_timeout)  # one watch for all unfinished messages
        self.assertEqual(self.clock.getDelayedCalls(), [])
