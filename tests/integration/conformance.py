"""The echo server of etc/conformance.toml on free ports, and what the tables of cases share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.integration.server import Server, start_server
from tests.integration.ws_peer import Peer, open_peer

ECHO = "/raw/conformance?echo=1"
_CONFIG = Path(__file__).parents[2] / "etc" / "conformance.toml"


async def start_echo(test: TestCase, extra: str = "") -> Server:
    """The server as the file that ships configures it, with the internal port besides."""
    text = _CONFIG.read_text().replace("port = 9001", "port = 0").replace("[internal]\nenabled = false", INTERNAL)
    return await start_server(test, text + extra, listeners="")


INTERNAL = "[internal]\nport = 0"


async def open_echo(test: TestCase, server: Server, *headers: str) -> Peer:
    return await open_peer(test, server.port(), ECHO, *headers)


async def each(test: TestCase, cases: dict[str, Callable[[], Awaitable[None]]]) -> None:
    """Run every case; fail with the names of those that failed."""
    failed = []
    for name, case in cases.items():
        try:
            await case()
        except AssertionError as error:
            failed.append(f"{name}: {error}")
    test.assertEqual([], failed, f"{len(failed)} of {len(cases)} cases failed")
