"""What user code may do with the server, from the event loop and from threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from realtime_svc import errors
from realtime_svc.core.messages import Publish
from realtime_svc.errors import Disconnect, ErrorCode, ReplyError
from realtime_svc.handlers import History, Member, PresenceCounts, PublishResult, Server, StreamPosition
from realtime_svc.model import ClientInfo, Grant, HistoryPage, HistoryQuery, Publication
from tests.handlers.fakes import Case, FakeSession, fake_node

reactor: Any = _reactor


PLAIN: dict[str, Any] = {"exclude": None, "skip_history": False, "version": 0, "version_epoch": ""}


class PublishTests(Case):
    def test_publish(self) -> None:
        """In nobody's name: no identity is given, so no permission is asked for."""
        position = StreamPosition(1, "e")
        self.node.publishing.outcomes["publish"] = PublishResult(position)
        options: dict[str, Any] = {"skip_history": True, "version": 3, "version_epoch": "v"}
        for data, named, command, passed in (
            ([1], {}, Publish("x", b"[1]"), {}),
            (b"\x00", {}, Publish("x", b"\x00", True), {}),
            (1, {"event": "e"}, Publish("x", b"1", tags={"event": "e"}), {}),
            (1, {"event": "e", "tags": {"a": "b"}}, Publish("x", b"1", tags={"a": "b", "event": "e"}), {}),
            (1, {"key": "once"}, Publish("x", b"1", key="once"), {}),
            (1, {"exclude": self.client()}, Publish("x", b"1"), {"exclude": self.alice.id}),
            (1, options, Publish("x", b"1"), options),
        ):
            result = self.successResultOf(self.server.publish("x", data, **named))
            self.assertEqual(position, result.position)
            self.assertEqual(("publish", (command,), {**PLAIN, **passed}), self.node.publishing.calls[-1])

    def test_what_cannot_be_said(self) -> None:
        """Raised at once; nothing is published."""
        for data, named, failure in (
            (object(), {}, TypeError),
            ({"a": object()}, {}, TypeError),
            ("\ud800", {}, UnicodeEncodeError),
            (1, {"tags": {"a": 1}}, TypeError),
        ):
            self.assertRaises(failure, self.server.publish, "x", data, **named)
        self.assertEqual([], self.node.publishing.calls)

    def test_refused(self) -> None:
        self.node.publishing.outcomes["publish"] = ReplyError(ErrorCode.UNKNOWN_CHANNEL)
        self.assertEqual(102, self.failureResultOf(self.server.publish("x:y", 1), ReplyError).value.number)

    def test_broadcast_to_everybody(self) -> None:
        for data, named, args, passed in (
            ({"n": 1}, {}, b'{"n":1}', {"is_json": True, "exclude": None}),
            (b"\xff", {"exclude": self.client()}, b"\xff", {"is_json": False, "exclude": self.alice.id}),
        ):
            self.successResultOf(self.server.broadcast(data, **named))
            self.assertEqual(("broadcast", (args,), passed), self.node.publishing.calls[-1])

    def test_history(self) -> None:
        position = StreamPosition(9, "e")
        page = HistoryPage([Publication("x", b'{"n":9}', offset=9, epoch="e")], position)
        self.node.publishing.outcomes["history"] = page
        found = self.successResultOf(self.server.history("x"))
        self.assertIsInstance(found, History)
        self.assertEqual([({"n": 9}, position)], [(message.data, message.position) for message in found.messages])
        self.assertEqual(position, found.position)
        self.successResultOf(self.server.history("x", limit=2, since=position, reverse=True))
        queries = [call[1] for call in self.node.publishing.calls]
        self.assertEqual([("x", HistoryQuery()), ("x", HistoryQuery(2, position, True))], queries)


class PeopleTests(Case):
    def test_presence(self) -> None:
        self.node.publishing.outcomes["presence"] = {"c": ClientInfo("c", "u", b"[1]", b'{"a":2}')}
        self.node.publishing.outcomes["presence_counts"] = PresenceCounts(2, 1)
        self.assertEqual({"c": Member("c", "u", [1], {"a": 2})}, self.successResultOf(self.server.presence("x")))
        self.assertEqual(PresenceCounts(2, 1), self.successResultOf(self.server.presence_stats("x")))
        self.assertEqual([("presence", ("x",), {}), ("presence_counts", ("x",), {})], self.node.publishing.calls)

    def test_clients(self) -> None:
        bob = FakeSession("bob")
        bob.channels["x"] = None
        self.node.hub.here = [self.alice, bob]
        self.assertEqual(["alice", "bob"], [client.user for client in self.server.clients()])
        self.assertEqual([self.client(bob)], self.server.clients("x"))

    def test_users(self) -> None:
        self.successResultOf(self.server.subscribe("bob", "x", client="c", data=[1]))
        self.successResultOf(self.server.unsubscribe("bob", "x"))
        self.successResultOf(self.server.disconnect("bob"))
        self.successResultOf(self.server.disconnect("bob", client="c", whitelist=["d"], code=4500, reason="enough"))
        forced = {"user": "bob", "client": "", "whitelist": (), "disconnect": errors.FORCED}
        enough = {"user": "bob", "client": "c", "whitelist": ["d"], "disconnect": Disconnect(4500, "enough")}
        grant = Grant(data=b"[1]")
        expected: list[Any] = [
            ("subscribe", (), {"user": "bob", "channel": "x", "grant": grant, "client": "c"}),
            ("unsubscribe", (), {"user": "bob", "channel": "x", "client": ""}),
            ("disconnect", (), forced),
            ("disconnect", (), enough),
        ]
        self.assertEqual(expected, self.node.control.calls)
        self.assertRaises(ValueError, self.server.disconnect, "bob", code=1000)


class ThreadTests(TestCase):
    """From a thread of its own, as a web framework has it."""

    def setUp(self) -> None:
        self.node = fake_node()
        self.node.clock = reactor
        self.server = Server(self.node)

    async def test_publish(self) -> None:
        """The thread waits for the outcome; `data` may change as soon as the call has returned."""
        gate: Deferred[PublishResult] = Deferred()
        self.node.publishing.outcomes["publish"] = gate
        data = {"n": 1}

        def publish() -> Future[PublishResult]:
            future = self.server.publish_from_thread("x", data, key="k")
            data["n"] = 2
            self.server.call_from_thread(gate.callback, PublishResult(None))
            future.result(timeout=20)
            return future

        future = await deferToThread(publish)
        self.assertEqual(PublishResult(None), future.result(0))
        self.assertEqual([(Publish("x", b'{"n":1}', key="k"),)], [call[1] for call in self.node.publishing.calls])

    async def test_what_it_returns_and_raises(self) -> None:
        async def later(value: int, *, more: int) -> int:
            return await succeed(value) + more

        main = threading.get_ident()
        for function, args, named, expected in (
            (threading.get_ident, (), {}, main),
            (later, (1,), {"more": 2}, 3),
            (self.server.presence_stats, ("x",), {}, None),
        ):
            self.assertEqual(expected, await deferToThread(self.wait_for, function, *args, **named))
        self.node.publishing.outcomes["publish"] = ReplyError(ErrorCode.UNKNOWN_CHANNEL)
        failure: Any = await self.assertFailure(deferToThread(self.wait_for, self.server.publish, "x", 1), ReplyError)
        self.assertEqual(102, failure.number)
        await self.assertFailure(deferToThread(self.server.publish_from_thread, "x", object()), TypeError)

    def wait_for(self, function: Callable[..., Any], *args: Any, **named: Any) -> Any:
        return self.server.call_from_thread(function, *args, **named).result(timeout=20)

    async def test_in_the_thread_of_the_event_loop(self) -> None:
        """It would wait for itself: refused."""
        await deferLater(reactor, 0)  # it runs now, and so it is known which thread that is
        self.assertRaises(RuntimeError, self.server.publish_from_thread, "x", 1)


class CancelledTests(Case):
    def test_call_that_nobody_waits_for_any_more(self) -> None:
        """A future that was cancelled in time is not carried out."""
        outcome: list[Any] = []
        thread = threading.Thread(target=lambda: outcome.append(self.server.publish_from_thread("x", 1)))
        thread.start()
        thread.join()
        self.assertTrue(outcome[0].cancel())
        self.node.clock.from_threads.pop()()
        self.assertEqual([], self.node.publishing.calls)
