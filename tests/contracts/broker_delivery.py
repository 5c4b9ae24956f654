"""The part of the contract of brokers that is about passing on."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from realtime_svc.model import ChannelEvent, Join, Leave, Publication, PublishResult, StreamOptions
from tests.contracts.broker_suite import ALL, INFO, KEPT, BrokerSuite, offsets


class DeliveryContract(BrokerSuite):
    """Publications, joins and leaves: all that were subscribed to, once, in the order of the channel."""

    async def test_every_field_arrives(self) -> None:
        await self.subscribe("x")
        sent = Publication("x", b"\x00\xff", False, True, {"event": "e"}, INFO, exclude="c", version=7)
        result = await self.ask(self.broker.publish(sent, KEPT))
        assert result.position is not None
        kept = sent.at(result.position)
        self.assertEqual([kept], await self.delivered())
        page = (await self.history()).publications
        self.assertEqual([kept], page)
        await self.ask(self.broker.publish(sent, StreamOptions()))
        self.assertEqual([kept, sent], await self.delivered())

    async def test_broadcasts_come_to_everybody(self) -> None:
        """Without a subscription, without a position."""
        result = await self.publish(channel="", options=StreamOptions())
        self.assertEqual(PublishResult(None), result)
        self.assertEqual([Publication("", b"1")], await self.delivered(""))

    async def test_order_of_a_channel_is_that_of_the_calls(self) -> None:
        """Also where the publisher does not wait for the answers; in every channel the offsets say the same."""
        await self.subscribe("x", "y")
        answers = []
        for number in range(50):
            publication = Publication("xy"[number % 2], b"%d" % number)
            answers.append(self.start(self.broker.publish(publication, KEPT)))
        self.turn()
        results = [await answer for answer in answers]
        for channel, first in (("x", 0), ("y", 1)):
            found = await self.delivered(channel)
            self.assertEqual(list(range(1, 26)), offsets(found))
            self.assertEqual([b"%d" % n for n in range(first, 50, 2)], [event.data for event in found])
            positions = [result.position for result in results[first::2]]
            self.assertEqual([event.position for event in found], positions)

    async def test_joins_and_leaves_are_in_the_order_of_the_channel(self) -> None:
        await self.subscribe("x")
        events: list[ChannelEvent] = [
            Join("x", INFO),
            Publication("x", b"1"),
            Leave("x", INFO),
            Join("x", INFO),
            Publication("x", b"2"),
            Leave("x", INFO),
        ]
        answers: list[Deferred[Any]] = []
        for event in events:
            if isinstance(event, Publication):
                answers.append(self.start(self.broker.publish(event, StreamOptions())))
            else:
                answers.append(self.start(self.broker.announce(event)))
        self.turn()
        for answer in answers:
            await answer
        found = await self.events()
        self.assertEqual(events, found)
        self.assertEqual([type(event) for event in events], [type(event) for event in found])

    async def test_publishing_out_of_a_delivery(self) -> None:
        """`receive` may make calls. It is never called while it runs, and what it publishes comes after what it was
        called for: everybody sees the order of the offsets."""
        inside = 0
        deepest = 0
        answers: list[Deferred[PublishResult]] = []

        def react(event: ChannelEvent) -> None:
            nonlocal inside, deepest
            inside += 1
            deepest = max(deepest, inside)
            if isinstance(event, Publication) and len(event.data) < 3:
                for digit in (b"1", b"2"):
                    publication = Publication(event.channel, event.data + digit)
                    answers.append(self.start(self.broker.publish(publication, KEPT)))
            inside -= 1

        self.patch(self, "react", react)
        await self.subscribe("x")
        await self.publish(b"0")
        done = 0
        while done < len(answers):
            self.turn()
            await answers[done]
            done += 1
        found = await self.delivered()
        self.assertEqual(1, deepest)
        self.assertEqual(list(range(1, 8)), offsets(found))
        data = [event.data for event in found]
        self.assertEqual([b"0", b"01", b"02", b"011", b"012", b"021", b"022"], data)

    async def test_subscribing_while_others_publish(self) -> None:
        """What history does not show is delivered: no publication is in neither, whoever is waiting for whom."""
        await self.publish()
        calls = [self.start(self.broker.publish(Publication("x", b"2"), KEPT))]
        subscribed = self.start(self.broker.subscribe("x"))
        calls.append(self.start(self.broker.publish(Publication("x", b"3"), KEPT)))
        self.turn()
        await subscribed
        calls.append(self.start(self.broker.publish(Publication("x", b"4"), KEPT)))
        page_answer = self.start(self.broker.history("x", ALL, 600.0))
        calls.append(self.start(self.broker.publish(Publication("x", b"5"), KEPT)))
        self.turn()
        page = await page_answer
        for call in calls:
            await call
        self.assertEqual([1, 2, 3, 4], offsets(page.publications))
        self.assertEqual(4, page.position.offset)
        live = offsets(await self.delivered())
        self.assertEqual([5], [offset for offset in live if offset > 4])
        self.assertEqual(sorted(set(live)), live)
        self.assertIn(4, live)

    async def test_subscribing_again(self) -> None:
        await self.subscribe("x")
        await self.ask(self.broker.unsubscribe("x"))
        await self.subscribe("x")
        await self.publish()
        self.assertEqual([1], offsets(await self.delivered()))

    async def test_unsubscribing_from_what_was_not_subscribed(self) -> None:
        await self.ask(self.broker.unsubscribe("x"))
