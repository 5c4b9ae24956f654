"""What a client listens to: confirmed, renewed after a reconnect, lost, given up."""

from __future__ import annotations

from realtime_svc.client import (
    CommandError,
    CommandTimeout,
    Message,
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
