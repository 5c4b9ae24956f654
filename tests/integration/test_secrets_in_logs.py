"""No credential reaches a log line, however it was brought and whatever became of it."""

from __future__ import annotations

import base64
import json
import signal
from pathlib import Path
from typing import Any

import jwt
from twisted.trial.unittest import TestCase

from realtime_svc.auth.passwords import set_user
from realtime_svc.client import Connection, HandshakeRefused, connect
from tests.integration.raw_http import bearer, exchange, head, parse, post
from tests.integration.server import Server, reactor, start_server, toml

GOOD = "canary-good-0123456789"
BAD = "canary-bad-0123456789"
SECRET = "canary secret that has more than thirty-two bytes"
PASSWORD = "canary password"
ORIGIN = {"Origin": "https://example.test"}


def config(passwords: Path) -> str:
    return f"""
[log]
level = "debug"
burst = 1000
[http]
allowed_origins = ["https://example.test"]
[auth]
cookie = "session"
passwords_file = {toml(str(passwords))}
[auth.jwt]
algorithms = ["HS256"]
secret = "{SECRET}"
[auth.tokens]
alice = "{GOOD}"
"""


class LogTests(TestCase):
    """Everything that is secret here has "canary" in it."""

    async def use_up(self, server: Server) -> int:
        """Bring each credential in each way; returns how many were refused."""
        tokens = [GOOD, BAD, jwt.encode({"sub": "x", "exp": 1}, SECRET), jwt.encode({"sub": "x"}, BAD * 2)]
        attempts: list[dict[str, Any]] = [{"basic": ("pat", PASSWORD)}, {"basic": ("pat", BAD)}, {"basic": (BAD, BAD)}]
        for token in tokens:
            cookie = {"Cookie": f"session={token}"}
            attempts += [{"token": token}, {"headers": {**cookie, **ORIGIN}}, {"headers": cookie}]
            attempts += [{"protocols": [f"bearer.{token}", "raw.v1"]}, {"protocols": [f"bearer.{token}"]}]
            attempts += [{"headers": {"Authorization": f"Canary {token}"}}, {"headers": {"Authorization": token}}]
        refused = 0
        for attempt in attempts:
            for path in ("/raw/x", "/ws"):
                try:
                    connection = await connect(reactor, server.url(path), **attempt)
                    connection.close()
                except HandshakeRefused:
                    refused += 1
        for token in tokens:
            for path in (f"/raw/x?token={token}", f"/ws?access_token={token}"):
                with self.assertRaises(HandshakeRefused):
                    await connect(reactor, server.url(path))
                refused += 1
        return refused

    async def say(self, server: Server, message: str) -> None:
        """A first message, and what becomes of it."""
        connection: Connection = await connect(reactor, server.url("/ws"))
        await connection.receive()
        connection.send(message)
        await connection.receive()
        connection.close()
        await connection.closed

    async def over_http(self, server: Server) -> None:
        """Also in heads that are refused for something else."""
        for token in (GOOD, BAD):
            field = bearer(token)
            for request in (
                post("/publish/x", b"1", field, "Connection: close"),
                post("/publish/x", b"nonsense", field, "Connection: close"),
                head(f"GET /sse/x?token={token} HTTP/1.1", "Host: localhost"),
                head("GET /sse/x HTTP/1.1", "Host: localhost", field, field),
                head("GET /sse/x HTTP/1.1", "Host: localhost", field, "Bad Header: x"),
                head(f"GET /{token} HTTP/1.1", "Host: localhost"),
                head(f"GET /sse/x HTTP/1.1 {token}", "Host: localhost"),
            ):
                parse(await exchange(server.port(), request))

    async def run_with(self, log_format: str) -> str:
        passwords = Path(self.mktemp()).absolute()
        set_user(str(passwords), "pat", PASSWORD)
        server = await start_server(self, config(passwords), "--log-format", log_format)
        self.assertGreater(await self.use_up(server), 40)
        for token in (GOOD, BAD):
            for message in ('{"auth":"%s"}', "auth %s", '{"auth":"%s"', '{"auth":["%s"]}', "%s"):
                await self.say(server, message.replace("%s", token))
        await self.over_http(server)
        (server.folder / "server.toml").write_text(f'[auth.tokens]\nalice = "{BAD}\n')
        server.process.signal(signal.SIGHUP)
        await server.process.when_printed("not reloaded")
        await server.stop()
        return server.process.output

    def check(self, output: str) -> None:
        self.assertIn("401", output, "there was something to log")
        plain = ("canary", jwt.encode({"sub": "x", "exp": 1}, SECRET), jwt.encode({"sub": "x"}, BAD * 2))
        encoded = [base64.b64encode(text.encode()).decode() for text in (GOOD, BAD, f"pat:{PASSWORD}", f"pat:{BAD}")]
        for secret in (*plain, *encoded):
            self.assertFalse(secret in output.lower() or secret in output, f"{secret} was logged")

    async def test_text(self) -> None:
        self.check(await self.run_with("text"))

    async def test_json(self) -> None:
        """Each line is one object, too."""
        output = await self.run_with("json")
        self.check(output)
        for line in output.splitlines():
            self.assertIsInstance(json.loads(line), dict)
