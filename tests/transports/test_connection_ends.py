"""Reading, writing and the ends of connections: what Twisted's do, ours do as well, whoever reads them."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost

from tests.transports.parties import BIG, Pushing, TcpTestCase, reset, take, turns, waiting


class Behaviour:
    """What holds for Twisted's connections too."""

    # ---- both ways

    async def test_both_ways(self: Any) -> None:
        server, client = await self.connect()
        server.on_data = server.transport.write
        client.transport.write(b"one")
        await client.when_received(3)
        client.transport.writeSequence([b"two", b"", b"three"])
        await client.when_received(11)
        self.assertEqual((server.received, client.received), (b"onetwothree",) * 2)

    async def test_big_and_in_order(self: Any) -> None:
        """More than the system takes, and more that is written while that waits."""
        server, client = await self.connect()
        server.transport.write(BIG)
        server.transport.write(b"a")
        server.transport.writeSequence([b"b", b"c"])
        server.transport.write(b"")
        self.assertGreater(waiting(server.transport), 0)
        await client.when_received(len(BIG) + 3)
        self.assertEqual(client.received, BIG + b"abc")
        self.assertEqual(waiting(server.transport), 0)
        server.transport.write(b"d")
        await client.when_received(len(BIG) + 4)

    async def test_not_bytes(self: Any) -> None:
        server, _ = await self.connect()
        for wrong in ("text", None, 1):
            with self.assertRaises(TypeError):
                server.transport.write(wrong)

    async def test_written_while_told(self: Any) -> None:
        """What is written from within `dataReceived`, `connectionLost` of the other side and so on keeps its order."""
        server, client = await self.connect()

        def answer(data: bytes) -> None:
            server.transport.write(b"<" + data)
            server.transport.write(BIG)
            server.transport.write(data + b">")

        server.on_data = answer
        client.transport.write(b"x")
        await client.when_received(len(BIG) + 4)
        self.assertEqual(client.received, b"<x" + BIG + b"x>")

    async def test_addresses(self: Any) -> None:
        server, client = await self.connect()
        self.assertEqual(server.transport.getPeer(), client.transport.getHost())
        self.assertEqual(server.transport.getHost(), client.transport.getPeer())
        self.assertEqual(server.transport.getHandle().getpeername()[1], client.transport.getHost().port)

    # ---- reading

    async def test_pause(self: Any) -> None:
        """Nothing is told while reading is paused, and nothing is lost; what was there comes in a turn of its own."""
        server, client = await self.connect()
        server.transport.pauseProducing()
        client.transport.write(b"late")
        await turns()
        self.assertEqual(server.received, b"")
        server.transport.resumeProducing()
        self.assertEqual(server.received, b"")
        await server.when_received(4)

    async def test_pause_twice(self: Any) -> None:
        server, client = await self.connect()
        for _ in range(2):
            server.transport.pauseProducing()
        for _ in range(2):
            server.transport.resumeProducing()
        client.transport.write(b"a")
        await server.when_received(1)
        self.assertEqual(server.received, b"a")

    async def test_end_while_paused(self: Any) -> None:
        """The end of what comes is told when reading goes on, after the data."""
        server, client = await self.connect()
        server.transport.pauseProducing()
        client.transport.write(b"last")
        client.transport.loseConnection()
        await client.when_lost()
        self.assertEqual((server.received, server.events), (b"", []))
        server.transport.resumeProducing()
        await server.when_lost()
        self.assertEqual((server.received, type(server.reason)), (b"last", ConnectionDone))

    async def test_failing_protocol(self: Any) -> None:
        """An exception is logged, and ends this connection and no other."""
        server, client = await self.connect()
        other, other_client = await self.connect()

        def fail(data: bytes) -> None:
            raise ValueError(data)

        server.on_data = fail
        client.transport.write(b"x")
        await server.when_lost()
        await client.when_lost()
        self.assertEqual((type(server.reason), server.events), (ValueError, ["lost"]))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        other_client.transport.write(b"y")
        await other.when_received(1)

    # ---- an orderly end

    async def test_lose(self: Any) -> None:
        """What is buffered goes out first; then both are told once."""
        server, client = await self.connect()
        server.transport.write(BIG)
        server.transport.loseConnection()
        server.transport.loseConnection()
        server.transport.write(b"!")
        self.assertEqual(server.events, [])
        await client.when_lost()
        await server.when_lost()
        self.assertEqual(client.received, BIG + b"!")
        self.assertEqual((type(server.reason), server.events), (ConnectionDone, ["lost"]))

    async def test_lose_idle(self: Any) -> None:
        """In a turn of its own, also where nothing waits."""
        server, client = await self.connect()
        server.transport.loseConnection()
        self.assertEqual(server.events, [])
        await server.when_lost()
        await client.when_lost()
        self.assertFalse(server.transport.connected)
        self.assertTrue(server.transport.disconnected)

    async def test_lose_while_told(self: Any) -> None:
        server, client = await self.connect()

        def end(data: bytes) -> None:
            server.transport.write(b"bye")
            server.transport.loseConnection()

        server.on_data = end
        client.transport.write(b"x")
        await client.when_lost()
        await server.when_lost()
        self.assertEqual((client.received, server.events), (b"bye", ["lost"]))

    async def test_nothing_is_read_after_lose(self: Any) -> None:
        server, end = await self.connect_socket()
        self.fill(server)
        server.transport.loseConnection()
        end.sendall(b"ignored")
        server.transport.resumeProducing()
        await turns()
        self.assertEqual(server.received, b"")

    async def test_dead(self: Any) -> None:
        """Whatever is done to a connection that is gone does nothing."""
        server, client = await self.connect()
        client.transport.loseConnection()
        await server.when_lost()
        producer = Pushing()
        server.transport.write(b"x")
        server.transport.writeSequence([b"x"])
        server.transport.loseConnection()
        server.transport.abortConnection()
        server.transport.pauseProducing()
        server.transport.resumeProducing()
        server.transport.registerProducer(producer, True)
        server.transport.unregisterProducer()
        await turns()
        self.assertEqual((server.events, producer.told), (["lost"], ["stop"]))
        self.assertEqual(server.transport.fileno(), -1)

    async def test_eof(self: Any) -> None:
        """The peer closes: what it said comes first."""
        server, client = await self.connect()
        client.transport.write(BIG)
        client.transport.loseConnection()
        await server.when_lost()
        self.assertEqual((len(server.received), type(server.reason)), (len(BIG), ConnectionDone))

    # ---- abort

    async def test_abort(self: Any) -> None:
        """RST, and the protocol is told once, in a turn of its own."""
        server, client = await self.connect()
        server.transport.abortConnection()
        server.transport.abortConnection()
        self.assertEqual(server.events, [])
        await server.when_lost()
        await client.when_lost()
        self.assertEqual((type(server.reason), server.events), (ConnectionAborted, ["lost"]))
        self.assertIsInstance(client.reason, ConnectionLost)

    async def test_abort_with_much_waiting(self: Any) -> None:
        server, end = await self.connect_socket()
        written = self.fill(server)
        server.transport.abortConnection()
        server.transport.write(b"more")
        server.transport.loseConnection()
        await server.when_lost()
        self.assertEqual(server.events, ["lost"])
        with self.assertRaises(ConnectionResetError):
            self.assertLess(len(await take(end, written)), written)
            await take(end, 1)

    async def test_abort_while_told(self: Any) -> None:
        """Nothing more comes, whatever else is asked for meanwhile."""
        server, client = await self.connect()

        def abort(data: bytes) -> None:
            server.transport.write(b"not sent or sent")
            server.transport.abortConnection()
            server.transport.resumeProducing()

        server.on_data = abort
        client.transport.write(b"x")
        client.transport.write(b"y")
        await client.when_lost()
        await server.when_lost()
        self.assertEqual(server.events, ["lost"])

    async def test_nothing_follows_abort(self: Any) -> None:
        """Neither what is written, nor what comes in the turn before the end."""
        server, end = await self.connect_socket()
        end.sendall(b"unread")
        server.transport.abortConnection()
        server.transport.write(b"unsent")
        server.transport.resumeProducing()
        await server.when_lost()
        self.assertEqual(server.received, b"")
        with self.assertRaises(ConnectionResetError):
            end.recv(10)

    async def test_abort_after_lose(self: Any) -> None:
        server, _end = await self.connect_socket()
        self.fill(server)
        server.transport.loseConnection()
        server.transport.abortConnection()
        await server.when_lost()
        self.assertEqual((type(server.reason), server.events), (ConnectionAborted, ["lost"]))

    async def test_abort_while_paused(self: Any) -> None:
        server, _end = await self.connect_socket()
        server.transport.pauseProducing()
        server.transport.abortConnection()
        await server.when_lost()
        self.assertEqual(server.events, ["lost"])

    # ---- errors of the socket

    async def test_reset_found_by_reading(self: Any) -> None:
        server, end = await self.connect_socket()
        reset(end)
        await server.when_lost()
        self.assertEqual((type(server.reason), server.events), (ConnectionLost, ["lost"]))

    async def test_reset_found_by_writing(self: Any) -> None:
        """Where reading is paused, a write finds it; `write` itself raises nothing and tells nobody."""
        server, end = await self.connect_socket()
        server.transport.pauseProducing()
        reset(end)
        server.transport.write(b"x")
        server.transport.write(b"y")
        self.assertEqual(server.events, [])
        await server.when_lost()
        self.assertEqual((type(server.reason), server.events), (ConnectionLost, ["lost"]))

    async def test_reset_found_by_both(self: Any) -> None:
        """Readable and writable at once: one end."""
        server, end = await self.connect_socket()
        self.fill(server)
        reset(end)
        server.transport.write(b"x")
        await server.when_lost()
        await turns()
        self.assertEqual(server.events, ["lost"])


class StockTests(Behaviour, TcpTestCase):
    kernel_name = ""


class CompiledTests(Behaviour, TcpTestCase):
    kernel_name = "compiled"


class PythonTests(Behaviour, TcpTestCase):
    kernel_name = "python"


class CompiledPolledTests(Behaviour, TcpTestCase):
    kernel_name = "compiled"
    polled = True


class PythonPolledTests(Behaviour, TcpTestCase):
    kernel_name = "python"
    polled = True
