"""What a client listens to: confirmed, renewed after a reconnect, lost, given up."""

from __future__ import annotations

from typing import Any

from realtime_svc.client import (
    CommandError,
    CommandTimeout,
    Message,
    ProtocolViolation,
    StreamPosition,
    SubscriptionLost,
)
from tests.client.fakes import ClientCase, FakeConnection


class SubscriptionTests(ClientCase):
    def setUp(self) -> None:
        super().setUp()
        self.messages: list[Message] = []

    def subscribed(self) -> FakeConnection:
        connection = self.connect()
        ready = self.client.subscribe("chat", self.messages.append)
        connection.ok()
        self.successResultOf(ready)
        return connection

    def test_messages(self) -> None:
        """In order, as values; only of channels that were asked for."""
        connection = self.subscribed()
        sender = {"client": "x", "user": "1"}
        connection.deliver(
            {"message": "chat", "data": 1, "from": sender},
            {"message": "other", "data": 2},
            {"message": "chat", "data": 3},
        )
        self.assertEqual(self.messages, [Message("chat", 1, sender, {}), Message("chat", 3, None, {})])

    def test_refused(self) -> None:
        """The caller is told, and the channel is free for another attempt."""
        connection = self.connect()
        ready = self.client.subscribe("chat", self.messages.append)
        connection.error(103)
        self.failureResultOf(ready, CommandError)
        self.client.subscribe("chat", self.messages.append)
        self.assertEqual(connection.verbs, ["subscribe chat"] * 2)
        self.assertEqual(self.events, ["connected"])

    def test_twice(self) -> None:
        self.subscribed()
        self.failureResultOf(self.client.subscribe("chat", self.messages.append), ValueError)

    def test_timeout(self) -> None:
        """Then there is no subscription, not even if the server confirms it later."""
        connection = self.connect()
        ready = self.client.subscribe("chat", self.messages.append)
        self.clock.advance(10)
        self.failureResultOf(ready, CommandTimeout)
        self.assertEqual(connection.verbs, ["subscribe chat", "unsubscribe chat"])
        connection.deliver({"message": "chat", "data": 1})
        self.assertEqual(self.messages, [])

    def test_renewed_after_a_reconnect(self) -> None:
        """Before anything else goes out; messages come to the same callback."""
        connection = self.subscribed()
        connection.lose()
        waiting = self.client.publish("chat", 1)
        self.clock.advance(1)
        second = self.greet()
        self.assertEqual(second.verbs, ["subscribe chat", "publish chat"])
        second.ok(0)
        second.ok(1)
        self.successResultOf(waiting)
        second.deliver({"message": "chat", "data": 2})
        self.assertEqual(len(self.messages), 1)

    def test_connection_lost_before_the_confirmation(self) -> None:
        """The first confirmation may come from a later connection."""
        self.client.start()
        ready = self.client.subscribe("chat", self.messages.append)
        self.greet().lose()
        self.assertNoResult(ready)
        self.clock.advance(1)
        self.greet().ok()
        self.successResultOf(ready)

    def test_not_renewed(self) -> None:
        """Refused for good: it is over, and on_error tells."""
        self.subscribed().lose()
        self.clock.advance(1)
        second = self.greet()
        second.error(103)
        lost = self.events[-1]
        self.assertIsInstance(lost, SubscriptionLost)
        self.assertEqual((lost.channel, lost.code), ("chat", 103))
        second.lose()
        self.clock.advance(20)
        self.assertEqual(self.greet().verbs, [])

    def test_renewal_is_tried_again(self) -> None:
        """Refused for now: again after a back-off, which grows."""
        self.subscribed().lose()
        self.clock.advance(1)
        second = self.greet()
        second.error(111, temporary=True)
        self.clock.advance(1.0)
        self.assertEqual(second.verbs, ["subscribe chat"] * 2)
        second.error(111, temporary=True)
        self.clock.advance(1.4)
        self.assertEqual(second.verbs, ["subscribe chat"] * 2)
        self.clock.advance(0.1)
        self.assertEqual(second.verbs, ["subscribe chat"] * 3)
        second.ok()

    def test_connection_lost_while_a_renewal_waits(self) -> None:
        """The next connection asks once, whatever was due on the one before."""
        self.subscribed().lose()
        self.clock.advance(1)
        second = self.greet()
        second.error(111, temporary=True)
        second.lose()
        other = self.client.subscribe("other", self.messages.append)
        self.clock.advance(1.5)
        third = self.greet()
        self.assertEqual(third.verbs, ["subscribe chat", "subscribe other"])
        third.ok()
        self.successResultOf(other)

    def test_renewal_without_an_answer(self) -> None:
        """The server is there but does not work: this connection is given up."""
        self.subscribed().lose()
        self.clock.advance(1)
        second = self.greet()
        self.clock.advance(10)
        self.assertEqual(second.closes, [1000])

    def test_ended_by_the_server(self) -> None:
        """Codes from 2500: subscribe again. Below: it is over."""
        connection = self.subscribed()
        connection.deliver({"unsubscribed": "chat", "code": 2500, "reason": "insufficient state"})
        self.clock.advance(1)
        self.assertEqual(connection.verbs, ["subscribe chat"] * 2)
        connection.ok()
        connection.deliver({"unsubscribed": "chat", "code": 2000, "reason": "server unsubscribe"})
        connection.deliver({"message": "chat", "data": 1})
        self.clock.advance(100)
        self.assertEqual(connection.verbs, ["subscribe chat"] * 2)
        self.assertEqual((self.events[-1].code, self.messages), (2000, []))

    def test_unsubscribe(self) -> None:
        """Effective at once; not renewed."""
        connection = self.subscribed()
        done = self.client.unsubscribe("chat")
        connection.deliver({"message": "chat", "data": 1})
        self.assertEqual(self.messages, [])
        connection.ok()
        self.successResultOf(done)
        connection.lose()
        self.clock.advance(1)
        self.assertEqual(self.greet().verbs, [])

    def test_unsubscribe_without_a_connection(self) -> None:
        self.subscribed().lose()
        self.successResultOf(self.client.unsubscribe("chat"))
        self.clock.advance(1)
        self.assertEqual(self.greet().verbs, [])

    def test_unsubscribe_when_the_connection_goes(self) -> None:
        """What was asked for has come true."""
        connection = self.subscribed()
        done = self.client.unsubscribe("chat")
        connection.lose()
        self.successResultOf(done)

    def test_unsubscribe_before_the_confirmation(self) -> None:
        connection = self.connect()
        ready = self.client.subscribe("chat", self.messages.append)
        self.client.unsubscribe("chat")
        self.failureResultOf(ready, SubscriptionLost)
        connection.ok(0)
        self.assertEqual(connection.verbs, ["subscribe chat", "unsubscribe chat"])

    def test_callback_that_raises(self) -> None:
        """It is logged; the next message and the next subscriber are served."""
        connection = self.subscribed()
        bad = self.client.subscribe("bad", lambda message: 1 // 0)
        connection.ok()
        self.successResultOf(bad)
        connection.deliver({"message": "bad", "data": 1}, {"message": "chat", "data": 2})
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.messages), 1)


class RecoveryTests(ClientCase):
    """A subscription goes on where it was, and says whether something is missing."""

    def setUp(self) -> None:
        super().setUp()
        self.seen: list[Any] = []

    def subscribe(self, connection: FakeConnection, **options: Any) -> None:
        ready = self.client.subscribe(
            "chat",
            lambda message: self.seen.append(message.data),
            on_recovered=lambda whole: self.seen.append(f"recovered: {whole}"),
            **options,
        )
        connection.ok(offset=7, epoch="e")
        self.successResultOf(ready)

    def reconnect(self, connection: FakeConnection, after: float = 1.0) -> FakeConnection:
        connection.lose()
        self.clock.advance(after)
        return self.greet()

    def asked(self, connection: FakeConnection) -> dict[str, Any]:
        (command,) = connection.sent
        return {key: value for key, value in command.items() if key not in ("id", "subscribe")}

    def test_goes_on_after_the_last_message(self) -> None:
        """Not after the newest one the server told of; what was missed follows the answer."""
        connection = self.connect()
        self.subscribe(connection)
        self.assertEqual(self.asked(connection), {})
        connection.deliver(message(8), message(9))
        second = self.reconnect(connection)
        self.assertEqual(self.asked(second), {"since": "e:9"})
        second.ok(offset=9, epoch="e", recovered=True)
        second.deliver(message(10), message(11))
        self.assertEqual(self.seen, [8, 9, "recovered: True", 10, 11])
        third = self.reconnect(second, 1.5)
        self.assertEqual(self.asked(third), {"since": "e:11"})

    def test_connection_lost_in_the_middle_of_a_recovery(self) -> None:
        """What came before is not asked for again, the rest is."""
        connection = self.connect()
        self.subscribe(connection)
        second = self.reconnect(connection)
        second.ok(offset=7, epoch="e", recovered=True)
        second.deliver(message(8))
        self.assertEqual(self.asked(self.reconnect(second, 1.5)), {"since": "e:8"})

    def test_nothing_was_published_before_the_break(self) -> None:
        """The place that the first answer told is enough."""
        connection = self.connect()
        self.subscribe(connection)
        self.assertEqual(self.asked(self.reconnect(connection)), {"since": "e:7"})

    def test_lost(self) -> None:
        """Then the subscription goes on from where the stream stands now, in whatever epoch."""
        connection = self.connect()
        self.subscribe(connection)
        second = self.reconnect(connection)
        second.ok(offset=2, epoch="f", recovered=False)
        second.deliver(message(3))
        self.assertEqual(self.seen, ["recovered: False", 3])
        self.assertEqual(self.asked(self.reconnect(second, 1.5)), {"since": "f:3"})

    def test_channel_without_history(self) -> None:
        """There is nothing to go on from, and each renewal may have missed something."""
        connection = self.connect()
        ready = self.client.subscribe("chat", self.seen.append, on_recovered=self.seen.append)
        connection.ok()
        self.successResultOf(ready)
        second = self.reconnect(connection)
        self.assertEqual(self.asked(second), {})
        second.ok()
        self.assertEqual(self.seen, [False])

    def test_gap_on_a_live_subscription(self) -> None:
        """The server ends it with 2500: it goes on after the last message that came."""
        connection = self.connect()
        self.subscribe(connection)
        connection.deliver(message(8), {"unsubscribed": "chat", "code": 2500, "reason": "insufficient state"})
        self.clock.advance(1)
        self.assertEqual(connection.sent[-1]["since"], "e:8")

    def test_from_a_place_of_ones_own(self) -> None:
        """The first time, too, what follows and what is missing is told."""
        connection = self.connect()
        self.subscribe(connection, since=StreamPosition(3, "e"))
        self.assertEqual(self.asked(connection), {"since": "e:3"})
        self.assertEqual(self.seen, ["recovered: False"])

    def test_history_comes_once(self) -> None:
        """Messages of the past do not move the place back, and are not asked for again."""
        connection = self.connect()
        self.subscribe(connection, history=2)
        self.assertEqual(self.asked(connection), {"history": 2})
        connection.deliver(message(6), message(7))
        self.assertEqual(self.asked(self.reconnect(connection)), {"since": "e:7"})

    def test_token(self) -> None:
        connection = self.connect()
        self.subscribe(connection, token="t")
        self.assertEqual(self.asked(connection), {"token": "t"})
        self.assertEqual(self.asked(self.reconnect(connection)), {"since": "e:7", "token": "t"})

    def test_message_callback_that_raises(self) -> None:
        """The message was handed out: it does not come again."""
        connection = self.connect()
        ready = self.client.subscribe("chat", lambda message: 1 // 0)
        connection.ok(offset=7, epoch="e")
        self.successResultOf(ready)
        connection.deliver(message(8))
        self.assertEqual(self.asked(self.reconnect(connection)), {"since": "e:8"})
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_recovered_callback_that_raises(self) -> None:
        """It is logged, and messages come."""
        connection = self.connect()
        self.subscribe(connection)
        other = self.client.subscribe("other", lambda message: None, on_recovered=lambda whole: 1 // 0)
        connection.ok()
        self.successResultOf(other)
        second = self.reconnect(connection)
        second.ok(0, offset=7, epoch="e", recovered=True)
        second.ok(1)
        second.deliver(message(8))
        self.assertEqual(self.seen, ["recovered: True", 8])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_answer_that_is_no_position(self) -> None:
        """The caller is told; a renewal is lost, which is reported."""
        connection = self.connect()
        ready = self.client.subscribe("chat", self.seen.append)
        connection.ok(offset="7", epoch="e")
        self.failureResultOf(ready, ProtocolViolation)
        self.subscribe(connection)
        self.reconnect(connection).ok(offset=-1, epoch="e")
        self.assertIsInstance(self.events[-1], ProtocolViolation)


class NeighbourTests(ClientCase):
    """Who comes and goes."""

    def test_joins_and_leaves(self) -> None:
        seen: list[Any] = []
        connection = self.connect()
        ready = self.client.subscribe(
            "chat",
            seen.append,
            on_join=lambda member: seen.append(("join", member)),
            on_leave=lambda member: seen.append(("leave", member)),
        )
        self.assertEqual(connection.sent[-1]["presence"], True)
        connection.ok()
        self.successResultOf(ready)
        somebody = {"client": "c2", "user": "7"}
        connection.deliver(
            {"join": "chat", "from": somebody},
            {"join": "other", "from": somebody},
            {"leave": "other", "from": somebody},
            {"leave": "chat", "from": somebody},
        )
        self.assertEqual(seen, [("join", somebody), ("leave", somebody)])
        connection.lose()
        self.clock.advance(1)
        self.assertEqual(self.greet().sent[-1]["presence"], True)

    def test_not_asked_for(self) -> None:
        """Channels may tell them all the same."""
        connection = self.connect()
        ready = self.client.subscribe("chat", lambda message: None)
        connection.ok()
        self.successResultOf(ready)
        self.assertNotIn("presence", connection.sent[-1])
        connection.deliver({"join": "chat", "from": {}}, {"leave": "chat", "from": {}})
        self.assertEqual((self.events, connection.closes), (["connected"], []))


def message(offset: int) -> dict[str, Any]:
    """A message whose data is its offset."""
    return {"message": "chat", "data": offset, "offset": offset}
