"""permessage-deflate (RFC 7692) on the real process: offers, messages both ways, and what a hostile stream does."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import connect

from tests.integration.conformance import ECHO, each, open_echo, start_echo
from tests.integration.limits import OPEN, pid_of
from tests.integration.server import Server, start_server
from tests.integration.ws_peer import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Peer,
    Wire,
    close_frame,
    fragments,
    frame,
    open_peer,
    pieces,
    resident,
)

Cases = dict[str, Callable[[], Awaitable[None]]]
PLAIN = "permessage-deflate"
RSV1 = 4
LIMIT = 2**24 + 1024
TAKEOVER = "\ncontext_takeover = true\nwindow_bits = 15\nmemory_level = 9\n"
OFFERS = [
    "; ".join((PLAIN, *parameters))
    for server in ((), ("server_max_window_bits=9",), ("server_max_window_bits=15",))
    for client in ((), ("client_max_window_bits",), ("client_max_window_bits=9",), ('client_max_window_bits="15"',))
    for takeover in (
        (),
        ("server_no_context_takeover",),
        ("client_no_context_takeover",),
        ("client_no_context_takeover", "server_no_context_takeover"),
    )
    for parameters in ((*server, *takeover, *client),)
]
# fmt: off
FALLBACKS = {  # offers: is one of them accepted?
    "permessage-deflate; server_max_window_bits=8, permessage-deflate; client_max_window_bits": True,
    "permessage-deflate; server_max_window_bits=16, permessage-deflate": True,
    "x-webkit-deflate-frame; x, permessage-deflate": True,
    "permessage-deflate; client_max_window_bits=8": True,
    "permessage-deflate; server_max_window_bits=8": False,
    "permessage-deflate; server_max_window_bits=7": False,
    "permessage-deflate; server_max_window_bits=16": False,
    "permessage-deflate; server_max_window_bits": False,
    "permessage-deflate; client_max_window_bits=abc": False,
    "permessage-deflate; client_max_window_bits=7": False,
    "permessage-deflate; client_no_context_takeover=1": False,
    "permessage-deflate; server_no_context_takeover; server_no_context_takeover": False,
    "permessage-deflate; mystery": False,
    "permessage-deflate; mystery=1, x-other; y": False,
    "x-webkit-deflate-frame": False,
}
# fmt: on


class Deflater:
    """The client's side, by what the server's answer says and no better: windows and takeover are kept to."""

    def __init__(self, answer: str) -> None:
        self._client_bits = int((re.search(r"client_max_window_bits=(\d+)", answer) or [0, 15])[1])
        self._server_bits = int((re.search(r"server_max_window_bits=(\d+)", answer) or [0, 15])[1])
        self._keep_ours = "client_no_context_takeover" not in answer
        self._keep_theirs = "server_no_context_takeover" not in answer
        self._compressor: Any = None
        self._inflater: Any = None

    def compress(self, payload: bytes, level: int = 6) -> bytes:
        if self._compressor is None or not self._keep_ours:
            self._compressor = zlib.compressobj(level, zlib.DEFLATED, -self._client_bits)
        body: bytes = self._compressor.compress(payload) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        return body[:-4] or b"\0"

    def inflate(self, body: bytes) -> bytes:
        """In small steps, so that zlib needs the window and can't look back at what it has just written."""
        if self._inflater is None or not self._keep_theirs:
            self._inflater = zlib.decompressobj(-self._server_bits)
        steps = pieces(body + b"\0\0\xff\xff", 64 + len(body) // 1000)
        return b"".join(map(self._inflater.decompress, steps))


async def open_deflate(test: TestCase, server: Server, offer: str = PLAIN) -> tuple[Peer, Deflater]:
    peer = await open_echo(test, server, f"Sec-WebSocket-Extensions: {offer}")
    answer = peer.headers.get("sec-websocket-extensions", "")
    test.assertTrue(answer.startswith(PLAIN), answer)
    return peer, Deflater(answer)


class AgreementTests(TestCase):
    async def test_offers(self) -> None:
        """Every combination of parameters opens, keeps what was asked, and messages pass both ways."""
        for extra in ("", TAKEOVER):
            server = await start_echo(self, extra)
            cases: Cases = {offer: partial(self._passes, server, offer) for offer in OFFERS}
            await each(self, cases)
            await server.stop()

    async def _passes(self, server: Server, offer: str) -> None:
        peer, deflater = await open_deflate(self, server, offer)
        answer = peer.headers["sec-websocket-extensions"]
        for name in ("server_no_context_takeover", "client_no_context_takeover"):
            self.assertFalse(name in offer and name not in answer, answer)
        self.assertEqual("server_max_window_bits" in answer, "server_max_window_bits" in offer, answer)
        self.assertEqual("client_max_window_bits" in answer, "client_max_window_bits" in offer, answer)
        for name in ("server", "client"):
            asked, said = (re.search(rf'{name}_max_window_bits="?(\d+)', text) for text in (offer, answer))
            self.assertFalse(asked and said and int(said[1]) > int(asked[1]), answer)
        noise = os.urandom(5000)
        for payload in (b"", b"", noise, b"abc", noise + noise, b"", b"abc"):
            peer.send(frame(BINARY, deflater.compress(payload), rsv=RSV1))
            echo = await peer.next_frame()
            self.assertEqual((echo.opcode, echo.fin, echo.rsv), (BINARY, True, RSV1))
            self.assertEqual(deflater.inflate(echo.payload), payload)
        peer.send(close_frame())
        self.assertEqual((await peer.end())[::2], (1000, "eof"))

    async def test_fallbacks(self) -> None:
        """An offer that can't be accepted is passed over (RFC 7692 7.1); where none is left, it opens without."""
        server = await start_echo(self)
        cases: Cases = {offer: partial(self._falls_back, server, offer, good) for offer, good in FALLBACKS.items()}
        await each(self, cases)

    async def _falls_back(self, server: Server, offer: str, accepted: bool) -> None:
        peer = await open_echo(self, server, f"Sec-WebSocket-Extensions: {offer}")
        self.assertEqual("sec-websocket-extensions" in peer.headers, accepted)
        peer.send(frame(TEXT, b"hello"))
        echo = await peer.next_frame()
        self.assertEqual(echo.rsv, RSV1 if accepted else 0)

    async def test_offers_in_two_headers(self) -> None:
        """Repeated headers are one list (RFC 6455 11.3.2)."""
        server = await start_echo(self)
        header = "Sec-WebSocket-Extensions: "
        peer = await open_echo(self, server, f"{header}{PLAIN}; mystery", f"{header}{PLAIN}; server_max_window_bits=10")
        self.assertIn("server_max_window_bits=10", peer.headers["sec-websocket-extensions"])

    async def test_off_by_default(self) -> None:
        """Without the configuration key an offer is passed over, and a compressed frame is a violation."""
        server = await start_server(self, OPEN)
        peer = await open_echo(self, server, f"Sec-WebSocket-Extensions: {PLAIN}")
        self.assertNotIn("sec-websocket-extensions", peer.headers)
        peer.send(frame(TEXT, b"\0", rsv=RSV1))
        self.assertEqual((await peer.end()).code, 1002)


class MessageTests(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        self.server: Server = await start_echo(self)

    async def test_sizes(self) -> None:
        """Compressible and incompressible messages of many sizes, up to 16 MiB."""
        peer, deflater = await open_deflate(self, self.server)
        for size in (0, 1, 16, 125, 126, 1000, 65535, 65536, 2**20, 2**24):
            for opcode, payload in ((TEXT, (b'{"a":1}' * (size // 7 + 1))[:size]), (BINARY, os.urandom(size))):
                peer.send(frame(opcode, deflater.compress(payload, 1), rsv=RSV1))
                echo = await peer.next_frame()
                self.assertEqual((echo.opcode, echo.rsv), (opcode, RSV1))
                self.assertTrue(deflater.inflate(echo.payload) == payload, size)

    async def test_fragments(self) -> None:
        """RSV1 is on the first frame only; the cuts may be anywhere, empty frames and pings between them too."""
        peer, deflater = await open_deflate(self, self.server)
        text = "Grüße 世界 ".encode() * 30
        for size in (1, 2, 7, 50):
            parts = [part for one in pieces(deflater.compress(text), size) for part in (one, b"")]
            peer.send(fragments(TEXT, parts, rsv=RSV1, between=frame(PING, b"p")))
            echo = await peer.next()
            self.assertEqual(deflater.inflate(echo.payload), text)
        await peer.send_chopped(frame(TEXT, deflater.compress(text), rsv=RSV1))
        self.assertEqual(deflater.inflate((await peer.next()).payload), text)

    async def test_mixed(self) -> None:
        """With the extension on a message may still come uncompressed; control frames always do."""
        peer, deflater = await open_deflate(self, self.server)
        peer.send(frame(TEXT, b"not compressed"), frame(PING, b"ping"))
        peer.send(fragments(TEXT, [b"not ", b"compressed"]), frame(TEXT, deflater.compress(b"it is"), rsv=RSV1))
        echoes = [await peer.next_frame() for _ in range(4)]
        self.assertIn(Wire(PONG, b"ping"), echoes)
        texts = [deflater.inflate(one.payload) for one in echoes if one.opcode == TEXT]
        self.assertEqual(texts, [b"not compressed", b"not compressed", b"it is"])

    async def test_to_others(self) -> None:
        """In one channel some speak it and some do not: each gets the message in its way."""
        sender, _ = await open_deflate(self, self.server)
        compressed, deflater = await open_deflate(self, self.server, f"{PLAIN}; server_no_context_takeover")
        plain = await open_echo(self, self.server)
        sender.send(frame(TEXT, b"to all"))
        self.assertEqual(await plain.next_frame(), Wire(TEXT, b"to all"))
        self.assertEqual(deflater.inflate((await compressed.next_frame()).payload), b"to all")

    async def test_independent_client(self) -> None:
        """The `websockets` library, which checks what it gets, in each of its own combinations."""

        def talk(factory: ClientPerMessageDeflateFactory) -> list[bool]:
            url = f"ws://127.0.0.1:{self.server.port()}{ECHO}"
            said: list[str | bytes] = ["", "hello", "hello" * 1000, os.urandom(5000), b"", "Grüße"]
            with connect(url, extensions=[factory], max_size=None) as client:
                if not client.protocol.extensions:
                    raise AssertionError("no extension")
                same = []
                for message in said:
                    client.send(message)
                    same.append(client.recv() == message)
                client.send(["in ", "frag", "ments"])
                return [*same, client.recv() == "in fragments"]

        for bits in (None, 9, 15):
            for takeover in (False, True):
                factory = ClientPerMessageDeflateFactory(
                    server_no_context_takeover=takeover,
                    client_no_context_takeover=not takeover,
                    server_max_window_bits=bits,
                    client_max_window_bits=True if bits is None else bits,
                )
                self.assertEqual(await deferToThread(talk, factory), [True] * 7)


class HostileTests(TestCase):
    """Violations end with the code for them; a bomb does not go off."""

    async def rejected(self, code: int, data: Callable[[Deflater], bytes], *, chop: bool = False) -> None:
        peer, deflater = await open_deflate(self, self.server)
        await peer.send_chopped(data(deflater)) if chop else peer.send(data(deflater))
        end = await peer.end()
        self.assertEqual((end.code, end.tcp), (code, "eof"), end.reason)
        self.assertEqual(peer.messages, [])

    async def test_violations(self) -> None:
        """1002 for the frames, 1007 for what is in them."""
        self.server = await start_echo(self)
        # fmt: off
        violations: dict[str, tuple[int, Callable[[Deflater], bytes]]] = {
            **{f"RSV1 on {name}": (1002, lambda _, code=code, body=body: frame(code, body, rsv=RSV1))  # type: ignore[misc]
               for name, code, body in (("ping", PING, b""), ("pong", PONG, b""), ("close", CLOSE, b"\x03\xe8"))},
            "RSV1 on a continuation":
                (1002, lambda _: frame(TEXT, b"a", fin=False) + frame(CONTINUATION, b"b", rsv=RSV1)),
            "RSV1 on a compressed continuation":
                (1002, lambda it: frame(TEXT, it.compress(b"a"), rsv=4, fin=False) + frame(CONTINUATION, b"", rsv=4)),
            **{f"RSV {rsv}": (1002, lambda it, rsv=rsv: frame(TEXT, it.compress(b"a"), rsv=rsv))  # type: ignore[misc]
               for rsv in (1, 2, 3, 5, 6, 7)},
            "no deflate stream": (1007, lambda _: frame(BINARY, b"\x07" * 20, rsv=RSV1)),
            "random bytes": (1007, lambda _: frame(BINARY, b"\xff" + os.urandom(50), rsv=RSV1)),
            "bad in a continuation":
                (1007, lambda it: fragments(BINARY, [it.compress(b"a" * 50), b"\xff" * 9], rsv=RSV1)),
            "cut off": (1007, lambda it: frame(BINARY, it.compress(os.urandom(100))[:50], rsv=RSV1)),
            "a distance too far": (1007, lambda _: frame(BINARY, bytes.fromhex("f200110000"), rsv=RSV1)),
            "invalid UTF-8": (1007, lambda it: frame(TEXT, it.compress(b"\xc0\xaf"), rsv=RSV1)),
            "unfinished UTF-8": (1007, lambda it: frame(TEXT, it.compress(b"\xe2\x82"), rsv=RSV1)),
            "invalid UTF-8, not finished":
                (1007, lambda it: frame(TEXT, it.compress(b"\xed\xa0"), rsv=RSV1, fin=False)),
        }
        # fmt: on
        cases: Cases = {name: partial(self.rejected, code, data) for name, (code, data) in violations.items()}
        cases |= {f"{name}, chopped": partial(self.rejected, *case, chop=True) for name, case in violations.items()}
        await each(self, cases)

    async def test_bombs(self) -> None:
        """A message that inflates beyond the limit is 1009, and is never held: the process does not grow by it."""
        self.server = await start_server(self, OPEN + "[websocket.deflate]\nenabled = true")
        limit = 64 * 1024
        await self.rejected(1009, lambda it: frame(BINARY, it.compress(bytes(limit + 1)), rsv=RSV1))
        pid = pid_of(self.server)
        before = resident(pid)
        bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
        body = b"".join(bomb.compress(bytes(2**20)) for _ in range(60))  # less than 64 KiB that mean 60 MiB
        cases: Cases = {
            "in one frame": partial(self.rejected, 1009, lambda _: frame(BINARY, body, rsv=RSV1)),
            "in fragments": partial(self.rejected, 1009, lambda _: fragments(BINARY, pieces(body, 10), rsv=RSV1)),
            "as text": partial(self.rejected, 1009, lambda _: frame(TEXT, body, rsv=RSV1)),
            "never finished": partial(self.rejected, 1009, lambda _: frame(TEXT, body, rsv=RSV1, fin=False)),
            "declared": partial(self.rejected, 1009, lambda _: frame(TEXT, body[:20], rsv=RSV1, declared=2 * limit)),
            "one byte too many": partial(
                self.rejected, 1009, lambda it: frame(TEXT, it.compress(b"x" * (limit + 1)), rsv=RSV1)
            ),
        }
        for _ in range(5):
            await each(self, cases)
        self.assertLess(resident(pid) - before, 8 * 2**20)

    async def test_largest(self) -> None:
        """Exactly the limit passes, compressible or not: deflate makes noise a little longer than it is."""
        self.server = await start_server(self, OPEN + "[websocket.deflate]\nenabled = true")
        peer = await open_peer(self, self.server.port(), ECHO, f"Sec-WebSocket-Extensions: {PLAIN}")
        deflater = Deflater(peer.headers["sec-websocket-extensions"])
        for payload in (bytes(65536), os.urandom(65536)):
            body = deflater.compress(payload)
            peer.send(frame(BINARY, body, rsv=RSV1))
            self.assertTrue(deflater.inflate((await peer.next_frame()).payload) == payload)
            peer.send(fragments(BINARY, pieces(deflater.compress(payload), 1000), rsv=RSV1))
            self.assertTrue(deflater.inflate((await peer.next_frame()).payload) == payload)
