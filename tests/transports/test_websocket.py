"""One WebSocket connection between Autobahn's state machine and our session, on a clock that stands still."""

from __future__ import annotations

import json
import zlib
from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from realtime_svc.config import Config, Deflate, Namespace, Websocket
from realtime_svc.core.reading import Hold
from realtime_svc.errors import Disconnect, Refusal
from realtime_svc.model import Identity
from realtime_svc.wire.frames import message_frame, websocket_frame
from tests.integration.ws_peer import BINARY, CONTINUATION, PING, PONG, TEXT, Wire, frame
from tests.transports.sockets import EVERYBODY, House, WebsocketTestCase, close_code, frames


class _Broken:
    """A session with a fault."""

    reading = True

    def receive(self, payload: bytes, binary: bool) -> None:
        raise ValueError

    def flush(self) -> None:
        """Nothing is waiting."""

    def leave(self, disconnect: Disconnect) -> None:
        """As if."""


class OpeningTests(WebsocketTestCase):
    def test_opens(self) -> None:
        """101, the sub-protocol that the gate selected, and at once the session's first words."""
        self.house.gate.subprotocol = "plain.v1"
        _, socket = self.house.request("/ws", "Sec-WebSocket-Protocol: plain.v1, bearer.secret-token")
        head, _, rest = socket.written.partition(b"\r\n\r\n")
        self.assertIn(b"Sec-WebSocket-Protocol: plain.v1", head)
        self.assertNotIn(b"secret-token", head)
        self.assertIn("hello", json.loads(frames(rest)[0].payload))
        self.assertIn("no delay True", socket.did)

    def test_too_many_of_a_user(self) -> None:
        """429, and nothing is held."""
        house = House(connections_per_user=1)
        house.gate.answer = Identity("alice")
        first, _ = house.connect()
        _, socket = house.request()
        self.assertTrue(socket.written.startswith(b"HTTP/1.1 429 "))
        self.assertEqual(house.node.instruments.refusals, {(429, "connections_per_user"): 1})
        first.connectionLost(Failure(ConnectionDone()))
        house.connect()

    def test_refused_and_gone(self) -> None:
        """A refused handshake has no session; the place is given back when TCP has ended, by force in the end."""
        self.house.gate.answer = Refusal(403, "test", "no")
        protocol, socket = self.house.request()
        self.clock.advance(self.config.websocket.close_timeout)
        self.assertEqual(socket.did[-2:], ["fin", "abort"])
        self.gone(protocol, socket, ConnectionLost)
        self.assertEqual((self.house.caps.open, self.clock.getDelayedCalls()), (0, []))

    def test_failing_session(self) -> None:
        """An exception while it opens is 1011, and a report."""
        self.node.opened = lambda session: 1 / 0  # type: ignore[method-assign, assignment]
        _, socket = self.house.request()
        self.assertEqual(close_code(socket.written.partition(b"\r\n\r\n")[2]), 1011)
        self.assertEqual([what for what, _ in self.house.world.reports], ["a WebSocket connection failed"])


class CentrifugeTests(WebsocketTestCase):
    """/connection/websocket: which dialect, and who asks for liveness how."""

    def open(self, **options: Any) -> tuple[Any, Any]:
        self.house.gate.answer = None
        self.house.gate.options = options
        return self.connect("/connection/websocket")

    def test_json(self) -> None:
        """In text, whether the command came as text or as binary; the server is silent until it has come."""
        for opcode in (TEXT, BINARY):
            protocol, socket = self.open()
            self.assertEqual(socket.take(), b"")
            protocol.dataReceived(frame(opcode, b'{"id":1,"connect":{}}'))
            (answer,) = frames(socket.take())
            self.assertEqual((answer.opcode, json.loads(answer.payload)["id"]), (TEXT, 1))
            self.assertNotIn("session", json.loads(answer.payload)["connect"])

    def test_protobuf(self) -> None:
        """In binary, whether the command came as text or as binary."""
        for opcode in (TEXT, BINARY):
            protocol, socket = self.open(protobuf=True)
            protocol.dataReceived(frame(opcode, b"\x04\x08\x01\x22\x00"))
            (answer,) = frames(socket.take())
            self.assertEqual((answer.opcode, answer.payload[1:3]), (BINARY, b"\x08\x01"))

    def test_frame_pings(self) -> None:
        """By frames, where the request says so: then the answer does not ask for pongs."""
        for frame_pings in (False, True):
            protocol, socket = self.open(frame_pings=frame_pings)
            protocol.dataReceived(frame(TEXT, b'{"id":1,"connect":{}}'))
            (answer,) = frames(socket.take())
            self.assertEqual("ping" in json.loads(answer.payload)["connect"], not frame_pings)
            protocol.link.session.beat()
            (ping,) = frames(socket.take())
            self.assertEqual((ping.opcode, ping.payload), (PING, b"") if frame_pings else (TEXT, b"{}"))

    def test_too_big(self) -> None:
        """A close of its own, so that SDKs stay away: 1009."""
        protocol, socket = self.open()
        protocol.dataReceived(frame(TEXT, declared=65537))
        self.assertEqual(close_code(socket.take()), 1009)


class RecoveryTests(WebsocketTestCase):
    def setUp(self) -> None:
        history = Namespace(
            subscribe=("anonymous",), publish=("anonymous",), payload="bytes", history_size=10, history_ttl=60.0
        )
        self.house = House(self.config, namespaces={"default": history}, anonymous=True)
        self.node, self.clock = self.house.node, self.house.clock

    def test_last(self) -> None:
        """What the address asks for comes first."""
        for text in (b"1", b"2", b"3"):
            self.publish(text)
        for options, expected in (({"last": 2}, [b"2", b"3"]), ({}, [])):
            self.house.gate.options = options
            _, socket = self.house.request("/raw/x")
            found = [one.payload for one in frames(socket.take().partition(b"\r\n\r\n")[2])]
            self.assertEqual(found, expected)


class MessageTests(WebsocketTestCase):
    def test_both_ways(self) -> None:
        protocol, socket = self.connect()
        protocol.dataReceived(frame(TEXT, b"a") + frame(BINARY, b"\xff"))
        self.assertEqual(frames(socket.take()), [Wire(TEXT, b"a"), Wire(BINARY, b"\xff")])

    def test_crash(self) -> None:
        """An exception while a message is read ends this connection with 1011 and no other."""
        protocol, socket = self.connect()
        other, other_socket = self.connect()
        protocol.link.session = _Broken()
        protocol.dataReceived(frame(TEXT, b"a"))
        self.assertEqual(close_code(socket.take()), 1011)
        self.assertEqual(self.node.instruments.closes, {1011: 1})
        other.dataReceived(frame(TEXT, b"b"))
        self.assertEqual(frames(other_socket.take()), [Wire(TEXT, b"b")])

    def test_nothing_is_written_behind_close(self) -> None:
        protocol, socket = self.connect()
        protocol.link.close(Disconnect(1000, ""))
        socket.take()
        protocol.link.write(message_frame(b"late"))
        self.assertFalse(protocol.link.ping())
        protocol.link.close(Disconnect(1001, ""))
        self.assertEqual(socket.take(), b"")

    def test_compressed(self) -> None:
        """With the extension each client's copy is compressed for itself."""
        house = House(Config(websocket=Websocket(deflate=Deflate(enabled=True))), namespaces=EVERYBODY, anonymous=True)
        protocol, socket = house.connect("/raw/x", "Sec-WebSocket-Extensions: permessage-deflate")
        protocol.dataReceived(frame(BINARY, b"abc" * 100))
        (echo,) = frames(socket.take())
        self.assertEqual((echo.opcode, echo.rsv), (BINARY, 4))
        self.assertEqual(zlib.decompressobj(-15).decompress(echo.payload + b"\0\0\xff\xff"), b"abc" * 100)


class PingTests(WebsocketTestCase):
    def test_answered(self) -> None:
        protocol, socket = self.connect()
        protocol.dataReceived(frame(PING, b"1") + frame(PING, b"2"))
        self.assertEqual(frames(socket.take()), [Wire(PONG, b"1"), Wire(PONG, b"2")])

    def test_newest_only_while_blocked(self) -> None:
        """RFC 6455 5.5.3: what was pinged while the socket took nothing gets one answer, when it takes more."""
        protocol, socket = self.connect()
        socket.producer.pauseProducing()
        protocol.dataReceived(b"".join(frame(PING, b"%d" % number) for number in range(1000)))
        self.assertEqual(socket.take(), b"")
        socket.producer.resumeProducing()
        socket.producer.pauseProducing()
        socket.producer.resumeProducing()
        self.assertEqual(frames(socket.take()), [Wire(PONG, b"999")])

    def test_not_behind_close(self) -> None:
        protocol, socket = self.connect()
        protocol.link.close(Disconnect(1000, ""))
        socket.take()
        protocol.dataReceived(frame(PING, b"late"))
        self.assertEqual(socket.take(), b"")

    def test_ours(self) -> None:
        """A ping of ours is not added to what a blocked socket does not take; an answer is due all the same."""
        protocol, socket = self.connect()
        self.assertTrue(protocol.link.ping())
        self.assertEqual(socket.take(), websocket_frame(PING, b""))
        socket.producer.pauseProducing()
        self.assertTrue(protocol.link.ping())
        self.assertEqual(socket.take(), b"")

    def test_pong(self) -> None:
        protocol, _ = self.connect()
        session = protocol.link.session
        session.beat()
        self.assertTrue(session.awaits_pong(1))
        protocol.dataReceived(frame(PONG))
        self.assertFalse(session.awaits_pong(1))


class UnfinishedTests(WebsocketTestCase):
    """A message has `fragment_timeout` to arrive: 1008, between that and a quarter more."""

    config = Config(websocket=Websocket(fragment_timeout=8.0))

    def test_never_finished(self) -> None:
        protocol, socket = self.connect()
        protocol.dataReceived(frame(TEXT, b"a", fin=False))
        self.clock.pump([1.0] * 7)
        protocol.dataReceived(frame(CONTINUATION, b"b", fin=False))
        self.assertEqual(socket.did, [])
        self.clock.pump([1.0] * 3)
        self.assertEqual(close_code(socket.take()), 1008)
        self.assertEqual(self.node.instruments.closes, {1008: 1})

    def test_unfinished_frame(self) -> None:
        protocol, socket = self.connect()
        protocol.dataReceived(frame(TEXT, declared=100))
        self.clock.pump([1.0] * 10)
        self.assertEqual(close_code(socket.take()), 1008)

    def test_each_message_has_its_own_time(self) -> None:
        """Always inside some message, never for long inside one."""
        protocol, socket = self.connect()
        protocol.dataReceived(frame(TEXT, b"a", fin=False))
        for _ in range(20):
            self.clock.pump([1.0] * 5)
            protocol.dataReceived(frame(CONTINUATION, b"b") + frame(TEXT, b"a", fin=False))
        self.assertEqual(len(frames(socket.take())), 20)

    def test_not_while_we_do_not_read(self) -> None:
        """The rest may be waiting in the socket: the time begins when reading goes on."""
        protocol, socket = self.connect()
        protocol.dataReceived(frame(TEXT, b"a", fin=False))
        protocol.link.session.reading.pause(Hold.BACKLOG)
        self.clock.pump([1.0] * 50)
        protocol.link.session.reading.resume(Hold.BACKLOG)
        self.clock.pump([1.0] * 6)
        protocol.dataReceived(frame(CONTINUATION, b"b"))
        self.assertEqual(frames(socket.take()), [Wire(TEXT, b"ab")])

    def test_others_go_on(self) -> None:
        """Several at different times, one watch for all of them, which ends with the last."""
        peers = []
        for _ in range(3):
            peers.append(self.connect())
            peers[-1][0].dataReceived(frame(TEXT, b"a", fin=False))
            self.clock.pump([1.0] * 2)
        peers[1][0].dataReceived(frame(CONTINUATION, b"b"))
        self.clock.pump([1.0] * 20)
        self.assertEqual([close_code(socket.take()) for _, socket in peers[::2]], [1008, 1008])
        self.assertEqual(peers[1][1].did, [])
        for protocol, socket in peers:
            self.gone(protocol, socket)
        self.assert_nothing_left()
