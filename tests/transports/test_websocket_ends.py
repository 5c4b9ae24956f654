"""How one WebSocket connection ends: by either side, by a violation, by a flood, by the loss of TCP."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone, ConnectionLost

from realtime_svc.config import Config, Limits
from realtime_svc.core.ratelimit import RateLimit
from realtime_svc.core.reading import Hold
from realtime_svc.errors import Disconnect
from tests.integration.ws_peer import PONG, TEXT, Wire, close_frame, frame
from tests.transports.sockets import EVERYBODY, House, WebsocketTestCase, close_code, frames


class EndTests(WebsocketTestCase):
    def test_ours(self) -> None:
        """Close; the peer gets close_timeout to answer, then the connection is cut."""
        protocol, socket = self.connect()
        protocol.link.close(Disconnect(3000, "x" * 200))
        self.assertEqual(len(frames(socket.take())[0].payload), 125)
        self.clock.advance(4.9)
        self.assertEqual(socket.did, [])
        self.clock.advance(0.2)
        self.assertEqual(socket.did, ["abort"])
        self.gone(protocol, socket, ConnectionLost)
        self.assert_nothing_left()

    def test_answered(self) -> None:
        """The answer ends it; the time for the peer's FIN is the same one."""
        protocol, socket = self.connect()
        protocol.link.close(Disconnect(3000, ""))
        self.clock.advance(3)
        protocol.dataReceived(close_frame(3000))
        self.assertEqual(socket.did, ["fin"])
        self.gone(protocol, socket)
        self.assert_nothing_left()

    def test_theirs(self) -> None:
        """From the peer's Close on the session takes no part, though TCP has not ended: nothing is queued for it."""
        protocol, socket = self.connect()
        _, other = self.connect()
        socket.producer.pauseProducing()
        protocol.dataReceived(close_frame(1001))
        self.assertEqual(close_code(socket.take()), 1001)
        self.assertEqual(self.node.instruments.subscriptions, 1)
        self.publish(b"x" * 100)
        self.assertEqual((socket.take(), protocol.link.session.queued), (b"", 0))
        self.assertEqual(frames(other.take()), [Wire(TEXT, b"x" * 100)])
        self.assertEqual(self.node.instruments.closes, {})
        self.clock.advance(5.1)
        self.assertEqual(socket.did, ["fin", "abort"])

    def test_violation(self) -> None:
        """The same when the peer is failed; counted once, by the code."""
        protocol, socket = self.connect()
        socket.producer.pauseProducing()
        self.publish(b"x" * 5_000)
        protocol.dataReceived(frame(3))
        self.publish(b"y" * 50_000)
        self.clock.advance(100)
        self.assertEqual((protocol.link.session.queued, self.node.instruments.closes), (0, {1002: 1}))
        self.gone(protocol, socket, ConnectionLost)
        self.assert_nothing_left()

    def test_user_code_is_told(self) -> None:
        """Once, when the connection is gone, with the code that was said first."""
        for data, code in ((close_frame(4321), 4321), (close_frame(None), 1005), (frame(3), 1002), (b"", 1006)):
            calls = self.house.world.fake_hooks.calls
            calls.clear()
            protocol, socket = self.connect()
            protocol.dataReceived(data)
            self.assertEqual([call for call in calls if call[0] == "close"], [])
            self.gone(protocol, socket)
            self.assertEqual([call for call in calls if call[0] == "close"], [("close", code)])

    def test_reading_goes_on(self) -> None:
        """What paused reading does not matter any more: the peer's Close and FIN are to be seen."""
        for end in (
            lambda link: link.fail(Disconnect(1008, "")),
            lambda link: link.session.close(Disconnect(3000, "")),
        ):
            protocol, socket = self.connect()
            protocol.link.session.reading.hold(Hold.RATE, 1000.0)
            self.assertEqual(socket.did, ["pause"])
            end(protocol.link)
            self.assertEqual(socket.did[1], "resume")

    def test_lost_in_each_state(self) -> None:
        """Nothing is left, whatever was going on."""
        starts: dict[str, bytes] = {
            "at rest": b"",
            "in a head of a frame": b"\x81",
            "in a frame": frame(TEXT, declared=100),
            "in a message": frame(TEXT, b"a", fin=False),
            "behind a message": frame(TEXT, b"a"),
            "behind a Close": close_frame(),
            "behind a violation": frame(3),
        }
        for path in ("/raw/x", "/ws"):
            for why in (ConnectionDone, ConnectionLost):
                for start in starts.values():
                    protocol, socket = self.connect(path)
                    protocol.dataReceived(start)
                    self.gone(protocol, socket, why)
                    self.assert_nothing_left()
                protocol, socket = self.connect(path)
                protocol.link.close(Disconnect(3000, ""))
                self.gone(protocol, socket, why)
                self.assert_nothing_left()

    def test_resume_of_a_dead_socket(self) -> None:
        """A pause may end when the connection is gone."""
        protocol, socket = self.connect()
        protocol.link.session.reading.hold(Hold.RATE, 1.0)
        self.gone(protocol, socket)
        socket.did.clear()
        self.clock.advance(2)
        self.assertEqual(socket.did, [])


class FrameRateTests(WebsocketTestCase):
    """10 frames a second, 20 at once; 5 seconds of patience."""

    config = Config(limits=Limits(frames_per_second=10, flood_patience=5.0))

    def test_burst(self) -> None:
        protocol, socket = self.connect()
        protocol.dataReceived(frame(PONG) * 20)
        self.assertEqual(socket.did, [])

    def test_pause(self) -> None:
        """Reading pauses until the debt is paid."""
        protocol, socket = self.connect()
        protocol.dataReceived(frame(PONG) * 40)
        self.clock.advance(1.9)
        self.assertEqual(socket.did, ["pause"])
        self.clock.advance(0.2)
        self.assertEqual(socket.did, ["pause", "resume"])

    def test_flood(self) -> None:
        """Who fills every pause is closed with 1008, and reading goes on, for the answer."""
        protocol, socket = self.connect()
        self.flood(protocol, socket, frame(PONG) * 30)
        self.assertEqual(close_code(socket.take()), 1008)
        self.assertNotEqual(socket.did[-1], "pause")
        self.assertLess(self.clock.seconds(), 15)


class MessageRateTests(WebsocketTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.house = House(namespaces=EVERYBODY, anonymous=True, messages=RateLimit(10, 20, 5))
        self.clock = self.house.clock

    def test_flood(self) -> None:
        """A client that sends as fast as it is read: paused again and again, then 3013 within twice the patience."""
        protocol, socket = self.connect()
        self.flood(protocol, socket, frame(TEXT, b"x") * 30)
        self.assertEqual(close_code(socket.take()), 3013)
        self.assertLess(self.clock.seconds(), 15)
        self.assertIn("pause", socket.did)
