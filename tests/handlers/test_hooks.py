"""When handlers are called, with what, and what comes of what they return or raise."""

from __future__ import annotations

from asyncio import CancelledError
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError, succeed

from realtime_svc import errors
from realtime_svc.core.messages import Subscribe
from realtime_svc.errors import ApplicationError, ConnectionClosing, Disconnect, ErrorCode, ReplyError, Unsubscription
from realtime_svc.handlers import Client, ConnectRequest, Denied, Message, MethodNotFound, NoHandlers, UserHandlers
from realtime_svc.model import ClientInfo, Grant, Publication
from tests.handlers.fakes import Case, FakeSession, raising

REFUSALS: tuple[tuple[ReplyError, int, str], ...] = (
    (Denied(), 103, "permission denied"),
    (Denied("mind your language"), 103, "mind your language"),
    (ReplyError(ErrorCode.LIMIT_EXCEEDED), 106, "limit exceeded"),
    (ApplicationError(1234, "out of stock"), 1234, "out of stock"),
)


class CallTests(Case):
    """Arguments."""

    def publication(self, data: bytes = b"1", **options: Any) -> Publication:
        return Publication("x", data, publisher=self.alice.info, **options)

    def test_each_handler_is_called_with_its_arguments(self) -> None:
        client = self.client()
        self.result(self.hooks.connect(self.alice, self.connecting(b'{"v":1}')))
        self.result(self.hooks.subscribe(self.alice, Subscribe("x", data=b"[2]"), Grant()))
        self.result(self.hooks.publish(self.alice, self.publication(b'{"n":3}', tags={"event": "e"})))
        self.result(self.hooks.call(self.alice, "sum", b"[1,2]"))
        self.result(self.hooks.call(self.alice, "nothing", None))
        self.result(self.hooks.message(self.alice, b'"hi"'))
        self.result(self.hooks.unsubscribe(self.alice, "x", Unsubscription(2000, "why")))
        self.result(self.hooks.close(self.alice, Disconnect(3000, "bye")))
        connect, subscribe, publish, call, empty, message, unsubscribe, disconnect = self.code.calls
        self.assertEqual(("connect", client, {"v": 1}), (*connect[:2], connect[2].data))
        self.assertEqual(("subscribe", client, "x", [2]), (*subscribe[:3], subscribe[3].data))
        self.assertEqual(("publish", client), publish[:2])
        self.assertEqual(("x", "e", {"n": 3}, b'{"n":3}'), _seen(publish[2]))
        self.assertEqual(("rpc", client, "sum", [1, 2]), call)
        self.assertEqual(("rpc", client, "nothing", None), empty)
        self.assertEqual(("message", client), message[:2])
        self.assertEqual(("", "message", "hi", b'"hi"'), _seen(message[2]))
        self.assertEqual("alice", message[2].publisher.user)
        self.assertEqual(("unsubscribe", client, "x", 2000, "why"), unsubscribe)
        self.assertEqual(("disconnect", client, 3000, "bye"), disconnect)

    def test_what_is_no_json_comes_as_bytes(self) -> None:
        """A binary protocol can say so, in calls and messages outside channels."""
        for data in (b"\xff", b"{", b"1 2"):
            self.result(self.hooks.call(self.alice, "m", data))
            self.result(self.hooks.message(self.alice, data))
            call, message = self.code.calls[-2:]
            self.assertEqual((data, data), (call[3], message[2].data))
        self.result(self.hooks.publish(self.alice, self.publication(b"\xff", is_json=False)))
        self.assertEqual(b"\xff", self.code.calls[-1][2].data)

    def test_request_may_be_left_out(self) -> None:
        calls: list[tuple[Any, ...]] = []

        class Few:
            def connect(self, client: Client) -> None:
                calls.append(("connect", client))

            def subscribe(self, client: Client, channel: str) -> None:
                calls.append(("subscribe", client, channel))

        hooks = UserHandlers(Few(), self.node)
        self.result(hooks.connect(self.alice, self.connecting()))
        self.result(hooks.subscribe(self.alice, Subscribe("x"), Grant()))
        self.assertEqual([("connect", self.client()), ("subscribe", self.client(), "x")], calls)

    def test_message_stands_in_for_publish(self) -> None:
        """As long as there is no `publish`; what it says of publications holds, and of other messages does not."""
        seen: list[str] = []

        class Old:
            def message(self, client: Client, message: Message) -> bool:
                seen.append(message.channel)
                return False

            def close(self, client: Client, code: int, reason: str) -> None:
                seen.append(reason)

        hooks = UserHandlers(Old(), self.node)
        self.assertTrue(hooks.handles_publications)
        self.assertIsNone(self.result(hooks.publish(self.alice, self.publication())))
        self.assertIsNone(self.result(hooks.message(self.alice, b"1")))
        self.result(hooks.close(self.alice, Disconnect(3000, "bye")))
        self.assertEqual(["x", "", "bye"], seen)
        self.result(self.hooks.publish(self.alice, self.publication()))
        self.assertEqual(["publish"], [call[0] for call in self.code.calls])

    def test_what_is_not_there_changes_nothing(self) -> None:
        class Nothing:
            def connect(self, client: Client) -> None: ...

        for hooks in (UserHandlers(Nothing(), self.node), NoHandlers()):
            self.assertEqual((False, False), (hooks.handles_calls, hooks.handles_messages))
            self.assertFalse(hooks.handles_publications)
            self.result(hooks.connect(self.alice, self.connecting()))
            grant = Grant(data=b"1")
            self.assertEqual(grant, self.result(hooks.subscribe(self.alice, Subscribe("x"), grant)))
            self.assertEqual(self.publication(), self.result(hooks.publish(self.alice, self.publication())))
            self.result(hooks.message(self.alice, b"1"))
            self.result(hooks.unsubscribe(self.alice, "x", Unsubscription(1, "")))
            self.result(hooks.close(self.alice, Disconnect(3000, "")))
        self.assertEqual(108, self.failure(NoHandlers().call(self.alice, "m", None)).number)
        self.assertEqual((True, True), (self.hooks.handles_calls, self.hooks.handles_messages))

    def test_publisher_without_a_connection(self) -> None:
        """Over HTTP: it can be looked at, and nothing can be done to it."""
        said = Publication("x", b"1", publisher=ClientInfo("", "carol", b'{"n":1}'))
        self.assertEqual(said, self.result(self.hooks.publish(None, said)))
        client = self.code.calls[-1][1]
        self.assertEqual(("", "carol", "", frozenset()), (client.id, client.user, client.address, client.channels))
        self.assertEqual(({"n": 1}, None), (client.info, client.meta))
        for attempt in (lambda: client.reply(1), lambda: client.subscribe("x"), client.close):
            self.assertRaises(RuntimeError, attempt)
        self.assertNotEqual(client, Client(self.server, said.publisher or self.alice.info, None))
        self.assertEqual(client, client)


def _seen(message: Message) -> tuple[Any, ...]:
    return message.channel, message.event, message.data, message.raw


class PublishTests(Case):
    """What `publish` returns."""

    def publish(self, outcome: Any, **options: Any) -> Publication | None:
        self.on("publish", outcome)
        values = {"data": b"1", "publisher": self.alice.info, **options}
        answer: Publication | None = self.result(self.hooks.publish(self.alice, Publication("x", **values)))
        return answer

    def test_only_false_swallows_it(self) -> None:
        for outcome, passed in ((None, True), (True, True), (0, True), ("", True), (False, False)):
            for value in (outcome, succeed(outcome)):
                self.assertEqual(passed, self.publish(lambda *_, value=value: value) is not None, outcome)

    def test_changed(self) -> None:
        """What is not named stays; channel and publisher stay in any case."""
        before = self.publish(lambda *_: None, tags={"event": "e"}, exclude="someone")
        for changes, expected in (
            ({}, {}),
            ({"data": {"a": None}}, {"data": b'{"a":null}'}),
            ({"data": None}, {"data": b"null"}),
            ({"data": b'{"raw": 1}'}, {"data": b'{"raw": 1}'}),
            ({"tags": {"k": "v"}}, {"tags": {"k": "v"}}),
            ({"tags": None}, {"tags": None}),
            ({"exclude": self.client()}, {"exclude": self.alice.id}),
        ):
            after = self.publish(
                lambda client, message, changes=changes: message.replace(**changes),
                tags={"event": "e"},
                exclude="someone",
            )
            assert before is not None and after is not None
            for name in ("channel", "data", "is_json", "binary", "tags", "publisher", "exclude"):
                self.assertEqual(expected.get(name, getattr(before, name)), getattr(after, name), (changes, name))

    def test_bytes(self) -> None:
        """In a namespace of bytes it is said whether they are binary."""
        for data, expected in ((b"\xff", (b"\xff", True)), ([1], (b"[1]", False))):
            after = self.publish(lambda client, message, data=data: message.replace(data=data), is_json=False, data=b"")
            assert after is not None
            self.assertEqual((*expected, False), (after.data, after.binary, after.is_json))

    def test_another_message_only_lends_its_words(self) -> None:
        other = Message(Publication("y", b"2", publisher=ClientInfo("c", "mallory"), offset=7, epoch="e"))
        after = self.publish(lambda *_: other, exclude="someone")
        self.assertEqual(Publication("x", b"2", publisher=self.alice.info, exclude="someone"), after)

    def test_what_cannot_be_said_is_an_error_of_the_handler(self) -> None:
        for changes in ({"data": object()}, {"tags": {"a": 1}}, {"tags": {1: "a"}}):
            self.on("publish", lambda client, message, changes=changes: message.replace(**changes))
            self.assertIsInstance(
                self.failure(self.hooks.publish(self.alice, Publication("x", b"1", publisher=self.alice.info))),
                TypeError,
            )


class RefusalTests(Case):
    """What handlers raise."""

    def test_error_reaches_the_client(self) -> None:
        for error, number, message in REFUSALS:
            for event, work in (
                ("subscribe", lambda: self.hooks.subscribe(self.alice, Subscribe("x"), Grant())),
                ("publish", lambda: self.hooks.publish(self.alice, Publication("x", b"1", publisher=self.alice.info))),
                ("rpc", lambda: self.hooks.call(self.alice, "m", None)),
                ("message", lambda: self.hooks.message(self.alice, b"1")),
            ):
                self.on(event, raising(error))
                failure = self.failure(work())
                self.assertIsInstance(failure, ReplyError)
                self.assertEqual((number, message), (failure.number, failure.message), event)

    def test_connect(self) -> None:
        """Closes with a code that says whether to come back; the reason is one that a frame can hold."""
        for error, expected in (
            (Denied("whatever"), errors.PERMISSION_DENIED),
            (ReplyError(ErrorCode.LIMIT_EXCEEDED), Disconnect(3505, "limit exceeded")),
            (ApplicationError(1234, "é" * 100), Disconnect(3507, "é" * 61)),
            (ApplicationError(1234, "later", temporary=True), Disconnect(3011, "later")),
            (ConnectionClosing(Disconnect(4001, "x")), Disconnect(4001, "x")),
        ):
            self.on("connect", raising(error))
            failure = self.failure(self.hooks.connect(self.alice, self.connecting()))
            self.assertIsInstance(failure, ConnectionClosing)
            self.assertEqual(expected, failure.disconnect)
        self.on("connect", raising(KeyError("x")))
        self.assertIsInstance(self.failure(self.hooks.connect(self.alice, self.connecting())), KeyError)

    def test_bad_application_errors(self) -> None:
        for number in (0, 103, 399, 2000):
            self.assertRaises(ValueError, ApplicationError, number, "x")


class CallAnswerTests(Case):
    """What `rpc` returns."""

    def test_any_json_value(self) -> None:
        for outcome, text in (
            (None, b"null"),
            (False, b"false"),
            ({"a": [1, "é"]}, '{"a":[1,"é"]}'.encode()),
            (b'{"as it": "is"}', b'{"as it": "is"}'),
            (succeed(1), b"1"),
        ):
            self.on("rpc", lambda *_, outcome=outcome: outcome)
            self.assertEqual(text, self.result(self.hooks.call(self.alice, "m", None)))

    def test_no_such_method(self) -> None:
        for outcome in (raising(MethodNotFound()), lambda *_: NotImplemented):
            self.on("rpc", outcome)
            self.assertEqual(104, self.failure(self.hooks.call(self.alice, "m", None)).number)

    def test_what_cannot_be_json(self) -> None:
        """Nothing of it gets into a protocol's JSON."""
        for outcome in (object(), b"{", b"\xff", b""):
            self.on("rpc", lambda *_, outcome=outcome: outcome)
            self.assertIsInstance(self.failure(self.hooks.call(self.alice, "m", None)), TypeError)


class ConnectTests(Case):
    """What may be given while a client connects."""

    def test_subscriptions_and_answer(self) -> None:
        """By the request, or in the words that hold later, too."""

        async def connect(client: Client, request: ConnectRequest) -> None:
            await client.subscribe("a", data={"n": 1})
            request.subscribe("b", info=[2], expires_at=5.0, join_leave=False)
            request.subscribe("c")
            await client.unsubscribe("c")
            await client.unsubscribe("never")
            request.answer({"welcome": client.user})

        self.on("connect", connect)
        connecting = self.connecting()
        self.result(self.hooks.connect(self.alice, connecting))
        expected = {"a": Grant(data=b'{"n":1}'), "b": Grant(info=b"[2]", expires_at=5.0, join_leave=False)}
        self.assertEqual(expected, connecting.subscriptions)
        self.assertEqual(b'{"welcome":"alice"}', connecting.data)
        self.assertEqual([], self.node.control.calls)

    def test_channels_that_cannot_be(self) -> None:
        """The same errors as later: raised by the request, and in the Deferred of the client."""
        failures: list[Any] = []

        def connect(client: Client, request: ConnectRequest) -> None:
            request.subscribe("a")
            for channel in ("a", "bad name"):
                failures.append(self.assertRaises(ReplyError, request.subscribe, channel))
                failures.append(self.failureResultOf(client.subscribe(channel), ReplyError).value)

        self.on("connect", connect)
        self.result(self.hooks.connect(self.alice, self.connecting()))
        self.assertEqual([105, 105, 107, 107], [failure.number for failure in failures])

    def test_words_before_the_answer(self) -> None:
        """They wait for it where the protocol has one."""
        self.on("connect", lambda client, request: client.reply(client.user))
        for handshake in (False, True):
            session: Any = FakeSession("bob", handshake=handshake)
            connecting = self.connecting()
            self.result(self.hooks.connect(session, connecting))
            said, waiting = session.said, connecting.said
            expected = [Publication("", b'"bob"')]
            self.assertEqual(([], expected) if handshake else (expected, []), (said, waiting))
            self.code.calls[-1][1].reply("later")
            self.assertEqual(b'"later"', session.said[-1].data)

    def test_afterwards_it_is_subscribed_at_once(self) -> None:
        """The client that `connect` was given may be kept; also where `connect` failed."""
        for outcome in (lambda *_: None, raising(Denied())):
            self.on("connect", outcome)
            connecting = self.connecting()
            Deferred.fromCoroutine(self.hooks.connect(self.alice, connecting)).addErrback(lambda _: None)
            self.successResultOf(self.code.calls[-1][1].subscribe("x"))
            self.assertEqual({}, connecting.subscriptions)
            self.assertEqual(("subscribe_session", (self.alice, "x", Grant()), {}), self.node.control.calls[-1])


class SubscribeTests(Case):
    def test_who_is_refused_can_be_let_in(self) -> None:
        asked: list[bool] = []
        self.on("subscribe", lambda client, channel, request: asked.append(request.allowed))
        self.assertIsNone(self.result(self.hooks.subscribe(self.alice, Subscribe("x"), None)))
        self.on("subscribe", lambda client, channel, request: request.grant())
        self.assertEqual(Grant(), self.result(self.hooks.subscribe(self.alice, Subscribe("x"), None)))
        self.assertEqual([False], asked)

    def test_grant(self) -> None:
        """What is not named stays as it was."""
        self.on("subscribe", lambda client, channel, request: request.grant(info={"a": 1}, expires_at=9.0))
        grant = self.result(self.hooks.subscribe(self.alice, Subscribe("x"), Grant(data=b"1", expires_at=5.0)))
        self.assertEqual(Grant(info=b'{"a":1}', data=b"1", expires_at=9.0), grant)
        self.on("subscribe", lambda client, channel, request: request.grant(nonsense=1))
        self.assertIsInstance(
            self.failure(self.hooks.subscribe(self.alice, Subscribe("x"), Grant())), ValueError | TypeError
        )


class EndOfHandlerTests(Case):
    """A handler that ends in an unusual way, late, or not at all."""

    def start(self, outcome: Any) -> Deferred[bytes | None]:
        self.on("rpc", outcome)
        return Deferred.fromCoroutine(self.hooks.call(self.alice, "m", None))

    def test_coroutine_that_waits(self) -> None:
        """The failure of what it awaits is raised in it, as anywhere."""
        gate: Deferred[None] = Deferred()

        async def handler(*args: object) -> str:
            try:
                await gate
            except KeyError:
                return "caught"
            return "not caught"

        outcome = self.start(handler)
        self.assertNoResult(outcome)
        gate.errback(KeyError("x"))
        self.assertEqual(b'"caught"', self.successResultOf(outcome))

    def test_what_is_no_ordinary_exception(self) -> None:
        """At once or after a wait, it ends the handler only."""
        for kind in (SystemExit, KeyboardInterrupt, CancelledError, GeneratorExit):
            gate: Deferred[None] = Deferred()

            async def late(*args: object, gate: Deferred[None] = gate, kind: type[BaseException] = kind) -> None:
                await gate
                raise kind

            waiting = self.start(late)
            gate.callback(None)
            for outcome in (waiting, self.start(raising(kind()))):
                self.assertIn(kind.__name__, str(self.failureResultOf(outcome, RuntimeError).value))

    def test_one_that_never_ends(self) -> None:
        """It is cancelled when its time is up."""
        cancelled: list[object] = []
        outcome = self.start(lambda *_: Deferred(cancelled.append))
        self.node.clock.advance(29)
        self.assertNoResult(outcome)
        self.node.clock.advance(2)
        self.assertEqual(1, len(cancelled))
        self.failureResultOf(outcome, TimeoutError)
