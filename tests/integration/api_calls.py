"""The server API of a real process, as its tests see it: a configuration with keys, calls, a client to watch."""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from realtime_svc.client import Connection, connect
from realtime_svc.http.api_keys import hash_of
from tests.integration.server import ALICE, TOKENS, Server, reactor, start_server, toml

KEY = "canary-key-of-everything"
CHAT_KEY = "canary-key-of-the-chat"
READ_KEY = "canary-key-for-reading"
SCOPES = {KEY: ["all"], CHAT_KEY: ["publish:chat:", "broadcast:chat:"], READ_KEY: ["read"]}
NAMESPACES = """
[namespaces.default]
[namespaces.chat]
presence = true
history_size = 10
history_ttl = "1m"
[namespaces.blob]
payload = "bytes"
history_size = 10
history_ttl = "1m"
"""
BODY_SIZE = 4096
BOUNDS = f"body_size = {BODY_SIZE}\nbatch = 5\n"

_opener = build_opener(ProxyHandler({}))


def api_config(more: str = BOUNDS) -> str:
    """A configuration with one key for each of `SCOPES`; `more` are keys of section `api`."""
    keys = "".join(
        f"[api.keys.k{number}]\nhash = {toml(hash_of(key))}\nscopes = {toml(scopes)}\n"
        for number, (key, scopes) in enumerate(SCOPES.items())
    )
    return f"{TOKENS}{NAMESPACES}[api]\n{more}\n{keys}"


async def start_api(test: TestCase, more: str = BOUNDS) -> Server:
    return await start_server(test, api_config(more))


async def ask(
    server: Server,
    method: str,
    body: Any = None,
    *,
    key: str | None = KEY,
    headers: dict[str, str] | None = None,
    port: str = "internal",
    query: str = "",
    verb: str = "POST",
) -> tuple[int, dict[str, str], Any]:
    """(status, headers with names in lower case, decoded body) of one call. Bytes are sent as they are."""
    url = server.url(f"/api/{method}{query}", port, "http").replace("localhost", "127.0.0.1")
    data = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
    named = {"Content-Type": "application/json", **({"X-API-Key": key} if key else {}), **(headers or {})}
    request = Request(url, data, named, method=verb)

    def exchange() -> tuple[int, dict[str, str], Any]:
        try:
            with _opener.open(request, timeout=20) as response:
                return response.status, _lowered(response.headers), json.loads(response.read())
        except HTTPError as error:
            with error:
                return error.code, _lowered(error.headers), json.loads(error.read() or b"null")

    return await deferToThread(exchange)


def _lowered(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


async def result(server: Server, method: str, body: Any = None, key: str = KEY) -> Any:
    """The result of a call that goes well."""
    status, _, answer = await ask(server, method, body, key=key)
    assert status == 200 and list(answer) == ["result"], (method, status, answer)
    return answer["result"]


async def error(server: Server, method: str, body: Any = None, key: str = KEY) -> int:
    """The number of the error in an answer with status 200."""
    status, _, answer = await ask(server, method, body, key=key)
    assert status == 200 and list(answer) == ["error"], (method, status, answer)
    number: int = answer["error"]["code"]
    return number


class Watcher:
    """A client on /ws that reads what it is told. `client` is its id."""

    client = ""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def told(self, key: str) -> Any:
        """The next object that has this key; others are passed over."""
        while key not in (said := json.loads(await self.connection.receive())):
            pass
        return said


async def watch(server: Server, *channels: str, token: str = ALICE) -> Watcher:
    """A client that has subscribed to the channels."""
    query = "&".join(f"channel={channel}" for channel in channels)
    watcher = Watcher(await connect(reactor, server.url(f"/ws?{query}"), token=token))
    watcher.client = (await watcher.told("hello"))["hello"]["client"]
    for _ in channels:
        await watcher.told("ok")
    return watcher
