"""A server for SDKs, with what a test needs beside them: tokens, the server API, a cable that can be cut."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import jwt
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.integration.cable import Cable
from tests.integration.sdk import Client, Driver
from tests.integration.server import Server, start_server, toml

ROOT = Path(__file__).resolve().parents[2]
SECRET = "the secret of the tests with SDKs, 32 bytes and more"
API_KEY = "the-key-of-the-tests-with-SDKs"
CONFIG = f"""
[auth]
personal_channel = true
[auth.jwt]
algorithms = ["HS256"]
secret = {toml(SECRET)}
[handlers]
object = "tests.integration.sdk_user_code:handlers"
[api.keys.tests]
hash = "sha256:{hashlib.sha256(API_KEY.encode()).hexdigest()}"
[namespaces.default]
[namespaces.all]
publish = ["subscriber"]
history_size = 100
history_ttl = "300s"
presence = true
join_leave = "allowed"
[namespaces.stream]
history_size = 1000
history_ttl = "300s"
recovery = "always"
[namespaces.small]
history_size = 2
history_ttl = "300s"
[namespaces.delta]
history_size = 10
history_ttl = "300s"
recovery = "always"
delta = true
[namespaces.tagged]
history_size = 10
history_ttl = "300s"
tags_filter = true
[namespaces.token]
subscribe = []
[namespaces.closed]
publish = []
"""


class ApiError(Exception):
    """The server API answered with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code


def token(user: str, *, lasts: float = 600, **claims: Any) -> str:
    """A connection token; `lasts` is negative for one that has expired."""
    return jwt.encode({"sub": user, "exp": int(time.time() + lasts), **claims}, SECRET, "HS256")


def subscription_token(user: str, channel: str, *, lasts: float = 600, **claims: Any) -> str:
    return token(user, lasts=lasts, channel=channel, **claims)


class Stage:
    """A server and a driver. `cable` leads to the server; `base` is the server itself; `origins` are those of pages."""

    def __init__(self, test: TestCase, server: Server, driver: Driver, origins: Sequence[str] = ()) -> None:
        self.test = test
        self.origins = origins
        self.server = server
        self.driver = driver
        self.cable = Cable(test, server.port())

    @property
    def base(self) -> str:
        return self.server.url("", scheme="http")

    async def client(self, transport: str, user: str, *, base: str = "", **options: Any) -> Client:
        """A client of this user, once it is connected."""
        client = await self.driver.open(transport, base or self.base, token=token(user), **options)
        await client.take("connected")
        return client

    async def api(self, method: str, **command: Any) -> Any:
        """Call the server API. Raises `ApiError`."""
        url = f"http://127.0.0.1:{self.server.port('internal')}/api/{method}"
        headers = {"X-API-Key": API_KEY, "Content-Type": "application/json"}
        request = Request(url, json.dumps(command).encode(), headers)
        answer = json.loads(await deferToThread(lambda: urlopen(request, timeout=10).read()))
        if "error" in answer:
            raise ApiError(answer["error"]["code"], answer["error"]["message"])
        return answer.get("result", answer)

    async def publish(self, channel: str, values: Iterable[Any], **more: Any) -> None:
        """The server publishes each of these, in order."""
        commands = [{"publish": {"channel": channel, "data": value, **more}} for value in values]
        answer = await self.api("batch", commands=commands)
        self.test.assertEqual([["publish"]] * len(commands), [list(reply) for reply in answer["replies"]], answer)

    async def restart(self) -> None:
        """End the server, and start another; the cable leads to that one then."""
        await self.server.stop()
        self.server = await start_sdk_server(self.test, self.origins)
        self.cable.target(self.server.port())


async def start_sdk_server(test: TestCase, origins: Sequence[str] = ()) -> Server:
    """`origins`: where pages may come from."""
    allowed = f"[http]\nallowed_origins = {toml(list(origins))}\n"
    return await start_server(test, allowed + CONFIG, environ={"PYTHONPATH": str(ROOT)})
