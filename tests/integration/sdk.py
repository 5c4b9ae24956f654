"""SDKs of the Centrifugo client protocol, as a test sees them.

An SDK runs in a driver: a Node process, a Python process, or a page in Chromium. All drivers speak one language
(`node/centrifuge_driver.js`, `centrifuge_python_client.py`), which this module writes and reads:

    act                                     events of a client
    open (connect, with options)            connected, connecting, disconnected, error, message, token
    subscribe, unsubscribe, publish,        subscribing, subscribed, unsubscribed, publication, join, leave, error
    presence, presenceStats, history,       of a channel; with `server` true where the server made the subscription
    call, send, token, deltas, disconnect

Event `token` asks for a token of the connection (`channel` is "") or of a subscription; act `token` gives it. Act
`deltas` asks how many publications came as differences. Options are those of the SDK for JavaScript; `fetchesToken`
stands for a `getToken` that asks the test. A client opened with `bytes` says and hears payloads as base64 (Protobuf).
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.server import Request

from realtime_svc.devcert import DevCertificates
from tests.integration.chromium import Browser, PageSite
from tests.integration.clients import HERE, NODE, ChildConnection, find_node
from tests.integration.server import reactor

Event = dict[str, Any]
NODE_TRANSPORTS = ("websocket-json", "websocket-protobuf", "http_stream", "http_stream-protobuf", "sse")
PYTHON_TRANSPORTS = ("websocket-json", "websocket-protobuf")
PATIENCE = 20.0
"""Seconds until a test that waits for something fails, and says what there was instead."""

_BUILDS = NODE / "node_modules" / "centrifuge" / "dist"
_SCRIPTS = (_BUILDS / "centrifuge.js", _BUILDS / "centrifuge.protobuf.js", NODE / "centrifuge_driver.js")


class SdkError(Exception):
    """An SDK reports that a command failed. `code` is that of the error reply, 0 where there was none."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


class Driver:
    """What carries out commands: `write` takes one, `heard` gets what comes back. `transports` are those it has."""

    def __init__(self, name: str, transports: tuple[str, ...], write: Callable[[Event], object]) -> None:
        self.name = name
        self.transports = transports
        self._write = write
        self._numbers = itertools.count(1)
        self._answers: dict[int, Deferred[Any]] = {}
        self._clients: dict[str, Client] = {}

    async def open(self, transport: str, base: str, **options: Any) -> Client:
        """A new client, which connects to the server at `base` (http://host:port)."""
        name = f"{self.name} {transport} {next(self._numbers)}"
        client = self._clients[name] = Client(self, name)
        await client.act("open", transport=transport, base=base, options=options)
        return client

    def act(self, act: str, **arguments: Any) -> Deferred[Any]:
        """Fires with what the act returns, or fails with `SdkError`."""
        number = next(self._numbers)
        answer = self._answers[number] = Deferred()
        self._write({"id": number, "act": act, **arguments})
        return answer.addTimeout(PATIENCE, reactor)

    def heard(self, said: Event) -> None:
        if "event" in said:
            self._clients[said.pop("client")].heard(said)
        elif "failed" in said:
            self._answers.pop(said["id"]).errback(SdkError(said["failed"]["code"], said["failed"]["message"]))
        else:
            self._answers.pop(said["id"]).callback(said["done"])

    def ended(self, reason: str) -> None:
        """There is nobody any more who would answer."""
        answers, self._answers = self._answers, {}
        for answer in answers.values():
            answer.errback(AssertionError(f"{self.name}: {reason}"))


def _fits(event: Event, wanted: Event) -> bool:
    return all(event.get(key) == value for key, value in wanted.items())


class Client:
    """A client of an SDK, and what happened to it and was not taken yet, in order (`events`)."""

    def __init__(self, driver: Driver, name: str) -> None:
        self.name = name
        self.events: list[Event] = []
        self._driver = driver
        self._waiting: list[tuple[Event, Deferred[Event]]] = []

    def act(self, act: str, **arguments: Any) -> Deferred[Any]:
        return self._driver.act(act, client=self.name, **arguments)

    def heard(self, event: Event) -> None:
        for waiting in self._waiting:
            if _fits(event, waiting[0]):
                self._waiting.remove(waiting)
                waiting[1].callback(event)
                return
        self.events.append(event)

    def take(self, event: str, **wanted: Any) -> Deferred[Event]:
        """The first event of this kind with these values; waits for it where it must."""
        wanted["event"] = event
        for seen in self.events:
            if _fits(seen, wanted):
                self.events.remove(seen)
                done: Deferred[Event] = Deferred()
                done.callback(seen)
                return done
        coming: Deferred[Event] = Deferred()
        self._waiting.append((wanted, coming))
        coming.addTimeout(PATIENCE, reactor)
        return coming.addErrback(self._missed, wanted)

    def _missed(self, failure: Failure, wanted: Event) -> Event:
        failure.trap(TookTooLong)
        raise AssertionError(f"{self.name}: no {wanted}; but there was {self.events}")

    # ---- what tests do most

    async def subscribe(self, channel: str, **options: Any) -> Event:
        """The event `subscribed`."""
        await self.act("subscribe", channel=channel, options=options)
        return await self.take("subscribed", channel=channel)

    async def publish(self, channel: str, data: Any) -> None:
        await self.act("publish", channel=channel, data=data)

    async def history(self, channel: str, **options: Any) -> Any:
        return await self.act("history", channel=channel, options=options)

    async def call(self, method: str, data: Any) -> Any:
        return await self.act("call", method=method, data=data)

    async def data(self, channel: str, count: int) -> list[Any]:
        """The payloads of the next so many publications."""
        return [(await self.take("publication", channel=channel))["data"] for _ in range(count)]

    async def give_token(self, token: str, channel: str = "") -> None:
        """Wait until the SDK asks for a token, and give it this one."""
        await self.take("token", channel=channel)
        await self.act("token", channel=channel, token=token)

    async def disconnect(self) -> Event:
        await self.act("disconnect")
        return await self.take("disconnected")

    def kinds(self) -> list[str]:
        """Of what is left in `events`, what it is."""
        return [event["event"] for event in self.events]


class _Child(ChildConnection):
    """A driver that is a process."""

    def __init__(
        self,
        test: TestCase,
        name: str,
        transports: tuple[str, ...],
        command: list[str],
        environ: dict[str, str] | None = None,
    ) -> None:
        super().__init__(test, name, command, environ)
        self.driver = Driver(name, transports, lambda said: self.send(json.dumps(said)))

    def line(self, line: str, *, error: bool) -> None:
        if not error:
            self.driver.heard(json.loads(line))

    def end(self, reason: str) -> None:
        self.driver.ended(reason)


async def node_driver(test: TestCase) -> Driver:
    """npm `centrifuge` in Node."""
    command = [find_node("centrifuge"), str(NODE / "centrifuge_client.js")]
    return _Child(test, "centrifuge", NODE_TRANSPORTS, command).driver


async def python_driver(test: TestCase, ca: Path | None = None) -> Driver:
    """PyPI `centrifuge-python`; `ca` is what it trusts instead of the system's authorities."""
    command = [sys.executable, str(HERE / "centrifuge_python_client.py")]
    environ = {"SSL_CERT_FILE": str(ca)} if ca else None
    return _Child(test, "centrifuge-python", PYTHON_TRANSPORTS, command, environ).driver


class SdkSite(PageSite):
    """Serves one page with all that is needed in it."""

    def __init__(self, test: TestCase, certificates: DevCertificates | None = None) -> None:
        super().__init__(test, "unused=1", certificates)

    def _page(self, request: Request) -> bytes:
        request.setHeader("content-type", "text/html; charset=utf-8")
        page = (HERE / "pages" / "centrifuge.html").read_text()
        for script in _SCRIPTS:
            page = page.replace(f"/* {script.name} */", script.read_text())
        return page.encode()


class SdkBrowser(Browser):
    """Chromium with that page. Its `driver` can be used once it has started."""

    def __init__(self, test: TestCase, site: SdkSite, ca: Path | None = None) -> None:
        super().__init__(test, site, ca)
        self.driver = Driver("page", NODE_TRANSPORTS, site.commands.put)

    def _event(self, event: Event) -> None:
        if "open" in event:
            self._page.callback(event["open"])
        else:
            self.driver.heard(event)
