"""The part of the contract of brokers that is about what is not published again."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from realtime_svc.model import ChannelEvent, Publication, PublishResult, StreamOptions
from tests.contracts.broker_suite import KEPT, BrokerSuite, offsets
from tests.contracts.reference import WINDOW


class FreshnessContract(BrokerSuite):
    """Idempotency keys and versions."""

    async def test_keys(self) -> None:
        """The second time nothing is delivered and the first position is told, for the window, in that channel."""
        for options in (KEPT, StreamOptions()):
            channel = f"x{options.size}"
            await self.subscribe(channel)
            first = await self.publish(channel=channel, options=options, key="k")
            await self.publish(channel=channel, options=options)
            self.clock.advance(WINDOW // 2)
            again = await self.publish(channel=channel, options=options, key="k")
            self.assertEqual((first.position, True, False), (again.position, first.fresh, again.fresh))
            other = await self.publish(channel=channel, options=options, key="l")
            elsewhere = await self.publish(channel="y", options=options, key="k")
            self.clock.advance(WINDOW // 2 + 2)  # the second time did not renew it
            later = await self.publish(channel=channel, options=options, key="k")
            self.assertEqual([True] * 3, [result.fresh for result in (other, elsewhere, later)])
            self.assertEqual(4, len(await self.delivered(channel)))
            self.clock.advance(WINDOW + 1)

    async def test_keys_of_those_that_do_not_wait(self) -> None:
        """A race of duplicates: one is published, all get its position."""
        await self.subscribe("x")
        publication = Publication("x", b"1")
        calls = [self.start(self.broker.publish(publication, KEPT._replace(key="k"))) for _ in range(100)]
        self.turn()
        results = [await call for call in calls]
        self.assertEqual(1, len({result.position for result in results}))
        self.assertEqual([True, *[False] * 99], [result.fresh for result in results])
        self.assertEqual([1], offsets(await self.delivered()))

    async def test_key_of_one_that_is_being_delivered(self) -> None:
        """Who publishes it again out of the delivery is answered as any other."""
        again: list[Deferred[PublishResult]] = []
        publication = Publication("x", b"1")

        def react(event: ChannelEvent) -> None:
            if len(again) < 3:
                again.append(self.start(self.broker.publish(publication, KEPT._replace(key="k"))))

        self.patch(self, "react", react)
        await self.subscribe("x")
        first = await self.publish(key="k")
        self.turn()
        self.assertEqual([1], offsets(await self.delivered()))
        self.assertEqual([PublishResult(first.position, False)], [await answer for answer in again])

    async def test_key_of_a_removed_publication(self) -> None:
        """The position is that of the first time, also where the stream has gone on."""
        first = await self.publish(key="k")
        await self.publish()
        await self.ask(self.broker.remove_history("x"))
        self.assertEqual(PublishResult(first.position, False), await self.publish(key="k"))

    async def test_versions(self) -> None:
        """Each version must be above that of the stream, unless it counts from anew (another version epoch)."""
        await self.subscribe("x")
        top = 0
        for version, version_epoch, fresh in (
            (2, "", True),
            (2, "", False),
            (1, "", False),
            (3, "", True),
            (0, "", True),  # has none
            (3, "", False),
            (1, "e", True),
            (1, "e", False),
            (2, "e", True),
            (1, "", True),  # only the newest epoch is known
            (2**63 - 1, "", True),
            (2**63 - 2, "", False),
        ):
            case = (version, version_epoch)
            result = await self.publish(version=version, version_epoch=version_epoch)
            top += fresh
            assert result.position is not None
            self.assertEqual((fresh, top), (result.fresh, result.position.offset), case)
        self.assertEqual(list(range(1, top + 1)), offsets(await self.delivered()))

    async def test_version_lives_with_the_epoch(self) -> None:
        await self.publish(version=5, ttl=10.0, meta_ttl=30.0)
        self.clock.advance(20)
        self.assertFalse((await self.publish(version=5, ttl=10.0, meta_ttl=30.0)).fresh)
        self.clock.advance(11)
        self.assertTrue((await self.publish(version=1, ttl=10.0, meta_ttl=30.0)).fresh)

    async def test_version_of_what_is_not_kept(self) -> None:
        """It is neither looked at nor remembered."""
        await self.publish(version=5)
        self.assertEqual(PublishResult(None), await self.publish(size=0, version=5))
        self.assertEqual(PublishResult(None), await self.publish(size=0, version=9))
        self.assertTrue((await self.publish(version=6)).fresh)

    async def test_key_and_version(self) -> None:
        """The key comes first; a key whose publication was too old is free."""
        first = await self.publish(version=5, key="k")
        await self.publish()
        self.assertEqual(PublishResult(first.position, False), await self.publish(version=9, key="k"))
        self.assertFalse((await self.publish(version=5, key="l")).fresh)
        self.assertTrue((await self.publish(version=6, key="l")).fresh)
