"""Producers, and protocols that want to know when half of a connection is gone: as Twisted's, whoever reads them."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IPullProducer
from zope.interface import implementer

from tests.transports.parties import BIG, HalfCloser, Pushing, TcpTestCase, turns


@implementer(IPullProducer)
class Pulled:
    """Gives one piece whenever it is asked; after the last one it goes."""

    def __init__(self, transport: Any, pieces: list[bytes]) -> None:
        self.transport = transport
        self.pieces = pieces
        self.stopped = False

    def resumeProducing(self) -> None:
        if self.pieces:
            self.transport.write(self.pieces.pop(0))
        else:
            self.transport.unregisterProducer()

    def stopProducing(self) -> None:
        self.stopped = True


class ProducerBehaviour:
    """What holds for Twisted's connections too."""

    async def test_push_producer(self: Any) -> None:
        """Paused when more than 64 KiB wait, resumed when nothing does."""
        server, client = await self.connect()
        producer = Pushing()
        server.transport.registerProducer(producer, True)
        server.transport.write(b"little")
        self.assertEqual(producer.told, [])
        server.transport.write(BIG)
        self.assertEqual(producer.told[-1:], ["pause"])
        producer.resumed = lambda: server.transport.write(b"rest")
        await client.when_received(len(BIG) + 10)
        self.assertEqual((producer.told[-1], client.received), ("resume", b"little" + BIG + b"rest"))
        client.transport.loseConnection()
        await server.when_lost()
        self.assertEqual(producer.told[-1], "stop")
        self.assertIsNone(server.transport.producer)

    async def test_push_producer_many_rounds(self: Any) -> None:
        """It writes as much as that again whenever it may go on, from within the call."""
        server, client = await self.connect()
        producer = Pushing()
        rounds = [BIG, BIG, b"end"]
        producer.resumed = lambda: rounds and server.transport.write(rounds.pop(0))
        server.transport.registerProducer(producer, True)
        server.transport.write(BIG)
        await client.when_received(3 * len(BIG) + 3)
        self.assertTrue(client.received.endswith(BIG[-10:] + b"end"))
        self.assertEqual([told for told in producer.told if told == "resume"], ["resume"] * 3)

    async def test_pull_producer(self: Any) -> None:
        """Asked for more whenever the buffer is empty, until it goes."""
        server, client = await self.connect()
        pieces = [b"a", BIG, b"b", b"c"]
        server.transport.registerProducer(Pulled(server.transport, list(pieces)), False)
        await client.when_received(len(BIG) + 3)
        self.assertEqual(client.received, b"".join(pieces))
        await turns()
        server.transport.write(b"after")
        await client.when_received(len(BIG) + 8)

    async def test_second_producer(self: Any) -> None:
        server, client = await self.connect()
        server.transport.registerProducer(Pushing(), True)
        for streaming in (True, False):
            with self.assertRaises(RuntimeError):
                server.transport.registerProducer(Pushing(), streaming)
        server.transport.write(b"x")
        await client.when_received(1)

    async def test_lose_waits_for_producer(self: Any) -> None:
        """A connection with a producer that is paused closes when it has got the rest, and the producer has gone."""
        server, client = await self.connect()
        producer = Pushing()
        server.transport.registerProducer(producer, True)

        def finish() -> None:
            server.transport.write(b"rest")
            server.transport.unregisterProducer()

        producer.resumed = finish
        server.transport.write(BIG)
        server.transport.loseConnection()
        await client.when_lost()
        await server.when_lost()
        self.assertEqual(client.received, BIG + b"rest")
        self.assertEqual((server.events, producer.told[-1]), (["lost"], "resume"))


class HalfBehaviour:
    """Of protocols that want to know when half of a connection is gone."""

    async def test_peer_has_finished(self: Any) -> None:
        """It still gets everything."""
        server, client = await self.connect(HalfCloser)
        client.transport.write(b"question")
        client.transport.loseWriteConnection()
        await server.when(lambda: "read lost" in server.events)
        self.assertEqual(server.received, b"question")
        server.transport.write(BIG)
        await client.when_received(len(BIG))
        server.transport.loseConnection()
        await server.when_lost()
        await client.when(lambda: "read lost" in client.events)
        self.assertEqual(server.events, ["read lost", "lost"])

    async def test_peer_is_asked_again(self: Any) -> None:
        """Who reads on behind the end is told of it again."""
        server, client = await self.connect(HalfCloser)
        client.transport.loseWriteConnection()
        await server.when(lambda: len(server.events) == 1)
        server.transport.resumeProducing()
        await server.when(lambda: len(server.events) == 2)
        self.assertEqual(server.events, ["read lost", "read lost"])

    async def test_we_have_finished(self: Any) -> None:
        """What is buffered goes out, then FIN; what comes is told until the peer ends too; nothing is sent any more."""
        server, client = await self.connect(HalfCloser)
        server.transport.write(BIG)
        server.transport.loseWriteConnection()
        server.transport.write(b"!")
        await client.when(lambda: "read lost" in client.events)
        self.assertEqual(client.received, BIG + b"!")
        self.assertEqual(server.events, ["write lost"])
        server.transport.write(b"late")
        client.transport.write(b"still here")
        await server.when_received(10)
        client.transport.loseConnection()
        await server.when(lambda: "read lost" in server.events)
        server.transport.loseConnection()
        self.assertEqual(server.events, ["write lost", "read lost", "lost"])
        await client.when_lost()
        self.assertEqual(len(client.received), len(BIG) + 1)

    async def test_we_have_finished_and_abort(self: Any) -> None:
        server, client = await self.connect(HalfCloser)
        server.transport.loseWriteConnection()
        await client.when(lambda: "read lost" in client.events)
        server.transport.abortConnection()
        await server.when_lost()
        self.assertEqual(server.events, ["write lost", "lost"])

    async def test_failing(self: Any) -> None:
        """An exception on being told ends the connection, once."""
        server, client = await self.connect(HalfCloser)
        server.readConnectionLost = lambda: 1 / 0
        client.transport.loseWriteConnection()
        await server.when_lost()
        self.assertEqual((type(server.reason), server.events), (ZeroDivisionError, ["lost"]))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        await client.when(lambda: "read lost" in client.events)


class StockProducerTests(ProducerBehaviour, TcpTestCase):
    kernel_name = ""


class CompiledProducerTests(ProducerBehaviour, TcpTestCase):
    kernel_name = "compiled"


class PythonProducerTests(ProducerBehaviour, TcpTestCase):
    kernel_name = "python"


class CompiledPolledProducerTests(ProducerBehaviour, TcpTestCase):
    kernel_name = "compiled"
    polled = True


class PythonPolledProducerTests(ProducerBehaviour, TcpTestCase):
    kernel_name = "python"
    polled = True


class StockHalfTests(HalfBehaviour, TcpTestCase):
    kernel_name = ""
    server_end = HalfCloser


class CompiledHalfTests(HalfBehaviour, TcpTestCase):
    kernel_name = "compiled"
    server_end = HalfCloser


class PythonHalfPolledTests(HalfBehaviour, TcpTestCase):
    kernel_name = "python"
    polled = True
    server_end = HalfCloser


class CompiledHalfPolledTests(HalfBehaviour, TcpTestCase):
    kernel_name = "compiled"
    polled = True
    server_end = HalfCloser
