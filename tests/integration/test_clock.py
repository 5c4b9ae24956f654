"""The wall clock is set while clients are connected: timers do not care, the dates in tokens do."""

from __future__ import annotations

import glob
import time
from pathlib import Path

import jwt
from twisted.trial.unittest import TestCase

from realtime_svc.client import Connection, HandshakeRefused, connect
from tests.integration.raw_http import bearer
from tests.integration.server import Server, reactor, start_server
from tests.integration.ws_peer import open_peer

SECRET = "a secret that has more than thirty-two bytes"
CONFIG = f"""
[websocket]
ping_interval = "400ms"
ping_timeout = "300ms"
[auth.jwt]
algorithms = ["HS256"]
secret = "{SECRET}"
"""
HOUR = 3600


class ClockTests(TestCase):
    """The server runs under libfaketime (Debian: faketime), which moves its wall clock and leaves the monotonic one."""

    async def start(self) -> Server:
        (library,) = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
        self.step_file = Path(self.mktemp()).absolute()
        self.offset = 0
        self.set_clock(0)
        environ = {
            "LD_PRELOAD": library,
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_TIMESTAMP_FILE": str(self.step_file),
        }
        return await start_server(self, CONFIG, environ=environ)

    def set_clock(self, offset: int) -> None:
        """So many seconds from the true time."""
        self.offset = offset
        fresh = self.step_file.with_suffix(".new")
        fresh.write_text(f"{offset:+d}\n")
        fresh.rename(self.step_file)

    def token(self, lasts: int, user: str = "jo") -> str:
        """Good for so many seconds by the server's clock."""
        now = int(time.time()) + self.offset
        return jwt.encode({"sub": user, "exp": now + lasts, "nbf": now - 2 * HOUR}, SECRET, "HS256")

    async def connect(self, server: Server, lasts: int) -> Connection:
        connection: Connection = await connect(reactor, server.url("/raw/x"), token=self.token(lasts))
        return connection

    async def test_one_hour_forward_and_back(self) -> None:
        """Nobody is disconnected; pings go on, so a client that does not answer is found; new tokens are judged by
        the new time."""
        server = await self.start()
        clients = [await self.connect(server, 10 * HOUR) for _ in range(5)]
        short = self.token(HOUR // 2)
        for offset, good in ((HOUR, False), (-HOUR, True), (0, True)):
            self.set_clock(offset)
            silent = await open_peer(self, server.port(), "/raw/y", bearer(self.token(HOUR)), "X-Silent: 1")
            silent.answer_pings = False
            self.assertEqual((3012, b"no pong"), (await silent.end())[:2])
            clients[0].send(str(offset))
            for client in clients[1:]:
                self.assertEqual(str(offset), await client.receive())
            if good:
                await connect(reactor, server.url("/raw/x"), token=short)
            else:
                with self.assertRaises(HandshakeRefused):
                    await connect(reactor, server.url("/raw/x"), token=short)
        self.assertIn('closes_total{code="3012"} 3.0', await server.metrics())

    async def test_token_of_a_connection_runs_out_by_the_wall_clock(self) -> None:
        """One that would have run out by now, had the clock not been set back, stays; one that runs out goes."""
        server = await self.start()
        kept = await self.connect(server, 2)
        self.set_clock(-HOUR)
        closed = await self.connect(server, 4)
        self.assertEqual((3005, "connection expired"), await closed.closed)
        witness = await self.connect(server, HOUR)
        kept.send("1")
        self.assertEqual("1", await witness.receive())
