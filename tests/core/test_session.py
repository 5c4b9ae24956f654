"""One connection: its states, the order of its commands, what it is told and when it is closed."""

from __future__ import annotations

from typing import NoReturn

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc import errors
from realtime_svc.config import Namespace
from realtime_svc.core.line import COMMANDS_A_TURN, TURN
from realtime_svc.core.ratelimit import RateLimit
from realtime_svc.core.state import State
from realtime_svc.engines.broker_memory import MemoryBroker
from realtime_svc.errors import ConnectionClosing, ErrorCode, ReplyError
from realtime_svc.model import Publication
from realtime_svc.wire.sse import SseDialect
from tests.fakes import PLAIN, RAW, World, error
from tests.fakes_engines import DelayingBroker

ALL = {"default": Namespace(subscribe=("anonymous",), publish=("anonymous",))}


class HelloTests(SynchronousTestCase):
    """Before the first command."""

    def test_hello_comes_first_and_names_the_user(self) -> None:
        transport = World(message_size=1000).connect(room=9)
        assert transport.session is not None
        hello = transport.take()
        body = {"client": transport.session.id, "user": "alice", "version": "1", "recover": True, "max_size": 1000}
        self.assertEqual([{"hello": body}], hello)

    def test_raw_says_no_hello(self) -> None:
        self.assertEqual([], World().connect(dialect=RAW, home="x", room=9).frames)

    def test_raw_client_that_may_not_listen_is_told_whether_to_come_back(self) -> None:
        """Its connection has no other purpose."""
        for refusal, code, reason in (
            (ReplyError(ErrorCode.PERMISSION_DENIED, "staff only"), 3507, "staff only"),
            (ReplyError(ErrorCode.INTERNAL), 3011, "internal error"),
            (ReplyError(ErrorCode.LIMIT_EXCEEDED, "full"), 3505, "full"),
        ):
            world = World()
            world.fake_hooks.outcomes["subscribe"] = refusal
            transport = world.connect(dialect=RAW, home="x", channels=("x",), room=9)
            self.assertEqual((code, reason), transport.closed)
            self.assertEqual(refusal.number, transport.take()[0]["error"]["code"])

    def test_first_channels_are_subscribed_and_answered(self) -> None:
        transport = World().connect(channels=("one", "no channel", "two"), room=9)
        told = transport.take()[1:]
        self.assertEqual({"ok": "subscribe", "channel": "one"}, told[0])
        self.assertEqual(error(107, "not a channel name"), told[1]["error"])
        self.assertEqual({"ok": "subscribe", "channel": "two"}, told[2])

    def test_identity_from_the_handshake_is_open_at_once(self) -> None:
        session = World().connect().session
        assert session is not None
        self.assertIs(State.OPEN, session.state)


class OrderTests(SynchronousTestCase):
    """Commands are carried out one after another; what waits is bounded."""

    def setUp(self) -> None:
        self.world = World(namespaces=ALL)
        self.transport = self.world.connect()
        self.gate: Deferred[bool] = Deferred()
        self.world.fake_hooks.outcomes["publish"] = self.gate

    def test_next_commands_wait_behind_one_that_waits(self) -> None:
        self.transport.type('{"publish":"x","data":1}', "ping", '{"subscribe":"x"}')
        self.assertEqual([], self.transport.take())
        self.assertFalse(self.transport.reading, "reading pauses meanwhile")
        self.gate.callback(True)
        self.assertEqual(["publish", "ping", "subscribe"], [answer["ok"] for answer in self.transport.take()])
        self.assertTrue(self.transport.reading)

    def test_lines_of_one_frame_wait_too(self) -> None:
        self.transport.type('{"publish":"x","data":1}\nping\nping')
        self.assertEqual([], self.transport.take())
        self.gate.callback(True)
        self.assertEqual(["publish", "ping", "ping"], [answer["ok"] for answer in self.transport.take()])

    def test_other_clients_do_not_wait(self) -> None:
        other = self.world.connect()
        self.transport.type('{"publish":"x","data":1}')
        other.type("ping")
        self.assertEqual([{"ok": "ping"}], other.take())

    def test_long_line_is_worked_off_without_a_deep_stack(self) -> None:
        self.transport.type('{"publish":"x","data":1}', *["ping"] * 5000)
        self.gate.callback(True)
        self.world.clock.pump([0.0] * (5000 // COMMANDS_A_TURN + 1))
        self.assertEqual(5001, len(self.transport.take()))
        self.assertEqual(["pause", "resume"], self.transport.events[-2:])

    def test_others_have_their_turn(self) -> None:
        """However many commands one message holds, and in whatever messages they come."""
        other = self.world.connect()
        self.gate.callback(True)
        self.transport.type("\n".join(["ping"] * 200))
        self.assertEqual(COMMANDS_A_TURN, len(self.transport.take()))
        self.assertFalse(self.transport.reading)
        other.type("ping")
        self.assertEqual([{"ok": "ping"}], other.take())
        self.world.clock.pump([0.0] * 4)
        self.assertEqual(200 - COMMANDS_A_TURN, len(self.transport.take()))
        self.assertTrue(self.transport.reading)

    def test_others_have_their_turn_after_a_costly_command(self) -> None:
        """A command may take as long as a thousand deliveries: what counts is the time, not only the number."""
        world = World(namespaces=ALL)

        async def costly(session: object, publication: Publication) -> Publication:
            world.clock.rightNow += TURN / 2  # the event loop stands still meanwhile
            return publication

        world.fake_hooks.publish = costly  # type: ignore[method-assign]
        client = world.connect()
        client.type("\n".join(['{"publish":"x","data":1}'] * 4))
        self.assertEqual(2, len(client.take()))
        self.assertFalse(client.reading)
        world.clock.pump([0.0] * 2)
        self.assertEqual(2, len(client.take()))
        self.assertTrue(client.reading)

    def test_client_leaves_while_its_command_waits(self) -> None:
        self.transport.type('{"publish":"x","data":1}', '{"subscribe":"x"}')
        self.transport.leave()
        self.gate.callback(True)
        self.assertEqual([], self.transport.take())
        self.assertEqual((), self.world.node.hub.subscribers("x"))
        self.assertEqual([], self.world.reports)

    def test_answer_of_the_broker_is_waited_for(self) -> None:
        broker = DelayingBroker(MemoryBroker(Clock()))
        world = World(namespaces=ALL, broker=broker)
        transport, listener = world.connect(), world.connect(channels=("x",))
        broker.release()
        self.assertEqual(["subscribe"], [answer["ok"] for answer in listener.take()])
        transport.type('{"publish":"x","data":1}', "ping")
        self.assertEqual(([], 1), (transport.take(), len(listener.take())))
        broker.release()
        self.assertEqual(["publish", "ping"], [answer["ok"] for answer in transport.take()])


class CommandTests(SynchronousTestCase):
    """What goes wrong in a command is answered; the connection stays."""

    def test_failure_inside_is_an_internal_error(self) -> None:
        world = World(namespaces=ALL)
        world.fake_hooks.outcomes["publish"] = KeyError("secret")
        transport = world.connect()
        transport.type('{"publish":"x","data":1,"id":3}', "ping")
        body = {"error": error(100, "internal error", True), "on": "publish", "channel": "x", "id": 3}
        self.assertEqual([body, {"ok": "ping"}], transport.take())
        self.assertEqual(["a client's publish failed"], [what for what, _ in world.reports])

    def test_failure_of_our_own_ends_one_connection(self) -> None:
        """An exception that no command accounts for: 3004, and it is reported."""

        class Broken(SseDialect):
            def decode(self, payload: bytes, binary: bool, home: str) -> NoReturn:
                raise ZeroDivisionError

        world = World()
        broken, other = world.connect(dialect=Broken()), world.connect()
        broken.type("x")
        other.type("ping")
        self.assertEqual((errors.INTERNAL, [{"ok": "ping"}]), (broken.closed, other.take()))
        self.assertEqual(["a connection failed"], [what for what, _ in world.reports])

    def test_long_channel_is_not_repeated_in_full(self) -> None:
        transport = World().connect()
        transport.type('{"unsubscribe":"x"}', '{"subscribe":"%s"}' % ("x" * 5000))
        refused = transport.take()[1]
        self.assertEqual((107, 255), (refused["error"]["code"], len(refused["channel"])))

    def test_flood_of_messages(self) -> None:
        """Who is above the rate is not read from for a while; who still is after the patience is cut with 3013."""
        world = World(messages=RateLimit(2, 4, 5))
        transport = world.connect()
        transport.type(*["ping"] * 4)
        self.assertTrue(transport.reading)
        transport.type("ping")
        self.assertFalse(transport.reading)
        world.pass_time(0.5)
        self.assertTrue(transport.reading)
        for _ in range(200):
            transport.type("ping")
            world.pass_time(0.25)
        self.assertEqual(errors.TOO_MANY_REQUESTS, transport.closed)

    def test_flood_of_errors(self) -> None:
        """Who only makes errors is slowed, then cut with 3509; who types well meanwhile is not slowed."""
        world = World(errors=RateLimit(1, 2, 5))
        bad, good = world.connect(), world.connect()
        bad.type("x", "x", "x")
        self.assertEqual((False, True), (bad.reading, good.reading))
        for _ in range(60):
            bad.type("x")
            good.type("ping")
            world.pass_time(0.25)
        self.assertEqual((errors.TOO_MANY_ERRORS, None), (bad.closed, good.closed))


class ClosingTests(SynchronousTestCase):
    """How a connection ends."""

    def test_bye_then_close(self) -> None:
        transport = World().connect()
        assert transport.session is not None
        transport.session.close(errors.SHUTDOWN)
        self.assertEqual([{"bye": {"code": 3001, "reason": "shutdown", "reconnect": True}}], transport.take())
        self.assertEqual(errors.SHUTDOWN, transport.closed)

    def test_raw_has_no_bye_and_restarts_with_1012(self) -> None:
        transport = World().connect(dialect=RAW)
        assert transport.session is not None
        transport.session.close(errors.SHUTDOWN)
        self.assertEqual(([], errors.SERVICE_RESTART), (transport.frames, transport.closed))

    def test_first_reason_counts(self) -> None:
        world = World()
        transport = world.connect()
        assert transport.session is not None
        transport.session.close(errors.FORCED)
        transport.session.close(errors.SHUTDOWN)
        transport.leave(1000)
        transport.leave(1006)
        self.assertEqual(errors.FORCED, transport.closed)
        self.assertEqual([("connect", "alice"), ("close", 3503)], world.fake_hooks.calls)
        self.assertEqual({3503: 1}, dict(world.instruments.closes))

    def test_peer_that_closes_is_told_to_user_code_with_its_code(self) -> None:
        world = World()
        world.connect().leave(4321)
        self.assertEqual(("close", 4321), world.fake_hooks.calls[-1])

    def test_nothing_is_done_after(self) -> None:
        world = World(namespaces=ALL)
        transport = world.connect(channels=("x",))
        assert transport.session is not None
        transport.session.close(errors.FORCED)
        transport.take()
        transport.type('{"publish":"x","data":1}', "ping")
        transport.session.pong()
        transport.session.blocked()
        self.assertEqual((), world.node.hub.subscribers("x"))
        transport.leave()
        transport.session.blocked()
        transport.session.unblocked()
        world.pass_time(60)
        self.assertEqual(([], False), (transport.take(), transport.aborted))
        self.assertEqual([], world.clock.getDelayedCalls())

    def test_reading_goes_on_to_see_the_peers_close(self) -> None:
        world = World(messages=RateLimit(1, 0, 60))
        transport = world.connect()
        transport.type("ping")
        assert transport.session is not None
        transport.session.close(errors.SHUTDOWN)
        self.assertTrue(transport.reading)

    def test_queue_is_delivered_before_the_goodbye(self) -> None:
        transport = World().connect(room=1)
        assert transport.session is not None
        transport.type("ping", "help")
        transport.session.close(errors.SHUTDOWN)
        self.assertIsNone(transport.closed)
        transport.unblock()
        told = transport.take()
        self.assertEqual(["hello", "ok", "ok", "bye"], [next(iter(message)) for message in told])
        self.assertEqual(errors.SHUTDOWN, transport.closed)

    def test_who_takes_nothing_while_the_queue_is_delivered_is_cut(self) -> None:
        world = World(stall_timeout=15)
        transport = world.connect(room=1)
        assert transport.session is not None
        transport.type("ping")
        transport.session.close(errors.SHUTDOWN)
        world.clock.advance(15)
        self.assertEqual((True, None), (transport.aborted, transport.closed))


class ConnectHandlerTests(SynchronousTestCase):
    """User code decides who comes in."""

    def test_denial(self) -> None:
        world = World()
        world.fake_hooks.outcomes["connect"] = ConnectionClosing(errors.PERMISSION_DENIED)
        for dialect in (PLAIN, RAW):
            transport = world.connect(dialect=dialect, channels=("x",))
            self.assertEqual(errors.PERMISSION_DENIED, transport.closed)
            transport.leave()
        self.assertEqual([("connect", "alice")] * 2, world.fake_hooks.calls, "no close for who was not let in")

    def test_failure_lets_nobody_in(self) -> None:
        """However the client authenticated: error 100, then 3004."""
        for failure in (KeyError("x"), ReplyError(ErrorCode.LIMIT_EXCEEDED)):
            world = World()
            world.fake_hooks.outcomes["connect"] = failure
            early, late = world.connect(room=9), world.connect(None, room=9)
            late.type('{"auth":"a"}')
            for transport in (early, late):
                self.assertEqual(errors.INTERNAL, transport.closed)
                self.assertEqual(
                    [error(100, "internal error", True)], [m["error"] for m in transport.take() if "error" in m]
                )
            self.assertEqual(["a connect handler failed"] * 2, [what for what, _ in world.reports])

    def test_commands_wait_for_it(self) -> None:
        world = World(namespaces=ALL)
        gate = world.fake_hooks.outcomes["connect"] = Deferred()
        transport = world.connect()
        transport.type("ping")
        self.assertEqual([], transport.take())
        gate.callback(None)
        self.assertEqual([{"ok": "ping"}], transport.take())

    def test_client_leaves_meanwhile(self) -> None:
        """It was let in in the end, so its close handler runs, once."""
        world = World()
        gate = world.fake_hooks.outcomes["connect"] = Deferred()
        transport = world.connect(channels=("x",))
        transport.leave()
        self.assertEqual([("connect", "alice")], world.fake_hooks.calls)
        gate.callback(None)
        self.assertEqual([("connect", "alice"), ("close", 1006)], world.fake_hooks.calls)
        self.assertEqual((), world.node.hub.subscribers("x"))

    def test_server_closes_meanwhile(self) -> None:
        world = World()
        gate = world.fake_hooks.outcomes["connect"] = Deferred()
        transport = world.connect()
        assert transport.session is not None
        transport.session.close(errors.SHUTDOWN)
        gate.callback(None)
        transport.leave(1000)
        self.assertEqual([("connect", "alice"), ("close", 3001)], world.fake_hooks.calls)
