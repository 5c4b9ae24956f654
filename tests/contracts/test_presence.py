"""What every store of presence must do (`core.ports.PresenceStore`), whether it answers at once or later."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from realtime_svc.core.ports import Clock, PresenceStore
from realtime_svc.engines.presence_memory import MemoryPresence
from realtime_svc.model import ClientInfo, PresenceCounts
from tests.contracts.asking import Asking
from tests.fakes_engines import DELAY, DelayingPresence

ANN = ClientInfo("1", "ann", b'{"n":1}', b"[2]")
ANN_TOO = ClientInfo("2", "ann")
BOB = ClientInfo("3", "bob")

# (channel, client id, user who is added with it; None: it is removed)
STEPS = st.lists(
    st.tuples(st.sampled_from("xy"), st.sampled_from("123"), st.sampled_from(("", "ann", "bob", None))), max_size=40
)


class PresenceContract(Asking):
    """Mix it into a `TestCase` that gives `make_store`."""

    def make_store(self, clock: Clock) -> PresenceStore:
        raise NotImplementedError

    def setUp(self) -> None:
        self.clock = self.make_clock()
        self.store = self.make_store(self.clock)

    async def add(self, *infos: ClientInfo, channel: str = "x") -> None:
        for info in infos:
            await self.ask(self.store.add(channel, info))

    async def remove(self, *clients: str, channel: str = "x") -> None:
        for client in clients:
            await self.ask(self.store.remove(channel, client))

    async def assert_present(self, *infos: ClientInfo, channel: str = "x") -> None:
        members = await self.ask(self.store.members(channel))
        self.assertEqual({info.client: info for info in infos}, members)
        counts = await self.ask(self.store.counts(channel))
        self.assertEqual(PresenceCounts(len(infos), len({info.user for info in infos})), counts)

    async def test_nobody(self) -> None:
        await self.assert_present()

    async def test_every_field_is_kept(self) -> None:
        for info in (ANN, ANN_TOO, ClientInfo("4", "", b"null", None), ClientInfo("5", "", None, b'"\xc3\xa9"')):
            await self.add(info)
            self.assertEqual(info, (await self.ask(self.store.members("x")))[info.client])

    async def test_users_are_counted_once(self) -> None:
        """Whichever of their clients comes or goes first."""
        await self.add(ANN, ANN_TOO, BOB)
        await self.assert_present(ANN, ANN_TOO, BOB)
        await self.remove("1")
        await self.assert_present(ANN_TOO, BOB)
        await self.remove("2")
        await self.assert_present(BOB)

    async def test_anonymous_clients_are_one_user(self) -> None:
        await self.add(ClientInfo("1", ""), ClientInfo("2", ""), BOB)
        self.assertEqual(PresenceCounts(3, 2), await self.ask(self.store.counts("x")))

    async def test_replaced(self) -> None:
        """The same client again: with the same info, with other info, with another user, and back."""
        await self.add(ANN_TOO)
        for info in (ANN, ANN, ANN._replace(info=None, channel_info=b"3"), ANN._replace(user="bob"), ANN):
            await self.add(info)
            await self.assert_present(info, ANN_TOO)
        await self.remove("1", "2")
        await self.assert_present()

    async def test_removed_again(self) -> None:
        """Who is not there can be removed: never there, gone, in another channel."""
        await self.remove("1")
        await self.add(ANN, BOB)
        await self.remove("2", "3", "3")
        await self.remove("1", channel="y")
        await self.assert_present(ANN)
        await self.remove("1", "1")
        await self.assert_present()

    async def test_channels_have_nothing_in_common(self) -> None:
        await self.add(ANN, BOB)
        await self.add(ANN._replace(user="carl"), channel="y")
        await self.remove("3", channel="y")
        await self.assert_present(ANN, BOB)
        await self.assert_present(ANN._replace(user="carl"), channel="y")

    async def test_members_are_a_copy(self) -> None:
        await self.add(ANN)
        (await self.ask(self.store.members("x"))).clear()
        await self.assert_present(ANN)

    async def test_order_of_the_calls(self) -> None:
        """They take effect as they were made, also where nobody waits for the answers."""
        calls = []
        for _ in range(20):
            calls += [self.start(self.store.add("x", ANN)), self.start(self.store.remove("x", "1"))]
        calls.append(self.start(self.store.add("x", BOB)))
        calls += [self.start(self.store.add("y", ANN)), self.start(self.store.add("y", ANN._replace(user="carl")))]
        self.turn()
        for call in calls:
            await call
        await self.assert_present(BOB)
        await self.assert_present(ANN._replace(user="carl"), channel="y")

    async def test_many(self) -> None:
        infos = [ClientInfo(str(number), f"user{number % 7}") for number in range(100)]
        await self.add(*infos)
        await self.assert_present(*infos)
        await self.remove(*(info.client for info in infos))
        await self.assert_present()

    def test_any_calls(self) -> None:
        """In any order, each channel has in it whom a dict would have."""

        @given(STEPS)
        @settings(deadline=None, max_examples=150)
        def check(steps: list[tuple[str, str, str | None]]) -> None:
            self.setUp()
            self.finish(self.compare(steps))

        check()

    async def compare(self, steps: list[tuple[str, str, str | None]]) -> None:
        model: dict[str, dict[str, ClientInfo]] = {"x": {}, "y": {}}
        for number, (channel, client, user) in enumerate(steps):
            if user is None:
                await self.remove(client, channel=channel)
                model[channel].pop(client, None)
            else:
                info = ClientInfo(client, user, b"%d" % number)
                await self.add(info, channel=channel)
                model[channel][client] = info
            await self.assert_present(*model[channel].values(), channel=channel)
        for channel, members in model.items():
            await self.assert_present(*members.values(), channel=channel)


class MemoryPresenceTests(PresenceContract, TestCase):
    """The store of one process."""

    def make_store(self, clock: Clock) -> PresenceStore:
        return MemoryPresence()


class LateAnswersTests(PresenceContract, TestCase):
    """The same, each answer delayed: calls take effect before those that made them know."""

    effects = False

    def make_store(self, clock: Clock) -> PresenceStore:
        return DelayingPresence(MemoryPresence(), clock, effects=self.effects)

    def turn(self) -> None:
        self.clock.advance(DELAY)

    async def test_waits(self) -> None:
        """Else this suite shows nothing more than the one above."""
        added = self.start(self.store.add("x", ANN))
        self.assertNoResult(added)
        self.turn()
        await added
        await self.assert_present(ANN)


class LateEffectsTests(LateAnswersTests):
    """The same, each call delayed as a whole: other calls are made before it takes effect."""

    effects = True
