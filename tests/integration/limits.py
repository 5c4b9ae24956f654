"""What the tests of limits share: open namespaces, metrics, and things that go on until a test is over."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from twisted.internet.task import LoopingCall, deferLater
from twisted.trial.unittest import TestCase

from tests.integration.server import Server, reactor
from tests.integration.ws_peer import Peer

MIB = 2**20
OPEN = """
[auth]
anonymous = true
[namespaces.default]
subscribe = ["anonymous"]
publish = ["anonymous"]
payload = "bytes"
echo = true
[namespaces.json]
subscribe = ["anonymous"]
publish = ["anonymous"]
"""
NO_RATES = "[limits]\nmessages_per_second = 0\nframes_per_second = 0\nerrors_per_minute = 0\n"


def pid_of(server: Server) -> int:
    pid: int = server.process.transport.pid  # type: ignore[union-attr]
    return pid


def said(peer: Peer) -> list[Any]:
    """What a plain client was told."""
    return [json.loads(payload) for payload in peer.messages]


def bye(code: int, reason: str, *, reconnect: bool) -> dict[str, object]:
    return {"bye": {"code": code, "reason": reason, "reconnect": reconnect}}


async def metric(server: Server, name: str) -> float:
    """The value of one metric, labels included in its name; 0 where there is none."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", await server.metrics(), re.MULTILINE)
    return float(found[1]) if found else 0.0


async def until(server: Server, name: str, value: float) -> None:
    """Ask again until a metric has this value; the test's own time limit is the only one."""
    while await metric(server, name) != value:
        await deferLater(reactor, 0.02)


def again_and_again(test: TestCase, call: Callable[[], object], interval: float) -> None:
    """Call until the test is over."""
    loop = LoopingCall(call)
    loop.clock = reactor
    loop.start(interval)
    test.addCleanup(loop.stop)


def while_open(test: TestCase, peer: Peer, data: bytes, interval: float) -> None:
    """Send `data` again and again, until the server has ended the connection."""
    again_and_again(test, lambda: peer.tcp or peer.send(data), interval)  # type: ignore[func-returns-value]
