"""Publishing, history and presence: who may, in what order it is refused, and what becomes of it."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.config import Namespace
from realtime_svc.core import messages
from realtime_svc.core.messages import History, Message, Presence, PresenceStats, Publish
from realtime_svc.core.publishing import MAX_TAGS_SIZE
from realtime_svc.engines.broker_memory import MemoryBroker
from realtime_svc.errors import ErrorCode, ReplyError
from realtime_svc.model import ClientInfo, Grant, HistoryQuery, Identity, Publication
from tests.core.talker import Outcome, Talker, publish
from tests.fakes import ALICE, BOB, World

KEPT: dict[str, Any] = {"history_size": 5, "history_ttl": 60.0, "presence": True}
NAMESPACES = {
    "default": Namespace(publish=("subscriber",), **KEPT),
    "closed": Namespace(subscribe=(), publish=(), read_history=(), read_presence=(), **KEPT),
    "free": Namespace(
        subscribe=(), publish=("anonymous",), read_history=("anonymous",), read_presence=("anonymous",), **KEPT
    ),
    "insecure": Namespace(subscribe=(), publish=(), read_history=(), read_presence=(), insecure=True, **KEPT),
    "nothing": Namespace(read_history=(), read_presence=()),
    "small": Namespace(message_size=5),
    "large": Namespace(message_size=50),
    "checked": Namespace(schema=True),
    "bytes": Namespace(payload="bytes"),
}


class Case(SynchronousTestCase):
    """A world in which messages of up to 20 bytes are allowed."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.broker = MemoryBroker(self.clock)
        self.world = World(
            namespaces=NAMESPACES, message_size=20, anonymous=True, broker=self.broker, channels_per_client=20
        )
        self.publishing = self.world.node.publishing
        self.client, self.nobody = Talker(self.world), Talker(self.world, "nobody")

    def payloads(self, channel: str) -> list[bytes]:
        page = Outcome(self.publishing.history(channel, HistoryQuery())).result
        return [one.data for one in page.publications]


class RightTests(Case):
    """Who may publish, read the history, and see who is there."""

    def test_subscribers(self) -> None:
        commands = (Publish("x", b"1"), History("x"), Presence("x"), PresenceStats("x"))
        self.assertEqual([103] * 4, [self.client.refused(command) for command in commands])
        self.client.subscribe()
        self.assertEqual([0] * 4, [self.client.refused(command) for command in commands])
        self.client.ask(messages.Unsubscribe("x"))
        self.assertEqual([103] * 4, [self.client.refused(command) for command in commands])

    def test_another_subscription_does_not_count(self) -> None:
        self.client.subscribe("y")
        self.assertEqual(103, self.client.refused(Publish("x", b"1")))
        self.assertEqual(103, self.client.refused(Publish("closed:x", b"1")))

    def test_subscriber_of_a_closed_channel(self) -> None:
        """The word stands in the rule, or subscribing gives no right but to listen."""
        Outcome(self.world.node.control.subscribe(user="alice", channel="closed:x", grant=Grant()))
        self.client.heard()
        for command in (Publish("closed:x", b"1"), History("closed:x"), Presence("closed:x")):
            self.assertEqual(103, self.client.refused(command))

    def test_subscriber_that_was_let_in_by_the_server(self) -> None:
        """Who is subscribed to a private channel has passed its gate."""
        for channel in ("$x", "room#bob"):
            self.assertEqual(103, self.client.refused(Publish(channel, b"1")))
            Outcome(self.world.node.control.subscribe(user="alice", channel=channel, grant=Grant()))
            self.assertEqual(0, self.client.refused(Publish(channel, b"1")))

    def test_everybody(self) -> None:
        for command in (Publish("free:x", b"1"), History("free:x"), Presence("free:x"), PresenceStats("free:x")):
            self.assertEqual(0, self.nobody.refused(command), command)

    def test_insecure(self) -> None:
        for channel in ("insecure:x", "insecure:$x", "insecure:#bob"):
            for command in (
                Publish(channel, b"1"),
                History(channel),
                Presence(channel),
                PresenceStats(channel),
                messages.Subscribe(channel, 2),
            ):
                self.assertEqual(0, self.nobody.refused(command), command)

    def test_order_of_refusals(self) -> None:
        """107, 102, 108, 103: a channel that keeps nothing says so to everybody."""
        for channel, number in (("no channel", 107), ("nowhere:x", 102), ("nothing:x", 108), ("closed:x", 103)):
            for command in (History(channel), Presence(channel), PresenceStats(channel)):
                self.assertEqual(number, self.client.refused(command), command)
        for channel, number in (("no channel", 107), ("nowhere:x", 102), ("closed:x", 103)):
            self.assertEqual(number, self.client.refused(Publish(channel, b"not JSON")), channel)

    def test_what_is_not_available_is_named(self) -> None:
        self.world.fake_hooks.handles_calls = False
        for command, reason in (
            (History("nothing:x"), "this namespace keeps no history (history_size, history_ttl)"),
            (Presence("nothing:x"), "this namespace does not know who is there (presence)"),
            (PresenceStats("nothing:x"), "this namespace does not know who is there (presence)"),
            (messages.Call("m"), "no handler answers calls"),
        ):
            (reply,) = self.client.ask(command)
            assert isinstance(reply, messages.Failed)
            self.assertEqual((108, reason), (reply.error.number, reply.error.message))

    def test_server(self) -> None:
        """It has all rights, and no more: what is not there is not there."""
        for channel, number in (("closed:x", 0), ("$x", 0), ("nothing:x", 108), ("nowhere:x", 102), ("a b", 107)):
            works = (
                self.publishing.history(channel, HistoryQuery()),
                self.publishing.remove_history(channel),
                self.publishing.presence(channel),
                self.publishing.presence_counts(channel),
            )
            self.assertEqual([number] * 4, [Outcome(work).refused for work in works], channel)

    def test_over_http(self) -> None:
        """Without a session nobody is a subscriber."""
        for identity, channel, number in (
            (Identity(""), "free:x", 0),
            (ALICE, "x", 103),
            (ALICE, "closed:x", 103),
            (ALICE, "free:#bob", 103),
            (BOB, "free:#bob", 0),
            (BOB, "free:$x", 103),
        ):
            info = ClientInfo("", identity.user)
            work = self.publishing.publish(Publish(channel, b"1"), identity=identity, publisher=info)
            self.assertEqual(number, Outcome(work).refused, (identity, channel))

    def test_may_publish_asks_without_publishing(self) -> None:
        for channel, allowed in (("free:x", True), ("x", False), ("insecure:$x", True), ("nowhere:x", False)):
            self.assertIs(allowed, self.publishing.may_publish(ALICE, channel), channel)


class PublicationTests(Case):
    """What is published."""

    def test_answer_and_position(self) -> None:
        self.client.subscribe("x", positioned=True)
        push, answer = self.client.ask(Publish("x", b"1", id=7))
        self.assertEqual((1, 1, 7), (push.publication.offset, answer.position.offset, answer.id))
        self.assertEqual(self.client.session.info, push.publication.publisher)
        _, answer = self.client.ask(messages.Subscribe("nothing:x", 2), Publish("nothing:x", b"1", id=8))[-2:]
        self.assertIs(None, answer.position, "nothing is kept there")

    def test_sizes(self) -> None:
        for channel, length, number in (
            ("free:x", 20, 0),
            ("free:x", 21, 107),
            ("small:x", 5, 0),
            ("small:x", 6, 107),
            ("large:x", 50, 0),
            ("large:x", 51, 107),
        ):
            data = b'"%s"' % (b"x" * (length - 2))
            self.assertEqual(number, self.client.refused(Publish(channel, data)), (channel, length))
            work = self.publishing.publish(Publish(channel, data))
            self.assertEqual(number, Outcome(work).refused, "for the server, too")

    def test_what_is_kept_beside_the_payload_is_bounded(self) -> None:
        """Whoever publishes: tags by their bytes, names included, and the epoch of versions."""
        for tags, number in (
            ({"k" * 10: "v" * (MAX_TAGS_SIZE - 10)}, 0),
            ({"k" * 10: "v" * (MAX_TAGS_SIZE - 9)}, 107),
            ({"k": "\u00e9" * (MAX_TAGS_SIZE // 2)}, 107),
            ({str(n): "" for n in range(MAX_TAGS_SIZE)}, 107),
        ):
            work = self.publishing.publish(Publish("free:x", b"1", tags=tags))
            self.assertEqual(number, Outcome(work).refused, str(tags)[:20])
        for length, number in ((255, 0), (256, 107)):
            work = self.publishing.publish(Publish("free:x", b"1"), version=1, version_epoch="e" * length)
            self.assertEqual(number, Outcome(work).refused, length)

    def test_payloads(self) -> None:
        for channel, data, number in (
            ("free:x", b"{", 107),
            ("free:x", b"", 107),
            ("free:x", b"1 2", 107),
            ("checked:x", b'"bad"', 107),
            ("checked:x", b'"good"', 0),
            ("bytes:x", b"\xff\n", 0),
            ("bytes:x", b"", 0),
        ):
            self.assertEqual(number, self.client.refused(Publish(channel, data)), (channel, data))

    def test_history_can_be_skipped(self) -> None:
        listener = Talker(self.world)
        listener.subscribe("x", recoverable=True)
        publish(self.world, b"1", b"2", skip_history=True)
        publish(self.world, b"3")
        self.assertEqual([b"1", b"2", b"3"], listener.published())
        self.assertEqual([b"3"], self.payloads("x"))

    def test_versions(self) -> None:
        """What is not newer is not published: not kept, not delivered, and counted as nothing."""
        listener = Talker(self.world)
        listener.subscribe("x")
        for version, epoch, fresh in (
            (2, "", True),
            (2, "", False),
            (1, "", False),
            (3, "", True),
            (1, "b", True),
            (1, "b", False),
        ):
            work = self.publishing.publish(Publish("x", b"%d" % version), version=version, version_epoch=epoch)
            self.assertIs(fresh, Outcome(work).result.fresh, (version, epoch))
        pushed = [(one.publication.data, one.publication.version) for one in listener.heard(Message)]
        self.assertEqual([(b"2", 2), (b"3", 3), (b"1", 1)], pushed)
        self.assertEqual(3, self.world.instruments.publications)

    def test_excluded(self) -> None:
        """Not delivered to it, but kept like any other."""
        self.client.subscribe("x", recoverable=True)
        publish(self.world, b"1", exclude=self.client.session.id)
        publish(self.world, b"2")
        self.assertEqual([b"2"], self.client.published())
        self.assertEqual([b"1", b"2"], self.payloads("x"))


class KeyTests(Case):
    """Idempotency keys."""

    def publish_by(self, user: str | None, key: str, channel: str = "free:x", data: bytes = b"1") -> bool:
        """Was it published?"""
        before = self.world.instruments.publications
        publisher = None if user is None else ClientInfo("c", user)
        identity = None if user is None else Identity(user)
        command = Publish(channel, data, key=key)
        outcome = Outcome(self.publishing.publish(command, identity=identity, publisher=publisher))
        self.assertEqual(0, outcome.refused)
        self.assertEqual(self.world.instruments.publications - before, int(outcome.result.fresh))
        return bool(outcome.result.fresh)

    def test_second_time(self) -> None:
        self.client.subscribe()
        first, second = (self.client.ask(Publish("x", b"1", key="k", id=1))[-1] for _ in range(2))
        self.assertEqual(first, second, "the same answer, with the position of the first time")
        self.assertEqual([b"1"], self.payloads("x"))

    def test_scope(self) -> None:
        """A key is one's own: of the user, of the channel, of the server. No user's id reaches into another's keys."""
        for user, key, channel, fresh in (
            ("alice", "k", "free:x", True),
            ("alice", "k", "free:x", False),
            ("alice", "k", "free:y", True),
            ("bob", "k", "free:x", True),
            (None, "k", "free:x", True),
            (None, "k", "free:x", False),
            ("a", "b:c", "free:x", True),
            ("a:b", "c", "free:x", True),
            ("1", "1:k", "free:x", True),
            ("1:1", "k", "free:x", True),
            ("", "alice:k", "free:x", True),
            (None, "user:alice:k", "free:x", True),
            ("alice", "", "free:x", True),
            ("alice", "", "free:x", True),
        ):
            self.assertIs(fresh, self.publish_by(user, key, channel), (user, key, channel))

    def test_other_connection_of_the_same_user(self) -> None:
        """This is what it is for: the client tries again after its connection broke."""
        self.client.subscribe()
        self.client.ask(Publish("x", b"1", key="k"))
        self.client.leave()
        again = Talker(self.world)
        again.subscribe()
        again.ask(Publish("x", b"1", key="k"))
        self.assertEqual([b"1"], self.payloads("x"))

    def test_length(self) -> None:
        self.assertTrue(self.publish_by("alice", "k" * 255))
        self.assertEqual(107, self.client.refused(Publish("free:x", b"1", key="k" * 256)))

    def test_refused_publication_takes_no_key(self) -> None:
        self.assertEqual(107, self.client.refused(Publish("free:x", b"{", key="k")))
        self.assertTrue(self.publish_by("alice", "k"))


class UserCodeTests(Case):
    """User code sees what clients publish."""

    def setUp(self) -> None:
        super().setUp()
        self.outcomes = self.world.fake_hooks.outcomes
        self.client.subscribe("checked:x")

    def changed(self, **changes: Any) -> None:
        values: dict[str, Any] = {"channel": "checked:x", "data": b'"other"', **changes}
        self.outcomes["publish"] = Publication(**values)

    def test_changes_are_published(self) -> None:
        self.changed(tags={"event": "e"}, exclude=self.client.session.id)
        listener = Talker(self.world, "b")
        listener.subscribe("checked:x")
        self.client.ask(Publish("checked:x", b'"good"'))
        (heard,) = listener.heard(Message)
        self.assertEqual((b'"other"', {"event": "e"}), (heard.publication.data, heard.publication.tags))
        self.assertEqual(self.client.session.info, heard.publication.publisher, "it can't change who it was")
        self.assertEqual([], self.client.heard(Message))

    def test_changes_are_checked_again(self) -> None:
        for data in (b'"bad"', b"{", b'"%s"' % (b"x" * 40)):
            self.changed(data=data)
            self.assertEqual(107, self.client.refused(Publish("checked:x", b'"good"')), data)
        self.changed(tags={"event": "e"})
        self.client.ask(Publish("checked:x", b'"good"'))
        self.assertEqual(("checked", "e", "other"), self.world.validator.asked[-1])

    def test_channel_can_not_be_changed(self) -> None:
        self.changed(channel="closed:x")
        self.client.ask(Publish("checked:x", b'"good"'))
        self.assertEqual([], self.payloads("closed:x"))
        self.assertEqual((), self.world.node.hub.subscribers("closed:x"))

    def test_dealt_with(self) -> None:
        """The client is answered, nobody else hears of it."""
        self.outcomes["publish"] = False
        answer = self.client.ask(Publish("checked:x", b'"good"', id=3))
        self.assertEqual([messages.Published("checked:x", None, 3)], answer)

    def test_refused(self) -> None:
        for error, number in ((ReplyError(ErrorCode.PERMISSION_DENIED), 103), (ZeroDivisionError(), 100)):
            self.outcomes["publish"] = error
            self.assertEqual(number, self.client.refused(Publish("checked:x", b'"good"')))

    def test_it_is_asked_after_everything_else(self) -> None:
        for command in (Publish("closed:x", b"1"), Publish("checked:x", b'"bad"'), Publish("nowhere:x", b"1")):
            self.client.refused(command)
        publish(self.world, b"1")
        self.assertNotIn("publish", [call[0] for call in self.world.fake_hooks.calls])
