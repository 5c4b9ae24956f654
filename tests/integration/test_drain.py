"""SIGTERM: nobody new, everybody told, what is queued delivered, and an end in time."""

from __future__ import annotations

import json
import signal
from urllib.error import HTTPError

from twisted.internet.error import ConnectError
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from realtime_svc.client import connect
from tests.integration.raw_http import bearer, head, open_connection
from tests.integration.server import ALICE, BOB, STOPPED, TOKENS, Server, reactor, start_server, toml
from tests.integration.ws_peer import Peer, open_peer, request

LONG = "[shutdown]\ndrain_timeout = 60\n[limits]\nqueue_size = '64MiB'\nmessage_size = '1MiB'\nstall_timeout = 60\n"
MESSAGES = 30
BIG = json.dumps("x" * 500_000)


class DrainTests(TestCase):
    """One server each, ended by a signal."""

    async def stuck(self, server: Server) -> Peer:
        """A client in whose queue more waits than any socket holds, because it does not read."""
        peer = await open_peer(self, server.port(), "/raw/x", bearer(BOB))
        peer.stop_reading()
        alice = await connect(reactor, server.url("/ws"), token=ALICE)
        await alice.receive()
        for _ in range(MESSAGES):
            alice.send(f'{{"publish":"x","data":{BIG}}}')
            self.assertEqual('{"ok":"publish","channel":"x"}', await alice.receive())
        alice.close()
        await alice.closed
        self.assertNotIn("\nrealtime_svc_queue_bytes 0", await server.metrics())
        return peer

    async def refused(self, server: Server) -> bool:
        """Does nothing listen on the public port any more?"""
        try:
            connection = await open_connection(server.port())
        except ConnectError:
            return True
        await connection.close()
        return False

    async def test_everybody_is_told(self) -> None:
        """raw 1012; plain 3001 behind its bye; an event stream its bye; who has not said anything is just closed."""
        server = await start_server(self, TOKENS)
        raw = await connect(reactor, server.url("/raw/x"), token=ALICE)
        plain = await connect(reactor, server.url("/ws"), token=ALICE)
        nobody = await connect(reactor, server.url("/ws"))
        idle = await open_connection(server.port())  # before `events`, whose answer shows that both were accepted
        events = await open_connection(server.port())
        events.send(head("GET /sse/x HTTP/1.1", "Host: localhost", bearer(ALICE)))
        await events.when_contains(b":\n\n")
        self.assertEqual(STOPPED, await server.stop())
        self.assertEqual((1012, "service restart"), await raw.closed)
        for client in (plain, nobody):
            await client.receive()
            bye = '{"bye":{"code":3001,"reason":"shutdown","reconnect":true}}'
            self.assertEqual(bye, await client.receive())
            self.assertEqual((3001, "shutdown"), await client.closed)
        self.assertIn(b'event: bye\ndata: {"code":3001,"reason":"shutdown"}\n\n', await events.end())
        self.assertEqual(b"", await idle.end())
        self.assertNotIn("Traceback", server.process.output)

    async def test_queue_is_delivered(self) -> None:
        """While one client does not read: not ready, nobody new, but everything that was accepted reaches it."""
        server = await start_server(self, TOKENS + LONG)
        peer = await self.stuck(server)
        server.process.signal(signal.SIGTERM)
        await server.process.when_printed("Received SIGTERM")
        while not await self.refused(server):
            await deferLater(reactor, 0)
        with self.assertRaises(HTTPError) as caught:
            await server.get_internal("/health/ready")
        self.assertEqual((503, "shutting down"), (caught.exception.code, json.loads(caught.exception.read())["reason"]))
        await server.get_internal("/health/live")
        peer.read_on()
        end = await peer.end()
        self.assertEqual((1012, b"service restart"), (end.code, end.reason))
        self.assertEqual([BIG.encode()] * MESSAGES, peer.messages)
        self.assertEqual(STOPPED, await server.process.ended)

    async def test_who_never_reads_is_cut_in_the_end(self) -> None:
        """The process ends within drain_timeout, and says how many it had to cut. The others got what was theirs."""
        server = await start_server(self, TOKENS + LONG.replace("60", "0.5", 1))
        await self.stuck(server)
        other = await connect(reactor, server.url("/raw/y"), token=ALICE)
        self.assertEqual(STOPPED, await server.stop())
        self.assertEqual(1012, (await other.closed)[0])
        self.assertIn("drain is over: 1 connections cut", server.process.output)

    async def test_second_signal_cuts_at_once(self) -> None:
        server = await start_server(self, TOKENS + LONG)
        await self.stuck(server)
        server.process.signal(signal.SIGTERM)
        await server.process.when_printed(r"Port \d+ Closed|Received SIGTERM")
        while not await self.refused(server):
            await deferLater(reactor, 0)
        server.process.signal(signal.SIGTERM)
        self.assertEqual(STOPPED, await server.process.ended)
        self.assertIn("connections cut", server.process.output)

    async def test_login_under_way_does_not_come_in(self) -> None:
        """A client whose /ws has not authenticated yet, and one that sends half a request head."""
        server = await start_server(self, TOKENS + f"[auth]\ncookie = {toml('session')}\n")
        waiting = await connect(reactor, server.url("/ws"))
        half = await open_connection(server.port())
        half.send(request("/raw/x", [bearer(ALICE)])[:-2])
        await server.metrics()
        self.assertEqual(STOPPED, await server.stop())
        self.assertEqual(3001, (await waiting.closed)[0])
        self.assertEqual(b"", await half.end())

    async def test_interrupt(self) -> None:
        """Ctrl-C in the foreground does the same."""
        server = await start_server(self, TOKENS)
        client = await connect(reactor, server.url("/raw/x"), token=ALICE)
        server.process.signal(signal.SIGINT)
        self.assertEqual(-signal.SIGINT, await server.process.ended)
        self.assertEqual(1012, (await client.closed)[0])
