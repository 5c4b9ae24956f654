"""Who meets in one channel, each in a protocol of its own: some say values, some hear publications, most do both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple

import cent
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from realtime_svc import client
from realtime_svc.model import StreamPosition
from tests.integration.clients import Connection
from tests.integration.participants import together
from tests.integration.raw_http import RawConnection, bearer, head, open_connection, post
from tests.integration.sdk import Client, Event
from tests.integration.server import TOKENS, reactor
from tests.integration.test_emulation import chunks

API_KEY = "the-key-of-all-protocols"
CONFIG = f"""
{TOKENS}
[api.keys.tests]
hash = "sha256:{hashlib.sha256(API_KEY.encode()).hexdigest()}"
[namespaces.default]
history_size = 1000
history_ttl = "5m"
[namespaces.blob]
payload = "bytes"
read_history = ["authenticated"]
history_size = 1000
history_ttl = "5m"
"""


class Heard(NamedTuple):
    """A publication. `offset` is 0 where the protocol does not tell it."""

    data: Any
    offset: int = 0


class Speaker:
    """Publishes. `told` is where its publications stand, if the protocol says it (`is_told`) to whom publishes."""

    name: str
    is_told = False

    def __init__(self) -> None:
        self.told: list[StreamPosition] = []

    async def say(self, values: Sequence[Any]) -> None:
        """Publish them in order; nobody else is waited for."""
        raise NotImplementedError


class Hearer:
    """Hears what is published. `epoch` is that of the stream, "" where the protocol does not tell."""

    name: str
    hears_itself = True
    hears_offsets = True
    epoch = ""

    async def enter(self) -> None:
        """Done when everything that is published from now on is heard."""
        raise NotImplementedError

    async def hear(self) -> Heard:
        raise NotImplementedError

    async def hear_many(self, count: int) -> list[Heard]:
        return [await self.hear() for _ in range(count)]


class Raw(Speaker, Hearer):
    """/raw/<channel>."""

    hears_itself = hears_offsets = False

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.name = connection.name
        self._connection = connection

    async def enter(self) -> None:
        await self._connection.opened

    async def say(self, values: Sequence[Any]) -> None:
        for value in values:
            self._connection.send(json.dumps(value))

    async def hear(self) -> Heard:
        return Heard(json.loads(await self._connection.receive()))


class Terminal(Speaker, Hearer):
    """A connection on /ws?channel=..., where somebody types words. `recovered`: was what it missed given?"""

    is_told = True

    def __init__(self, connection: Connection, channel: str) -> None:
        super().__init__()
        self.name = connection.name
        self._connection = connection
        self.recovered = False
        self._channel = channel
        self._heard: DeferredQueue[Heard] = DeferredQueue()
        self._said = 0
        self._confirmed: Deferred[None] = Deferred()

    async def enter(self) -> None:
        await self._connection.opened
        subscribed = await self._line("ok")
        self.epoch, self.recovered = subscribed["epoch"], subscribed.get("recovered", False)
        Deferred.fromCoroutine(self._listen()).addErrback(self._ended)

    async def _line(self, key: str) -> Any:
        """The next object that has this key; others are passed over."""
        while key not in (line := json.loads(await self._connection.receive())):
            pass
        return line

    async def _listen(self) -> None:
        while True:
            line = json.loads(await self._connection.receive())
            if "message" in line:
                self._heard.put(Heard(line["data"], line["offset"]))
            else:
                self.told.append(StreamPosition(line["offset"], line["epoch"]))
                if len(self.told) == self._said:
                    self._confirmed.callback(None)

    def _ended(self, failure: Failure) -> None:
        """At the end of the test, or for a line that is neither a publication nor a confirmation."""
        self._heard.put(Heard(failure.getErrorMessage()))
        if len(self.told) < self._said:
            self._confirmed.errback(failure)

    async def say(self, values: Sequence[Any]) -> None:
        self._said, self._confirmed = len(self.told) + len(values), Deferred()
        for value in values:
            self._connection.send(f"publish {self._channel} {json.dumps(value)}")
        await self._confirmed

    async def hear(self) -> Heard:
        return await self._heard.get()


class Staying(Speaker, Hearer):
    """`realtime_svc.client.Client`. `away` fires when its connection is gone, `recovered` gets what it is told when it
    came back: is nothing missing?
    """

    is_told = True

    def __init__(self, test: TestCase, url: str, token: str, channel: str, tls: client.ClientTls | None = None) -> None:
        super().__init__()
        self.name = "our Client"
        self.recovered: DeferredQueue[bool] = DeferredQueue()
        self.away: Deferred[None] = Deferred()
        self._channel = channel
        self._heard: DeferredQueue[Heard] = DeferredQueue()
        self._client = client.Client(
            reactor,
            url,
            token=token,
            tls=tls,
            on_disconnected=self._gone,
            uniform=lambda low, high: low,
        )
        test.addCleanup(self._client.stop)

    def _gone(self, error: Exception, again: bool) -> None:
        if not self.away.called:
            self.away.callback(None)

    async def enter(self) -> None:
        self._client.start()
        await self._client.subscribe(
            self._channel,
            lambda message: self._heard.put(Heard(message.data, message.offset)),
            on_recovered=self.recovered.put,
        )
        self.epoch = (await self._client.history(self._channel, 0)).position.epoch

    async def say(self, values: Sequence[Any]) -> None:
        published = [self._client.publish(self._channel, value) for value in values]
        self.told += [position for one in published if (position := await one) is not None]

    async def hear(self) -> Heard:
        return await self._heard.get()


class Sdk(Speaker, Hearer):
    """A client of an SDK. Where each command is a request of its own (HTTP streams), the next waits for the last."""

    def __init__(self, opened: Client, channel: str) -> None:
        super().__init__()
        self.client = opened
        self.name = opened.name
        self._channel = channel

    async def enter(self) -> None:
        await self.client.take("connected")
        subscribed = await self.client.subscribe(self._channel, recoverable=True)
        self.epoch = subscribed["position"]["epoch"]
        self.client.events.clear()

    async def say(self, values: Sequence[Any]) -> None:
        if "websocket" in self.name:
            await together(*(self.client.publish(self._channel, value) for value in values))
        else:
            for value in values:
                await self.client.publish(self._channel, value)

    async def hear(self) -> Heard:
        publication: Event = await self.client.take("publication", channel=self._channel)
        return Heard(publication["data"], publication["offset"])


class Events(Hearer):
    """An SSE client on /sse/<channel>. `last_id` is the id of the last event it took, as a browser keeps it."""

    def __init__(
        self,
        dial: Callable[[], Awaitable[RawConnection]],
        channel: str,
        token: str,
        read: Callable[[str], Any] = json.loads,
    ) -> None:
        self.name = "SSE"
        self.last_id = ""
        self.connection: RawConnection
        self._dial = dial
        self._read = read
        self._fields = (f"GET /sse/{channel} HTTP/1.1", "Host: localhost", bearer(token))
        self._taken = 0

    def _events(self) -> list[dict[str, str]]:
        """Complete events, comments left out."""
        texts = chunks(self.connection.received).decode().split("\n\n")[:-1]
        return [
            dict(line.split(": ", 1) for line in text.split("\n"))
            for text in texts
            if text and not text.startswith(":")
        ]

    async def _event(self) -> dict[str, str]:
        await self.connection.when(lambda received: len(self._events()) > self._taken)
        self._taken += 1
        event = self._events()[self._taken - 1]
        self.last_id = event.get("id", self.last_id)
        return event

    async def enter(self) -> None:
        """The first event has no data: it says where the stream stands. Again: where this client stands."""
        again = self.last_id
        self.connection, self._taken = await self._dial(), 0
        self.connection.send(head(*self._fields, *([f"Last-Event-ID: {again}"] if again else [])))
        first = await self._event()
        assert list(first) == ["id"] and again in ("", first["id"]), first
        self.epoch = first["id"].split(":")[0]

    async def hear(self) -> Heard:
        event = await self._event()
        assert list(event) == ["id", "data"], event
        epoch, offset = event["id"].split(":")
        assert epoch == self.epoch, event
        return Heard(self._read(event["data"]), int(offset))


class Poster(Speaker):
    """POST /publish/<channel>, on one connection. The JSON has newlines in it, as people write it."""

    is_told = True

    def __init__(self, dial: Callable[[], Awaitable[RawConnection]], channel: str, token: str) -> None:
        super().__init__()
        self.name = "HTTP"
        self._dial = dial
        self._address = f"/publish/{channel}"
        self._token = token

    async def say(self, values: Sequence[Any]) -> None:
        connection = await self._dial()
        for number, value in enumerate(values, 1):
            body = json.dumps(value, indent=1).encode()
            connection.send(post(self._address, body, bearer(self._token), "Content-Type: application/json"))
            answer = (await connection.response(number)).json()
            self.told.append(StreamPosition(answer["offset"], answer["epoch"]))
        await connection.close()


class Api(Speaker):
    """PyPI `cent`, on the internal port."""

    is_told = True

    def __init__(self, test: TestCase, base: str, key: str, channel: str) -> None:
        super().__init__()
        self.name = "cent"
        self.client = cent.Client(f"{base}/api", key)
        self._channel = channel
        test.addCleanup(self.client._session.close)

    async def say(self, values: Iterable[Any]) -> None:
        for value in values:
            done: Any = await deferToThread(self.client.publish, cent.PublishRequest(channel=self._channel, data=value))
            self.told.append(StreamPosition(done.offset, done.epoch))

    async def history(self) -> tuple[list[Heard], StreamPosition]:
        """All that the stream holds, and where it stands."""
        request = cent.HistoryRequest(channel=self._channel, limit=1000)
        found: Any = await deferToThread(self.client.history, request)
        kept = [Heard(one.data, one.offset) for one in found.publications]
        return kept, StreamPosition(found.offset, found.epoch)


async def dial(port: int, tls: client.ClientTls | None = None) -> RawConnection:
    """To this machine; `tls` for one that trusts somebody."""
    return await open_connection(port, tls=tls.creator("localhost") if tls else None)
