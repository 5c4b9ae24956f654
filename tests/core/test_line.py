"""A command that has nothing to wait for, and one that has: the same rules, the same answers, the same accounts."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc import errors
from realtime_svc.config import Namespace
from realtime_svc.core.line import COMMANDS_A_TURN, SMALL
from realtime_svc.core.publishing import MOST_PERMITS
from realtime_svc.core.ratelimit import SHARE, RateLimit
from realtime_svc.engines.broker_memory import MemoryBroker
from realtime_svc.handlers.hooks import NoHandlers
from realtime_svc.model import Grant, Identity, SubscriptionClaims
from realtime_svc.wire import centrifuge_json
from tests.fakes import RAW, FakeTransport, World, error
from tests.fakes_engines import DELAY, DelayingBroker

ALL = ("anonymous",)
NAMESPACES = {
    "default": Namespace(subscribe=ALL, publish=ALL),
    "log": Namespace(subscribe=ALL, publish=ALL, history_size=10, history_ttl=60.0),
    "checked": Namespace(subscribe=ALL, publish=ALL, schema=True),
    "members": Namespace(subscribe=ALL, publish=("subscriber",)),
    "closed": Namespace(subscribe=ALL, publish=()),
    "small": Namespace(subscribe=ALL, publish=ALL, message_size=10),
}
COMMANDS = (
    b'{"publish":"x","data":1,"id":1}',
    b'{"publish":"log:x","data":{"a": [1]},"id":2}',
    b'{"publish":"log:x","data":2,"id":3,"key":"k"}',
    b'{"publish":"log:x","data":2,"id":4,"key":"k"}',
    b'{"publish":"log:x","data":3,"id":5,"tags":{"event":"e"}}',
    b'{"publish":"checked:x","data":"good","id":6}',
    b'{"publish":"checked:x","data":"bad","id":7}',
    b'{"publish":"members:x","data":1,"id":8}',
    b'{"subscribe":"members:x","id":9}',
    b'{"publish":"members:x","data":1,"id":10}',
    b'{"unsubscribe":"members:x","id":11}',
    b'{"publish":"members:x","data":1,"id":12}',
    b'{"publish":"closed:x","data":1,"id":13}',
    b'{"publish":"nowhere:x","data":1,"id":14}',
    b'{"publish":"no channel","data":1,"id":15}',
    b'{"publish":"small:x","data":"0123456789","id":16}',
    b'{"publish":"x","data":1e999,"id":17}',
    b'{"publish":"x","data":1,"id":18,"key":"' + b"k" * 256 + b'"}',
    b'{"publish":"x","id":19}',
    b"nonsense",
    b"ping",
    b"help",
)


class Counted:
    """Runs coroutines, and counts them."""

    def __init__(self, world: World) -> None:
        self.runs = 0
        self._run = world.node.run
        world.node.run = self

    def __call__(self, work: Coroutine[Any, Any, Any], done: Callable[[Any, BaseException | None], None]) -> None:
        self.runs += 1
        self._run(work, done)


def prompt(**changes: Any) -> World:
    """A world in which nothing has to be waited for."""
    return World(namespaces=NAMESPACES, hooks=NoHandlers(), **changes)


def outcome(world: World, messages: tuple[bytes, ...]) -> tuple[list[Any], list[Any], int, dict[int, int]]:
    """What the client is answered and a listener hears, what was published, and the errors."""
    listener = world.connect(channels=("x", "log:x", "checked:x"))
    client = world.connect()
    world.clock.pump([DELAY] * 9)
    listener.take()
    for message in messages:
        client.type(message)
        world.clock.pump([DELAY] * 2)
    return told(client), told(listener), world.instruments.publications, dict(world.instruments.errors)


def told(client: FakeTransport) -> list[Any]:
    """Without what is random."""
    return [{key: value for key, value in one.items() if key not in ("from", "epoch")} for one in client.take()]


class AgreementTests(SynchronousTestCase):
    """However it is carried out."""

    def test_waiting_makes_no_difference(self) -> None:
        """Nothing waits; user code looks at it; the broker takes its time; the message is a large one; a batch."""
        expected = outcome(prompt(), COMMANDS)
        self.assertEqual(len(COMMANDS) + 1, len(expected[0]), "an answer to each, and one publication of its own")
        self.assertEqual(expected, outcome(World(namespaces=NAMESPACES), COMMANDS))
        world = World(namespaces=NAMESPACES)
        slow = prompt(clock=world.clock, broker=DelayingBroker(MemoryBroker(world.clock), world.clock))
        self.assertEqual(expected, outcome(slow, COMMANDS))
        self.assertEqual(expected, outcome(prompt(), tuple(command + b" " * SMALL for command in COMMANDS)))
        self.assertEqual(expected, outcome(prompt(), (b"\n".join(COMMANDS),)))

    def test_no_coroutine_is_made_for_what_does_not_wait(self) -> None:
        world = prompt()
        plain, raw = world.connect(), world.connect(dialect=RAW, home="x")
        centrifuge = world.connect(dialect=centrifuge_json.WEBSOCKET)
        centrifuge.type('{"id":1,"connect":{}}')
        counted = Counted(world)
        plain.type('{"publish":"log:x","data":1}', "ping", "nonsense")
        raw.type("1")
        centrifuge.type('{"id":2,"publish":{"channel":"x","data":1}}')
        self.assertEqual((0, 3), (counted.runs, world.instruments.publications))
        plain.type('{"subscribe":"x"}')
        self.assertEqual(1, counted.runs)

    def test_failure_inside_is_an_internal_error(self) -> None:
        world = prompt()
        client = world.connect()

        def fail(*_: object) -> None:
            raise KeyError("secret")

        world.validator.check = fail  # type: ignore[method-assign, assignment]
        client.type('{"publish":"checked:x","data":1,"id":3}', "ping")
        body = {"error": error(100, "internal error", True), "on": "publish", "channel": "checked:x", "id": 3}
        self.assertEqual([body, {"ok": "ping"}], client.take())
        self.assertEqual(["a client's publish failed"], [what for what, _ in world.reports])

    def test_what_the_client_says_while_its_message_is_carried_out_comes_after_it(self) -> None:
        """A transport that goes on reading gives the next message in the middle of one."""
        world = prompt()
        client, order = world.connect(), []

        def receive(event: Any) -> None:
            order.append(event.data)
            if event.data == b"1":
                client.type('{"publish":"x","data":2}')
                order.append(b"still in 1")

        world.broker.on_event(receive)
        client.type('{"publish":"x","data":1}', '{"publish":"x","data":3}')
        self.assertEqual([b"1", b"still in 1", b"2", b"3"], order)
        self.assertEqual(["publish"] * 3, [answer["ok"] for answer in client.take()])
        self.assertTrue(client.reading)


class PermitTests(SynchronousTestCase):
    """What was decided once is decided again when it may have changed."""

    def setUp(self) -> None:
        self.world = prompt(channels_per_client=100)
        self.listener = self.world.connect(channels=("x", "members:x"))
        self.listener.take()
        self.client = self.world.connect()

    def publishers(self, *channels: str) -> list[dict[str, Any]]:
        """The client publishes: who says the listener is it?"""
        for channel in channels:
            self.client.type(json.dumps({"publish": channel, "data": 1}))
        return [one["from"] for one in self.listener.take()]

    def session(self, transport: FakeTransport) -> Any:
        return transport.session

    def test_publisher_that_changed_is_shown_as_it_is_now(self) -> None:
        who = {"client": self.session(self.client).id, "user": "alice"}
        self.assertEqual([who, who], self.publishers("x", "x"))
        self.session(self.client).identity = Identity("alice", b'{"new":1}')
        self.assertEqual([{**who, "info": {"new": 1}}], self.publishers("x"))

    def test_publisher_is_shown_with_what_its_subscription_says_now(self) -> None:
        subscriptions = self.world.authenticator.subscriptions
        for token, info in (("s", b"1"), ("t", b"2")):
            subscriptions[token] = SubscriptionClaims("alice", "x", Grant(info=info))
        self.publishers("x")
        self.client.type('{"subscribe":"x","token":"s"}')
        self.assertEqual([1], [one["channel_info"] for one in self.publishers("x")])
        session = self.session(self.client)
        self.world.node.subscriptions.refresh(session, "x", "t")
        self.assertEqual([2], [one["channel_info"] for one in self.publishers("x")])
        self.client.type('{"unsubscribe":"x"}')
        self.assertNotIn("channel_info", self.publishers("x")[0])

    def test_right_of_a_subscriber_ends_with_the_subscription(self) -> None:
        self.assertEqual([], self.publishers("members:x"))
        for _ in range(2):
            self.client.type('{"subscribe":"members:x"}')
            self.assertEqual(2, len(self.publishers("members:x", "members:x")))
            self.client.type('{"unsubscribe":"members:x"}')
            self.assertEqual([], self.publishers("members:x"))

    def test_right_of_a_user_ends_when_it_is_another(self) -> None:
        world = World(namespaces={"default": Namespace(publish=("user:alice",))}, hooks=NoHandlers())
        client = world.connect()
        client.type('{"publish":"x","data":1}')
        self.session(client).identity = Identity("bob")
        client.type('{"publish":"x","data":1}')
        self.assertEqual([None, 103], [answer.get("error", {}).get("code") for answer in client.take()])

    def test_only_so_many_are_remembered_and_none_after_the_end(self) -> None:
        line = self.session(self.client).line
        for number in range(3 * MOST_PERMITS):
            self.client.type(json.dumps({"publish": f"x{number}", "data": 1}))
            self.assertLessEqual(len(line.permits), MOST_PERMITS)
        self.assertEqual(3 * MOST_PERMITS, self.world.instruments.publications)
        self.client.leave()
        self.assertIsNone(line.permits)

    def test_refusal_is_not_remembered(self) -> None:
        self.client.type('{"publish":"members:x","data":1}')
        self.assertEqual({}, self.session(self.client).line.permits)


class AccountTests(SynchronousTestCase):
    """Commands are accounted for in batches, and no client gets more that way."""

    def test_burst_is_told_to_the_command(self) -> None:
        """The first one too many pauses reading, however large the batches are."""
        for burst in (1, SHARE - 1, 10 * SHARE, 10 * SHARE + 7, 1000):
            world = prompt(messages=RateLimit(10, burst, 5))
            client = world.connect()
            holds = 0
            for number in range(1, burst + 2):
                client.type("ping")
                if number % COMMANDS_A_TURN == 0 and number <= burst:
                    holds += not client.reading
                    world.clock.advance(0)
                self.assertIs(number <= burst, client.reading, (burst, number))
            self.assertEqual(burst // COMMANDS_A_TURN, holds)

    def test_burst_is_there_again_after_a_pause(self) -> None:
        """But for a sixteenth."""
        burst = 10 * SHARE
        world = prompt(messages=RateLimit(10, burst, 5))
        client = world.connect()
        for _ in range(20):
            client.type("ping")
            world.clock.advance(0)
            world.clock.advance(burst)
            for number in range(burst - burst // SHARE):
                client.type("ping")
                world.clock.advance(0)
                self.assertTrue(client.reading, number)
            world.clock.advance(burst)

    def test_others_have_their_turn(self) -> None:
        """However many messages come at once."""
        world = prompt()
        client = world.connect()
        for _ in range(3):
            for number in range(1, COMMANDS_A_TURN + 1):
                self.assertTrue(client.reading)
                client.type('{"publish":"x","data":1}')
                self.assertIs(number < COMMANDS_A_TURN, client.reading)
            world.clock.advance(0)

    def test_flood(self) -> None:
        world = prompt(messages=RateLimit(2, 4 * SHARE, 5))
        client = world.connect()
        for _ in range(400):
            client.type("ping")
            world.pass_time(0.25)
        self.assertEqual(errors.TOO_MANY_REQUESTS, client.closed)
