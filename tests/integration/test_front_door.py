"""What the front door does with too many, too slow, and nobody: one process, real sockets."""

from __future__ import annotations

import os
import re
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError
from twisted.internet.task import LoopingCall
from twisted.trial.unittest import TestCase

from realtime_svc.client import Connection, connect
from realtime_svc.client.tls import client_tls
from tests.client.pki import Authority, pem
from tests.integration.raw_http import (
    GUARD,
    RawConnection,
    bearer,
    exchange,
    head,
    open_connection,
    parse,
    post,
    upgrade,
)
from tests.integration.server import (
    ALICE,
    BOB,
    LISTENERS,
    TOKENS,
    Server,
    reactor,
    spawn,
    start_server,
    toml,
    write_config,
)

AUTH = bearer(ALICE)
PUBLISH = post("/publish/a", b"1", AUTH, "Connection: close")
SLACK = 100  # realtime_svc.transports.caps
TLS_LISTENERS = """
[listeners.tls]
host = "127.0.0.1"
port = 0
tls = true
[listeners.proxied]
host = "127.0.0.1"
port = 0
proxy_protocol = true
proxy_sources = ["127.0.0.1/32"]
"""


async def status(port: int, request: bytes) -> int:
    """The status of the first response; 0 where the connection ends without one. Then the client hangs up."""
    try:
        connection = await open_connection(port)
    except ConnectError:  # it was cut before we knew that it was there
        return 0
    return await status_on(connection, request)


async def status_on(connection: RawConnection, request: bytes) -> int:
    answered = connection.when_contains(b"\r\n\r\n")
    connection.send(request)
    try:
        received = await answered
    except AssertionError:
        return 0
    await connection.close()
    return int(received.split(b" ", 2)[1])


async def hold(port: int, request: bytes = b"", *, source: str = "127.0.0.1") -> RawConnection:
    """A connection from `source` that stays; with a request, it is a WebSocket."""
    endpoint: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", port, bindAddress=(source, 0))
    connection: RawConnection = await connectProtocol(endpoint, RawConnection())
    if request:
        connection.send(request)
        assert (await connection.response()).status == 101
    return connection


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it is so: for what the server does after a client has left."""
    while not await condition():
        pass


class Slow(TestCase):
    """Who does not get to the point is cut; everybody else is served."""

    timeout = 100

    def pki(self) -> tuple[str, Any]:
        """The configuration of a certificate, and what a client needs to trust it."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        authority = Authority("test")
        certificate, key = authority.write(folder, "server")
        (folder / "ca.pem").write_bytes(pem(authority.certificate))
        config = f"[tls]\ncertificate = {toml(certificate)}\nkey = {toml(key)}\n"
        return config, client_tls(folder / "ca.pem").creator("localhost")

    def dribble(self, connection: RawConnection, data: bytes) -> None:
        """One byte now and then, as long as there is somebody to send it to."""
        left = list(data)

        def one() -> None:
            if left and not connection.ended.called:
                connection.send(bytes([left.pop(0)]))

        loop = LoopingCall(one)
        loop.start(0.02)
        self.addCleanup(loop.stop)

    async def test_slow_requests(self) -> None:
        """Heads, bodies, TLS handshakes and PROXY headers that never end: cut without an answer, and counted."""
        tls, trust = self.pki()
        times = '[http]\nhead_timeout = "1s"\n[limits]\nmessage_size = "1KiB"\n'
        server = await start_server(self, TOKENS + tls + times, listeners=LISTENERS + TLS_LISTENERS)
        public, secure, proxied = (server.port(name) for name in ("public", "tls", "proxied"))
        chunked = head("POST /publish/a HTTP/1.1", "Host: localhost", AUTH, "Transfer-Encoding: chunked")
        slow = [
            (public, b"", b""),
            (public, b"GET /ws HTTP/1.1\r\n", b""),
            (public, b"", upgrade("/ws", "X: " + "x" * 9000)),
            (public, b"GET /ws HTTP/1.1\r\nHost: localhost\r\n", b"X: y\r\n" * 2000),
            (public, PUBLISH[:-1], b""),
            (public, post("/publish/a", b"1" * 1024, AUTH)[:-1024], b"1" * 1000),
            (public, chunked, b"1\r\n1\r\n" * 1000),
            (public, chunked, b"1;" + b"x" * 1000),
            (secure, b"", b""),
            (secure, b"\x16\x03\x01", b""),
            (secure, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x01" * 500),
            (proxied, b"", b""),
            (proxied, b"PROXY TCP4 127.0.0.1", b""),
            (proxied, b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n", b""),
            (proxied, b"", b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x08\x00" + b"\0" * 2000),
        ]
        connections = []
        for port, start, rest in slow:
            connection = await open_connection(port)
            connection.send(start)
            self.dribble(connection, rest)
            connections.append(connection)
        shaken = await open_connection(secure, tls=trust)
        self.dribble(shaken, upgrade("/ws", "X: " + "x" * 9000))
        connections.append(shaken)
        self.assertEqual(await status(public, PUBLISH), 200)
        for (_, start, rest), connection in zip(slow, connections, strict=False):
            await connection.when_ended()
            self.assertEqual(connection.received, b"", (start, rest[:20]))
        self.assertEqual(await status(public, PUBLISH), 200)
        metrics = await server.metrics()
        self.assertIn('realtime_svc_refusals_total{cause="too_slow",status="408"} 13', metrics)
        self.assertIn('realtime_svc_refusals_total{cause="proxy_header",status="400"} 3', metrics)
        self.assertNotIn("Traceback", server.process.output)

    async def test_idle(self) -> None:
        """A connection without a next request ends in good order, which is nobody's fault; half a request is."""
        server = await start_server(self, TOKENS + '[http]\nhead_timeout = "1s"\nidle_timeout = "1s"\n')
        idle, half = await open_connection(server.port()), await open_connection(server.port())
        for connection in (idle, half):
            connection.send(post("/publish/a", b"1", AUTH))
            await connection.response()
        self.dribble(half, post("/publish/a", b"1", AUTH, "X: " + "x" * 9000))
        self.assertEqual(len(parse(await idle.end())), 1)
        await half.when_ended()
        self.assertEqual(len(parse(half.received)), 1)
        self.assertIn('realtime_svc_refusals_total{cause="too_slow",status="408"} 1', await server.metrics())

    async def test_answers_nobody_reads(self) -> None:
        """Who asks on and on and reads no answer is not read from any more, and is cut; the memory stays bounded."""
        server = await start_server(self, TOKENS + '[http]\nidle_timeout = "500ms"\nallowed_origins = ["*"]\n')
        self.assertEqual(await status(server.port(), PUBLISH), 200)
        before = self.memory(server)
        connection = await open_connection(server.port())
        connection.transport.pauseProducing()
        origin = "Origin: https://" + "x" * 4000  # the answer has it too
        connection.send(head("OPTIONS /sse/a HTTP/1.1", "Host: localhost", origin) * 8_000)  # 32 MiB

        async def cut() -> bool:
            return 'status="408"' in await server.metrics()

        await until(cut)
        self.assertIn('realtime_svc_refusals_total{cause="not_read",status="408"} 1', await server.metrics())
        self.assertLess(self.memory(server) - before, 12 * 2**20)
        await connection.close()
        self.assertEqual(await status(server.port(), PUBLISH), 200)

    def memory(self, server: Server) -> int:
        """The most bytes the process has had in memory."""
        text = Path(f"/proc/{server.process.transport.pid}/status").read_text()  # type: ignore[union-attr]
        return 1024 * int(re.findall(r"VmHWM:\s+(\d+) kB", text)[0])


class Many(TestCase):
    """More connections than there may be."""

    timeout = 100

    async def health(self, server: Server) -> None:
        self.assertIn("live", await server.get_internal("/health/live"))
        await server.get_internal("/health/ready")

    async def test_all(self) -> None:
        """Above the cap of the process: 503 for every kind of request, while those who are in stay; health answers."""
        server = await start_server(self, TOKENS + "[limits]\nconnections = 3\nconnections_per_address = 0\n")
        port = server.port()
        held = [await hold(port, upgrade("/raw/a", bearer(BOB))) for _ in range(2)] + [await hold(port)]
        for request in (
            upgrade("/raw/a", AUTH),
            upgrade("/ws"),
            PUBLISH,
            head("GET /sse/a HTTP/1.1", "Host: localhost", AUTH),
        ):
            (response,) = parse(await exchange(port, request))
            self.assertEqual((response.status, response.json()["error"]["cause"]), (503, "connections"))
            self.assertEqual(response.get("retry-after"), "10")
        await self.health(server)
        self.assertFalse(any(connection.ended.called for connection in held))
        self.assertEqual(await status_on(held[2], PUBLISH), 200)  # it was there in time

        async def room() -> bool:
            return await status(port, PUBLISH) == 200

        await until(room)

    async def test_far_too_many(self) -> None:
        """What comes when even the refusals are too many is dropped without an answer; then all is as before."""
        server = await start_server(self, TOKENS + "[limits]\nconnections = 2\nconnections_per_address = 0\n")
        held = [await hold(server.port()) for _ in range(2 + SLACK)]
        for _ in range(20):
            self.assertEqual(await status(server.port(), PUBLISH), 0)
        await self.health(server)
        self.assertIn('realtime_svc_refusals_total{cause="dropped",status="503"} 20', await server.metrics())
        for connection in held:
            await connection.close()

        async def room() -> bool:
            return await status(server.port(), PUBLISH) == 200

        await until(room)

    async def test_of_one_address(self) -> None:
        """429 for an address that has its share, also of connections that never ask anything; not for others."""
        server = await start_server(self, TOKENS + "[limits]\nconnections_per_address = 2\n")
        port = server.port()
        silent = await hold(port)
        asking = await hold(port, upgrade("/raw/a", AUTH))
        for request in (upgrade("/raw/a", AUTH), PUBLISH, upgrade("/ws")):
            (response,) = parse(await exchange(port, request))
            self.assertEqual((response.status, response.json()["error"]["cause"]), (429, "connections_per_address"))
            self.assertEqual(response.get("retry-after"), "10")
        other = await hold(port, source="127.0.0.2")
        self.assertEqual(await status_on(other, PUBLISH), 200)
        self.assertFalse(silent.ended.called or asking.ended.called)
        await silent.close()

        async def room() -> bool:
            return await status(port, PUBLISH) == 200

        await until(room)

    async def test_of_one_user(self) -> None:
        """429 for a user who has his share, over all protocols; 3504 for one who says who he is in a message."""
        server = await start_server(self, TOKENS + "[limits]\nconnections_per_user = 2\n")
        port = server.port()
        stream = head("GET /sse/a HTTP/1.1", "Host: localhost", AUTH)
        held = [await hold(port, upgrade("/raw/a", AUTH)), await open_connection(port)]
        held[1].send(stream)
        await held[1].when_contains(b":\n\n")
        for request in (upgrade("/raw/a", AUTH), upgrade("/ws", AUTH), stream):
            (response,) = parse(await exchange(port, request))
            self.assertEqual((response.status, response.json()["error"]["cause"]), (429, "connections_per_user"))
        late = await connect(reactor, server.url("/ws"))
        late.send(f"auth {ALICE}")
        self.assertEqual((await late.closed)[0], 3504)
        self.assertEqual(await status(port, PUBLISH), 200)  # a publication holds no connection
        self.assertEqual(await status(port, upgrade("/raw/a", bearer(BOB))), 101)
        for connection in held:
            await connection.close()

        async def room() -> bool:
            return await status(port, upgrade("/raw/a", AUTH)) == 101

        await until(room)


_LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))
from twisted.scripts.twistd import run
run()
"""


class NoDescriptors(TestCase):
    """The process has no file descriptor left."""

    timeout = 100

    def cpu(self, server: Server) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{server.process.transport.pid}/stat").read_text().rpartition(")")[2].split()  # type: ignore[union-attr]
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def test_accept_fails(self) -> None:
        """It neither dies nor spins nor floods its log; who is in is served; later there is room again."""
        if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 64:
            self.fail("this test itself needs file descriptors")
        limits = '[limits]\nconnections = 10000\nconnections_per_address = 0\n[http]\nhead_timeout = "2s"\n'
        config = write_config(self, LISTENERS + TOKENS + limits)
        command = [sys.executable, "-c", _LIMITED.format(limit=64), "-n", "--pidfile=", "realtime_svc"]
        process = spawn(self, [*command, "--config", str(config)], cwd=str(config.parent))
        await process.when_printed(r"realtime_svc ready")
        server = Server(process, config.parent)
        alice, bob = [
            await connect(reactor, server.url("/raw/a"), token=token, insecure=True) for token in (ALICE, BOB)
        ]
        crowd = [await open_connection(server.port()) for _ in range(200)]
        await crowd[-1].when_ended()
        began, used = time.monotonic(), self.cpu(server)
        await self.talk(alice, bob)
        for connection in crowd:  # the first ones were let in, and are too slow
            await connection.when_ended()
        busy = (self.cpu(server) - used) / (time.monotonic() - began)
        self.assertLess(busy, 0.5, "the process spins")
        await self.talk(alice, bob)
        await until(lambda: self.room(server))
        self.assertLess(len(re.findall("EMFILE|Could not accept", process.output)), 100)
        self.assertNotIn("Traceback", process.output)

    async def talk(self, alice: Connection, bob: Connection) -> None:
        """What the one says, the other hears."""
        alice.send('"still here"')
        heard = bob.receive()
        heard.addTimeout(GUARD, reactor)
        self.assertEqual(await heard, '"still here"')

    async def room(self, server: Server) -> bool:
        return await status(server.port(), PUBLISH) == 200
