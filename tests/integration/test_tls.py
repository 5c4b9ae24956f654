"""TLS through the whole product, in each way it can be spoken; the clients are Python's own ssl module on sockets."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.client.pki import Authority, pem
from tests.integration.server import ALICE, BOB, STOPPED, TOKENS, Server, start_server, toml
from tests.integration.ws_peer import CLOSE, TEXT, Wire, close_frame, frame, parse, request

LISTENERS = """
[internal]
port = 0
[listeners.secure]
host = "127.0.0.1"
port = 0
tls = true
"""
WAYS = ("auto", "python", "stock")
TIMEOUT = 30.0  # seconds until a client gives up: only where something is broken
RESTARTING = 1012

T = TypeVar("T")


class Client:
    """A WebSocket over TLS, in a thread of its own."""

    def __init__(self, test: TlsTests, server: Server, token: str, room: int = 0) -> None:
        sock = socket.socket()
        if room:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        sock.settimeout(TIMEOUT)
        sock.connect(("127.0.0.1", server.port("secure")))
        self._sock = test.context.wrap_socket(sock, server_hostname="localhost", suppress_ragged_eofs=False)
        self._data, self._at = bytearray(), 0
        self._sock.sendall(request("/raw/x", [f"Authorization: Bearer {token}"]))
        while b"\r\n\r\n" not in self._data:
            self._data += self._sock.recv(65536)
        head, _, rest = bytes(self._data).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        self._data = bytearray(rest)

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def receive(self) -> Wire:
        """The next frame."""
        while (parsed := parse(self._data, self._at)) is None:
            more = self._sock.recv(65536)
            assert more, "the end in the middle"
            self._data = self._data[self._at :] + more
            self._at = 0
        found, self._at = parsed
        return found

    def finish(self) -> bytes:
        """What comes until close_notify, with which both sides end."""
        rest = b""
        while data := self._sock.recv(65536):
            rest += data
        self._sock.unwrap().close()
        return rest


class TlsTests(TestCase):
    """A server with a certificate of an authority that the clients know."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.authority = Authority("test authority")
        self.certificate, self.key = self.authority.write(self.folder, "server")
        self.context = ssl.create_default_context(cadata=pem(self.authority.certificate).decode())

    async def start(self, way: str, more: str = "") -> Server:
        files = f"[tls]\ncertificate = {toml(self.certificate)}\nkey = {toml(self.key)}\n"
        text = f"{files}[sockets]\npath = {toml(way)}\n{TOKENS}{more}"
        return await start_server(self, text, listeners=LISTENERS)

    def thread(self, work: Callable[[], T]) -> Deferred[T]:
        done: Deferred[T] = deferToThread(work)
        return done

    async def test_order_and_loss(self) -> None:
        """Every message, once, in order, to who reads at once and to who reads when all is over."""
        count, size = 600, 6_000
        limits = '[limits]\nqueue_size = "64MiB"\nmessages_per_second = 0\nframes_per_second = 0\n'
        for way in WAYS:
            server = await self.start(way, limits)
            ready, all_sent = threading.Barrier(4), threading.Event()

            def subscriber(slow: bool, server: Server = server) -> list[int]:
                client = Client(self, server, BOB, 4096 if slow else 0)
                ready.wait(TIMEOUT)  # noqa: B023
                if slow:
                    all_sent.wait(TIMEOUT)  # noqa: B023
                numbers = [int(client.receive().payload[1:9]) for _ in range(count)]
                client.send(close_frame())
                assert client.receive().opcode == CLOSE
                assert client.finish() == b""
                return numbers

            def publisher(server: Server = server) -> None:
                client = Client(self, server, ALICE)
                ready.wait(TIMEOUT)  # noqa: B023
                for number in range(count):
                    client.send(frame(TEXT, b'"%08d%s"' % (number, b"x" * (size * (number % 7) // 3))))
                client.send(close_frame())
                assert client.receive().opcode == CLOSE
                all_sent.set()  # noqa: B023

            work = [self.thread(lambda slow=slow: subscriber(slow)) for slow in (False, False, True)]  # type: ignore[misc]
            await self.thread(publisher)
            for numbers in await gatherResults(work):
                self.assertEqual(numbers, list(range(count)), way)
            self.assertEqual(await server.stop(), STOPPED)

    async def test_plain_http(self) -> None:
        """Requests one after the other on one connection, with bodies, and an answer after the client's last word."""
        for way in WAYS:
            server = await self.start(way)

            def client(server: Server = server) -> list[int]:
                connection = http.client.HTTPSConnection(
                    "localhost", server.port("secure"), timeout=TIMEOUT, context=self.context
                )
                headers = {"Authorization": f"Bearer {ALICE}"}
                answers = []
                for body in (b'"short"', json.dumps("long" * 10_000).encode(), b'"last"'):
                    connection.request("POST", "/publish/x", body, headers)
                    response = connection.getresponse()
                    response.read()
                    answers.append(response.status)
                connection.close()
                return answers

            self.assertEqual(await self.thread(client), [200] * 3, way)
            self.assertEqual(await server.stop(), STOPPED)

    async def test_no_handshake(self) -> None:
        """Counted: who speaks something else, and who says nothing for too long. The others go on."""
        server = await self.start("auto", '[http]\nhead_timeout = "300ms"\n')

        def stranger(data: bytes) -> bytes:
            with socket.create_connection(("127.0.0.1", server.port("secure")), TIMEOUT) as sock:
                sock.sendall(data)
                rest = b""
                try:
                    while more := sock.recv(65536):
                        rest += more
                except ConnectionResetError:
                    return b"reset"
                return rest

        self.assertEqual(await self.thread(lambda: stranger(b"\x16\x03\x01\x02\x00\x01\x00")), b"reset")
        await self.thread(lambda: stranger(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))

        def client() -> None:
            connection = Client(self, server, ALICE)
            connection.send(close_frame())
            assert connection.receive().opcode == CLOSE
            assert connection.finish() == b""

        await self.thread(client)
        metrics = await server.metrics()
        self.assertIn('realtime_svc_refusals_total{cause="tls_handshake",status="400"} 1.0', metrics)
        self.assertIn('realtime_svc_refusals_total{cause="too_slow",status="408"} 1.0', metrics)
        self.assertNotIn("Traceback", server.process.output)

    async def test_drain(self) -> None:
        """Everybody is told, gets what was on its way, and both ends are clean ones."""
        for way in WAYS:
            server = await self.start(way)
            connected = threading.Event()

            def client(server: Server = server) -> tuple[int, bytes]:
                connection = Client(self, server, ALICE)
                connected.set()  # noqa: B023
                last = connection.receive()
                assert last.opcode == CLOSE
                connection.send(close_frame(int.from_bytes(last.payload[:2], "big")))
                return int.from_bytes(last.payload[:2], "big"), connection.finish()

            done = self.thread(client)
            await self.thread(lambda: connected.wait(TIMEOUT))  # noqa: B023
            self.assertEqual(await server.stop(), STOPPED)
            self.assertEqual(await done, (RESTARTING, b""), way)
