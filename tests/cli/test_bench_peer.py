"""`realtime-svc bench`: its connections, with a server that the test plays."""

from __future__ import annotations

import base64
import hashlib
import re
import select
import socket
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.cli.bench_peer import MOST, Closed, Loop, Peer, Target
from realtime_svc.cli.bench_wire import RunFailed, frame
from realtime_svc.client.errors import ConnectionFailed, HandshakeRefused
from realtime_svc.client.request import make_request

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
PATIENCE = 10.0


def server_frame(payload: bytes, first: int = 0x81) -> bytes:
    """The same without a mask."""
    made = bytearray(frame(payload, first))
    made[1] &= 0x7F
    end = len(made) - len(payload)
    del made[end - 4 : end]
    return bytes(made)


class PeerCase(SynchronousTestCase):
    """`opened` and `messages`: what the owner of the connection was told."""

    def setUp(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listening.close)
        self.loop = Loop()
        self.addCleanup(self.loop.close)
        self.is_open = False
        self.messages: list[bytes] = []

    def opened(self, peer: Peer) -> None:
        self.is_open = True

    def received(self, peer: Peer, payload: bytes) -> None:
        self.messages.append(payload)

    def target(self, path: str = "") -> Target:
        host, port = self.listening.getsockname()
        return Target(socket.AF_INET, (host, port), make_request(f"ws://{host}:{port}{path}", token="secret-token"))

    def run_until(self, condition: Callable[[], bool]) -> None:
        self.assertTrue(self.loop.run(condition, PATIENCE))

    def one_turn(self) -> None:
        turns = iter((False, True))
        self.run_until(lambda: next(turns))

    def begin(self, path: str = "") -> tuple[Peer, bytes]:
        """A connection, and its request."""
        peer = Peer(self.loop, self.target(path), "/raw/a", self)
        self.server = self.listening.accept()[0]
        self.addCleanup(self.server.close)
        self.run_until(lambda: bool(select.select([self.server], [], [], 0)[0]))
        return peer, self.server.recv(65536)

    def answer(self, request: bytes) -> bytes:
        key = re.search(rb"Sec-WebSocket-Key: (\S+)", request)
        assert key
        return HEAD + base64.b64encode(hashlib.sha1(key[1] + GUID).digest()) + b"\r\n\r\n"

    def open(self) -> Peer:
        peer, request = self.begin()
        self.server.sendall(self.answer(request))
        self.run_until(lambda: self.is_open)
        return peer


class UpgradeTests(PeerCase):
    def test_request(self) -> None:
        _, request = self.begin("/behind/a/proxy/")
        head, *lines = request.decode().split("\r\n")
        self.assertEqual("GET /behind/a/proxy/raw/a HTTP/1.1", head)
        self.assertIn(f"Host: 127.0.0.1:{self.listening.getsockname()[1]}", lines)
        self.assertIn("Authorization: Bearer secret-token", lines)

    def test_messages_directly_behind_the_answer(self) -> None:
        _, request = self.begin()
        self.server.sendall(self.answer(request) + server_frame(b"first") + server_frame(b"second")[:4])
        self.run_until(lambda: self.messages == [b"first"])
        self.server.sendall(server_frame(b"second")[4:])
        self.run_until(lambda: self.messages == [b"first", b"second"])

    def test_refusal_and_what_is_none_and_no_answer_at_all(self) -> None:
        body = b'{"error":{"status":429,"cause":"x","message":"too many"}}'
        refusal = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        for said, kind, text in (
            (refusal, HandshakeRefused, "status 429: too many"),
            (HEAD + b"d3Jvbmc=\r\n\r\n", ConnectionFailed, "no WebSocket handshake"),
            (b"SSH-2.0-x\r\n\r\n", ConnectionFailed, "not HTTP"),
            (b"", ConnectionFailed, "during the handshake"),
        ):
            self.begin()
            self.server.sendall(said)
            self.server.close()
            with self.assertRaisesRegex(kind, text):
                self.loop.run(lambda: self.is_open, PATIENCE)
            self.loop.close()
            self.loop = Loop()
        self.assertFalse(self.is_open)

    def test_nobody_listens(self) -> None:
        target = self.target()
        self.listening.close()
        Peer(self.loop, target, "/raw/a", self)
        with self.assertRaisesRegex(ConnectionFailed, "can't connect: Connection refused"):
            self.loop.run(lambda: self.is_open, PATIENCE)

    def test_no_secret_in_what_may_be_shown(self) -> None:
        self.assertNotIn("secret-token", repr(self.target()))


class MessageTests(PeerCase):
    def test_messages_of_every_length_byte_by_byte(self) -> None:
        self.open()
        expected = [b"", b"x" * 125, b"y" * 126, b"z" * 70_000]
        data = b"".join(server_frame(payload, 0x82) for payload in expected)
        for start in range(300):
            self.server.sendall(data[start : start + 1])
            self.one_turn()
        self.server.sendall(data[300:])
        self.run_until(lambda: len(self.messages) == len(expected))
        self.assertEqual(expected, self.messages)

    def test_pings_are_answered_pongs_are_not(self) -> None:
        self.open()
        self.server.sendall(server_frame(b"alone", 0x8A) + server_frame(b"there?", 0x89) + server_frame(b"end"))
        self.run_until(lambda: self.messages == [b"end"])
        self.assertEqual(frame(b"there?", 0x8A), self.server.recv(100))

    def test_what_the_socket_does_not_take_waits(self) -> None:
        peer = self.open()
        data = frame(b"x" * 5_000_000) + frame(b"last")
        peer.send(data)
        peer.send(data)
        self.server.setblocking(False)
        got = bytearray()

        def read() -> bool:
            try:
                while chunk := self.server.recv(1 << 20):
                    got.extend(chunk)
            except BlockingIOError:
                pass
            return len(got) == 2 * len(data)

        self.run_until(read)
        self.assertEqual(data + data, bytes(got))

    def test_ends(self) -> None:
        for said, kind, text in (
            (server_frame(b"\x03\xf0policy\x1b", 0x88), Closed, r"closed a connection: 1008 policy\\x1b"),
            (server_frame(b"", 0x88), Closed, "1005"),
            (b"", Closed, "1006"),
            (frame(b"masked"), RunFailed, "masks"),
            (server_frame(b"x", 0x01), RunFailed, "fragments"),
            (server_frame(b"x", 0xC1), RunFailed, "compressed"),
            (b"\x81\x7f" + (MOST + 1).to_bytes(8, "big"), RunFailed, f"a message of {MOST + 1} bytes"),
        ):
            self.is_open = False
            self.open()
            self.server.sendall(said)
            self.server.close()
            with self.assertRaisesRegex(kind, text):
                self.loop.run(lambda: False, PATIENCE)
            self.loop.close()
            self.loop = Loop()

    def test_says_goodbye_or_leaves_nothing_behind(self) -> None:
        self.open().close()
        self.assertEqual(frame(b"\x03\xe8", 0x88), self.server.recv(100))
        self.assertEqual(b"", self.server.recv(100))
        self.is_open = False
        self.open().close(reset=True)
        with self.assertRaises(ConnectionResetError):
            self.server.recv(100)

    def test_stops_when_told_to(self) -> None:
        self.open()
        self.loop.stopped = True
        self.assertFalse(self.loop.run(lambda: False, PATIENCE))
