"""The use cases: subscribe, publish, broadcast; in which order they refuse, and what is counted."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc import errors
from realtime_svc.config import Namespace
from realtime_svc.core.messages import Publish
from realtime_svc.errors import ErrorCode, Refusal, ReplyError
from realtime_svc.model import ANONYMOUS, ClientInfo, Grant, Identity
from tests.fakes import RAW, World, error

NAMESPACES = {
    "default": Namespace(),
    "open": Namespace(subscribe=("anonymous",), publish=("anonymous",)),
    "news": Namespace(subscribe=("anonymous",), publish=("user:bob",)),
    "checked": Namespace(schema=True),
    "bytes": Namespace(payload="bytes"),
    "closed": Namespace(subscribe=(), publish=()),
}


class Case(SynchronousTestCase):
    """A world with namespaces of every kind."""

    def setUp(self) -> None:
        self.world = World(namespaces=NAMESPACES, message_size=1000, anonymous=True)
        self.node = self.world.node

    def done(self, work: Any) -> Any:
        """The result of a use case that does not wait."""
        return self.successResultOf(Deferred.fromCoroutine(work))

    def refused(self, work: Any) -> tuple[int, str]:
        failure = self.failureResultOf(Deferred.fromCoroutine(work), ReplyError)
        return failure.value.number, failure.value.message


class SubscribeTests(Case):
    """What a client gets for `subscribe`."""

    def test_table(self) -> None:
        anonymous, alice = ANONYMOUS, Identity("alice")
        for identity, channel, answer in (
            (alice, "x", None),
            (alice, "x" * 255, None),
            (alice, "", 107),
            (alice, "x" * 256, 107),
            (alice, "a b", 107),
            (alice, "näh", 107),
            (alice, "x\n", 107),
            (alice, ":x", 107),
            (alice, "open:", 107),
            (alice, "nowhere:x", 102),
            (alice, "Open:x", 102),
            (alice, "closed:x", 103),
            (alice, "$x", 103),
            (alice, "#alice", None),
            (alice, "#bob", 103),
            (alice, "#bob,alice", None),
            (anonymous, "x", 103),
            (anonymous, "open:x", None),
            (anonymous, "open:x:y.z@1;2=3", None),
            (anonymous, "#", 103),
        ):
            transport = self.world.connect(identity)
            transport.type(json.dumps({"subscribe": channel}))
            told = transport.take()[0]
            self.assertEqual(answer, told.get("error", {}).get("code"), (identity.user, channel))
            assert transport.session is not None
            self.assertEqual(answer is None, channel in transport.session.channels)

    def test_order_of_refusals(self) -> None:
        """A bad name, a second time, one too many; only then whether there is such a namespace, and who may."""
        transport = self.world.connect(channels=("a", "b", "c"))
        transport.type("subscribe a,b", "subscribe bad/name", "subscribe a", "subscribe nowhere:x", "subscribe d")
        self.assertEqual([106, 107, 105, 106, 106], [told["error"]["code"] for told in transport.take()])

    def test_place_is_free_after_unsubscribing(self) -> None:
        transport = self.world.connect(channels=("a", "b", "c"))
        transport.type("unsubscribe a", "subscribe d", "unsubscribe never-there")
        self.assertEqual(["unsubscribe", "subscribe", "unsubscribe"], [told.get("ok") for told in transport.take()])
        self.assertEqual(3, self.world.instruments.subscriptions)

    def test_may_subscribe_asks_without_subscribing(self) -> None:
        for channel, allowed in (("x", True), ("closed:x", False), ("nowhere:x", False)):
            self.assertIs(allowed, self.node.may_subscribe(Identity("alice"), channel))

    def test_user_code_subscribes_whom_it_likes(self) -> None:
        """Permissions do not hold for it; names, limits and namespaces do."""
        session = self.world.connect(ANONYMOUS).session
        assert session is not None
        subscribe = self.node.control.subscribe_session
        for channel in ("closed:x", "#bob", "$x"):
            self.done(subscribe(session, channel, Grant()))
        for channel, code in (("#bob", 105), ("bad/name", 107), ("y", 106)):
            self.assertEqual(code, self.refused(subscribe(session, channel, Grant()))[0])
        self.done(self.node.control.unsubscribe_session(session, "#bob"))
        self.assertEqual(102, self.refused(subscribe(session, "nowhere:x", Grant()))[0])

    def test_user_code_comes_late(self) -> None:
        """The client has left: nothing of it is left behind."""
        for leave in (lambda session: session.close(errors.FORCED), lambda session: session.ended(errors.CLOSED)):
            session = self.world.connect().session
            assert session is not None
            leave(session)
            self.done(self.node.control.subscribe_session(session, "x", Grant()))
            self.done(self.node.control.unsubscribe_session(session, "x"))
            self.assertEqual(((), 0), (self.node.hub.subscribers("x"), self.world.instruments.subscriptions))


class PublishTests(Case):
    """What a client gets for `publish`, and what the others get."""

    def test_table(self) -> None:
        big, deep = '"' + "x" * 999 + '"', "[" * 33 + "]" * 33
        for user, channel, data, answer in (
            ("alice", "x", "1", None),
            ("alice", "x", "nonsense", (107, "Invalid JSON")),
            ("alice", "x", deep, (107, "Invalid JSON")),
            ("alice", "x", big, (107, "payload too big")),
            ("alice", "x/y", "1", (107, "not a channel name")),
            ("alice", "nowhere:x", "1", (102, "unknown channel")),
            ("alice", "news:x", "1", (103, "permission denied")),
            ("alice", "news:x", "nonsense", (103, "permission denied")),
            ("bob", "news:x", "1", None),
            ("", "x", "1", (103, "permission denied")),
            ("", "open:x", "1", None),
            ("alice", "checked:x", '"good"', None),
            ("alice", "checked:x", '"bad"', (107, "$: not one of the enum")),
            ("alice", "bytes:x", "nonsense", None),
        ):
            command = Publish(channel, data.encode())
            identity = Identity(user)
            work = self.node.publishing.publish(command, identity=identity, publisher=ClientInfo("c", user))
            if answer is None:
                self.done(work)
            else:
                self.assertEqual(answer, self.refused(work), (user, channel, data[:40]))

    def test_server_may_publish_anywhere_but_not_anything(self) -> None:
        self.done(self.node.publishing.publish(Publish("closed:x", b"1")))
        self.assertEqual((107, "Invalid JSON"), self.refused(self.node.publishing.publish(Publish("closed:x", b"x"))))
        self.assertEqual(
            (107, "$: not one of the enum"), self.refused(self.node.publishing.publish(Publish("checked:x", b'"bad"')))
        )

    def test_event_chooses_the_schema(self) -> None:
        self.done(self.node.publishing.publish(Publish("checked:x", b"1")))
        self.done(self.node.publishing.publish(Publish("checked:x", b"2", tags={"event": "join", "other": "y"})))
        self.done(self.node.publishing.publish(Publish("x", b"3")))
        self.assertEqual([("checked", "message", 1), ("checked", "join", 2)], self.world.validator.asked)

    def test_everybody_gets_it_but_a_raw_sender(self) -> None:
        plain = self.world.connect(channels=("x",))
        raw = self.world.connect(dialect=RAW, channels=("x",), home="x", exclude_self=True)
        other = self.world.connect(dialect=RAW, channels=("x",), home="x", exclude_self=True)
        raw.type('{"a":\n1}')
        plain.type('{"publish":"x","data":2,"tags":{"t":"v"}}')
        assert plain.session is not None and raw.session is not None
        told = plain.take()
        self.assertEqual({"a": 1}, told[0]["data"])
        self.assertEqual({"client": raw.session.id, "user": "alice"}, told[0]["from"])
        self.assertEqual(({"t": "v"}, "publish"), (told[1]["tags"], told[2]["ok"]))
        self.assertEqual(([2], [{"a": 1}, 2]), (raw.take(), other.take()))

    def test_echo_is_the_senders_choice(self) -> None:
        raw = self.world.connect(dialect=RAW, channels=("x",), home="x")
        raw.type("1")
        self.assertEqual([1], raw.take())

    def test_bytes_pass_unchanged(self) -> None:
        """Text as text, binary as binary, whatever is in them."""
        raw = self.world.connect(dialect=RAW, channels=("bytes:x",), home="bytes:x")
        assert raw.session is not None
        for payload, binary in ((b"\x00\xff\r\n", True), (b"a\r\nb", False), (b"", True), (b"{", False)):
            raw.session.receive(payload, binary)
            frame = raw.frames.pop()
            self.assertEqual((payload, binary), (frame.payload, frame.binary))

    def test_binary_is_no_matter_in_json(self) -> None:
        raw = self.world.connect(dialect=RAW, channels=("x",), home="x")
        assert raw.session is not None
        raw.session.receive(b"1", True)
        self.assertFalse(raw.frames.pop().binary)

    def test_user_code_keeps_it(self) -> None:
        self.world.fake_hooks.outcomes["publish"] = False
        transport = self.world.connect(channels=("x",))
        transport.type("publish x 1")
        self.assertEqual([{"ok": "publish", "channel": "x"}], transport.take())
        self.assertEqual(0, self.world.instruments.publications)

    def test_user_code_refuses_it(self) -> None:
        self.world.fake_hooks.outcomes["publish"] = ReplyError(ErrorCode.LIMIT_EXCEEDED, "no more today")
        transport = self.world.connect(channels=("x",))
        transport.type("publish x 1")
        self.assertEqual(error(106, "no more today"), transport.take()[0]["error"])

    def test_user_code_sees_what_was_checked_and_not_what_the_server_says(self) -> None:
        transport = self.world.connect()
        transport.type("publish x 1", "publish x nonsense", "publish closed:x 1")
        self.done(self.node.publishing.publish(Publish("x", b"2")))
        self.assertEqual([("connect", "alice"), ("publish", b"1")], self.world.fake_hooks.calls)


class BroadcastTests(Case):
    """To everybody, outside any channel."""

    def test_everybody_but_one(self) -> None:
        one, two = self.world.connect(), self.world.connect(dialect=RAW)
        assert one.session is not None
        self.done(self.node.publishing.broadcast(b'{"n":\n1}'))
        self.done(self.node.publishing.broadcast(b"2", exclude=one.session.id))
        self.assertEqual([{"message": "", "data": {"n": 1}}], one.take())
        self.assertEqual([{"n": 1}, 2], two.take())

    def test_bytes(self) -> None:
        one, two = self.world.connect(), self.world.connect(dialect=RAW)
        self.done(self.node.publishing.broadcast(b"\xff", is_json=False))
        self.assertEqual([{"message": "", "b64data": "/w=="}], one.take())
        self.assertEqual((b"\xff", True), (two.frames[0].payload, two.frames[0].binary))

    def test_nonsense_is_refused(self) -> None:
        self.assertEqual((107, "Invalid JSON"), self.refused(self.node.publishing.broadcast(b"{")))


class CountingTests(Case):
    """What the operator sees."""

    def test_connections_come_and_go(self) -> None:
        count = self.world.instruments
        one, two = self.world.connect(), self.world.connect(dialect=RAW, channels=("x",))
        self.assertEqual({"plain": 1, "raw": 1}, dict(count.connections))
        one.leave()
        two.leave()
        self.assertEqual({"plain": 0, "raw": 0}, dict(count.connections))
        self.assertEqual({"plain": 1, "raw": 1}, dict(count.connections_total))
        self.assertEqual(0, count.subscriptions)

    def test_messages_bytes_and_errors(self) -> None:
        transport = self.world.connect()
        transport.type("publish x 12", "nonsense")
        count = self.world.instruments
        self.assertEqual((2, 20, 1), (count.messages_in["plain"], count.bytes_in, count.publications))
        self.assertEqual({104: 1}, dict(count.errors))

    def test_queues_are_added_up(self) -> None:
        one, two = self.world.connect(room=1), self.world.connect(room=1)
        one.type("ping")
        two.type("ping")
        self.assertEqual(2 * len(b'xx{"ok":"ping"}'), self.node.queued_bytes())
        one.leave()
        self.assertEqual(len(b'xx{"ok":"ping"}'), self.node.queued_bytes())

    def test_close_that_is_news_is_noted_one_that_is_expected_is_not(self) -> None:
        for reason in (errors.SHUTDOWN, errors.EXPIRED, errors.NO_PONG, errors.FORCED):
            session = self.world.connect().session
            assert session is not None
            session.close(reason)
        self.assertEqual([], self.world.notes)
        session = self.world.connect().session
        assert session is not None
        session.close(errors.SLOW)
        self.assertEqual([("close 3008", "closed 192.0.2.1:40000: 3008 slow")], self.world.notes)

    def test_refusal_is_counted_and_noted(self) -> None:
        self.node.refused(Refusal(403, "origin", "no"), "192.0.2.1")
        self.assertEqual({(403, "origin"): 1}, dict(self.world.instruments.refusals))
        self.assertEqual([("refusal 403", "refused 192.0.2.1: 403 origin")], self.world.notes)

    def test_failure_of_a_close_handler_is_reported(self) -> None:
        self.world.fake_hooks.outcomes["close"] = KeyError("x")
        self.world.connect().leave()
        self.assertEqual(["a close handler failed"], [what for what, _ in self.world.reports])
