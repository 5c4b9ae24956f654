"""What a client asks for: each command is answered, refused, or told what became of it."""

from __future__ import annotations

from typing import Any

from realtime_svc.client import (
    ClientStopped,
    CommandError,
    CommandTimeout,
    ConnectionClosed,
    History,
    Message,
    PresenceCounts,
    ProtocolViolation,
    SendBufferFull,
    StreamPosition,
    TooManyCommands,
)
from realtime_svc.client.commands import MAX_WAITING
from tests.client.fakes import ClientCase


class CommandTests(ClientCase):
    def test_publish(self) -> None:
        """Fires at the answer with its id, and no other."""
        connection = self.connect()
        first = self.client.publish("chat", {"a": 1}, {"event": "e"})
        second = self.client.publish("chat", b"\0")
        self.assertEqual(
            connection.sent,
            [
                {"publish": "chat", "data": {"a": 1}, "tags": {"event": "e"}, "id": 1},
                {"publish": "chat", "b64data": "AA==", "id": 2},
            ],
        )
        connection.ok(1)
        self.assertNoResult(first)
        self.assertIsNone(self.successResultOf(second))
        connection.ok(0)
        self.assertIsNone(self.successResultOf(first))

    def test_publish_where_history_is_kept(self) -> None:
        """Its place is the result; a key of one's own makes it safe to try again."""
        connection = self.connect()
        publishing = self.client.publish("chat", 1, key="k")
        self.assertEqual(connection.sent[-1], {"publish": "chat", "data": 1, "key": "k", "id": 1})
        connection.ok(offset=8, epoch="e")
        self.assertEqual(self.successResultOf(publishing), StreamPosition(8, "e"))

    def test_what_is_asked_and_answered(self) -> None:
        """Each command as it goes out, an answer, and what the caller gets of it."""
        at_7, somebody = StreamPosition(7, "e"), {"client": "c2", "user": "7", "info": {"n": 1}}
        said = {"message": "chat", "data": "x", "offset": 7, "from": somebody}
        table: tuple[tuple[str, tuple[Any, ...], dict[str, Any], dict[str, Any], dict[str, Any], object], ...] = (
            (
                "history",
                ("chat",),
                {},
                {"history": "chat"},
                {"messages": [said], "offset": 7, "epoch": "e"},
                History([Message("chat", "x", somebody, {}, 7)], at_7),
            ),
            (
                "history",
                ("chat", 5),
                {"since": at_7, "reverse": True},
                {"history": "chat", "limit": 5, "since": "e:7", "reverse": True},
                {"messages": [], "offset": 0, "epoch": "f"},
                History([], StreamPosition(0, "f")),
            ),
            (
                "history",
                ("chat", 0),
                {},
                {"history": "chat", "limit": 0},
                {"messages": [], "offset": 7, "epoch": "e"},
                History([], at_7),
            ),
            ("presence", ("chat",), {}, {"presence": "chat"}, {"members": [somebody]}, [somebody]),
            (
                "presence_stats",
                ("chat",),
                {},
                {"presence": "chat", "stats": True},
                {"clients": 3, "users": 2},
                PresenceCounts(3, 2),
            ),
            ("call", ("sum", [1, 2]), {}, {"call": "sum", "data": [1, 2]}, {"data": 3}, 3),
            ("call", ("sum",), {}, {"call": "sum", "data": None}, {"data": None}, None),
        )
        connection = self.connect()
        for method, arguments, options, command, answer, result in table:
            asking = getattr(self.client, method)(*arguments, **options)
            self.assertEqual({**command, "id": connection.last_id()}, connection.sent[-1])
            connection.ok(**answer)
            self.assertEqual(result, self.successResultOf(asking), command)

    def test_answers_that_are_none(self) -> None:
        """The caller learns it; the connection stays."""
        connection = self.connect()
        for method, answer in (
            ("history", {"messages": []}),
            ("history", {"messages": {}, "offset": 0, "epoch": "e"}),
            ("history", {"messages": [1], "offset": 0, "epoch": "e"}),
            ("history", {"messages": [{}], "offset": 0, "epoch": "e"}),
            ("history", {"offset": 0, "epoch": "e"}),
            ("history", {"messages": [], "offset": True, "epoch": "e"}),
            ("presence", {}),
            ("presence", {"members": ["c2"]}),
            ("presence_stats", {"clients": 1}),
            ("presence_stats", {"clients": 1, "users": -1}),
        ):
            asking = getattr(self.client, method)("chat")
            connection.ok(**answer)
            self.failureResultOf(asking, ProtocolViolation)
        self.assertEqual(connection.closes, [])

    def test_all_fail_when_it_is_over(self) -> None:
        connection = self.connect()
        self.client.stop()
        connection.lose(1000)
        for asking in (
            self.client.history("chat"),
            self.client.presence("chat"),
            self.client.presence_stats("chat"),
            self.client.call("f"),
        ):
            self.failureResultOf(asking, ClientStopped)

    def test_refused(self) -> None:
        connection = self.connect()
        publishing = self.client.publish("chat", 1)
        connection.error(103)
        error = self.failureResultOf(publishing, CommandError).value
        self.assertEqual((error.code, error.message, error.temporary), (103, "no", False))

    def test_timeout(self) -> None:
        """A late answer harms nobody."""
        connection = self.connect()
        publishing = self.client.publish("chat", 1)
        self.clock.advance(9.9)
        self.assertNoResult(publishing)
        self.clock.advance(0.1)
        self.failureResultOf(publishing, CommandTimeout)
        connection.ok()
        self.assertEqual(self.events, ["connected"])

    def test_before_the_connection(self) -> None:
        """What is issued early goes out after the hello, in order; its time runs from the start."""
        self.client.start()
        publishing = [self.client.publish("chat", number) for number in range(3)]
        connection = self.dial.succeed()
        self.assertEqual(connection.sent, [])
        connection.hello()
        self.assertEqual([command["data"] for command in connection.sent], [0, 1, 2])
        self.clock.advance(10)
        for each in publishing:
            self.failureResultOf(each, CommandTimeout)

    def test_connection_lost(self) -> None:
        """What was sent fails, never silently, and is not sent again; what was not, waits for the next connection."""
        connection = self.connect()
        sent = self.client.publish("chat", "sent")
        connection.lose(3001, "shutdown")
        self.assertEqual(self.failureResultOf(sent, ConnectionClosed).value.code, 3001)
        waiting = self.client.publish("chat", "waiting")
        self.clock.advance(1)
        second = self.greet()
        self.assertEqual([command["data"] for command in second.sent], ["waiting"])
        second.ok()
        self.successResultOf(waiting)

    def test_too_many(self) -> None:
        self.client.start()
        waiting = [self.client.publish("chat", number) for number in range(MAX_WAITING)]
        self.failureResultOf(self.client.publish("chat", 1), TooManyCommands)
        self.stop()
        for each in waiting:
            self.failureResultOf(each, ClientStopped)

    def test_too_many_bytes(self) -> None:
        self.client.start()
        waiting = [self.client.publish("chat", "x" * 1_000_000) for _ in range(4)]
        self.failureResultOf(self.client.publish("chat", "x" * 1_000_000), TooManyCommands)
        self.stop()
        for each in waiting:
            self.failureResultOf(each, ClientStopped)

    def test_server_does_not_read(self) -> None:
        connection = self.connect()
        connection.refuse = SendBufferFull()
        self.failureResultOf(self.client.publish("chat", 1), SendBufferFull)

    def test_data_that_is_no_json(self) -> None:
        self.connect()
        for data in (float("nan"), {1}, "\ud800"):
            self.failureResultOf(self.client.publish("chat", data), ValueError)

    def test_sync(self) -> None:
        """A ping: its answer comes after all answers that were due before."""
        connection = self.connect()
        done = self.client.sync()
        self.assertEqual(connection.sent, [{"ping": 1, "id": 1}])
        connection.ok()
        self.successResultOf(done)

    def test_error_that_belongs_to_no_command(self) -> None:
        connection = self.connect()
        connection.deliver({"error": {"code": 107, "message": "Invalid JSON", "temporary": False}})
        self.assertEqual(self.events[1].code, 107)
