"""Requests nobody should send, each through the real socket, with the exact status it must get; and good twins."""

from __future__ import annotations

import base64
import hashlib

from twisted.trial.unittest import TestCase

from tests.integration.handshakes import CANARY, CONFIG, COOKIE, Row, page, plain, table, ws
from tests.integration.raw_http import KEY, Response, chunked, exchange, head, open_connection, parse
from tests.integration.server import ALICE, TOKENS, Server, start_server

SAME_ORIGIN_CONFIG = f"""
{TOKENS}
[auth]
cookie = "session"
"""


def good_handshakes() -> list[tuple[str, bytes]]:
    """The twins of the rows above: each gets 101."""
    nobody = {"Authorization": None}
    spare = 16 * 1024 - len(ws(None, "X: "))
    line = 8 * 1024 - len("GET /raw/canary? HTTP/1.1")
    return [
        ("header", ws()),
        ("origin", ws({"Origin": "https://good.example"})),
        ("cookie from a page", ws({**nobody, **page(f"a=b; session={ALICE}")})),
        ("sub-protocol", ws({**nobody, "Sec-WebSocket-Protocol": f"raw.v1, bearer.{ALICE}"})),
        (
            "sub-protocols in two fields",
            ws({**nobody, "Sec-WebSocket-Protocol": f"bearer.{ALICE}"}, "sec-websocket-protocol: raw.v1"),
        ),
        ("nobody at /ws", ws(nobody, path="/ws")),
        ("other sub-protocol", ws({"Sec-WebSocket-Protocol": "canary"})),
        ("other host", ws({"Host": "GOOD.example:8000"})),
        ("absolute URI", ws(path="http://localhost/raw/canary")),
        ("absolute URI with ws", ws(path="ws://good.example:80/raw/canary")),
        ("absolute URI beside another host", ws({"Host": "evil.example"}, path="http://localhost/raw/canary")),
        ("Upgrade in capitals", ws({"Upgrade": "WebSocket", "Connection": "keep-alive, UPGRADE"})),
        ("scheme in lower case", ws({"Authorization": f"bearer {ALICE}"})),
        ("white space around values", ws({"Upgrade": "\t websocket \t"})),
        ("extensions", ws({"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits, x-canary"})),
        ("an empty line first", b"\r\n" + ws()),
        ("length 0", ws(None, "Content-Length: 0")),
        ("64 fields", ws(None, *["X: canary"] * 57)),
        ("a head of 16 KiB", ws(None, "X: " + "x" * spare)),
        ("a request line of 8 KiB", ws(path="/raw/canary?" + "x" * line)),
        ("own channel", ws(path="/raw/%23alice")),
        ("shared channel", ws(path="/raw/room%23bob,alice")),
        ("longest name", ws(path="/raw/" + "x" * 255)),
        ("all characters of a name", ws(path="/raw/default:-_.:%23alice,$=@;".replace(":%23", "x%23"))),
        ("bytes above 0x7F elsewhere", ws(None, "X: caf\xe9\x84", "Cookie: other=\xe9")),
    ]


def good_requests() -> list[tuple[str, bytes, int]]:
    body = b'"canary"'
    length = f"Content-Length: {len(body)}"
    origin = "Origin: https://good.example"
    return [
        ("publish", plain("POST /publish/canary HTTP/1.1", length) + body, 200),
        ("publish from a page", plain("POST /publish/canary HTTP/1.1", length, origin) + body, 200),
        ("publish in HTTP/1.0", plain("POST /publish/canary HTTP/1.0", length) + body, 200),
        (
            "publish in chunks",
            plain("POST /publish/canary HTTP/1.1", "Transfer-Encoding: chunked") + chunked(body),
            200,
        ),
        ("preflight", head("OPTIONS /publish/canary HTTP/1.1", "Host: localhost", origin), 204),
    ]


class HostileHandshakes(TestCase):
    """The tables, on one server each."""

    timeout = 100

    def check_refusal(self, row: Row, received: bytes) -> None:
        """One response: status, JSON body, `Connection: close`, and nothing of what was sent."""
        responses = parse(received)
        self.assertEqual(len(responses), 1, row.name)
        response = responses[0]
        self.assertEqual((response.status, self.error(response)["cause"]), (row.status, row.cause), row.name)
        self.assertEqual(self.error(response)["status"], row.status, row.name)
        self.assertEqual(response.get("content-type"), "application/json", row.name)
        self.assertEqual(response.get("content-length"), str(len(response.body)), row.name)
        self.assertIn("close", (response.get("connection") or "").split(", "), row.name)
        self.assertEqual(response.get("server"), None, row.name)
        self.assertNotIn(CANARY.encode(), received.lower(), row.name)
        self.assertEqual((response.get("www-authenticate") is not None), row.status == 401, row.name)
        self.assertEqual((response.get("allow") is not None), row.status == 405, row.name)
        self.assertEqual((response.get("sec-websocket-version") == "13"), row.status == 426, row.name)

    def error(self, response: Response) -> dict[str, object]:
        """The body is exactly an error with status, cause and message."""
        document = response.json()
        self.assertEqual(list(document), ["error"])
        error: dict[str, object] = document["error"]
        self.assertEqual(set(error), {"status", "cause", "message"})
        return error

    async def check_good(self, server: Server) -> None:
        for name, data in good_handshakes():
            connection = await open_connection(server.port())
            await connection.send_pieces([data])
            response = await connection.response()
            self.assertEqual(response.status, 101, name)
            accept = hashlib.sha1(KEY.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
            self.assertEqual(response.get("sec-websocket-accept"), base64.b64encode(accept).decode(), name)
            protocol = "raw.v1" if name.startswith("sub-protocol") else None
            self.assertEqual(response.get("sec-websocket-protocol"), protocol, name)
            await connection.close()

    async def test_refusals(self) -> None:
        """Every row gets its status, however its bytes are split; the good ones are still let in afterwards."""
        rows = table()
        self.assertGreaterEqual(len(rows), 80)
        self.assertEqual(len({row.name for row in rows}), len(rows))
        server = await start_server(self, CONFIG)
        await self.check_good(server)
        for row in rows:
            self.check_refusal(row, await exchange(server.port(), row.data))
            self.check_refusal(row, await exchange(server.port(), row.data[:1], row.data[1:30], row.data[30:]))
        await self.check_good(server)
        for name, data, status in good_requests():
            connection = await open_connection(server.port())
            connection.send(data)
            self.assertEqual((await connection.response()).status, status, name)
            await connection.close()
        metrics = await server.metrics()
        for status in {row.status for row in rows}:
            counted = sum(_count(line) for line in metrics.splitlines() if f'status="{status}"' in line)
            self.assertEqual(counted, 2 * sum(row.status == status for row in rows), metrics)
        for secret in (CANARY, ALICE, "Traceback", "\x1b"):
            self.assertNotIn(secret, server.process.output)

    async def test_good_bytewise(self) -> None:
        """A handshake that comes byte by byte is as good as any."""
        server = await start_server(self, CONFIG)
        connection = await open_connection(server.port())
        await connection.send_pieces(bytes([byte]) for byte in ws())
        self.assertEqual((await connection.response()).status, 101)
        await connection.close()

    async def test_same_origin(self) -> None:
        """Without a list of origins, a page may talk to the address it came from, and to no other."""
        server = await start_server(self, SAME_ORIGIN_CONFIG)
        cases = [
            ("http://localhost", "localhost", 101),
            ("https://localhost", "localhost", 101),
            ("https://localhost", "localhost:443", 101),
            ("http://localhost:8000", "localhost:8000", 101),
            ("http://LOCALHOST:8000", "localhost:8000", 101),
            ("http://[::1]:8000", "[::1]:8000", 101),
            ("http://localhost:8001", "localhost:8000", 403),
            ("http://localhost", "localhost:8000", 403),
            ("https://localhost:80", "localhost", 403),
            ("http://localhost:443", "localhost", 403),
            ("http://localhost.evil.example", "localhost", 403),
            ("http://evil.example", "localhost", 403),
            ("http://evil.example/localhost", "localhost", 403),
            ("http://x@localhost", "localhost", 403),
            ("http://", "localhost", 403),
            ("localhost", "localhost", 403),
            ("file://localhost", "localhost", 403),
            ("null", "localhost", 403),
            ("", "localhost", 403),
        ]
        for origin, host, status in cases:
            for credential in ({}, COOKIE):
                connection = await open_connection(server.port())
                connection.send(ws({"Origin": origin, "Host": host, **credential}))
                self.assertEqual((await connection.response()).status, status, (origin, host))
                await connection.close()

    async def test_head_request(self) -> None:
        """The answer to HEAD has a head only (RFC 9110 9.3.2)."""
        server = await start_server(self, CONFIG)
        for path in ("/ws", "/raw/canary", "/sse/canary", "/publish/canary", "/canary"):
            received = await exchange(server.port(), plain(f"HEAD {path} HTTP/1.1"))
            self.assertTrue(received.startswith(b"HTTP/1.1 40"), received)
            self.assertEqual(received.partition(b"\r\n\r\n")[2], b"", path)

    async def test_smuggled_request(self) -> None:
        """What follows a refused handshake on its connection is never answered: a proxy's tunnel gets EOF only."""
        server = await start_server(self, CONFIG)
        second = plain("POST /publish/canary HTTP/1.1", "Content-Length: 2") + b"{}"
        for first in (ws({"Sec-WebSocket-Version": "8"}), ws({"Upgrade": "h2c"}), ws({"Authorization": "Bearer x"})):
            for pieces in ((first + second,), (first, second), (first[:-1], first[-1:] + second)):
                self.assertEqual(len(parse(await exchange(server.port(), *pieces))), 1, first)
        self.assertIn("realtime_svc_publications_total 0", await server.metrics())


def _count(line: str) -> int:
    return int(float(line.rpartition(" ")[2])) if line.startswith("realtime_svc_refusals_total") else 0
