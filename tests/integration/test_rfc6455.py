"""RFC 6455 on the real process: framing, fragments, control frames, UTF-8, and closing, on the endpoint that echoes."""

from __future__ import annotations

import os
import struct
from collections.abc import Awaitable, Callable
from functools import partial

from twisted.trial.unittest import TestCase

from tests.integration.conformance import each, open_echo, start_echo
from tests.integration.rfc6455_cases import (
    BAD_CODES,
    GOOD_CODES,
    INVALID_TEXT,
    SIZES,
    UNFINISHED_TEXT,
    VALID_TEXT,
    VIOLATIONS,
)
from tests.integration.server import Server
from tests.integration.ws_peer import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    End,
    Wire,
    close_frame,
    fragments,
    frame,
    open_peer,
    pieces,
)

Cases = dict[str, Callable[[], Awaitable[None]]]
TOLD = b"the message before it"


class MessageTests(TestCase):
    """What a client sends comes back as it was."""

    async def setUp(self) -> None:  # type: ignore[override]
        self.server: Server = await start_echo(self)

    async def test_sizes(self) -> None:
        """Text and binary of every size that has a boundary near it, one after the other on one connection."""
        peer = await open_echo(self, self.server)
        for size in SIZES:
            for opcode, payload in ((TEXT, b"\xc3\xa4" * (size // 2) + b"x" * (size % 2)), (BINARY, os.urandom(size))):
                peer.send(frame(opcode, payload))
                echo = await peer.next_frame()
                self.assertEqual(echo[:1] + echo[2:], (opcode, True, 0))
                self.assertTrue(echo.payload == payload, f"{opcode} of {size}")
        peer.send(close_frame())
        self.assertEqual(await peer.end(), End(1000, b"", "eof"))

    async def test_fragments(self) -> None:
        """However a message is cut into frames, with or without pings between them, it comes back in one piece."""
        peer = await open_echo(self, self.server)
        text = "Grüße, 世界 🎉! ".encode() * 20
        cuts = {
            "bytes": pieces(text, 1),
            "pieces of 7": pieces(text, 7),
            "halves": pieces(text, len(text) // 2),
            "empty around": [b"", text, b""],
            "empty between": [part for one in pieces(text, 50) for part in (one, b"")],
            "only empty": [b""] * 50,
            "64 KiB and more": pieces(text * 1000, 65536),
        }
        for name, parts in cuts.items():
            for opcode in (TEXT, BINARY):
                for ping in (None, b"", b"p" * 125):
                    between = b"" if ping is None else frame(PING, ping) + frame(PONG, b"unasked")
                    peer.send(fragments(opcode, parts, between=between))
                    seen = len(peer.frames)
                    self.assertEqual(await peer.next(), Wire(opcode, b"".join(parts)), name)
                    pongs = [] if ping is None else [Wire(PONG, ping)] * (len(parts) - 1)
                    self.assertEqual([one for one in peer.frames[seen:] if one.opcode == PONG], pongs, name)

    async def test_many_small_frames(self) -> None:
        """1 MiB in 16,384 frames, and 5,000 messages in one go: all of it, in order."""
        peer = await open_echo(self, self.server)
        payload = os.urandom(2**20)
        peer.send(fragments(BINARY, pieces(payload, 64)))
        self.assertTrue((await peer.next()).payload == payload)
        said = [b"message %d" % number for number in range(5000)]
        peer.send(*(frame(TEXT, one) for one in said))
        await peer.when(lambda: len(peer.messages) == 5001)
        self.assertEqual(peer.messages[1:], said)

    async def test_chopped(self) -> None:
        """Frames do not have to arrive whole: each byte in a packet of its own is the same."""
        peer = await open_echo(self, self.server)
        text, longer = "Grüße".encode(), b"y" * 300
        await peer.send_chopped(
            frame(TEXT, text) + fragments(TEXT, pieces(text, 1)) + frame(PING, b"here?") + frame(BINARY, longer)
        )
        expected = [Wire(TEXT, text), Wire(TEXT, text), Wire(BINARY, longer)]
        found = [await peer.next_frame() for _ in range(4)]
        found.remove(Wire(PONG, b"here?"))  # a pong does not wait for the end of the turn
        self.assertEqual(found, expected)
        peer.send(close_frame(1001, b"done"))
        self.assertEqual(await peer.end(), End(1001, b"done", "eof"))

    async def test_masks(self) -> None:
        """Any mask, also one of zeros."""
        peer = await open_echo(self, self.server)
        for mask in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\1", os.urandom(4)):
            peer.send(frame(TEXT, b"masked" * 30, mask=mask))
            self.assertEqual(await peer.next_frame(), Wire(TEXT, b"masked" * 30))

    async def test_pings(self) -> None:
        """A ping is answered with its payload, in order and before a message that is not finished; a pong is not."""
        peer = await open_echo(self, self.server)
        payloads = [b"", b"hello", b"\0\xff\xfe\xfd", b"x" * 125]
        peer.send(*(frame(PING, payload) for payload in payloads))
        peer.send(frame(PONG), frame(PONG, b"unasked"), frame(PING, b"last"))
        answers = [await peer.next_frame() for _ in (*payloads, b"last")]
        self.assertEqual(answers, [Wire(PONG, payload) for payload in (*payloads, b"last")])
        peer.send(frame(TEXT, b"one, ", fin=False), frame(PING, b"inside"))
        self.assertEqual(await peer.next_frame(), Wire(PONG, b"inside"))
        peer.send(frame(CONTINUATION, b"two"))
        self.assertEqual(await peer.next_frame(), Wire(TEXT, b"one, two"))

    async def test_valid_utf8(self) -> None:
        """Every legal sequence, whole, split at each byte over two frames, and one byte a frame."""
        peer = await open_echo(self, self.server)
        for name, text in VALID_TEXT.items():
            data = text.encode()
            peer.send(frame(TEXT, data), fragments(TEXT, pieces(data, 1) or [b""]))
            peer.send(*(fragments(TEXT, [data[:cut], data[cut:]]) for cut in range(len(data))))
            for _ in range(2 + len(data)):
                self.assertEqual(await peer.next_frame(), Wire(TEXT, data), name)

    async def test_binary_is_not_looked_at(self) -> None:
        """What is no UTF-8 passes as binary."""
        peer = await open_echo(self, self.server)
        for before, bad, after in INVALID_TEXT.values():
            peer.send(frame(BINARY, before + bad + after))
            self.assertEqual(await peer.next_frame(), Wire(BINARY, before + bad + after))


class ViolationTests(TestCase):
    """What breaks the protocol is answered with the code for it and the end of TCP; nothing behind it is looked at."""

    async def setUp(self) -> None:  # type: ignore[override]
        self.server: Server = await start_echo(self)

    async def rejected(self, code: int, data: bytes, *, chop: bool = False) -> None:
        """`data` after a good message: that one is answered, then comes Close with `code`, then EOF."""
        peer = await open_echo(self, self.server)
        peer.send(frame(TEXT, TOLD))
        if chop:
            await peer.send_chopped(data)
        else:
            peer.send(data)
        end = await peer.end()
        self.assertEqual((end.code, end.tcp), (code, "eof"), end.reason)
        self.assertEqual(peer.messages, [TOLD])

    async def test_frames(self) -> None:
        """1002: alone, with valid frames and a lot more behind it, and byte by byte."""
        after = frame(PING, b"not answered") + frame(TEXT, b"not echoed") + frame(BINARY, bytes(2**20))
        cases: Cases = {name: partial(self.rejected, 1002, data) for name, data in VIOLATIONS.items()}
        cases |= {f"{name}, more": partial(self.rejected, 1002, data + after) for name, data in VIOLATIONS.items()}
        cases |= {
            f"{name}, chopped": partial(self.rejected, 1002, data, chop=True)
            for name, data in VIOLATIONS.items()
            if len(data) < 300
        }
        await each(self, cases)

    async def test_invalid_utf8(self) -> None:
        """1007: in one frame, at the border of two, and one byte a frame."""
        cases: Cases = {}
        for name, (before, bad, after) in INVALID_TEXT.items():
            data = before + bad + after
            cases[name] = partial(self.rejected, 1007, frame(TEXT, data))
            cases[f"{name}, split"] = partial(self.rejected, 1007, fragments(TEXT, [before, bad + after]))
            cases[f"{name}, bytes"] = partial(self.rejected, 1007, fragments(TEXT, pieces(data, 1)))
        for data in UNFINISHED_TEXT:
            cases[f"unfinished {data!r}"] = partial(self.rejected, 1007, frame(TEXT, data))
            cases[f"unfinished {data!r}, split"] = partial(self.rejected, 1007, fragments(TEXT, [data, b""]))
        await each(self, cases)

    async def test_first_bad_byte(self) -> None:
        """1007 comes with the first bad byte: the rest of the frame, or of the message, does not have to arrive."""
        cases: Cases = {}
        for name, (before, bad, _) in INVALID_TEXT.items():
            declared = frame(TEXT, b"", declared=70000) + _masked_in_frame(before + bad)
            cases[f"{name}, frame"] = partial(self.rejected, 1007, declared)
            cases[f"{name}, chopped"] = partial(self.rejected, 1007, declared, chop=True)
            unfinished = frame(TEXT, before, fin=False) + frame(CONTINUATION, bad, fin=False)
            cases[f"{name}, message"] = partial(self.rejected, 1007, unfinished)
        await each(self, cases)

    async def test_too_big(self) -> None:
        """1009 as soon as the length is known: declared by one frame, or by the sum of the fragments."""
        limit = 2**24 + 1024
        halves = frame(BINARY, bytes(limit // 2), fin=False, mask=bytes(4)) * 2
        second = halves[: len(halves) // 2] + frame(CONTINUATION, declared=limit // 2 + 1)
        cases: Cases = {
            "one byte too many": partial(self.rejected, 1009, frame(BINARY, declared=limit + 1)),
            "text": partial(self.rejected, 1009, frame(TEXT, declared=limit + 1)),
            "2**62": partial(self.rejected, 1009, frame(BINARY, declared=2**62)),
            "2**63 - 1": partial(self.rejected, 1009, frame(BINARY, declared=2**63 - 1)),
            "fragments": partial(self.rejected, 1009, second),
        }
        await each(self, cases)

    async def test_largest(self) -> None:
        """A message of exactly the limit is taken."""
        peer = await open_echo(self, self.server)
        payload = bytes(2**24 + 1024)
        peer.send(frame(BINARY, payload, mask=bytes(4)))
        self.assertTrue((await peer.next_frame()).payload == payload)


class ClosingTests(TestCase):
    """The closing handshake of RFC 6455 7: the answer, then FIN from the server, and never RST."""

    async def setUp(self) -> None:  # type: ignore[override]
        self.server: Server = await start_echo(self)

    async def closed(self, expected: End, *data: bytes, messages: tuple[bytes, ...] = ()) -> None:
        peer = await open_echo(self, self.server)
        peer.send(*data)
        end = await peer.end()
        self.assertEqual(end._replace(reason=b"") if expected.code in (1002, 1007) else end, expected)
        self.assertEqual(tuple(peer.messages), messages)

    async def test_codes(self) -> None:
        """A code that may be sent is sent back with its reason; one that may not be is 1002 (RFC 6455 7.4.1, IANA)."""
        cases: Cases = {}
        for code in GOOD_CODES:
            reason = b"" if code in (1002, 1007) else "aß".encode()
            cases[f"{code}"] = partial(self.closed, End(code, b"", "eof"), close_frame(code))
            cases[f"{code} with a reason"] = partial(self.closed, End(code, reason, "eof"), close_frame(code, reason))
        for code in BAD_CODES:
            cases[f"{code}"] = partial(self.closed, End(1002, b"", "eof"), close_frame(code))
            cases[f"{code} with a reason"] = partial(self.closed, End(1002, b"", "eof"), close_frame(code, b"why"))
        await each(self, cases)

    async def test_bodies(self) -> None:
        """No body, the longest reason, one that is too long, one that is not UTF-8."""
        cases: Cases = {
            "empty": partial(self.closed, End(1005, b"", "eof"), close_frame(None)),
            "123 bytes": partial(self.closed, End(1000, b"x" * 123, "eof"), close_frame(1000, b"x" * 123)),
            "124 bytes": partial(self.closed, End(1002, b"", "eof"), close_frame(1000, b"x" * 124)),
        }
        for name, (before, bad, after) in INVALID_TEXT.items():
            refused = End(1007, b"", "eof")
            cases[f"reason: {name}"] = partial(self.closed, refused, close_frame(1000, before + bad + after))
        for data in UNFINISHED_TEXT:
            cases[f"reason: unfinished {data!r}"] = partial(self.closed, End(1007, b"", "eof"), close_frame(1000, data))
        for name, text in VALID_TEXT.items():
            reason = text.encode()[:123]
            if reason.decode(errors="ignore").encode() == reason:
                cases[f"reason: {name}"] = partial(self.closed, End(1000, reason, "eof"), close_frame(1000, reason))
        await each(self, cases)

    async def test_nothing_behind_it(self) -> None:
        """What comes before a Close is answered, what comes behind it is not looked at, whatever it is."""
        normal, quarter = End(1000, b"", "eof"), b"q" * 2**18
        cases: Cases = {
            "message before": partial(
                self.closed, normal, frame(TEXT, b"before"), close_frame(), messages=(b"before",)
            ),
            "large message before, ping behind": partial(
                self.closed, normal, frame(TEXT, quarter), close_frame(), frame(PING, b"x"), messages=(quarter,)
            ),
            "another close": partial(self.closed, normal, close_frame(), close_frame(1001)),
            "a ping": partial(self.closed, normal, close_frame(), frame(PING, b"x")),
            "a message": partial(self.closed, normal, close_frame(), frame(TEXT, b"x")),
            "a violation": partial(self.closed, normal, close_frame(), frame(3, b"x", mask=None)),
            "rubbish": partial(self.closed, normal, close_frame(), os.urandom(1000)),
            "a flood": partial(self.closed, normal, close_frame(), frame(BINARY, bytes(2**22))),
            "inside a message": partial(
                self.closed, normal, frame(TEXT, b"x", fin=False), close_frame(), frame(CONTINUATION, b"y")
            ),
            "inside a character": partial(self.closed, normal, frame(TEXT, b"\xc3", fin=False), close_frame()),
        }
        await each(self, cases)

    async def test_data_after_the_end(self) -> None:
        """A client that goes on sending behind the server's FIN is not reset while it has time to close."""
        for violation in (close_frame(), frame(3), frame(BINARY, declared=2**40)):
            peer = await open_echo(self, self.server)
            peer.stay, peer.answer_close = True, False
            peer.send(violation)
            await peer.when(lambda peer=peer: peer.tcp is not None)  # type: ignore[misc]
            await peer.send_chopped(frame(TEXT, b"z" * 2**16), 2**12)
            peer.send(close_frame())
            self.assertTrue(peer.transport.connected)
            peer.finish_writing()
            other = await open_echo(self, self.server)
            other.send(frame(TEXT, b"still there"))
            self.assertEqual((await other.next_frame()).payload, b"still there")
            self.assertEqual((await peer.end()).tcp, "eof")

    async def test_client_leaves(self) -> None:
        """FIN without a Close, at rest, inside a frame and inside a message: the server closes too."""
        for data in (b"", b"\x81", frame(TEXT, declared=100), frame(TEXT, b"x", fin=False)):
            peer = await open_echo(self, self.server)
            peer.send(data)
            peer.finish_writing()
            self.assertEqual(await peer.end(), End(None, b"", "eof"))

    async def test_server_closes(self) -> None:
        """At SIGTERM the server sends Close first, waits for the answer, and is the one that ends TCP."""
        calm, busy = await open_echo(self, self.server), await open_echo(self, self.server)
        calm.answer_close = False
        busy.send(frame(TEXT, b"half", fin=False))
        other = await open_peer(self, self.server.port(), "/ws")
        self.server.stop()
        self.assertEqual(await calm.next_frame(), Wire(CLOSE, struct.pack("!H", 1012) + b"service restart"))
        calm.send(frame(PING, b"too late"), frame(TEXT, b"too late"), close_frame(1012))
        self.assertEqual(await calm.end(), End(1012, b"service restart", "eof"))
        self.assertEqual(await busy.end(), End(1012, b"service restart", "eof"))
        self.assertEqual(await other.end(), End(3001, b"shutdown", "eof"))


def _masked_in_frame(payload: bytes) -> bytes:
    """The first bytes of the payload of a frame whose head was sent before."""
    return frame(TEXT, payload)[6:]
