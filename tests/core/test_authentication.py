"""The first message brings a credential, later ones refresh it, and it runs out."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc import errors
from realtime_svc.config import Namespace
from realtime_svc.core.expiry import LOOK_AGAIN
from realtime_svc.errors import ConnectionClosing, Disconnect
from realtime_svc.model import ANONYMOUS, Grant, Identity
from tests.fakes import START, FakeTransport, World

ALL = {"default": Namespace(subscribe=("anonymous",), publish=("anonymous",))}


class AuthenticationTests(SynchronousTestCase):
    """The first message brings the credential; later ones refresh it."""

    def setUp(self) -> None:
        self.world = World(namespaces=ALL)

    def test_good_first_message(self) -> None:
        transport = self.world.connect(None, channels=("x",))
        transport.type('{"auth":"a","id":7}')
        told = transport.take()
        self.assertEqual([{"ok": "auth", "user": "alice", "id": 7}, {"ok": "subscribe", "channel": "x"}], told)
        self.world.pass_time(60)
        self.assertIsNone(transport.closed, "the time to authenticate does not run on")

    def test_bad_first_messages(self) -> None:
        """Each is answered with its error, then the connection ends with 3500, whatever else stands in the frame."""
        for message, number in (
            ('{"auth":"wrong"}', 101),
            ("auth wrong", 101),
            ('{"subscribe":"x"}', 101),
            ("ping", 101),
            ("help", 101),
            ('{"publish":"x","data":1}', 101),
            ("{}", 104),
            ("hello?", 104),
            ('{"auth":7}', 107),
            ("{", 107),
            (b"\xff", 107),
            ('{"subscribe":"x"}\n{"auth":"a"}', 101),
        ):
            transport = self.world.connect(None)
            transport.type(message, '{"auth":"a"}')
            answer, bye = transport.take()
            self.assertEqual(number, answer["error"]["code"], message)
            self.assertEqual({"bye": {"code": 3500, "reason": "invalid token", "reconnect": False}}, bye)
            self.assertEqual(errors.INVALID_TOKEN, transport.closed, message)

    def test_nothing_is_delivered_before(self) -> None:
        """Neither a channel's publication nor a broadcast to the whole server."""
        waiting, alice = self.world.connect(None), self.world.connect()
        self.assertIsNone(self.successResultOf(Deferred.fromCoroutine(self.world.node.publishing.broadcast(b"1"))))
        self.assertEqual(([], 1), (waiting.take(), len(alice.take())))

    def test_no_message_in_time(self) -> None:
        transport = self.world.connect(None)
        self.world.clock.advance(9.9)
        self.assertIsNone(transport.closed)
        self.world.clock.advance(0.2)
        self.assertEqual(errors.STALE, transport.closed)
        self.assertEqual(3502, transport.take()[0]["bye"]["code"])

    def test_binary_first_message(self) -> None:
        transport = self.world.connect(None)
        assert transport.session is not None
        transport.session.receive(b'{"auth":"a"}', True)
        self.assertEqual(errors.INAPPROPRIATE_PROTOCOL, transport.closed)

    def test_refresh(self) -> None:
        """The same user goes on; another user's token, a wrong one and an anonymous one end the connection."""
        for token, closed in (
            ("a", None),
            ("b", errors.INVALID_TOKEN),
            ("no", errors.INVALID_TOKEN),
            ("nobody", errors.PERMISSION_DENIED),
        ):
            transport = self.world.connect()
            transport.type(f'{{"auth":"{token}"}}')
            self.assertEqual(closed, transport.closed, token)

    def test_refresh_keeps_channels_and_does_not_connect_again(self) -> None:
        transport = self.world.connect(channels=("x",))
        transport.type('{"auth":"a"}')
        self.assertEqual([{"ok": "auth", "user": "alice"}], transport.take())
        self.assertEqual([("connect", "alice"), ("subscribe", "x")], self.world.fake_hooks.calls)
        assert transport.session is not None
        self.assertEqual({"x"}, set(transport.session.channels))

    def test_anonymous_becomes_somebody_once(self) -> None:
        world = World(namespaces=ALL, anonymous=True, connections_per_user=1)
        transport = world.connect(ANONYMOUS)
        transport.type('{"auth":"nobody"}', '{"auth":"a"}', '{"auth":"a"}')
        self.assertEqual(["", "alice", "alice"], [answer["user"] for answer in transport.take()])
        transport.type('{"auth":"b"}')
        self.assertEqual(errors.INVALID_TOKEN, transport.closed)

    def test_user_code_is_asked_about_who_comes_in_as_nobody_and_says_a_name_later(self) -> None:
        """Else it would be a way around a `connect` handler that turns somebody away."""
        world = World(namespaces=ALL, anonymous=True, personal_channel=True)
        world.fake_hooks.connect_subscriptions = {"y": Grant()}
        transport = world.connect(ANONYMOUS, channels=("x",))
        transport.take()
        transport.type('{"auth":"a"}', '{"auth":"a"}')
        self.assertEqual(
            [("connect", ""), ("subscribe", "x"), ("connect", "alice")], world.fake_hooks.calls, "and not again"
        )
        assert transport.session is not None
        self.assertEqual({"x", "y", "#alice"}, set(transport.session.channels))
        refused = world.connect(ANONYMOUS)
        world.fake_hooks.outcomes["connect"] = ConnectionClosing(errors.PERMISSION_DENIED)
        refused.type('{"auth":"a"}', '{"publish":"x","data":1}')
        self.assertEqual(errors.PERMISSION_DENIED, refused.closed)
        self.assertNotIn("publish", [call[0] for call in world.fake_hooks.calls])

    def test_user_has_so_many_connections(self) -> None:
        """The limit holds for a first message too, and a place is free again when its owner is gone."""
        world = World(connections_per_user=1)
        first, second, third = (world.connect(None) for _ in range(3))
        first.type('{"auth":"a"}')
        second.type('{"auth":"a"}')
        self.assertEqual((None, errors.CONNECTION_LIMIT), (first.closed, second.closed))
        second.leave()
        first.leave()
        third.type('{"auth":"a"}')
        self.assertIsNone(third.closed)


class ExpiryTests(SynchronousTestCase):
    """A credential runs out by the wall clock; the monotonic one only says when to look."""

    def setUp(self) -> None:
        self.world = World()

    def connect(self, seconds: float) -> FakeTransport:
        return self.world.connect(Identity("alice", expires_at=START + seconds))

    def test_runs_out(self) -> None:
        transport = self.connect(100)
        self.world.pass_time(99.75)
        self.assertIsNone(transport.closed)
        self.world.pass_time(0.5)
        self.assertEqual(Disconnect(3005, "connection expired"), transport.closed)

    def test_run_out_already(self) -> None:
        transport = self.connect(-1)
        self.assertEqual(errors.EXPIRED, transport.closed)
        self.assertEqual([], self.world.fake_hooks.calls, "user code does not see it")

    def test_refresh_moves_the_end(self) -> None:
        transport = self.connect(100)
        self.world.authenticator.tokens["new"] = Identity("alice", expires_at=START + 500)
        transport.type('{"auth":"new"}')
        self.world.pass_time(499)
        self.assertIsNone(transport.closed)
        self.world.pass_time(2)
        self.assertEqual(errors.EXPIRED, transport.closed)

    def test_wall_clock_is_set(self) -> None:
        """Forward: noticed at the next look. Back: the connection stays until the clock is there again."""
        ahead, behind = self.connect(1800), self.connect(100_000)
        self.world.wall += 3600
        self.world.clock.advance(LOOK_AGAIN)
        self.assertEqual((errors.EXPIRED, None), (ahead.closed, behind.closed))
        self.world.wall -= 200_000
        self.world.clock.advance(100_000 - 3600)
        self.assertIsNone(behind.closed)
