"""Connections that end badly, or that the server ends: in time, with the code for it, and nothing is left behind."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Coroutine
from typing import Any

import jwt
from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.task import Cooperator
from twisted.trial.unittest import TestCase

from tests.integration.limits import MIB, NO_RATES, OPEN, bye, pid_of, said, until
from tests.integration.server import ALICE, TOKENS, Server, reactor, start_server
from tests.integration.ws_peer import (
    BINARY,
    CLOSE,
    PING,
    TEXT,
    End,
    Peer,
    Wire,
    close_frame,
    connect_tcp,
    frame,
    open_peer,
    request,
    resident,
)

Way = Callable[[Server], Coroutine[Any, Any, None]]
SECRET = "0123456789abcdef0123456789abcdef"
OPEN_ECHO = """
[namespaces.default]
payload = "bytes"
echo = true
"""
QUICK = '[websocket]\nclose_timeout = "300ms"\n'


class ServerEndsTests(TestCase):
    async def test_binary_on_plain(self) -> None:
        """3506, after a bye; what came before it in the same packet was carried out."""
        server = await start_server(self, OPEN)
        peer = await open_peer(self, server.port(), "/ws")
        peer.send(frame(TEXT, b'{"ping":1}'), frame(BINARY, b'{"ping":1}'), frame(TEXT, b'{"ping":2}'))
        self.assertEqual(await peer.end(), End(3506, b"inappropriate protocol", "eof"))
        self.assertEqual(said(peer)[1:], [{"ok": "ping"}, bye(3506, "inappropriate protocol", reconnect=False)])

    async def test_no_authentication(self) -> None:
        """3502 after auth_timeout, also for a client that keeps talking below the level of commands."""
        server = await start_server(self, TOKENS + '[limits]\nauth_timeout = "300ms"')
        peer = await open_peer(self, server.port(), "/ws")
        peer.send(frame(PING, b"x"), frame(TEXT, b'{"au', fin=False))
        self.assertEqual(await peer.end(), End(3502, b"no authentication in time", "eof"))
        self.assertEqual(said(peer)[-1], bye(3502, "no authentication in time", reconnect=False))

    async def test_authenticated_in_time(self) -> None:
        """The time limit is over with the first good token: the connection is there when others are closed."""
        server = await start_server(self, TOKENS + '[limits]\nauth_timeout = "700ms"')
        good = await open_peer(self, server.port(), "/ws")
        good.send(frame(TEXT, b'{"auth":"%s"}' % ALICE.encode()))
        late = await open_peer(self, server.port(), "/ws")
        await late.end()
        after = await open_peer(self, server.port(), "/ws")
        await after.end()
        good.send(frame(TEXT, b'{"ping":1}'))
        await good.when(lambda: len(good.messages) == 3)
        self.assertEqual(said(good)[2], {"ok": "ping"})

    async def test_bad_first_message(self) -> None:
        """The error, then 3500, on the first thing that is no good token."""
        server = await start_server(self, TOKENS)
        for text in (b'{"auth":"not-the-token-of-anybody"}', b'{"subscribe":"x"}', b"rubbish", b'{"auth":1}'):
            peer = await open_peer(self, server.port(), "/ws")
            peer.send(frame(TEXT, text), frame(TEXT, b'{"auth":"%s"}' % ALICE.encode()))
            self.assertEqual(await peer.end(), End(3500, b"invalid token", "eof"), text)
            told = said(peer)
            self.assertEqual((next(iter(told[1])), told[2:]), ("error", [bye(3500, "invalid token", reconnect=False)]))

    async def test_token_runs_out(self) -> None:
        """3005 when the token ends, and no message after it; a raw client gets the same code."""
        server = await start_server(self, f'[auth.jwt]\nalgorithms = ["HS256"]\nsecret = "{SECRET}"')
        token = jwt.encode({"sub": "42", "exp": int(time.time()) + 2}, SECRET, "HS256")
        authorization = f"Authorization: Bearer {token}"
        plain = await open_peer(self, server.port(), "/ws", authorization)
        raw = await open_peer(self, server.port(), "/raw/x", authorization)
        self.assertEqual(await plain.end(), End(3005, b"connection expired", "eof"))
        self.assertEqual(await raw.end(), End(3005, b"connection expired", "eof"))
        self.assertEqual(said(plain)[-1], bye(3005, "connection expired", reconnect=True))
        self.assertGreaterEqual(time.time(), jwt.decode(token, SECRET, ["HS256"], {"verify_exp": False})["exp"])


class PeerDoesNotTakePartTests(TestCase):
    async def test_never_answers_our_close(self) -> None:
        """After close_timeout the connection is cut."""
        server = await start_server(self, OPEN + QUICK)
        peer = await open_peer(self, server.port(), "/ws")
        peer.answer_close = False
        peer.send(frame(BINARY, b"x"))
        self.assertEqual(await peer.end(), End(3506, b"inappropriate protocol", "reset"))
        await until(server, 'realtime_svc_connections{protocol="plain"}', 0)

    async def test_talks_on_instead_of_answering(self) -> None:
        """Whatever it sends instead of a Close does not give it more time, and is not answered."""
        server = await start_server(self, OPEN + QUICK)
        peer = await open_peer(self, server.port(), "/ws")
        peer.answer_close = False
        peer.send(frame(BINARY, b"x"), frame(PING, b"x"), frame(TEXT, b'{"ping":1}') * 100, frame(TEXT, declared=5000))
        self.assertEqual((await peer.end()).code, 3506)

    async def test_never_closes_tcp(self) -> None:
        """The same for one that has closed, or was failed, and keeps its half of the connection open."""
        server = await start_server(self, OPEN + QUICK)
        for data in (close_frame(), frame(3), frame(TEXT, declared=2**40)):
            peer = await open_peer(self, server.port(), "/raw/x")
            peer.stay = True
            peer.send(data)
            self.assertEqual((await peer.end()).tcp, "eof")
            await until(server, 'realtime_svc_connections{protocol="raw"}', 0)

    async def test_close_without_reading(self) -> None:
        """A client whose socket is full of what it has not read sends Close, or breaks a rule: it is cut in time."""
        server = await start_server(self, OPEN + NO_RATES + 'queue_size = "64MiB"\nstall_timeout = "1h"\n' + QUICK)
        for data in (close_frame(), frame(3)):
            reader = await open_peer(self, server.port(), "/raw/x")
            deaf = await open_peer(self, server.port(), "/raw/x")
            deaf.stop_reading()
            sender = await open_peer(self, server.port(), "/raw/x")
            for _ in range(12 * MIB // 65536):
                sender.send(frame(TEXT, b"x" * 65536, mask=bytes(4)))
                await reader.next_frame()
            deaf.send(data)
            await until(server, 'realtime_svc_connections{protocol="raw"}', 2)
            for peer in (reader, sender):
                peer.send(close_frame())
                await peer.end()
            await until(server, "realtime_svc_queue_bytes", 0)
            await until(server, 'realtime_svc_connections{protocol="raw"}', 0)

    async def test_refused_and_not_reading(self) -> None:
        """A refusal is sent and the connection ends by itself."""
        server = await start_server(self, OPEN)
        peer = await connect_tcp(self, server.port())
        peer.stay = True
        peer.send(request("/raw/x?echo=1", ["Sec-WebSocket-Protocol: a, a"]))
        await peer.when(lambda: peer.tcp is not None)
        self.assertEqual((peer.status, peer.tcp), (400, "eof"))


class AbruptEndTests(TestCase):
    async def test_no_leak(self) -> None:
        """Hundreds of connections that break off in every state, some at once: nothing is left of them, neither in the
        counts nor in descriptors nor in memory, and no traceback."""
        limits = "[limits]\nconnections_per_user = 40\nconnections_per_address = 60\nmessages_per_second = 0\n"
        server = await start_server(self, TOKENS + OPEN_ECHO + limits + QUICK)
        ways = (
            self._connect, self._half_a_head, self._no_answer_read, self._open, self._open_fin, self._inside_frame,
            self._inside_message, self._after_close, self._after_violation, self._while_server_closes,
            self._while_messages_come, self._unauthenticated,
        )  # fmt: skip
        witness = await open_peer(self, server.port(), "/raw/x", f"Authorization: Bearer {ALICE}")
        await self._rounds(server, ways, 5)
        await self._settled(server)
        descriptors, memory = len(os.listdir(f"/proc/{pid_of(server)}/fd")), resident(pid_of(server))
        await self._rounds(server, ways, 30)
        await self._settled(server)
        self.assertLessEqual(abs(len(os.listdir(f"/proc/{pid_of(server)}/fd")) - descriptors), 2)
        self.assertLess(resident(pid_of(server)) - memory, 4 * MIB)
        again = [await open_peer(self, server.port(), "/ws", f"Authorization: Bearer {ALICE}") for _ in range(39)]
        one_more = await connect_tcp(self, server.port())
        one_more.send(request("/ws", [f"Authorization: Bearer {ALICE}"]))
        await one_more.when(lambda: one_more.tcp is not None)
        self.assertEqual((len(again), one_more.status), (39, 429))
        witness.send(close_frame())
        self.assertEqual((await witness.end()).code, 1000)
        self.assertNotIn("Traceback", server.process.output)
        self.assertNotIn("Unhandled", server.process.output)

    async def _rounds(self, server: Server, ways: tuple[Way, ...], count: int) -> None:
        """Every way `count` times, eight at a time."""
        work = (ensureDeferred(way(server)) for way in itertools.chain.from_iterable(itertools.repeat(ways, count)))
        cooperator = Cooperator(scheduler=lambda call: reactor.callLater(0, call))
        await gatherResults([cooperator.coiterate(work) for _ in range(8)])

    async def _settled(self, server: Server) -> None:
        await until(server, 'realtime_svc_connections{protocol="raw"}', 1)
        await until(server, 'realtime_svc_connections{protocol="plain"}', 0)
        await until(server, "realtime_svc_subscriptions", 1)
        await until(server, "realtime_svc_queue_bytes", 0)

    async def _open_as_alice(self, server: Server, path: str = "/raw/x?echo=1") -> Peer:
        peer = await open_peer(self, server.port(), path, f"Authorization: Bearer {ALICE}")
        peer.answer_close = False
        return peer

    async def _connect(self, server: Server) -> None:
        (await connect_tcp(self, server.port())).abort()

    async def _half_a_head(self, server: Server) -> None:
        peer = await connect_tcp(self, server.port())
        peer.send(request("/raw/x")[:50])
        peer.abort()

    async def _no_answer_read(self, server: Server) -> None:
        peer = await connect_tcp(self, server.port())
        peer.send(request("/raw/x", [f"Authorization: Bearer {ALICE}"]))
        peer.abort()

    async def _open(self, server: Server) -> None:
        (await self._open_as_alice(server)).abort()

    async def _open_fin(self, server: Server) -> None:
        (await self._open_as_alice(server)).finish_writing()

    async def _inside_frame(self, server: Server) -> None:
        peer = await self._open_as_alice(server)
        peer.send(frame(TEXT, b"x" * 100)[:50])
        peer.abort()

    async def _inside_message(self, server: Server) -> None:
        peer = await self._open_as_alice(server)
        peer.send(frame(TEXT, b"x", fin=False), frame(PING))
        await peer.next_frame()
        peer.abort()

    async def _after_close(self, server: Server) -> None:
        peer = await self._open_as_alice(server)
        peer.send(close_frame())
        peer.abort()

    async def _after_violation(self, server: Server) -> None:
        peer = await self._open_as_alice(server)
        peer.send(frame(3), b"x" * 5000)
        await peer.next((CLOSE,))
        peer.abort()

    async def _while_server_closes(self, server: Server) -> None:
        peer = await self._open_as_alice(server, "/ws?channel=x")
        peer.send(frame(BINARY, b"x"))
        await peer.next((CLOSE,))
        peer.abort()

    async def _while_messages_come(self, server: Server) -> None:
        peer = await self._open_as_alice(server)
        peer.send(*(frame(TEXT, b"x" * 1000) for _ in range(50)))
        self.assertEqual((await peer.next())[:1], Wire(TEXT, b"")[:1])
        peer.abort()

    async def _unauthenticated(self, server: Server) -> None:
        peer = await open_peer(self, server.port(), "/ws")
        peer.send(frame(TEXT, b'{"auth":"%s"}{"' % ALICE.encode(), fin=False))
        peer.abort()
