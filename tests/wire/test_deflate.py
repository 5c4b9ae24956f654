"""permessage-deflate without a socket: which offers are accepted and how, and what can come in as a message."""

from __future__ import annotations

import os
import zlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.config import Deflate
from realtime_svc.wire.deflate import Corrupt, MessageDeflate, Terms, TooBig, agree
from realtime_svc.wire.frames import message_frame

LIMIT = 4096
ON = Deflate(enabled=True)
TAKEOVER = Deflate(enabled=True, context_takeover=True, window_bits=15)
BASE = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
TAIL = b"\x00\x00\xff\xff"

# fmt: off
ACCEPTED = {  # offers: (window of the server, window of the client, the answer)
    "permessage-deflate": (12, 15, BASE),
    "Permessage-Deflate": (12, 15, BASE),
    "permessage-deflate; client_max_window_bits": (12, 12, f"{BASE}; client_max_window_bits=12"),
    "permessage-deflate; client_max_window_bits=15": (12, 12, f"{BASE}; client_max_window_bits=12"),
    "permessage-deflate; client_max_window_bits=10": (12, 10, f"{BASE}; client_max_window_bits=10"),
    "permessage-deflate; client_max_window_bits=8": (12, 15, BASE),
    "permessage-deflate; server_max_window_bits=15": (12, 15, f"{BASE}; server_max_window_bits=12"),
    "permessage-deflate; server_max_window_bits=9": (9, 15, f"{BASE}; server_max_window_bits=9"),
    "permessage-deflate ;server_max_window_bits = 10;client_max_window_bits":
        (10, 12, f"{BASE}; server_max_window_bits=10; client_max_window_bits=12"),
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover": (12, 15, BASE),
    "x-webkit-deflate-frame, permessage-deflate": (12, 15, BASE),
    "permessage-deflate; server_max_window_bits=8, permessage-deflate": (12, 15, BASE),
    "permessage-deflate; server_max_window_bits=16, permessage-deflate; server_max_window_bits=11":
        (11, 15, f"{BASE}; server_max_window_bits=11"),
    "permessage-deflate; mystery, permessage-deflate; client_max_window_bits":
        (12, 12, f"{BASE}; client_max_window_bits=12"),
}
DECLINED = (
    "permessage-bzip2", "permessage-snappy; client_no_context_takeover", "x; permessage-deflate",
    *(f"permessage-deflate; {parameter}" for parameter in (
        "unknown", "unknown=1", "server_no_context_takeover=1", "client_no_context_takeover=true",
        "server_max_window_bits", "server_max_window_bits=8", "server_max_window_bits=", "server_max_window_bits=7",
        "server_max_window_bits=16", "server_max_window_bits=010", "server_max_window_bits=+9",
        "server_max_window_bits=9.0", "server_max_window_bits=x", "server_max_window_bits=99999999999999999999",
        "client_max_window_bits=7", "client_max_window_bits=16", "client_max_window_bits=", "client_max_window_bits=09",
        "client_max_window_bits=-9", "client_max_window_bits=1_0",
        "server_no_context_takeover; server_no_context_takeover", "client_max_window_bits; client_max_window_bits=10",
        "server_max_window_bits=10; server_max_window_bits=10",
    )),
)
# fmt: on


def deflated(payload: bytes, bits: int = 15, level: int = 9, flush: int = zlib.Z_SYNC_FLUSH) -> bytes:
    compressor = zlib.compressobj(level, zlib.DEFLATED, -bits)
    return (compressor.compress(payload) + compressor.flush(flush)).removesuffix(TAIL)


def codec(*, takeover: bool = False, server: int = 12, client: int = 15, limit: int = LIMIT) -> MessageDeflate:
    return MessageDeflate(Terms(not takeover, not takeover, server, client, ""), 5, limit)


def compressed(one: MessageDeflate, payload: bytes) -> bytes:
    """What stands in the frame of a message."""
    wire = one.wire(message_frame(payload))
    assert wire[0] & 0x40
    return wire[{126: 4, 127: 10}.get(wire[1], 2) :]


def inflated(one: MessageDeflate, *parts: bytes) -> bytes:
    """One message that came in these frames."""
    one.begin()
    data = b"".join(map(one.inflate, parts))
    one.finish()
    return data


class OfferTests(SynchronousTestCase):
    def test_accepted(self) -> None:
        """The first offer that can be accepted is; what the client asks for is kept, and said in the answer."""
        for offers, (ours, theirs, answer) in ACCEPTED.items():
            self.assertEqual(agree(offers, ON), Terms(True, True, ours, theirs, answer), offers)

    def test_declined(self) -> None:
        """What can't be accepted is no error (RFC 7692 7.1): there is no answer."""
        for offers in DECLINED:
            self.assertIsNone(agree(offers, ON), offers)

    def test_off(self) -> None:
        for offers in ACCEPTED:
            self.assertIsNone(agree(offers, Deflate()), offers)

    def test_context_takeover(self) -> None:
        """Where it is configured the client decides, for each direction."""
        for offer, server, client in (("", 0, 0), ("; server_no_context_takeover", 1, 0)):
            terms = agree(f"permessage-deflate{offer}", TAKEOVER)
            assert terms is not None
            self.assertEqual(terms, Terms(bool(server), bool(client), 15, 15, f"permessage-deflate{offer}"))
        terms = agree("permessage-deflate; client_no_context_takeover", TAKEOVER)
        self.assertEqual(terms, Terms(False, True, 15, 15, "permessage-deflate; client_no_context_takeover"))

    @given(st.text(st.sampled_from('permsag-dfl;,= "_xtoc150'), max_size=80))
    def test_anything(self, offers: str) -> None:
        """No header makes it raise."""
        agree(offers, ON)


class MessageTests(SynchronousTestCase):
    def test_both_ways(self) -> None:
        """With and without context takeover, in every window, whole and byte by byte."""
        said = [b"", b"hello", b"", b"", b"hello" * 500, os.urandom(LIMIT), b"hello"]
        for takeover in (False, True):
            for bits in range(9, 16):
                ours, theirs = codec(takeover=takeover, server=bits), codec(takeover=takeover, client=bits)
                for payload in said:
                    body = compressed(ours, payload)
                    self.assertEqual(inflated(theirs, body), payload)
                    body = compressed(ours, payload)
                    self.assertEqual(inflated(theirs, *(body[at : at + 1] for at in range(len(body)))), payload)

    def test_empty(self) -> None:
        """One byte (RFC 7692 7.2.3.6), also where nothing came since the last flush."""
        for takeover in (False, True):
            one = codec(takeover=takeover)
            bodies = [compressed(one, payload) for payload in (b"", b"", b"a", b"", b"")]
            self.assertEqual([bodies[at] for at in (0, 1, 3, 4)], [b"\0"] * 4)

    def test_once_for_all(self) -> None:
        """Connections with the same terms get the same bytes."""
        one, same, other = codec(), codec(), codec(server=9)
        frame = message_frame(b"hello " * 100)
        self.assertIs(one.wire(frame), same.wire(frame))
        self.assertIsNot(one.wire(frame), other.wire(frame))
        self.assertLess(len(one.wire(frame)), 50)
        self.assertIsNone(codec(takeover=True).shared)

    def test_takeover_is_used(self) -> None:
        """With context takeover what was said before makes a message short; without, it does not."""
        text = os.urandom(500)
        with_it, without = codec(takeover=True), codec()
        self.assertLess(len((compressed(with_it, text), compressed(with_it, text))[1]), 50)
        self.assertGreater(len((compressed(without, text), compressed(without, text))[1]), 450)

    def test_forms(self) -> None:
        """The examples of RFC 7692 7.2.3: one block, a shared window, stored, final, two blocks, an empty message."""
        examples = {
            "f2 48 cd c9 c9 07 00": b"Hello",
            "00 05 00 fa ff 48 65 6c 6c 6f 00": b"Hello",
            "f3 48 cd c9 c9 07 00 00": b"Hello",
            "f3 48 cd c9 c9 07 00": b"Hello",  # without the padding, some send it so
            "f2 48 05 00 00 00 ff ff ca c9 c9 07 00": b"Hello",
            "00": b"",
            "": b"",  # not as it should be, but what some send for an empty message
        }
        for takeover in (False, True):
            one = codec(takeover=takeover)
            for body, expected in examples.items():
                self.assertEqual(inflated(one, bytes.fromhex(body)), expected, body)
                self.assertEqual(inflated(one, *(bytes((byte,)) for byte in bytes.fromhex(body))), expected, body)
        one = codec(takeover=True)
        self.assertEqual(inflated(one, bytes.fromhex("f2 48 cd c9 c9 07 00")), b"Hello")
        self.assertEqual(inflated(one, bytes.fromhex("f2 00 11 00 00")), b"Hello")
        self.assertRaises(Corrupt, inflated, codec(), bytes.fromhex("f2 00 11 00 00"))

    def test_final_blocks(self) -> None:
        """A message may be several streams that each end; very many are refused, for each costs a new start."""
        final = deflated(b"ab", flush=zlib.Z_FINISH)
        for takeover in (False, True):
            one = codec(takeover=takeover)
            self.assertEqual(inflated(one, final * 10 + b"\0"), b"ab" * 10)
            self.assertEqual(inflated(one, deflated(b"next")), b"next")
            self.assertRaises(Corrupt, inflated, codec(takeover=takeover), final * 17)

    def test_limit(self) -> None:
        """Exactly the limit passes, one byte more does not, however it is compressed and cut."""
        for good in (bytes(LIMIT), os.urandom(LIMIT), b"ab" * (LIMIT // 2)):
            for level in (0, 1, 9):
                for size in (1, 7, 100, 10000):
                    for extra in (b"", b"\0", bytes(200)):
                        body = deflated(good + extra, level=level)
                        cut = [body[at : at + size] for at in range(0, len(body), size)]
                        if extra:
                            self.assertRaises(TooBig, inflated, codec(), *cut)
                        else:
                            self.assertEqual(inflated(codec(), *cut), good)

    def test_limit_between_blocks(self) -> None:
        """A block that ends at the limit, and another one."""
        body = deflated(bytes(LIMIT)) + TAIL + deflated(b"x")
        for cut in ([body], [body[:-3], body[-3:]], [body[at : at + 1] for at in range(len(body))]):
            self.assertRaises(TooBig, inflated, codec(), *cut)

    def test_limit_is_for_a_message(self) -> None:
        """Each message has all of it again."""
        one = codec(takeover=True)
        for _ in range(3):
            self.assertEqual(inflated(one, deflated(bytes(LIMIT))), bytes(LIMIT))

    def test_corrupt(self) -> None:
        """What is no deflate stream, refers to what was never there, or stops in the middle."""
        whole = deflated(os.urandom(300) + b"abc" * 100)
        cases = [b"\x07", b"\xff" * 10, b"\x06\x00", b"\x02\x03", whole[:100], whole[:-5], b"\x00\x10", b"\xf2\x48"]
        cases += [bytes.fromhex(header) for header in ("651a", "8530", "2517")]  # of a block; zlib sees no error in it
        for takeover in (False, True):
            for data in cases:
                self.assertRaises(Corrupt, inflated, codec(takeover=takeover), data)

    @given(st.lists(st.binary(max_size=200), max_size=5), st.booleans())
    def test_anything(self, parts: list[bytes], takeover: bool) -> None:
        """Rubbish makes it raise these two, and never more than the limit comes out."""
        try:
            data = inflated(codec(takeover=takeover), *parts)
        except (Corrupt, TooBig):
            return
        self.assertLessEqual(len(data), LIMIT)
