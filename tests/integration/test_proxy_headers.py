"""Who the client is, behind proxies: X-Forwarded-For and the PROXY protocol, believed from trusted sources only.

What the server believes shows in its cap of one connection for each address, and in its log.
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError
from twisted.trial.unittest import TestCase

from realtime_svc.client.tls import client_tls
from tests.client.pki import Authority, pem
from tests.integration.raw_http import RawConnection, Response, bearer, head, open_connection, parse, post, upgrade
from tests.integration.server import ALICE, LISTENERS, STOPPED, TOKENS, reactor, start_server, toml

AUTH = bearer(ALICE)
ONE_EACH = "[limits]\nconnections_per_address = 1\n"
TRUSTING = '[http]\ntrusted_proxies = ["127.0.0.1/32", "10.0.0.0/8"]\n'
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
PROXIED = """
[listeners.proxied]
host = "127.0.0.1"
port = 0
proxy_protocol = true
proxy_sources = ["127.0.0.1/32"]
"""
SECURE = PROXIED.replace("proxied", "secure") + "tls = true\n"


def v1(host: str) -> bytes:
    return f"PROXY {'TCP6' if ':' in host else 'TCP4'} {host} {host} 5555 8000\r\n".encode()


def v2(host: str, command: int = 0x21, extra: bytes = b"") -> bytes:
    family, kind = (socket.AF_INET6, 0x21) if ":" in host else (socket.AF_INET, 0x11)
    addresses = socket.inet_pton(family, host) * 2 + struct.pack("!HH", 5555, 8000) + extra
    return SIGNATURE + struct.pack("!BBH", command, kind, len(addresses)) + addresses


class ProxyHeaders(TestCase):
    """Two ways a proxy tells who the client is."""

    timeout = 100

    async def open(self, port: int, *, source: str = "127.0.0.1") -> RawConnection:
        """A connection that is closed at the end of the test."""
        endpoint: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", port, bindAddress=(source, 0))
        connection: RawConnection = await connectProtocol(endpoint, RawConnection())
        self.addCleanup(connection.close)
        return connection

    async def enter(self, port: int, *fields: str, source: str = "127.0.0.1", first: bytes = b"") -> int:
        """The status of a WebSocket upgrade; one that is let in stays. 0: dropped without an answer."""
        try:
            connection = await self.open(port, source=source)
        except ConnectError:  # it was cut before we knew that it was there
            return 0
        await connection.send_pieces([first + upgrade("/raw/a", AUTH, *fields)])
        return await self.status(connection)

    async def status(self, connection: RawConnection) -> int:
        try:
            return (await connection.response()).status
        except AssertionError:
            return 0

    async def test_forwarded_for(self) -> None:
        """Trusted: the last address that is no proxy of ours is the client; what stands left of it is not looked at."""
        server = await start_server(self, TOKENS + ONE_EACH + TRUSTING)
        cases = [
            (["192.0.2.1"], 101),
            (["192.0.2.1"], 429),
            (["192.0.2.2"], 101),
            (["192.0.2.77, 192.0.2.1"], 429),
            (["192.0.2.78", "192.0.2.1"], 429),
            (["192.0.2.1, 10.1.2.3"], 429),
            (["192.0.2.1:4321"], 429),
            (["::ffff:192.0.2.1"], 429),
            (["192.0.2.1, 192.0.2.3, 10.1.2.3, 10.9.9.9"], 101),
            (["192.0.2.3"], 429),
            (["2001:db8::1"], 101),
            (["[2001:db8::2]:4321"], 429),
            (["2001:db8:0:1::1"], 101),
            (["canary, 192.0.2.4"], 101),
        ]
        for values, status in cases:
            fields = [f"X-Forwarded-For: {value}" for value in values]
            self.assertEqual(await self.enter(server.port(), *fields), status, values)
        self.assertIn("refused 192.0.2.1: 429", server.process.output)
        self.assertNotIn("canary", server.process.output)

    async def test_forwarded_for_of_strangers(self) -> None:
        """Not trusted: the header is nothing but bytes, with trusted proxies elsewhere or with none."""
        for config, source in ((TRUSTING, "127.0.0.2"), ("", "127.0.0.1")):
            server = await start_server(self, TOKENS + ONE_EACH + config)
            self.assertEqual(await self.enter(server.port(), "X-Forwarded-For: 192.0.2.1", source=source), 101)
            self.assertEqual(await self.enter(server.port(), "X-Forwarded-For: 192.0.2.2", source=source), 429)
            self.assertEqual(await self.enter(server.port(), "X-Forwarded-For: 10.1.2.3", source=source), 429)
            self.assertIn(f"refused {source}: 429", server.process.output)
            self.assertNotIn("192.0.2", server.process.output)

    async def test_proxy_protocol(self) -> None:
        """A header from a trusted source says who the client is, in one piece with the request or byte by byte."""
        server = await start_server(self, TOKENS + ONE_EACH, listeners=LISTENERS + PROXIED)
        port = server.port("proxied")
        cases = [
            (v1("192.0.2.1"), 101),
            (v1("192.0.2.1"), 429),
            (v2("192.0.2.1"), 429),
            (v2("192.0.2.2"), 101),
            (v2("192.0.2.3", extra=b"\x04\x00\x03abc"), 101),
            (v1("2001:db8::1"), 101),
            (v2("2001:db8::2"), 429),
            (v2("192.0.2.9", command=0x20), 101),  # LOCAL: the proxy speaks for itself
            (b"PROXY UNKNOWN\r\n", 429),
        ]
        for first, status in cases:
            self.assertEqual(await self.enter(port, first=first), status, first)
        self.assertIn("refused 192.0.2.1: 429", server.process.output)
        connection = await self.open(port)
        data = v2("192.0.2.10") + upgrade("/raw/a", AUTH)
        await connection.send_pieces(data[at : at + 1] for at in range(len(data)))
        self.assertEqual(await self.status(connection), 101)

    async def test_proxy_protocol_refused(self) -> None:
        """No header, a broken one, or one from elsewhere: dropped without an answer, and counted."""
        server = await start_server(self, TOKENS, listeners=LISTENERS + PROXIED)
        port = server.port("proxied")
        bad = [
            b"",
            b"canary\r\n",
            b"PROXY TCP4 192.0.2.1\r\n",
            b"PROXY TCP4 192.0.2.256 192.0.2.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.1 1 65536\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.1 1 2\n",
            b"PROXY TCP5 192.0.2.1 192.0.2.1 1 2\r\n",
            b"PROXY TCP4 " + b"1" * 200,
            SIGNATURE + b"\x11\x11\x00\x0c" + b"\0" * 12,
            SIGNATURE + b"\x21\x11\x00\x04" + b"\0" * 4,
            SIGNATURE + b"\x21\x11\xff\xff",
            SIGNATURE + b"\x21\x31\x00\x0c" + b"\0" * 12,
            b"\x16\x03\x01\x02\x00",
        ]
        for first in bad:
            self.assertEqual(await self.enter(port, first=first), 0, first)
        self.assertEqual(await self.enter(port, first=v1("192.0.2.1"), source="127.0.0.2"), 0)
        self.assertEqual(await self.enter(port, first=v1("192.0.2.1")), 101)
        counted = f'realtime_svc_refusals_total{{cause="proxy_header",status="400"}} {len(bad) + 1}.0'
        self.assertIn(counted, await server.metrics())
        self.assertNotIn("canary", server.process.output)
        self.assertEqual(await self.enter(server.port(), first=v1("192.0.2.1")), 400, "where none is expected")

    async def test_answers_through_a_proxy(self) -> None:
        """Refusals come whole although bytes behind them are not read, and a half-closed client gets its answers."""
        server = await start_server(self, TOKENS, listeners=LISTENERS + PROXIED)
        big = head("POST /publish/a HTTP/1.1", "Host: localhost", AUTH, "Content-Length: 999999") + b"x" * 999_999
        for request, status in ((big, 413), (b"canary\r\n\r\n" + b"x" * 999_999, 400)):
            (response,) = await self.answers(server.port("proxied"), request)
            self.assertEqual(response.status, status)
        twice = post("/publish/a", b"1", AUTH) * 2
        answers = await self.answers(server.port("proxied"), twice, half_close=True)
        self.assertEqual([response.status for response in answers], [200, 200])
        for data in (b"", upgrade("/raw/a", AUTH)):
            connection = await open_connection(server.port("proxied"))
            await connection.send_pieces([v1("192.0.2.1") + data])
            connection.half_close()
            await connection.when_ended()
        self.assertNotIn("Traceback", server.process.output)

    async def answers(self, port: int, request: bytes, *, half_close: bool = False) -> list[Response]:
        connection = await self.open(port)
        connection.send(v1("192.0.2.1") + request)
        if half_close:
            connection.half_close()
        return parse(await connection.end())

    async def test_proxy_protocol_before_tls(self) -> None:
        """The header comes first, then TLS, then the request of whom the header names."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        authority = Authority("test")
        certificate, key = authority.write(folder, "server")
        (folder / "ca.pem").write_bytes(pem(authority.certificate))
        tls = f"[tls]\ncertificate = {toml(certificate)}\nkey = {toml(key)}\n"
        server = await start_server(self, TOKENS + ONE_EACH + tls, listeners=LISTENERS + SECURE)
        creator = client_tls(folder / "ca.pem").creator("localhost")
        for host, status in (("192.0.2.1", 101), ("192.0.2.1", 429), ("192.0.2.2", 101)):
            connection = await self.open(server.port("secure"))
            connection.send(v1(host))
            connection.transport.startTLS(creator)
            connection.send(upgrade("/raw/a", AUTH))
            self.assertEqual((await connection.response()).status, status, host)
        self.assertEqual(await self.enter(server.port("secure"), first=v1("192.0.2.3")), 0, "no TLS behind the header")
        self.assertIn("refused 192.0.2.1: 429", server.process.output)
        for _ in range(2):
            connection = await self.open(server.port("secure"))
            connection.send(v1("192.0.2.9"))
            connection.transport.startTLS(creator)
            connection.send(upgrade("/raw/a", AUTH))
            self.assertEqual((await connection.response()).status, 101)
            connection.transport.loseConnection()
        self.assertEqual(await server.stop(), STOPPED)
        self.assertNotIn("Traceback", server.process.output)
