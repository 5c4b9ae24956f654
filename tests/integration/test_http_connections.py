"""Plain HTTP on the public port: many requests on one connection, bodies, half-closed clients, streams that end."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from twisted.trial.unittest import TestCase

from realtime_svc.client import connect
from tests.integration.raw_http import (
    RawConnection,
    Response,
    bearer,
    chunked,
    exchange,
    head,
    open_connection,
    parse,
    post,
    upgrade,
)
from tests.integration.server import ALICE, BOB, STOPPED, TOKENS, Server, reactor, start_server

AUTH = bearer(ALICE)
SMALL = '[limits]\nmessage_size = "1KiB"\n'


def publish(channel: str, *fields: str, data: bytes = b"1") -> bytes:
    return post(f"/publish/{channel}", data, AUTH, *fields)


def in_chunks(channel: str, *chunks: bytes) -> bytes:
    request = head(f"POST /publish/{channel} HTTP/1.1", "Host: localhost", AUTH, "Transfer-Encoding: chunked")
    return request + chunked(*chunks)


def accepted(response: Response) -> str:
    """The channel a good publication names in its answer."""
    assert response.status == 200, response
    document = response.json()
    assert document["ok"] == "publish", document
    channel: str = document["channel"]
    return channel


def cause(response: Response) -> tuple[int, str]:
    return response.status, response.json()["error"]["cause"]


class OneConnection(TestCase):
    """Requests that follow one another on a connection."""

    timeout = 100

    async def test_one_after_the_other(self) -> None:
        """Each gets its answer, whatever pieces it comes in; the connection stays until the client says close."""
        server = await start_server(self, TOKENS)
        connection = await open_connection(server.port())
        for number in range(1, 6):
            data = publish(f"c{number}")
            await connection.send_pieces([data[:1], data[1:50], data[50:-1], data[-1:]])
            self.assertEqual(accepted(await connection.response(number)), f"c{number}")
        connection.send(publish("last", "Connection: close"))
        self.assertEqual([accepted(response) for response in parse(await connection.end())][-1], "last")

    async def test_pipelined(self) -> None:
        """Requests in one write are answered in order, errors included; subscribers see the same order."""
        server = await start_server(self, TOKENS)
        listener = await connect(reactor, server.url("/raw/all"), token=BOB)
        for count, split in ((3, 1), (40, 1), (40, 7)):
            requests = b"".join(publish("all", data=b"%d" % number) for number in range(count))
            requests += publish("all", data=b"{") + publish("last", "Connection: close")
            size = -(-len(requests) // split)
            pieces = [requests[at : at + size] for at in range(0, len(requests), size)]
            *good, bad, last = parse(await exchange(server.port(), *pieces))
            self.assertEqual([accepted(response) for response in good], ["all"] * count)
            self.assertEqual((bad.status, bad.json()["error"]["code"], accepted(last)), (400, 107, "last"))
            self.assertEqual([await listener.receive() for _ in range(count)], [str(n) for n in range(count)])

    async def test_a_refusal_is_the_last_answer(self) -> None:
        """Behind a request that is refused, nothing is answered, in the same write or in a later one."""
        server = await start_server(self, TOKENS)
        nobody = post("/publish/a", b"1")
        refused = [
            (nobody, 401),
            (head("GET /nowhere HTTP/1.1", "Host: localhost"), 404),
            (head("GET /publish/a HTTP/1.1", "Host: localhost"), 405),
            (upgrade("/raw/a", AUTH), 400),  # a WebSocket needs a connection of its own
            (upgrade("/ws"), 400),
            (head("POST /publish/a HTTP/1.1", "Host: localhost", AUTH, "Content-Length: 65537"), 413),
            (b"canary\r\n\r\n", 400),
        ]
        for request, status in refused:
            for pieces in ([publish("a") + request + publish("b")], [publish("a"), request, publish("b")]):
                first, second = parse(await exchange(server.port(), *pieces))
                self.assertEqual((accepted(first), second.status), ("a", status), request)
                self.assertEqual(second.get("connection"), "close", request)

    async def test_http_1_0(self) -> None:
        """One request, and the end; keep-alive of HTTP/1.0 is not taken up."""
        server = await start_server(self, TOKENS)
        for fields in ((AUTH,), (AUTH, "Connection: keep-alive"), (AUTH, "Expect: 100-continue")):
            request = head("POST /publish/a HTTP/1.0", "Content-Length: 1", *fields) + b"1"
            (response,) = parse(await exchange(server.port(), request + request))
            self.assertEqual((accepted(response), response.get("transfer-encoding")), ("a", None))

    async def test_options(self) -> None:
        """A preflight is answered without credentials, and the connection stays; no body."""
        server = await start_server(self, TOKENS)
        for path in ("/publish/a", "/sse/a"):
            connection = await open_connection(server.port())
            for number in (1, 2):
                connection.send(head(f"OPTIONS {path} HTTP/1.1", "Host: localhost", "Origin: http://localhost"))
                response = await connection.response(number)
                self.assertEqual((response.status, response.body), (204, b""))
                self.assertEqual(response.get("access-control-allow-origin"), "http://localhost")
            await connection.close()


class Bodies(TestCase):
    """What is behind the head of a POST."""

    timeout = 100

    async def answers(self, server: Server, *pieces: bytes) -> list[Response]:
        return parse(await exchange(server.port(), *pieces))

    async def test_sizes(self) -> None:
        """A body of the limit is taken, one byte more is a 413, by its length and by its chunks, in any pieces."""
        server = await start_server(self, TOKENS + SMALL)
        good = b'"' + b"x" * 1022 + b'"'
        close = "Connection: close"
        for request in (
            publish("a", close, data=good),
            in_chunks("a", good),
            in_chunks("a", *[b" "] * 1021, b"1", b" ", b" "),
        ):
            for pieces in ([request], [request[:-30], request[-30:-1], request[-1:]]):
                (response,) = await self.answers(server, *pieces)
                self.assertEqual(accepted(response), "a")
        long = in_chunks("a", good, b" ")
        endless = in_chunks("a", *[b"x" * 1000] * 1000)
        for request in (publish("a", data=good + b" "), long, in_chunks("a", *[b" "] * 1025), endless, endless[:-5]):
            for pieces in ([request], [request[:200], request[200:1100], request[1100:]]):
                (response,) = await self.answers(server, *pieces)
                self.assertEqual(cause(response), (413, "body_too_big"))
        self.assertNotIn("Traceback", server.process.output)

    async def test_bad_chunks(self) -> None:
        """Chunks that two parsers could read differently: 400, and what follows is not a request."""
        server = await start_server(self, TOKENS + SMALL)
        start = head("POST /publish/a HTTP/1.1", "Host: localhost", AUTH, "Transfer-Encoding: chunked")
        bodies = {
            "not hexadecimal": b"canary\r\n",
            "signed": b"+1\r\n1\r\n0\r\n\r\n",
            "0x": b"0x1\r\n1\r\n0\r\n\r\n",
            "space": b"1 \r\n1\r\n0\r\n\r\n",
            "underscore": b"1_0\r\n" + b"1" * 16 + b"\r\n0\r\n\r\n",
            "negative": b"-1\r\n1\r\n0\r\n\r\n",
            "empty": b"\r\n\r\n",
            "chunk longer than it says": b"1\r\n12\r\n0\r\n\r\n",
            "lone LF": b"1\n1\n0\n\n" + b" " * 2000,
            "a control in an extension": b"1;a\x00b\r\n1\r\n0\r\n\r\n",
            "a long extension": b"1;" + b"a" * 2000,
            "a size of 2,000 digits": b"0" * 2000,
            "long trailers": b"0\r\n" + b"X: y\r\n" * 20_000,
        }
        for name, body in bodies.items():
            for pieces in ([start + body + publish("b")], [start, body, publish("b")]):
                (response,) = await self.answers(server, *pieces)
                self.assertEqual(cause(response), (400, "bad_chunk"), name)
                self.assertEqual(response.get("connection"), "close", name)
        self.assertIn("realtime_svc_publications_total 0", await server.metrics())
        self.assertNotIn("Traceback", server.process.output)

    async def test_behind_the_chunks(self) -> None:
        """A chunked request is the last of its connection: what is pipelined behind it is never read as a request."""
        server = await start_server(self, TOKENS + SMALL)
        request = in_chunks("a", b"1")
        for pieces in ([request + publish("b")], [request[:-1], request[-1:] + publish("b")], [request, publish("b")]):
            (response,) = await self.answers(server, *pieces)
            self.assertEqual((accepted(response), response.get("connection")), ("a", "close"))

    async def test_expect(self) -> None:
        """100 comes to who may publish, once; who may not is told before he has sent the body."""
        server = await start_server(self, TOKENS + SMALL)
        expect = ("Expect: 100-continue", "Content-Length: 1")
        connection = await open_connection(server.port())
        connection.send(head("POST /publish/a HTTP/1.1", "Host: localhost", AUTH, *expect))
        self.assertEqual((await connection.response()).status, 100)
        connection.send(b"1")
        self.assertEqual(accepted(await connection.response(2)), "a")
        await connection.close()
        cases = [
            (head("POST /publish/a HTTP/1.1", "Host: localhost", *expect), 401),
            (head("POST /publish/$a HTTP/1.1", "Host: localhost", AUTH, *expect), 403),
            (head("POST /publish/a HTTP/1.1", "Host: localhost", AUTH, expect[0], "Content-Length: 1025"), 413),
        ]
        for request, status in cases:
            self.assertEqual([response.status for response in await self.answers(server, request)], [status])

    async def test_no_body_of_strangers(self) -> None:
        """A body is not read for somebody who may not come in: the answer is there before it."""
        server = await start_server(self, TOKENS)
        for framing in ("Content-Length: 60000", "Transfer-Encoding: chunked"):
            (response,) = await self.answers(server, head("POST /publish/a HTTP/1.1", "Host: localhost", framing))
            self.assertEqual(cause(response), (401, "unauthorized"))
            self.assertEqual(response.version, "1.1")

    async def test_any_type(self) -> None:
        """A body is the payload, whatever its type says; none is taken for a form."""
        server = await start_server(self, TOKENS)
        for kind in (
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "multipart/form-data; boundary=x",
            "x",
        ):
            connection = await open_connection(server.port())
            connection.send(publish("a", f"Content-Type: {kind}", data=b'"--x\\r\\na=b&c=d"'))
            self.assertEqual(accepted(await connection.response()), "a", kind)
            await connection.close()


class Ends(TestCase):
    """How a connection ends."""

    timeout = 100

    async def test_half_closed(self) -> None:
        """A client that closes its side behind its requests gets all the answers, then the end."""
        server = await start_server(self, TOKENS)
        cases: list[tuple[list[bytes], list[int]]] = [
            ([publish("a")], [200]),
            ([publish("a") + publish("b"), publish("c")], [200, 200, 200]),
            ([in_chunks("a", b"1")], [200]),
            ([publish("a") + publish("b")[:-1]], [200]),
            ([publish("a") + b"POST"], [200]),
            ([post("/publish/a", b"1")], [401]),
            ([b"canary\r\n\r\n"], [400]),
            ([head("GET /ws HTTP/1.1", "Host: localhost")], [426]),
            ([b"GET /ws HTTP/1.1\r\n"], []),
            ([], []),
        ]
        for pieces, statuses in cases:
            received = await exchange(server.port(), *pieces, half_close=True)
            self.assertEqual([response.status for response in parse(received)], statuses, pieces)
        self.assertNotIn("Traceback", server.process.output)

    async def test_hanging_up(self) -> None:
        """A client that is gone in the middle of something costs nothing but its own request."""
        server = await start_server(self, TOKENS)
        for data in (
            b"",
            b"GET /",
            publish("a")[:-1],
            in_chunks("a", b"1")[:-2],
            publish("a") * 20,
            upgrade("/raw/a", AUTH),
        ):
            connection = await open_connection(server.port())
            await connection.send_pieces([data])
            await connection.close()
        (response,) = parse(await exchange(server.port(), publish("a", "Connection: close")))
        self.assertEqual(accepted(response), "a")
        self.assertNotIn("Traceback", server.process.output)

    async def stream(self, server: Server, line: str = "GET /sse/a HTTP/1.1") -> RawConnection:
        connection = await open_connection(server.port())
        connection.send(head(line, "Host: localhost", AUTH))
        await connection.when_contains(b":\n\n")
        return connection

    async def test_stream_and_term(self) -> None:
        """At SIGTERM a stream gets what was published, then its `bye` and an orderly end."""
        server = await start_server(self, TOKENS)
        streams = [await self.stream(server), await self.stream(server, "GET /sse/a HTTP/1.0")]
        idle = await open_connection(server.port())
        idle.send(publish("a", data=b'{"n":1}'))
        await idle.response()
        self.assertEqual(await server.stop(), STOPPED)
        for stream in streams:
            (response,) = parse(await stream.end())
            self.assertEqual(response.get("content-type"), "text/event-stream; charset=utf-8")
            bye = b'event: bye\ndata: {"code":3001,"reason":"shutdown"}\n\n'
            self.assertEqual(response.body, b':\n\ndata: {"n":1}\n\n' + bye)
        await idle.end()

    async def test_stream_of_a_gone_client(self) -> None:
        """A stream ends when its client has left, or only closed its side: nobody reads it any more."""
        server = await start_server(self, TOKENS)
        leave: list[Callable[[RawConnection], Awaitable[object]]] = [
            lambda connection: connection.close(),
            self.half_close,
        ]
        for way in leave:
            connection = await self.stream(server)
            self.assertIn('realtime_svc_connections{protocol="sse"} 1', await server.metrics())
            await way(connection)
            while 'realtime_svc_connections{protocol="sse"} 0' not in await server.metrics():
                pass

    async def half_close(self, connection: RawConnection) -> None:
        connection.half_close()
        await connection.when_ended()

    async def test_stream_is_one_of_many(self) -> None:
        """A publication on the same connection waits behind a stream: it is not answered out of turn."""
        server = await start_server(self, TOKENS)
        stream = await self.stream(server)
        stream.send(publish("a", data=b'"behind"'))
        (response,) = parse(await exchange(server.port(), publish("a", "Connection: close", data=b'"first"')))
        self.assertEqual(accepted(response), "a")
        await stream.when_contains(b"first")
        self.assertNotIn(b"behind", stream.received)
        self.assertEqual(
            json.loads((await stream.when_contains(b"first")).split(b"data: ")[1].split(b"\n")[0]), "first"
        )
        await stream.close()
