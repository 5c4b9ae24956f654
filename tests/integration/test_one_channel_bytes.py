"""Payloads that are hard to carry, in one channel of the real process: bytes as bytes to all, and what is no JSON to
nobody where the channel is of JSON. Whatever is published, no subscriber is closed for it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import cent
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from realtime_svc import client
from tests.integration.clients import Library
from tests.integration.participants import together
from tests.integration.parties import API_KEY, CONFIG, Api, Events, Heard, Hearer, Raw, Sdk, Staying, Terminal, dial
from tests.integration.raw_http import bearer, post
from tests.integration.sdk import (
    NODE_TRANSPORTS,
    PATIENCE,
    PYTHON_TRANSPORTS,
    Driver,
    SdkError,
    node_driver,
    python_driver,
)
from tests.integration.server import ALICE, BOB, Server, reactor, start_server

BLOB = "blob:one"
JSON = "one"
ANY_BYTES = (b"", b"\x00\xff\xfe\x80", b"\n\n{}\n", b"id: 1\ndata: x\n\n", b'{"a":1}', bytes(range(256)))
ANY_TEXT = ('{"a":\n 1}', "\r\n\r\n", "grüße\u2028\x00", "")
NO_JSON = {
    "nothing": b"",
    "no UTF-8": b'"\xff"',
    "a surrogate": b'"\xed\xa0\x80"',
    "a surrogate, escaped": b'"\\ud800"',
    "a byte order mark": b"\xef\xbb\xbf1",
    "cut off": b'{"a":',
    "no number": b"NaN",
    "two values": b"1\n2",
    "what would end an envelope": b'1}}\n{"push":{"channel":"one","pub":{"data":2}}',
    "deep": b"[" * 33 + b"]" * 33,
}
HARD_JSON = (
    b' {"a":\r\n [1,\n\n2]}\n',
    b'"\\u0000\\n\\r\\u2028"',
    '"\u2028\u2029\u0085\x7f\ufeff\U0001f44b"'.encode(),
    b'{"push":1,"push":{}}',
    b"null",
    b"[" * 32 + b"]" * 32,
    b"-1.5e300",
    b'"</script>data: x"',
)

Say = Callable[[bytes], Awaitable[object]]


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def text_or_bytes(data: bytes) -> bytes | str:
    """Protobuf does not say which it is: to raw clients it is text where it can be."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


async def say_by_post(server: Server, channel: str, kind: str, data: bytes) -> None:
    """Raises `CommandError`."""
    connection = await dial(server.port())
    connection.send(post(f"/publish/{channel}", data, bearer(BOB), f"Content-Type: {kind}"))
    answer = (await connection.response()).json()
    await connection.close()
    if "error" in answer:
        raise client.CommandError(answer["error"]["code"], answer["error"]["message"], False)


async def say_by_sdk(sdk: Sdk, data: bytes) -> None:
    await sdk.say([encoded(data)])


async def say_by_api(api: Api, channel: str, data: bytes) -> None:
    request = cent.PublishRequest(channel=channel, data=None, b64data=encoded(data))
    await deferToThread(api.client.publish, request)


class Case(TestCase):
    """With a server and drivers of SDKs."""

    timeout = 60

    async def begin(self) -> None:
        self.server: Server
        self.node: Driver
        self.python: Driver
        self.server, self.node, self.python = await together(
            start_server(self, CONFIG), node_driver(self), python_driver(self)
        )
        self.api = Api(self, self.server.url("", "internal", "http"), API_KEY, JSON)

    async def sdk(self, driver: Driver, transport: str, channel: str, **options: Any) -> Sdk:
        opened = await driver.open(transport, self.server.url("", scheme="http"), token=ALICE, **options)
        return Sdk(opened, channel)

    async def raw(self, channel: str) -> client.Connection:
        connection = await client.connect(reactor, self.server.url(f"/raw/{channel}"), token=BOB)
        self.addCleanup(connection.close)
        return connection


class BytesTests(Case):
    """A namespace of bytes."""

    async def meet(self) -> None:
        """Clients that can hear bytes; two raw ones, of which one speaks; and one of JSON, which only speaks."""
        await self.begin()
        self.protobuf = [
            await self.sdk(self.python, "websocket-protobuf", BLOB, bytes=True),
            await self.sdk(self.node, "websocket-protobuf", BLOB, bytes=True),
            await self.sdk(self.node, "http_stream-protobuf", BLOB, bytes=True),
        ]
        self.staying = Staying(self, self.server.url("/ws"), ALICE, BLOB)
        events = Events(partial(dial, self.server.port()), BLOB, ALICE, str)
        self.hearers: list[Hearer] = [*self.protobuf, self.staying, events]
        await together(*(one.enter() for one in self.hearers))
        self.json_sdk = await self.sdk(self.node, "websocket-json", BLOB)
        await self.json_sdk.client.take("connected")
        self.speaking, self.raw_hearer = await self.raw(BLOB), await self.raw(BLOB)

    async def say_raw(self, data: bytes) -> None:
        self.speaking.send(data)

    async def say_raw_text(self, data: bytes) -> None:
        self.speaking.send(data.decode())

    def sayings(self) -> list[tuple[Say, bytes | str]]:
        """Every way in with what it is to carry; text where raw clients are to get text."""
        binary: list[Say] = [
            self.say_raw,
            lambda data: self.staying.say([data]),
            partial(say_by_post, self.server, BLOB, "application/octet-stream"),
            partial(say_by_api, self.api, BLOB),
        ]
        protobuf: list[Say] = [partial(say_by_sdk, one) for one in self.protobuf]
        text: list[Say] = [self.say_raw_text, partial(say_by_post, self.server, BLOB, "text/plain")]
        values: list[Say] = [
            lambda data: self.json_sdk.say([json.loads(data)]),
            lambda data: self.staying.say([json.loads(data)]),
        ]
        return [
            *((say, data) for say in binary for data in ANY_BYTES),
            *((say, text_or_bytes(data)) for say in protobuf for data in ANY_BYTES),
            *((say, data) for say in text for data in ANY_TEXT),
            *((say, '{"a":1}') for say in values),
        ]

    async def test_all_see_the_same_bytes(self) -> None:
        """Whoever publishes them; raw clients also see what was text. Clients of JSON may publish, too."""
        await self.meet()
        said = self.sayings()
        for number, (say, data) in enumerate(said, 1):
            as_bytes = data.encode() if isinstance(data, str) else data
            await say(as_bytes)
            for hearer in self.hearers:
                heard = await hearer.hear()
                found = heard.data if hearer is self.staying else base64.b64decode(heard.data)
                self.assertEqual((as_bytes, number), (found, heard.offset), hearer.name)
            self.assertEqual(data, await self.raw_hearer.receive(), number)
        self.raw_hearer.send(b"for the speaker")
        own = (self.say_raw, self.say_raw_text)
        for data in [*(data for say, data in said if say not in own), b"for the speaker"]:
            self.assertEqual(data, await self.speaking.receive(), "the speaker hears all but its own")

    async def test_clients_of_json_are_refused(self) -> None:
        """They can't be told bytes: 108 to a subscription and to a question for the history; they stay connected."""
        await self.begin()
        await say_by_api(self.api, BLOB, b"\xff")
        for driver, transport in (
            *((self.node, transport) for transport in NODE_TRANSPORTS if "protobuf" not in transport),
            (self.python, "websocket-json"),
        ):
            sdk = (await self.sdk(driver, transport, BLOB)).client
            await sdk.take("connected")
            await sdk.act("subscribe", channel=BLOB, options={"recoverable": True})
            self.assertEqual(108, (await sdk.take("unsubscribed", channel=BLOB))["code"], transport)
            with self.assertRaises(SdkError) as caught:
                await sdk.history(BLOB, limit=1)
            self.assertEqual(108, caught.exception.code, transport)
            await sdk.publish(BLOB, 1)
            await sdk.subscribe(JSON)
            self.assertNotIn("disconnected", sdk.kinds())
            await sdk.disconnect()


class JsonTests(Case):
    """A namespace of JSON, with clients in all protocols, none of which is closed for what others publish."""

    async def meet(self) -> None:
        """One of each kind hears; another five publish bytes: by raw, plain, Protobuf, HTTP, server API."""
        await self.begin()
        self.sdks = [
            await self.sdk(driver, transport, JSON)
            for driver, transports in ((self.node, NODE_TRANSPORTS), (self.python, PYTHON_TRANSPORTS))
            for transport in transports
        ]
        plain = Library(self, "our connect(), plain", self.server.url(f"/ws?channel={JSON}"), token=ALICE)
        self.staying = Staying(self, self.server.url("/ws"), ALICE, JSON)
        self.hearers: list[Hearer] = [
            *self.sdks,
            self.staying,
            Terminal(plain, JSON),
            Raw(Library(self, "raw", self.server.url(f"/raw/{JSON}"), token=ALICE)),
            Events(partial(dial, self.server.port()), JSON, ALICE),
        ]
        await together(*(one.enter() for one in self.hearers))
        self.speaker = await self.raw(JSON)
        publisher = client.Client(reactor, self.server.url("/ws"), token=BOB)
        publisher.start()
        self.addCleanup(publisher.stop)
        sdk = await self.sdk(self.node, "websocket-protobuf", JSON, bytes=True)
        await sdk.client.take("connected")
        self.ways: dict[str, Say] = {
            "raw": self.say_raw,
            "plain": lambda data: publisher.publish(JSON, data),
            "Protobuf": partial(say_by_sdk, sdk),
            "HTTP": partial(say_by_post, self.server, JSON, "application/json"),
            "HTTP, no kind": partial(say_by_post, self.server, JSON, "application/octet-stream"),
            "server API": partial(say_by_api, self.api, JSON),
        }

    async def say_raw(self, data: bytes) -> None:
        """A raw client is told only of what was refused."""
        self.speaker.send(data)

    async def refusal(self, way: str, data: bytes) -> int:
        """The code of the error."""
        try:
            await self.ways[way](data)
        except (client.CommandError, SdkError, cent.CentApiResponseError) as error:
            return int(error.code)
        self.assertEqual("raw", way, "it was not refused")
        answer = json.loads(await self.speaker.receive().addTimeout(PATIENCE, reactor))
        return int(answer["error"]["code"])

    def assert_still_there(self) -> None:
        for sdk in self.sdks:
            self.assertEqual([], sdk.client.kinds(), sdk.name)
        self.assertFalse(self.staying.away.called)

    async def test_what_is_no_json(self) -> None:
        """Every way in refuses it with 107, and nobody hears of it: the next thing heard is the next good one."""
        await self.meet()
        for way in self.ways:
            for name, data in NO_JSON.items():
                self.assertEqual(107, await self.refusal(way, data), f"{name}, by {way}")
        await self.api.say(["good"])
        for hearer in self.hearers:
            self.assertEqual(Heard("good", hearer.hears_offsets), await hearer.hear(), hearer.name)
        self.assert_still_there()

    async def test_hard_json(self) -> None:
        """JSON that a careless parser or a line-based protocol would stumble over: all hear the same value."""
        await self.meet()
        said = [(say, data) for say in self.ways.values() for data in HARD_JSON]
        for number, (say, data) in enumerate(said, 1):
            await say(data)
            expected = Heard(json.loads(data), number)
            for hearer in self.hearers:
                wanted = expected if hearer.hears_offsets else Heard(expected.data)
                self.assertEqual(wanted, await hearer.hear(), (hearer.name, data))
        self.assert_still_there()
