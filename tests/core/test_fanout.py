"""One publication to many: encoded once for each protocol, and nobody is held up by a slow one."""

from __future__ import annotations

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.core.messages import Reply
from realtime_svc.core.ports import Frame
from realtime_svc.core.subscription import Subscription
from realtime_svc.model import Grant, Publication
from realtime_svc.wire.plain import PlainDialect
from realtime_svc.wire.raw import RawDialect
from tests.fakes import FakeTransport, World


class CountingPlain(PlainDialect):
    """Counts what it is asked to encode."""

    def __init__(self) -> None:
        self.encoded: Counter[str] = Counter()

    def encode(self, reply: Reply) -> Frame | None:
        self.encoded[type(reply).__name__] += 1
        return super().encode(reply)


class Mute(RawDialect):
    """A protocol that never tells of publications."""

    def encode(self, reply: Reply) -> Frame | None:
        return None


class FanOutTests(SynchronousTestCase):
    """Clients of several protocols in one world."""

    def setUp(self) -> None:
        self.world = World(queue_size=4096)

    def fan_out(self, publication: Publication, *transports: FakeTransport) -> None:
        """To live subscriptions of these clients."""
        hub = self.world.node.hub
        for transport in transports:
            assert transport.session is not None
            if transport.session.closing or "x" in transport.session.channels:
                continue
            subscription = Subscription(transport.session, "x", Grant(), server_side=False)
            hub.subscribe(subscription).activate(subscription, None)
            hub.settle(subscription)
            self.assertIsNotNone(subscription.group)
        hub.deliver(publication)

    def test_encodes_once_and_writes_the_same_frame_to_all(self) -> None:
        dialect, raw = CountingPlain(), RawDialect()
        plain = [self.world.connect(dialect=dialect) for _ in range(50)]
        others = [self.world.connect(dialect=raw) for _ in range(50)]
        self.fan_out(Publication("x", b'{"n":1}'), *plain, *others)
        self.assertEqual(1, dialect.encoded["Message"])
        self.assertEqual(1, len({id(transport.frames[-1]) for transport in plain}))
        self.assertEqual(1, len({id(transport.frames[-1].wire) for transport in others}))
        self.assertEqual([{"n": 1}], others[-1].take())

    def test_excluded_sender(self) -> None:
        sender, other = self.world.connect(), self.world.connect()
        assert sender.session is not None
        self.fan_out(Publication("x", b"1", exclude=sender.session.id), sender, other)
        self.assertEqual((0, 1), (len(sender.take()), len(other.take())))

    def test_protocol_that_does_not_say_such_things(self) -> None:
        mute, other = self.world.connect(dialect=Mute()), self.world.connect()
        self.fan_out(Publication("x", b"1"), mute, other)
        self.assertEqual((0, 1), (len(mute.take()), len(other.take())))

    def test_slow_consumer_is_cut_and_the_others_go_on(self) -> None:
        """3008 once more than its queue holds, without what it did not take."""
        slow, fast = self.world.connect(room=1), self.world.connect()
        publication = Publication("x", b'"%s"' % (b"x" * 1000))
        for _ in range(6):
            self.fan_out(publication, slow, fast)
        self.assertEqual(6, len(fast.take()))
        self.assertEqual(3008, slow.closed and slow.closed.code)
        self.assertEqual(["hello", "bye"], [next(iter(message)) for message in slow.take()])
        assert slow.session is not None
        self.assertEqual(0, slow.session.queued)

    def test_many_sizes_count_what_is_framed(self) -> None:
        before = self.world.instruments.bytes_out
        self.fan_out(Publication("x", b'"%s"' % (b"x" * 300)), self.world.connect(dialect=RawDialect()))
        self.assertEqual(302 + 4, self.world.instruments.bytes_out - before)
        self.assertEqual(1, self.world.instruments.messages_out["raw"])
