"""A client that stays: reconnecting, giving up, tokens, stopping; with a clock and connections of ours."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, DeferredQueue, succeed
from twisted.logger import capturedLogs, formatEvent

from realtime_svc.client import (
    Client,
    ClientStopped,
    CommandTimeout,
    ConnectionClosed,
    ConnectionFailed,
    HandshakeRefused,
    Message,
    ProtocolViolation,
    backoff,
)
from tests.client.fakes import ClientCase
from tests.client.servers import PlainFactory, SocketCase


class ReconnectTests(ClientCase):
    def test_back_off_grows(self) -> None:
        """0.5 s + jitter up to twice as much each time, 20 s at most."""
        self.client.start()
        for delay in (1.0, 1.5, 2.5, 4.5, 8.5, 16.5, 20.0, 20.0):
            self.dial.fail(ConnectionFailed("x"))
            count = len(self.dial.attempts)
            self.clock.advance(delay - 0.25)
            self.assertEqual(len(self.dial.attempts), count)
            self.clock.advance(0.25)
            self.assertEqual(len(self.dial.attempts), count + 1)
        self.assertTrue(all(again for _, again in self.events))

    def test_back_off_starts_over(self) -> None:
        """After a connection that lasted; not after one that was cut at once."""
        self.client.start()
        for lasted, delay in ((0.0, 1.0), (1.0, 1.5), (19.5, 2.5), (20.0, 1.0), (0.0, 1.5)):
            connection = self.greet()
            self.clock.advance(lasted)
            connection.lose()
            count = len(self.dial.attempts)
            self.clock.advance(delay - 0.25)
            self.assertEqual(len(self.dial.attempts), count, (lasted, delay))
            self.clock.advance(0.25)
            self.assertEqual(len(self.dial.attempts), count + 1, (lasted, delay))

    def test_gives_up(self) -> None:
        """When the server sends it away: told once, all that waits fails, and so does what comes later."""
        connection = self.connect()
        sent = self.client.publish("chat", 1)
        ready = self.client.subscribe("chat", lambda message: None)
        connection.deliver({"bye": {"code": 3500, "reason": "invalid token", "reconnect": False}})
        connection.lose(3500, "invalid token")
        error, again = self.events[-1]
        self.assertEqual((error.code, again), (3500, False))
        for waiting in (sent, ready, self.client.sync(), self.client.subscribe("x", lambda message: None)):
            self.assertEqual(self.failureResultOf(waiting, ConnectionClosed).value.code, 3500)
        self.clock.advance(100)
        self.assertEqual(len(self.dial.attempts), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_gives_up_when_refused(self) -> None:
        self.client.start()
        waiting = self.client.publish("chat", 1)
        self.dial.fail(HandshakeRefused(401))
        self.failureResultOf(waiting, HandshakeRefused)
        self.assertEqual([again for _, again in self.events], [False])

    def test_retry_after(self) -> None:
        self.client.start()
        self.dial.fail(HandshakeRefused(503, None, 5.0))
        self.clock.advance(5.9)
        self.assertEqual(len(self.dial.attempts), 1)
        self.clock.advance(0.1)
        self.assertEqual(len(self.dial.attempts), 2)

    def test_bye_without_a_close(self) -> None:
        """What was said counts, though the connection broke before the Close."""
        connection = self.connect()
        connection.deliver({"bye": {"code": 3507, "reason": "permission denied", "reconnect": False}})
        connection.lose(1006)
        error, again = self.events[-1]
        self.assertEqual((error.code, again), (3507, False))

    def test_no_hello(self) -> None:
        """A server that says nothing is left, and tried again."""
        self.client.start()
        connection = self.dial.succeed()
        self.assertFalse(self.client.connected)
        self.clock.advance(10)
        self.assertEqual(connection.closes, [1000])
        connection.lose(1000)
        error, again = self.events[-1]
        self.assertIsInstance(error, CommandTimeout)
        self.assertTrue(again)

    def test_not_our_protocol(self) -> None:
        """Closed with 1002, for good."""
        for frame in (
            "rubbish",
            b"\0",
            "[]",
            '{"hello":{}}',
            '{"hello":1}',
            '{"message":1}',
            '{"error":1}',
            '{"bye":{}}',
        ):
            self.setUp()
            self.client.start()
            connection = self.dial.succeed()
            connection.deliver_text(frame)
            self.assertEqual(connection.closes, [1002], frame)
            connection.lose(1000)
            error, again = self.events[-1]
            self.assertIsInstance(error, ProtocolViolation)
            self.assertFalse(again)

    def test_what_is_unknown_is_ignored(self) -> None:
        """A newer server may say more."""
        connection = self.connect()
        connection.deliver({"join": "chat", "from": {}}, {"new": 1}, {"ok": "x", "id": 99}, {"bye": 1}, {})
        self.assertEqual((connection.closes, self.events), ([], ["connected"]))

    def test_callback_that_raises(self) -> None:
        """Neither on_connected nor on_disconnected can stop the client."""
        self.client = Client(
            self.clock,
            "ws://localhost/ws",
            dial=self.dial,
            uniform=lambda low, high: high,
            on_connected=lambda: 1 // 0,
            on_disconnected=lambda error, again: 1 // 0,
        )
        self.connect().lose()
        self.clock.advance(1)
        self.assertEqual(len(self.dial.attempts), 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)


class TokenTests(ClientCase):
    def test_options_reach_the_connection(self) -> None:
        self.client = self.make(token="secret", headers={"X": "1"}, max_size=1000)
        self.client.start()
        options = self.dial.options[0]
        self.assertEqual((options["token"], options["headers"], options["max_size"]), ("secret", {"X": "1"}, 1000))
        self.assertEqual((self.dial.urls, options["protocols"]), (["ws://localhost/ws"], ("plain.v1",)))

    def test_asked_for_before_each_connection(self) -> None:
        """Text, a Deferred, or a coroutine."""

        async def from_coroutine() -> str:
            return "three"

        tokens: list[Any] = ["one", succeed("two"), from_coroutine()]
        self.client = self.make(get_token=lambda: tokens.pop(0))
        self.client.start()
        for _ in range(2):
            self.dial.fail(ConnectionFailed("x"))
            self.clock.advance(20)
        self.assertEqual([options["token"] for options in self.dial.options], ["one", "two", "three"])

    def test_no_token_just_now(self) -> None:
        """Told, and tried again."""

        def fails() -> str:
            raise RuntimeError("the token service is down")

        self.client = self.make(get_token=fails)
        self.client.start()
        self.clock.advance(1)
        self.assertEqual([(type(error), again) for error, again in self.events], [(RuntimeError, True)] * 2)
        self.assertEqual(self.dial.attempts, [])
        self.successResultOf(self.client.stop())

    def test_bad_arguments(self) -> None:
        for options in ({"token": "a", "get_token": lambda: "a"}, {"token": "a b"}, {"headers": {"Host": "x"}}):
            self.assertRaises(ValueError, self.make, **options)
        self.assertRaises(ValueError, Client, self.clock, "ws://example.org/ws", token="t")
        self.assertRaises(ValueError, Client, self.clock, "ws://example.org/ws", get_token=lambda: "t")

    def test_repr_shows_no_secret(self) -> None:
        self.assertNotIn("secret", repr(self.make(token="secret")))


class LogTests(ClientCase):
    """What a program sees that gave no callbacks."""

    def setUp(self) -> None:
        super().setUp()
        context = capturedLogs()
        self.captured = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)

    def lines(self) -> list[tuple[str, str]]:
        ours = [event for event in self.captured if event["log_namespace"] == "realtime_svc.client"]
        return [(event["log_level"].name, formatEvent(event)) for event in ours]

    def test_each_failed_attempt_is_a_line_and_so_is_giving_up(self) -> None:
        self.client.start()
        body = {"error": {"status": 401, "cause": "unauthorized", "message": "valid credentials\n are required"}}
        for error in (
            ConnectionFailed("nobody listens"),
            HandshakeRefused(503, None, 5.0),
            HandshakeRefused(401, body),
        ):
            self.dial.fail(error)
            self.clock.advance(30)
        refused = "refused with HTTP status"
        self.assertEqual(
            [
                ("warn", "not connected: nobody listens; again in 1.0 s"),
                ("warn", f"not connected: {refused} 503; again in 6.5 s"),
                (
                    "critical",
                    f"not connected: {refused} 401: valid credentials\\n are required; not coming back",
                ),
            ],
            self.lines(),
        )

    def test_connection_that_ends_is_a_line(self) -> None:
        self.connect().lose(3001, "shutdown")
        self.clock.advance(1)
        self.greet().lose(3500, "invalid token")
        self.assertEqual(
            [
                ("warn", "disconnected: closed with code 3001: shutdown; again in 1.0 s"),
                ("critical", "disconnected: closed with code 3500: invalid token; not coming back"),
            ],
            self.lines(),
        )

    def test_stop_that_was_asked_for_is_none(self) -> None:
        connection = self.connect()
        self.client.stop()
        connection.lose(1000)
        self.assertEqual([], self.lines())

    def test_nothing_secret_is_logged(self) -> None:
        """What `get_token` says when it fails may hold anything; what is wrong with the token may be told."""

        def fails() -> str:
            raise RuntimeError("https://user:CANARY@tokens.example/")

        self.client = self.make(get_token=fails)
        self.client.start()
        self.client = Client(self.clock, "ws://localhost/ws", get_token=lambda: "CANARY\n")
        self.client.start()
        bad_token = "the token is empty or holds a character that is not allowed there"
        self.assertEqual(
            [
                ("warn", "not connected: get_token failed: RuntimeError; again in 1.0 s"),
                ("critical", f"not connected: {bad_token}; not coming back"),
            ],
            self.lines(),
        )
        self.assertNotIn("CANARY", repr(self.lines()))


class StopTests(ClientCase):
    def test_while_connected(self) -> None:
        """Says goodbye, and is done when the connection is closed."""
        connection = self.connect()
        waiting = self.client.publish("chat", 1)
        first, second = self.client.stop(), self.client.stop()
        self.assertEqual(connection.closes, [1000, 1000])
        self.assertNoResult(first)
        connection.lose(1000)
        self.successResultOf(first)
        self.successResultOf(second)
        self.failureResultOf(waiting, ConnectionClosed)
        self.failureResultOf(self.client.sync(), ClientStopped)
        self.assertEqual(self.events[-1][1], False)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_while_connecting(self) -> None:
        self.client.start()
        ready = self.client.subscribe("chat", lambda message: None)
        self.successResultOf(self.client.stop())
        self.failureResultOf(ready, ClientStopped)
        self.assertTrue(self.dial.attempts[0].called)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_while_waiting_for_the_next_attempt(self) -> None:
        self.client.start()
        self.dial.fail(ConnectionFailed("x"))
        waiting = self.client.publish("chat", 1)
        self.successResultOf(self.client.stop())
        self.failureResultOf(waiting, ClientStopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_while_waiting_for_a_token(self) -> None:
        token: Deferred[str] = Deferred()
        self.client = self.make(get_token=lambda: token)
        self.client.start()
        self.successResultOf(self.client.stop())
        self.assertEqual(self.dial.attempts, [])

    def test_while_asked_for_a_token(self) -> None:
        stopped: list[Deferred[None]] = []

        def token() -> str:
            stopped.append(self.client.stop())
            return "t"

        self.client = self.make(get_token=token)
        self.client.start()
        self.successResultOf(stopped[0])
        self.assertEqual(self.dial.attempts, [])

    def test_while_a_subscription_is_to_be_renewed(self) -> None:
        connection = self.connect()
        self.client.subscribe("chat", lambda message: None)
        connection.ok()
        connection.deliver({"unsubscribed": "chat", "code": 2500, "reason": ""})
        self.client.stop()
        connection.lose(1000)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_from_within_callbacks(self) -> None:
        """on_connected, on_disconnected, on_message: wherever it is called, it ends there."""
        for place in ("on_connected", "on_disconnected", "on_message"):
            self.setUp()
            stopped = self.stop_from(place)
            self.successResultOf(stopped)
            self.clock.advance(100)
            self.assertEqual(len(self.dial.attempts), 1, place)

    def stop_from(self, place: str) -> Deferred[None]:
        stopped: list[Deferred[None]] = []

        def stop(*arguments: object) -> None:
            stopped.append(client.stop())

        callbacks: dict[str, Any] = {} if place == "on_message" else {place: stop}
        client = Client(self.clock, "ws://localhost/", dial=self.dial, **callbacks)
        client.start()
        connection = self.greet()
        if place == "on_message":
            client.subscribe("chat", stop)
            connection.ok()
            connection.deliver({"message": "chat", "data": 1})
        connection.lose(1000)
        return stopped[0]

    def test_never_started(self) -> None:
        waiting = self.client.publish("chat", 1)
        self.successResultOf(self.client.stop())
        self.failureResultOf(waiting, ClientStopped)

    def test_starts_once(self) -> None:
        self.client.start()
        self.assertRaises(RuntimeError, self.client.start)
        self.successResultOf(self.client.stop())
        self.assertRaises(RuntimeError, self.client.start)


class SocketTests(SocketCase):
    """The same with a real connection."""

    async def test_everything_once(self) -> None:
        """Subscribe, publish, receive; the connection breaks; all of it works again on the next one; stop."""
        self.patch(backoff, "MIN_DELAY", 0.0)
        server = PlainFactory(self.reactor)
        messages: DeferredQueue[Message] = DeferredQueue()
        ends: DeferredQueue[bool] = DeferredQueue()
        client = Client(
            self.reactor,
            f"ws://127.0.0.1:{self.listen(server)}/ws",
            token="secret",
            on_disconnected=lambda error, again: ends.put(again),
        )
        client.start()
        await client.subscribe("chat", messages.put)
        await client.publish("chat", {"n": 1})
        self.assertEqual((await messages.get()).data, {"n": 1})
        self.assertEqual((client.connected, client.client_id, client.user), (True, "c-1", "42"))
        server.drop()
        self.assertTrue(await ends.get())
        await client.publish("chat", {"n": 2})
        await client.sync()
        self.assertEqual((await messages.get()).data, {"n": 2})
        self.assertEqual(server.connections, 2)
        await client.stop()
        self.assertFalse(client.connected)
