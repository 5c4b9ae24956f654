"""User code in the process: how it is loaded, when it is called, and what it may do."""

from __future__ import annotations

import sys
from asyncio import CancelledError
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc import errors
from realtime_svc.config import Namespace
from realtime_svc.core.messages import Publish
from realtime_svc.errors import ConfigError, ErrorCode, ReplyError
from realtime_svc.handlers import Client, Denied, Message, NoHandlers, Server, UserHandlers, load_target
from realtime_svc.model import ClientInfo, Publication
from tests.fakes import ALICE, BOB, RAW, FakeTransport, World, error

NAMESPACES = {
    "default": Namespace(),
    "bytes": Namespace(payload="bytes"),
    "closed": Namespace(subscribe=(), publish=()),
}


class Recorder:
    """Handlers that remember; what stands in `outcomes` is called with the handler's arguments."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.calls: list[tuple[Any, ...]] = []
        self.outcomes: dict[str, Any] = {}

    def connect(self, client: Client) -> Any:
        self.calls.append(("connect", client))
        return self._outcome("connect", client)

    def message(self, client: Client, message: Message) -> Any:
        self.calls.append(("message", client, message))
        return self._outcome("message", client, message)

    def close(self, client: Client, code: int, reason: str) -> Any:
        self.calls.append(("close", client, code, reason))
        return self._outcome("close", client)

    def _outcome(self, event: str, *args: Any) -> Any:
        outcome = self.outcomes.get(event)
        return outcome(*args) if outcome is not None else None


class OnlyMessages:
    """An object, not a class, and one handler."""

    def message(self, client: Client, message: Message) -> None:
        raise Denied("not today")


NOTHING = object()
AN_OBJECT = OnlyMessages()


class Case(SynchronousTestCase):
    """A world with user code in it, and two clients."""

    def setUp(self) -> None:
        self.world = World(namespaces=NAMESPACES)
        hooks = UserHandlers(Recorder, self.world.node)
        self.world.node.hooks = hooks
        self.code: Recorder = hooks._target
        self.server: Server = self.code.server
        self.alice = self.world.connect(ALICE, channels=("x",))
        self.bob = self.world.connect(BOB, RAW, channels=("x",), home="x", exclude_self=True)

    def client(self, transport: FakeTransport) -> Client:
        assert transport.session is not None
        session = transport.session
        return next(client for client in self.server.clients() if client.id == session.id)

    def on(self, event: str, outcome: Any) -> None:
        self.code.outcomes[event] = outcome

    def raise_on(self, event: str, failure: BaseException) -> None:
        def fail(*args: object) -> None:
            raise failure

        self.on(event, fail)


class EndOfHandlerTests(Case):
    """A handler that ends in an unusual way, or not at all."""

    def ends_with(self, kind: type[BaseException]) -> None:
        told = self.alice.take()
        self.assertEqual((error(100, "internal error", True), {"ok": "ping"}), (told[0]["error"], told[1]), kind)
        self.assertIn(kind.__name__, repr(self.world.reports[-1][1]))

    def test_what_is_no_ordinary_exception(self) -> None:
        """At once or after a wait: it ends the handler, not the connection and not the server."""
        for kind in (SystemExit, KeyboardInterrupt, CancelledError):
            gate: Deferred[None] = Deferred()

            async def late(*args: object, gate: Deferred[None] = gate, kind: type[BaseException] = kind) -> None:
                await gate
                raise kind

            for failing in (self.raise_at_once(kind), late):
                self.alice.take()
                self.on("message", failing)
                self.alice.type("publish x 1", "ping")
                if failing is late:
                    self.assertEqual([], self.alice.take())
                    gate.callback(None)
                self.ends_with(kind)

    def raise_at_once(self, kind: type[BaseException]) -> Any:
        def fail(*args: object) -> None:
            raise kind

        return fail

    def test_one_that_never_ends(self) -> None:
        """It is cancelled when its time is up."""
        cancelled: list[object] = []
        self.on("message", lambda *args: Deferred(cancelled.append))
        self.alice.take()
        self.alice.type("publish x 1", "ping")
        self.world.clock.advance(29)
        self.assertEqual([], self.alice.take())
        self.world.clock.advance(2)
        self.assertEqual(1, len(cancelled))
        self.ends_with(TimeoutError)


class LoadTests(SynchronousTestCase):
    """From a dotted path to an object."""

    def test_good(self) -> None:
        self.assertIs(Recorder, load_target(f"{__name__}:Recorder"))
        self.assertIs(AN_OBJECT, load_target(f"{__name__}:AN_OBJECT"))
        self.assertEqual(AN_OBJECT.message, load_target(f"{__name__}:AN_OBJECT").message)

    def test_bad(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "user_code_with_a_mistake.py").write_text("def (:")
        sys.path.insert(0, str(folder))
        self.addCleanup(sys.path.remove, str(folder))
        for path, reason in (
            ("no_such_module:x", "ModuleNotFoundError: No module named"),
            (f"{__name__}:nothing", "AttributeError: "),
            (f"{__name__}:Recorder.nothing", "AttributeError: "),
            (f"{__name__}:NOTHING", "has none of the handlers connect, message, close"),
            ("user_code_with_a_mistake:x", "SyntaxError: invalid syntax"),
        ):
            failure: ConfigError = self.assertRaises(ConfigError, load_target, path)
            self.assertEqual("handlers.object", failure.key)
            self.assertIn(reason, failure.reason)
            self.assertTrue(failure.reason.isprintable(), failure.reason)

    def test_object_is_taken_as_it_is_and_handlers_may_be_left_out(self) -> None:
        world = World()
        world.node.hooks = UserHandlers(AN_OBJECT, world.node)
        transport = world.connect()
        transport.type("publish x 1")
        self.assertEqual(error(103, "not today"), transport.take()[0]["error"])
        transport.leave()
        self.assertEqual([], world.reports)

    def test_none(self) -> None:
        world = World(hooks=NoHandlers())
        transport = world.connect(channels=("x",))
        transport.type("publish x 1")
        transport.leave()
        self.assertEqual(1, world.instruments.publications)


class CallTests(Case):
    """When handlers are called, and what comes of what they return or raise."""

    def test_all_three_in_order(self) -> None:
        self.alice.type('{"publish":"x","data":[1, 2],"tags":{"event":"e"}}')
        self.alice.leave(4001)
        calls = [call for call in self.code.calls if call[1].user == "alice"]
        self.assertEqual(["connect", "message", "close"], [call[0] for call in calls])
        message, (_, client, code, _reason) = calls[1][2], calls[2]
        self.assertEqual(("x", "e", [1, 2], b"[1, 2]"), (message.channel, message.event, message.data, message.raw))
        self.assertEqual(4001, code)
        self.assertEqual(1, len({call[1] for call in calls}), "the same client, also as a key of a dict")
        self.assertEqual("192.0.2.1:40000", client.address)

    def test_bytes_and_default_event(self) -> None:
        self.alice.type('{"publish":"bytes:x","b64data":"/w=="}')
        message = self.code.calls[-1][2]
        self.assertEqual((b"\xff", "message"), (message.data, message.event))

    def test_what_message_returns(self) -> None:
        """Only False, now or later, keeps it from being passed on."""
        for outcome, passed in ((None, 1), (True, 1), (0, 1), (succeed(True), 1), (False, 0), (succeed(False), 0)):
            self.on("message", lambda client, message, outcome=outcome: outcome)
            self.alice.type("publish x 1")
            self.assertEqual(passed, len(self.bob.take()), outcome)

    def test_what_message_raises(self) -> None:
        for failure, answer in (
            (Denied(), error(103, "permission denied")),
            (Denied("mind your language"), error(103, "mind your language")),
            (ReplyError(ErrorCode.LIMIT_EXCEEDED), error(106, "limit exceeded")),
            (KeyError("secret"), error(100, "internal error", True)),
        ):
            self.alice.take()
            self.raise_on("message", failure)
            self.alice.type("publish x 1", "ping")
            told = self.alice.take()
            self.assertEqual((answer, {"ok": "ping"}), (told[0]["error"], told[1]))
        self.assertEqual([KeyError], [type(failure) for _, failure in self.world.reports])
        self.assertEqual([], self.bob.take())

    def test_denied_connection(self) -> None:
        self.raise_on("connect", Denied("whatever"))
        transport = self.world.connect()
        self.assertEqual(errors.PERMISSION_DENIED, transport.closed)
        transport.leave()
        self.assertNotIn("close", [call[0] for call in self.code.calls])

    def test_failure_in_connect_and_close(self) -> None:
        self.raise_on("connect", KeyError("x"))
        self.raise_on("close", KeyError("y"))
        transport = self.world.connect()
        self.assertEqual(errors.INTERNAL, transport.closed)
        self.alice.leave()
        self.bob.type("1")
        reports = [what for what, _ in self.world.reports]
        self.assertEqual(["a connect handler failed", "a close handler failed"], reports)
        self.assertIsNone(self.bob.closed)

    def test_coroutine_that_waits(self) -> None:
        """The failure of what it awaits is raised in it, as anywhere."""
        gate: Deferred[None] = Deferred()
        caught: list[str] = []

        async def message(client: Client, message: Message) -> bool:
            try:
                await gate
            except KeyError:
                caught.append("KeyError")
            return False

        self.on("message", message)
        self.alice.type("publish x 1", "ping")
        self.bob.type("nonsense")
        self.assertEqual(([], 107), (self.alice.take(), self.bob.take()[0]["error"]["code"]))
        gate.errback(KeyError("x"))
        self.assertEqual(["publish", "ping"], [told["ok"] for told in self.alice.take()])
        self.assertEqual(["KeyError"], caught)

    def test_publisher_without_a_connection(self) -> None:
        """Over HTTP: it can be looked at, and nothing can be sent to it."""
        publisher = ClientInfo("", "carol")
        work = self.world.node.publish(Publish("x", b"1"), identity=ALICE, publisher=publisher)
        self.successResultOf(Deferred.fromCoroutine(work))
        client = self.code.calls[-1][1]
        self.assertEqual(("", "carol", "", frozenset()), (client.id, client.user, client.address, client.channels))
        for attempt in (lambda: client.reply(1), lambda: client.subscribe("x"), client.close):
            self.assertRaises(RuntimeError, attempt)
        self.assertNotEqual(client, Client(self.world.node, publisher, None))
        self.assertEqual(client, client)

    def test_subscribed_already_by_user_code(self) -> None:
        """What an address asks for is then no error."""
        self.on("connect", lambda client: client.subscribe("x"))
        plain, raw = self.world.connect(channels=("x", "y"), room=9), self.world.connect(BOB, RAW, channels=("x",))
        self.assertEqual(["x", "y"], [told["channel"] for told in plain.take()[1:]])
        self.assertEqual([], raw.frames)


class AbilityTests(Case):
    """What user code may do."""

    def test_reply(self) -> None:
        """To one client alone, in its protocol."""
        alice, bob = self.client(self.alice), self.client(self.bob)
        for client in (alice, bob):
            client.reply({"a": [1, None, "é"]})
            client.reply(b"\xff{")
        told = [{"message": "", "data": {"a": [1, None, "é"]}}, {"message": "", "b64data": "/3s="}]
        self.assertEqual(told, self.alice.take())
        text, binary = self.bob.frames
        self.assertEqual(('{"a":[1,null,"é"]}'.encode(), False), (text.payload, text.binary))
        self.assertEqual((b"\xff{", True), (binary.payload, binary.binary))

    def test_broadcast_to_all_others_of_a_channel(self) -> None:
        self.successResultOf(self.client(self.alice).broadcast("x", {"n": 1}, event="e"))
        self.assertEqual(([], [{"n": 1}]), (self.alice.take(), self.bob.take()))

    def test_broadcast_to_the_whole_server(self) -> None:
        alice = self.client(self.alice)
        self.successResultOf(alice.server.broadcast(1, exclude=alice))
        self.successResultOf(self.server.broadcast(2))
        self.assertEqual([{"message": "", "data": 2}], self.alice.take())
        self.assertEqual([1, 2], self.bob.take())

    def test_publish(self) -> None:
        """Also where clients may not; a mistake comes as the failure of the Deferred, and nothing is sent."""
        self.client(self.alice).subscribe("closed:x")
        self.successResultOf(self.server.publish("closed:x", [1], event="e"))
        self.assertEqual({"message": "closed:x", "data": [1], "tags": {"event": "e"}}, self.alice.take()[0])
        for channel, data, number in (("bad/name", 1, 107), ("nowhere:x", 1, 102), ("x", b"no json", 107)):
            failure = self.failureResultOf(self.server.publish(channel, data), ReplyError)
            self.assertEqual(number, failure.value.number)
        self.successResultOf(self.server.publish("bytes:x", b"\x00"))

    def test_what_cannot_be_json(self) -> None:
        for data, failure in ((object(), TypeError), ({"a": object()}, TypeError), ("\ud800", UnicodeEncodeError)):
            self.assertRaises(failure, self.server.publish, "x", data)

    def test_subscribe_and_unsubscribe(self) -> None:
        client = self.client(self.alice)
        client.subscribe("closed:y")
        self.assertEqual({"x", "closed:y"}, client.channels)
        self.assertEqual([client], self.server.clients("closed:y"))
        self.assertRaises(ReplyError, client.subscribe, "closed:y")
        client.unsubscribe("closed:y")
        client.unsubscribe("closed:y")
        self.assertEqual([], self.server.clients("closed:y"))

    def test_close(self) -> None:
        self.client(self.alice).close()
        self.client(self.bob).close(4000, "see you")
        self.assertEqual(errors.FORCED, self.alice.closed)
        self.assertEqual((4000, "see you"), self.bob.closed)
        client = self.code.calls[0][1]
        client.close()
        client.reply("nobody hears it")
        self.assertEqual([], self.server.clients())

    def test_close_that_no_frame_can_hold(self) -> None:
        client = self.client(self.alice)
        for code, reason in ((1000, ""), (2999, ""), (5000, ""), (4000, "x" * 124), (4000, "é" * 62)):
            self.assertRaises(ValueError, client.close, code, reason)
        self.assertIsNone(self.alice.closed)

    def test_clients(self) -> None:
        """Those that were let in."""
        self.world.connect(None)
        self.assertEqual(["alice", "bob"], [client.user for client in self.server.clients()])
        self.assertEqual(["alice", "bob"], [client.user for client in self.server.clients("x")])

    def test_representation_has_no_secret(self) -> None:
        self.assertEqual("<Client c user='u'>", repr(Client(self.world.node, ClientInfo("c", "u", b"{}"), None)))
        self.assertNotEqual(Client(self.world.node, ClientInfo("c", "u"), None), "c")

    def test_message_is_decoded_when_it_is_looked_at(self) -> None:
        message = Message(Publication("x", b'{"a":1}'))
        self.assertIsNot(message.data, message.data)
