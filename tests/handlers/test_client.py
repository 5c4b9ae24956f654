"""What user code may do to one client, and learn about it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from realtime_svc import errors
from realtime_svc.core.messages import Publish
from realtime_svc.errors import Disconnect, ErrorCode, ReplyError
from realtime_svc.handlers import Client, Member, Message
from realtime_svc.handlers.message import member
from realtime_svc.model import ClientInfo, Grant, Publication, StreamPosition
from tests.handlers.fakes import Case, FakeSession


class LookTests(Case):
    def test_who_it_is(self) -> None:
        session = FakeSession("bob", info=b'{"name":"Bob"}', meta=b"[1]")
        session.channels = {"x": None, "y": None}
        client = self.client(session)
        self.assertEqual(("id-of-bob", "bob", "192.0.2.1:40000"), (client.id, client.user, client.address))
        self.assertEqual(({"name": "Bob"}, [1]), (client.info, client.meta))
        self.assertEqual({"x", "y"}, client.channels)
        self.assertIs(self.server, client.server)
        self.assertEqual((None, None), (self.client().info, self.client().meta))

    def test_same_connection(self) -> None:
        """Each call gets an object of its own; they can be keys of a dict."""
        self.assertEqual(self.client(), self.client())
        self.assertEqual(1, len({self.client(), self.client()}))
        self.assertNotEqual(self.client(), self.client(FakeSession("bob")))
        self.assertNotEqual(self.client(), self.client().id)

    def test_representation_has_no_secret(self) -> None:
        client = self.client(FakeSession("bob", info=b'"secret"', meta=b'"secret"'))
        self.assertEqual("<Client id-of-bob user='bob'>", repr(client))
        self.assertEqual("<Message in 'x': 8 bytes>", repr(Message(Publication("x", b'"secret"'))))


class AbilityTests(Case):
    def test_reply(self) -> None:
        """In no channel, to it alone."""
        for data, payload, is_json in (
            ({"a": [None, "é"]}, '{"a":[null,"é"]}'.encode(), True),
            (b"\xff", b"\xff", False),
        ):
            self.client().reply(data)
            expected = Publication("", payload, is_json=is_json, binary=not is_json)
            self.assertEqual(expected, self.alice.said.pop())
        self.assertRaises(TypeError, self.client().reply, object())

    def test_broadcast_to_all_others(self) -> None:
        self.successResultOf(self.client().broadcast("x", {"n": 1}, event="e"))
        name, (command,), named = self.node.publishing.calls[-1]
        self.assertEqual(("publish", Publish("x", b'{"n":1}', tags={"event": "e"})), (name, command))
        self.assertEqual(self.alice.id, named["exclude"])

    def test_subscribe_and_unsubscribe(self) -> None:
        self.successResultOf(self.client().subscribe("x", info=[1], data="hi", presence=False))
        self.successResultOf(self.client().unsubscribe("x"))
        grant = Grant(info=b"[1]", data=b'"hi"', presence=False)
        expected: list[Any] = [
            ("subscribe_session", (self.alice, "x", grant), {}),
            ("unsubscribe_session", (self.alice, "x"), {}),
        ]
        self.assertEqual(expected, self.node.control.calls)

    def test_subscribe_that_takes_its_time_or_fails(self) -> None:
        gate: Deferred[None] = Deferred()
        self.node.control.outcomes["subscribe_session"] = gate
        waiting = self.client().subscribe("x")
        self.assertNoResult(waiting)
        gate.callback(None)
        self.successResultOf(waiting)
        self.node.control.outcomes["subscribe_session"] = ReplyError(ErrorCode.ALREADY_SUBSCRIBED)
        self.assertEqual(105, self.failureResultOf(self.client().subscribe("x"), ReplyError).value.number)

    def test_close(self) -> None:
        self.client().close()
        self.assertEqual(errors.FORCED, self.alice.closed)
        self.client().close(4000, "see you")
        self.assertEqual(Disconnect(4000, "see you"), self.alice.closed)

    def test_close_that_no_frame_can_hold(self) -> None:
        for code, reason in ((1000, ""), (2999, ""), (5000, ""), (4000, "x" * 124), (4000, "é" * 62)):
            self.assertRaises(ValueError, self.client().close, code, reason)
        self.assertIsNone(self.alice.closed)


class MessageTests(Case):
    def test_where_it_stands_and_who_said_it(self) -> None:
        message = Message(Publication("x", b"1", publisher=ClientInfo("c", "bob", b"[1]", b"2"), offset=3, epoch="e"))
        self.assertEqual(StreamPosition(3, "e"), message.position)
        self.assertEqual(Member("c", "bob", [1], 2), message.publisher)
        self.assertEqual(
            (None, None), (Message(Publication("x", b"1")).position, Message(Publication("x", b"1")).publisher)
        )

    def test_nothing_in_it_changes(self) -> None:
        """What is handed out are copies."""
        message = Message(Publication("x", b'{"a":1}', tags={"k": "v"}))
        message.data["a"] = 2
        message.tags["k"] = "w"
        changed = message.replace(data=3)
        self.assertEqual(({"a": 1}, {"k": "v"}, 3), (message.data, message.tags, changed.data))

    def test_member(self) -> None:
        self.assertEqual(Member("c", "u", None, None), member(ClientInfo("c", "u")))

    def test_http_publisher_equals_nobody(self) -> None:
        nobody = Client(self.server, ClientInfo("", "u"), None)
        self.assertNotEqual(nobody, Client(self.server, ClientInfo("", "u"), None))
