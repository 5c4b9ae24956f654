"""Who meets in one channel, each in a protocol of its own: some say values, some hear publications, most do both."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple

import cent
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from realtime_svc import client
from realtime_svc.model import StreamPosition
from tests.integration.clients import ConnectCommand, Connection
from tests.integration.participants import together
from tests.integration.raw_http import RawConnection, bearer, head, open_connection, post
from tests.integration.sdk import Client, Event
from tests.integration.server import reactor
from tests.integration.test_emulation import chunks

Token = str


class Heard(NamedTuple):
    """A publication. `offset` is 0 where the protocol does not tell it."""

    data: Any
    offset: int = 0


class Speaker:
    """Publishes. `told` is where its publications stand, as far as the protocol says it to whom publishes."""

    name: str

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
    """`realtime-svc connect` on /ws?channel=..., where somebody types words."""

    def __init__(self, command: ConnectCommand, channel: str) -> None:
        super().__init__()
        self.name = command.name
        self._command = command
        self._channel = channel
        self._heard: DeferredQueue[Heard] = DeferredQueue()
        self._said = 0
        self._confirmed: Deferred[None] = Deferred()

    async def enter(self) -> None:
        await self._command.opened
        self.epoch = (await self._line("ok"))["epoch"]
        Deferred.fromCoroutine(self._listen()).addErrback(self._ended)

    async def _line(self, key: str) -> Any:
        """The next object that has this key; others are passed over."""
        while key not in (line := json.loads(await self._command.receive())):
            pass
        return line

    async def _listen(self) -> None:
        while True:
            line = json.loads(await self._command.receive())
            if "message" in line:
                self._heard.put(Heard(line["data"], line["offset"]))
            else:
                self.told.append(StreamPosition(line["offset"], line["epoch"]))
                if len(self.told) == self._said:
                    self._confirmed.callback(None)

    def _ended(self, failure: Any) -> None:
        """At the end of the test, or for a line that is neither a publication nor a confirmation."""
        self._heard.put(Heard(failure.getErrorMessage()))

    async def say(self, values: Sequence[Any]) -> None:
        self._said, self._confirmed = len(self.told) + len(values), Deferred()
        for value in values:
            self._command.send(f"publish {self._channel} {json.dumps(value)}")
        await self._confirmed

    async def hear(self) -> Heard:
        return await self._heard.get()


class Staying(Speaker, Hearer):
    """`realtime_svc.client.Client`. `recovered` fires when it came back, with whether nothing is missing."""

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
            on_disconnected=lambda error, again: self.away.called or self.away.callback(None),
            uniform=lambda low, high: low,
        )
        test.addCleanup(self._client.stop)

    async def enter(self) -> None:
        self._client.start()
        await self._client.subscribe(
            self._channel,
            lambda message: self._heard.put(Heard(message.data, message.offset)),
            on_recovered=self.recovered.put,
        )

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

    def __init__(self, dial: Callable[[], Awaitable[RawConnection]], channel: str, token: str, last_id: str = "") -> None:
        self.name = "SSE"
        self.last_id = last_id
        self.connection: RawConnection
        self._dial = dial
        fields = [f"Last-Event-ID: {last_id}"] if last_id else []
        self._request = head(f"GET /sse/{channel} HTTP/1.1", "Host: localhost", bearer(token), *fields)
        self._taken = 0

    def _events(self) -> list[dict[str, str]]:
        """Complete events, comments left out."""
        texts = chunks(self.connection.received).decode().split("\n\n")[:-1]
        return [
            dict(line.split(": ", 1) for line in text.split("\n")) for text in texts if text and not text.startswith(":")
        ]

    async def _event(self) -> dict[str, str]:
        await self.connection.when(lambda received: len(self._events()) > self._taken)
        self._taken += 1
        event = self._events()[self._taken - 1]
        self.last_id = event.get("id", self.last_id)
        return event

    async def enter(self) -> None:
        """The first event has no data: it says where the stream stands."""
        self.connection = await self._dial()
        self.connection.send(self._request)
        first = await self._event()
        assert list(first) == ["id"], first
        self.epoch = first["id"].split(":")[0]

    async def hear(self) -> Heard:
        event = await self._event()
        assert list(event) == ["id", "data"], event
        epoch, offset = event["id"].split(":")
        assert epoch == self.epoch, event
        return Heard(json.loads(event["data"]), int(offset))


class Poster(Speaker):
    """POST /publish/<channel>, on one connection. The JSON has newlines in it, as people write it."""

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
