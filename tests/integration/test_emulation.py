"""Streams over HTTP against the real server: http_stream, SSE, and POST /emulation, by which their clients speak."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from twisted.trial.unittest import TestCase

from realtime_svc.client import connect
from realtime_svc.wire.centrifuge_pb2 import Command, EmulationRequest, Reply
from tests.integration.raw_http import RawConnection, Response, bearer, exchange, head, open_connection, post
from tests.integration.server import ALICE, BOB, STOPPED, TOKENS, Server, reactor, start_server

HISTORY = """
[namespaces.default]
history_size = 10
history_ttl = "1m"
"""
API = """
[api]
public = true
insecure = true
body_size = 100000
"""
OCTETS = "Content-Type: application/octet-stream"
CONNECT = {"id": 1, "connect": {"token": ALICE, "name": "test"}}


def chunks(received: bytes) -> bytes:
    """The body so far of the chunked response that `received` begins with."""
    start, whole, rest = received.partition(b"\r\n\r\n")
    if not whole:
        return b""
    assert start.startswith(b"HTTP/1.1 200 ") and b"Transfer-Encoding: chunked" in start, start
    body = b""
    while True:
        size, separator, rest = rest.partition(b"\r\n")
        if not separator or not int(size, 16) or len(rest) < int(size, 16):
            return body
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]


class Stream:
    """One stream, as its client sees it."""

    def __init__(self, server: Server, connection: RawConnection) -> None:
        self.server = server
        self.connection = connection
        self.session = self.node = ""

    @property
    def messages(self) -> list[Any]:
        """What the server said so far, pings and the rest of an event's framing left out."""
        lines = (line.removeprefix(b"data: ") for line in chunks(self.connection.received).split(b"\n"))
        return [json.loads(line) for line in lines if line.startswith(b"{") and line != b"{}"]

    async def message(self, key: str, value: object) -> Any:
        """The first message that has `value` under `key`, once it has come."""
        await self.connection.when(lambda received: any(one.get(key) == value for one in self.messages))
        return next(one for one in self.messages if one.get(key) == value)

    async def pushes(self, kind: str, count: int) -> list[Any]:
        """So many pushes of a kind, once they have come."""

        def found() -> list[Any]:
            return [one["push"][kind] for one in self.messages if kind in one.get("push", {})]

        await self.connection.when(lambda received: len(found()) >= count)
        return found()

    async def connected(self) -> Any:
        answer = (await self.message("id", 1))["connect"]
        self.session, self.node = answer["session"], answer["node"]
        return answer

    async def say(self, *commands: object) -> Response:
        data = "\n".join(json.dumps(command) for command in commands)
        body = json.dumps({"session": self.session, "node": self.node, "data": data}).encode()
        return await ask(self.server, post("/emulation", body, "Content-Type: application/json"))


async def ask(server: Server, request: bytes) -> Response:
    connection = await open_connection(server.port())
    connection.send(request)
    response = await connection.response()
    await connection.close()
    return response


async def open_stream(server: Server, request: bytes) -> Stream:
    connection = await open_connection(server.port())
    connection.send(request)
    return Stream(server, connection)


def http_stream(command: object = CONNECT, *fields: str) -> bytes:
    return post("/connection/http_stream", json.dumps(command).encode(), *fields)


def sse(command: object = CONNECT, *fields: str) -> bytes:
    target = f"/connection/sse?cf_connect={quote(json.dumps(command))}"
    return head(f"GET {target} HTTP/1.1", "Host: localhost", *fields)


class EmulationTests(TestCase):
    async def test_both_transports(self) -> None:
        """Connect, subscribe, publish; both see what the other and a WebSocket publish; the goodbye is a push."""
        server = await start_server(self, TOKENS)
        streams = [await open_stream(server, http_stream()), await open_stream(server, sse())]
        for stream in streams:
            answer = await stream.connected()
            self.assertEqual((answer["ping"], answer["pong"]), (25, True))
            response = await stream.say({"id": 2, "subscribe": {"channel": "x"}})
            self.assertEqual((response.status, response.body), (204, b""))
            await stream.message("id", 2)
        raw = await connect(reactor, server.url("/raw/x"), token=BOB)
        raw.send('{"n":1}')
        for stream in streams:
            await stream.pushes("pub", 1)
        await streams[0].say(
            {"id": 3, "publish": {"channel": "x", "data": {"n": 2}}}, {"id": 4, "rpc": {"method": "m"}}
        )
        self.assertEqual((await streams[0].message("id", 3))["publish"], {})
        self.assertEqual((await streams[0].message("id", 4))["error"]["code"], 108)
        for stream in streams:
            self.assertEqual([push["data"] for push in await stream.pushes("pub", 2)], [{"n": 1}, {"n": 2}])
        self.assertEqual(await server.stop(), STOPPED)
        for stream in streams:
            (goodbye,) = await stream.pushes("disconnect", 1)
            self.assertEqual(goodbye["code"], 3001)
            self.assertTrue(await stream.connection.when_ended())

    async def test_protobuf(self) -> None:
        """An http_stream in Protobuf, both ways."""
        server = await start_server(self, TOKENS)
        command = Command(id=1)
        command.connect.token = ALICE
        request = post("/connection/http_stream", delimited(command), OCTETS)
        stream = await open_stream(server, request)
        (answer,) = await replies(stream, 1)
        self.assertEqual(answer.id, 1)
        self.assertTrue(answer.connect.session)
        command = Command(id=2)
        command.subscribe.channel = "x"
        session, node = answer.connect.session, answer.connect.node
        body = EmulationRequest(session=session, node=node, data=delimited(command)).SerializeToString()
        self.assertEqual((await ask(server, post("/emulation", body, OCTETS))).status, 204)
        self.assertEqual([reply.id for reply in await replies(stream, 2)], [1, 2])

    async def test_refusals(self) -> None:
        """Of what is wrong with a request, and nothing of it in the log; the server goes on."""
        server = await start_server(self, TOKENS)
        stream = await open_stream(server, http_stream())
        await stream.connected()
        canary = "canary-of-a-session"
        node = stream.node
        bodies: list[tuple[dict[str, Any], int]] = [
            ({"session": canary, "node": node, "data": "{}"}, 500),
            ({"session": canary, "node": "other", "data": "{}"}, 404),
            ({"session": stream.session, "node": "", "data": "{}"}, 404),
            ({"session": stream.session, "node": node, "data": "x" * 65537}, 413),
            ({"session": stream.session, "node": node, "data": "x" * 200_000}, 413),
            ({"session": [canary]}, 400),
        ]
        for body, status in bodies:
            response = await ask(server, post("/emulation", json.dumps(body).encode()))
            self.assertEqual(response.status, status, str(body)[:80])
        requests = [
            (http_stream(CONNECT, bearer("bad")), 401),
            (sse(CONNECT, bearer("bad")), 401),
            (http_stream(CONNECT, "Origin: https://evil.example"), 403),
            (post("/connection/http_stream", b"x" * 65537), 413),
            (head("GET /connection/sse HTTP/1.1", "Host: localhost"), 400),
            (head("GET /connection/http_stream HTTP/1.1", "Host: localhost"), 405),
            (post("/api/publish", b"{}"), 404),
        ]
        for request, status in requests:
            self.assertEqual((await ask(server, request)).status, status, request[:60])
        for command, code in (
            ({"id": 1, "connect": {"token": "bad"}}, 3500),
            ({"id": 1, "connect": {}}, 3501),
            ({"id": 1, "subscribe": {"channel": "x"}}, 3501),
        ):
            ended = await open_stream(server, http_stream(command))
            self.assertEqual([push["code"] for push in await ended.pushes("disconnect", 1)], [code])
        await stream.say({"id": 2, "subscribe": {"channel": "x"}})
        await stream.message("id", 2)
        self.assertNotIn(canary, server.process.output)
        self.assertNotIn(stream.session, server.process.output)
        self.assertNotIn("Traceback", server.process.output)

    async def test_session_ends_with_its_stream(self) -> None:
        """Who hangs up can't be spoken for any more."""
        server = await start_server(self, TOKENS)
        stream = await open_stream(server, http_stream())
        await stream.connected()
        await stream.connection.close()
        while (status := (await stream.say({"id": 2, "subscribe": {"channel": "x"}})).status) == 204:
            continue  # the server has not seen it yet
        self.assertEqual(status, 500)
        self.assertIn('realtime_svc_connections{protocol="centrifuge_http_stream"} 0.0\n', await server.metrics())

    async def test_preflight(self) -> None:
        """A page of another origin that is allowed may ask, and may read what is said."""
        server = await start_server(self, TOKENS + '[http]\nallowed_origins = ["https://a.example"]\n')
        origin = "Origin: https://a.example"
        for path in ("/connection/http_stream", "/connection/sse", "/emulation"):
            response = await ask(server, head(f"OPTIONS {path} HTTP/1.1", "Host: localhost", origin))
            self.assertEqual((response.status, response.get("access-control-allow-origin")), (204, "https://a.example"))
            self.assertIn("Content-Type", response.get("access-control-allow-headers") or "")
        stream = await open_stream(server, http_stream(CONNECT, origin))
        await stream.connected()
        self.assertIn(b"Access-Control-Allow-Origin: https://a.example", stream.connection.received)
        self.assertIn(b"X-Accel-Buffering: no", stream.connection.received)


class RecoveryByAddressTests(TestCase):
    async def test_plain_sse(self) -> None:
        """An EventSource that comes back gets what it missed, by the id of the last event; `since` does the same."""
        server = await start_server(self, TOKENS + HISTORY)
        positions = []
        for number in range(3):
            response = await ask(server, post("/publish/x", b"%d" % number, bearer(ALICE)))
            positions.append(f"{response.json()['epoch']}:{response.json()['offset']}")
        ways = [
            ("/sse/x", [f"Last-Event-ID: {positions[0]}"], positions[1:]),
            (f"/sse/x?since={positions[1]}", ["Last-Event-ID: of-another-server"], positions[2:]),
            (f"/sse/x?since={positions[1]}", [f"Last-Event-ID: {positions[0]}"], positions[1:]),
            ("/sse/x?history=2", [], positions[1:]),
        ]
        for target, fields, expected in ways:
            connection = await open_connection(server.port())
            connection.send(head(f"GET {target} HTTP/1.1", "Host: localhost", bearer(ALICE), *fields))
            await connection.when_contains(b"id: " + expected[-1].encode())
            self.assertEqual(event_ids(chunks(connection.received)), expected, target)
            await connection.close()
        for query in ("since=x", "history=x"):
            self.assertEqual(
                (await ask(server, head(f"GET /sse/x?{query} HTTP/1.1", "Host: h", bearer(ALICE)))).status, 400
            )

    async def test_publish_again(self) -> None:
        """The same key is published once, and answered alike."""
        server = await start_server(self, TOKENS + HISTORY)
        request = post("/publish/x", b"1", bearer(ALICE), "Idempotency-Key: k1")
        first, second = [(await ask(server, request)).json() for _ in range(2)]
        self.assertEqual((first["offset"], first), (1, second))
        other = await ask(server, post("/publish/x", b"1", bearer(ALICE), "Idempotency-Key: k2"))
        self.assertEqual(other.json()["offset"], 2)


class PublicApiTests(TestCase):
    async def test_api(self) -> None:
        """Where it is public it is answered, within its own limit, and described."""
        server = await start_server(self, TOKENS + API)
        body = json.dumps({"channel": "x", "data": "x" * 50_000}).encode()
        response = await ask(server, post("/api/publish", body, "Content-Type: application/json"))
        self.assertEqual((response.status, list(response.json())), (200, ["result"]))
        response = await ask(server, post("/api/publish", b"x" * 100_001, "Content-Type: application/json"))
        self.assertEqual(response.status, 413)
        document = await ask(server, head("GET /api/openapi.json HTTP/1.1", "Host: localhost"))
        self.assertIn("/publish", document.json()["paths"])
        received = await exchange(server.port(), head("GET / HTTP/1.1", "Host: localhost"))
        self.assertIn(b"/api/<method>", received)


def event_ids(stream: bytes) -> list[str]:
    """The ids of the events that a page sees: those with data (WHATWG HTML 9.2.6)."""
    events = [
        dict(line.split(b": ", 1) for line in event.split(b"\n") if b": " in line) for event in stream.split(b"\n\n")
    ]
    return [event[b"id"].decode() for event in events if b"data" in event]


def delimited(message: Any) -> bytes:
    """A short message behind its length."""
    data: bytes = message.SerializeToString()
    assert len(data) < 128
    return bytes((len(data),)) + data


async def replies(stream: Stream, count: int) -> list[Any]:
    """So many replies of a Protobuf stream, once they have come; empty ones (pings) left out."""

    def found() -> list[Any]:
        data, parsed = chunks(stream.connection.received), []
        while data:
            size, at, shift = 0, 0, 0
            while True:
                size |= (data[at] & 0x7F) << shift
                at, shift = at + 1, shift + 7
                if data[at - 1] < 0x80:
                    break
            if size:
                parsed.append(Reply.FromString(data[at : at + size]))
            data = data[at + size :]
        return parsed

    await stream.connection.when(lambda received: len(found()) >= count)
    return found()
