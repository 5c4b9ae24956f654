"""The poller: who is told what, in which turn; and what is done when a turn is over."""

from __future__ import annotations

import resource
import socket
from typing import Any, cast

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from realtime_svc.transports import kernel
from realtime_svc.transports.connection import Connection, connection_type
from realtime_svc.transports.poller import MOST, Poller, Turns
from tests.transports.parties import Party, TcpTestCase, reactor, reset, turns

MANY = 10_000


class Polled:
    """Two connections and more, which the test has read in one turn: `self.turn()`."""

    def pair(self: Any) -> tuple[Party, socket.socket]:
        """A connection that the poller reads, and the other end."""
        ours, theirs = socket.socketpair()
        theirs.settimeout(10)
        party = Party()
        kind = connection_type(self.kernel, Connection)
        connection: Any = kind(ours, party, ("192.0.2.1", 1), None, 0, reactor)
        party.makeConnection(connection)
        connection.attach(self.poller)
        self.addCleanup(theirs.close)
        self.addCleanup(self.end, party)
        return party, theirs

    def both_readable(self: Any) -> tuple[Party, Party, socket.socket]:
        """Two, of which the first is told first, and for both of which something is there."""
        first, its_end = self.pair()
        second, other_end = self.pair()
        its_end.sendall(b"first")
        other_end.sendall(b"second")
        return first, second, other_end

    async def test_data_end_and_reset(self: Any) -> None:
        party, end = self.pair()
        end.sendall(b"x")
        await party.when_received(1)
        end.close()
        await party.when_lost()
        self.assertEqual((party.events, type(party.reason)), (["lost"], ConnectionDone))
        server, tcp_end = await self.connect_socket()
        server.transport.attach(self.poller)
        reset(tcp_end)
        await server.when_lost()
        self.assertEqual((server.events, type(server.reason)), (["lost"], ConnectionLost))

    async def test_paused_in_the_middle(self: Any) -> None:
        """Who stops reading because of what another was told is told nothing more: first that when it reads again, then
        what came later, and never from within `resumeProducing`."""
        first, second, other_end = self.both_readable()
        first.on_data = lambda data: second.transport.pauseProducing()
        await first.when_received(5)
        await turns()
        self.assertEqual(second.received, b"")
        other_end.sendall(b" and later")
        second.transport.resumeProducing()
        second.transport.pauseProducing()
        await turns()
        self.assertEqual(second.received, b"")
        second.transport.resumeProducing()
        self.assertEqual(second.received, b"")
        await second.when_received(16)
        self.assertEqual(second.received, b"second and later")

    async def test_paused_and_resumed_in_the_middle(self: Any) -> None:
        """By a third, before its turn has come and after."""
        parties = [self.pair() for _ in range(5)]
        middle = parties[2][0]
        for others, action in ((0, "pauseProducing"), (1, "resumeProducing"), (3, "pauseProducing")):
            parties[others][0].on_data = lambda data, do=action: getattr(middle.transport, do)()
        parties[4][0].on_data = lambda data: middle.transport.resumeProducing()
        for number in range(3):
            for _, end in parties:
                end.sendall(b"%d" % number)
            for party, _ in parties:
                await party.when_received(number + 1)
        self.assertEqual([party.received for party, _ in parties], [b"012"] * 5)

    async def test_kept_is_paused_again(self: Any) -> None:
        """Of two that read again at once, the first stops the second anew."""
        trigger, its_end = self.pair()
        its_end.sendall(b"x")
        first, second, _ = self.both_readable()

        def pause(data: bytes) -> None:
            first.transport.pauseProducing()
            second.transport.pauseProducing()

        trigger.on_data = pause
        await trigger.when_received(1)
        first.on_data = lambda data: second.transport.pauseProducing()
        first.transport.resumeProducing()
        second.transport.resumeProducing()
        await first.when_received(5)
        await turns()
        self.assertEqual(second.received, b"")
        second.transport.resumeProducing()
        await second.when_received(6)
        self.assertEqual(second.received, b"second")

    async def test_end_is_kept(self: Any) -> None:
        """For one that was paused in the middle of a turn: the end, and an error, are told when it reads again."""
        trigger, its_end = self.pair()
        (closed, closing), (broken, breaking) = self.pair(), await self.connect_socket()
        broken.transport.attach(self.poller)
        its_end.sendall(b"x")
        closing.close()
        reset(breaking)

        def pause(data: bytes) -> None:
            closed.transport.pauseProducing()
            broken.transport.pauseProducing()

        trigger.on_data = pause
        await trigger.when_received(1)
        await turns()
        self.assertEqual((closed.events, broken.events), ([], []))
        closed.transport.resumeProducing()
        broken.transport.resumeProducing()
        await closed.when_lost()
        await broken.when_lost()
        self.assertEqual((type(closed.reason), type(broken.reason)), (ConnectionDone, ConnectionLost))

    async def test_ended_in_the_middle(self: Any) -> None:
        """Who was closed, aborted or lost because of what another was told is told nothing but its end."""
        for ending in ("loseConnection", "abortConnection", "lost"):
            first, second, _ = self.both_readable()

            def end(data: bytes, party: Party = second, ending: str = ending) -> None:
                if ending == "lost":
                    party.transport.connectionLost(Failure(ConnectionDone()))
                else:
                    getattr(party.transport, ending)()
                party.transport.resumeProducing()

            first.on_data = end
            await second.when_lost()
            self.assertEqual((first.received, second.received, second.events), (b"first", b"", ["lost"]), ending)
        self.assertEqual(self.poller._kept, {})

    async def test_kept_and_lost(self: Any) -> None:
        """What was kept for a connection that ends meanwhile is forgotten."""
        first, second, _ = self.both_readable()
        first.on_data = lambda data: second.transport.pauseProducing()
        await first.when_received(5)
        await turns(1)
        self.assertEqual(len(self.poller._kept), 1)
        second.transport.resumeProducing()
        second.transport.abortConnection()
        await second.when_lost()
        await turns()
        self.assertEqual((second.received, self.poller._kept), (b"", {}))

    async def test_descriptor_used_again(self: Any) -> None:
        """One is closed and another is made on its descriptor, in the turn in which something was there for it: nobody
        gets that, and the new one gets its own."""
        first, second, _ = self.both_readable()
        made: list[tuple[Party, socket.socket]] = []

        def replace(data: bytes) -> None:
            descriptor = second.transport.fileno()
            second.transport.connectionLost(Failure(ConnectionDone()))
            while descriptor not in [party.transport.fileno() for party, _ in made]:
                made.append(self.pair())

        first.on_data = replace
        await first.when_received(5)
        await turns()
        self.assertEqual((second.received, second.events), (b"", ["lost"]))
        for number, (party, end) in enumerate(made):
            self.assertEqual(party.received, b"")
            end.sendall(b"%d" % number)
            await party.when_received(1)
            self.assertEqual(party.received, b"%d" % number)

    async def test_failing(self: Any) -> None:
        """An exception, also on being told of the end, is logged, and the others are told all the same."""
        parties = [self.pair() for _ in range(3)]
        parties[0][0].on_data = lambda data: 1 / 0
        parties[0][0].connectionLost = lambda reason: [][0]
        for _, end in parties:
            end.sendall(b"x")
        for party, _ in parties[1:]:
            await party.when_received(1)
        parties[0][0].events.append("lost")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.flushLoggedErrors(IndexError)), 1)
        self.assertFalse(parties[0][0].transport.connected)

    async def test_attached_while_paused(self: Any) -> None:
        server, client = await self.connect()
        server.transport.pauseProducing()
        client.transport.write(b"x")
        server.transport.attach(self.poller)
        await turns()
        self.assertEqual(server.received, b"")
        server.transport.resumeProducing()
        await server.when_received(1)
        self.assertNotIn(server.transport, reactor.getReaders())

    async def test_attached_when_gone(self: Any) -> None:
        """Or about to go: nothing happens."""
        for party, _ in (self.pair(), self.pair()):
            party.transport.abortConnection()
            party.transport.attach(self.poller)
            await party.when_lost()
            party.transport.attach(self.poller)
            party.transport.resumeProducing()

    async def test_more_than_a_turn_takes(self: Any) -> None:
        """Each is told once, over as many turns as it takes."""
        parties = [self.pair() for _ in range(2 * MOST + 1)]
        told: list[int] = []
        for _, end in parties:
            end.sendall(b"x")
        for number, (party, _) in enumerate(parties):
            party.on_data = lambda data, number=number: told.append(number)
        for party, _ in parties:
            await party.when_received(1)
        self.assertEqual(sorted(told), list(range(2 * MOST + 1)))

    async def test_stopped(self: Any) -> None:
        """From then on nobody is told anything; connections still end."""
        party, end = self.pair()
        self.poller.stop()
        self.poller.stop()
        end.sendall(b"x")
        await turns()
        self.assertEqual((party.received, self.poller.fileno()), (b"", -1))
        self.assertNotIn(self.poller, reactor.getReaders())
        party.transport.pauseProducing()
        party.transport.resumeProducing()
        party.transport.loseConnection()
        await party.when_lost()

    async def test_stopped_in_the_middle(self: Any) -> None:
        first, second, _ = self.both_readable()
        first.on_data = lambda data: self.poller.stop()
        await first.when_received(5)
        self.assertLessEqual(len(second.received), 6)

    async def test_failing_system(self: Any) -> None:
        """It is logged, and tried again."""
        party, end = self.pair()
        real = self.poller._poll

        class Broken:
            def poll(_, most: int) -> Any:  # noqa: N805
                self.poller._poll = real
                raise MemoryError

        self.poller._poll = Broken()
        self.poller.doRead()
        self.assertEqual(len(self.flushLoggedErrors(MemoryError)), 1)
        end.sendall(b"x")
        await party.when_received(1)

    # ---- the end of a turn

    async def test_after_turn(self: Any) -> None:
        """When all were told, once, in order; what is asked for there comes with the next turn."""
        told: list[str] = []
        first, second, _ = self.both_readable()

        def ask(data: bytes) -> None:
            told.append(data.decode())
            self.poller.after_turn(lambda: told.append("end"))
            self.poller.after_turn(lambda: self.poller.after_turn(lambda: told.append("next end")))

        first.on_data = ask
        second.on_data = lambda data: told.append(data.decode())
        await second.when_received(6)
        self.assertEqual(told, ["first", "second"])
        await turns(2)
        self.assertEqual(told, ["first", "second", "end", "next end"])

    async def test_end_of_turn_comes_first(self: Any) -> None:
        """No other event of the reactor comes before it."""
        told: list[str] = []
        party, end = self.pair()

        def ask(data: bytes) -> None:
            reactor.callLater(0, told.append, "later")
            self.poller.after_turn(lambda: told.append("end"))

        party.on_data = ask
        end.sendall(b"x")
        await party.when_received(1)
        await turns()
        self.assertEqual(told, ["end", "later"])


class CompiledTests(Polled, TcpTestCase):
    kernel_name = "compiled"


class PythonTests(Polled, TcpTestCase):
    kernel_name = "python"


class Reader:
    """One of very many: not more than the poller asks for."""

    straight = True
    reads = True
    connected = True

    def __init__(self, end: socket.socket) -> None:
        self.fileno = end.fileno
        self.told: list[Any] = []

    def received(self, data: bytes | int | None) -> None:
        self.told.append(data)


class ManyTests(TestCase):
    async def test_full(self) -> None:
        """Ten thousand: each gets its own, whether one of them speaks or all do."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        many = min(MANY, (limit - 200) // 2)
        if many < 1000:
            raise SkipTest("not enough descriptors")
        for name in ("compiled", "python"):
            poller = Poller(reactor, kernel.choose(name))
            poller.start()
            ends = [socket.socketpair() for _ in range(many)]
            readers = [Reader(ours) for ours, _ in ends]
            for reader in readers:
                poller.addReader(reader)
            for number in (0, many // 2, many - 1):
                ends[number][1].send(b"%d" % number)
                while not readers[number].told:
                    await turns(1)
                self.assertEqual(readers[number].told.pop(), b"%d" % number)
            for number, (_, theirs) in enumerate(ends):
                theirs.send(b"%d" % number)
            while not all(reader.told for reader in readers):
                await turns(1)
            self.assertEqual([reader.told for reader in readers], [[b"%d" % number] for number in range(many)])
            poller.stop()
            for pair in ends:
                for end in pair:
                    end.close()


class TurnsTests(SynchronousTestCase):
    """Where nothing is handed out, a turn is the reactor's."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[int] = []

    def test_in_order(self) -> None:
        turns_ = Turns(self.clock)
        for number in range(3):
            turns_.after_turn(lambda number=number: self.told.append(number))  # type: ignore[misc]
        self.assertEqual((self.told, len(self.clock.getDelayedCalls())), ([], 1))
        self.clock.advance(0)
        self.assertEqual(self.told, [0, 1, 2])

    def test_next(self) -> None:
        """What is asked for at the end of a turn is the next turn's."""
        turns_ = Turns(self.clock)

        def again() -> None:
            self.told.append(1)
            turns_.after_turn(lambda: self.told.append(3))

        turns_.after_turn(again)
        self.clock.callLater(0, self.told.append, 2)
        self.clock.advance(0)
        self.assertEqual(self.told, [1, 2, 3])

    def test_failing(self) -> None:
        """One that fails is logged, and the others are called."""
        turns_ = Turns(self.clock)
        turns_.after_turn(lambda: cast(None, 1 / 0))
        turns_.after_turn(lambda: self.told.append(1))
        self.clock.advance(0)
        self.assertEqual(self.told, [1])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_before_the_poller_starts(self) -> None:
        poller = Poller(self.clock, kernel.TWIN)
        poller.after_turn(lambda: self.told.append(1))
        self.clock.advance(0)
        self.assertEqual(self.told, [1])
