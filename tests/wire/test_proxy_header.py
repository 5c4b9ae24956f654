"""The PROXY protocol header: whose address it tells, what is refused, and that splits do not matter."""

from __future__ import annotations

import ipaddress
import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.model import RemoteAddress
from realtime_svc.wire.proxy_header import ProxyHeaderError, ProxyHeaderParser

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
IPV4 = bytes([192, 0, 2, 1, 198, 51, 100, 7]) + (4000).to_bytes(2, "big") + (443).to_bytes(2, "big")
IPV6 = ipaddress.ip_address("2001:db8::1").packed + ipaddress.ip_address("::1").packed + IPV4[8:]
MAPPED = ipaddress.ip_address("::ffff:192.0.2.1").packed * 2 + IPV4[8:]
CLIENT = RemoteAddress("192.0.2.1", 4000)
CLIENT6 = RemoteAddress("2001:db8::1", 4000)

thorough = settings(max_examples=150, deadline=None, derandomize=True, database=None)


def v2(body: bytes, family: int = 0x11, command: int = 0x21, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return SIGNATURE + bytes([command, family]) + size.to_bytes(2, "big") + body


Result = tuple[RemoteAddress | None, bytes] | None

GOOD: list[tuple[str, bytes, RemoteAddress | None]] = [
    ("TCP4", b"PROXY TCP4 192.0.2.1 198.51.100.7 4000 443\r\n", CLIENT),
    ("TCP6", b"PROXY TCP6 2001:db8::1 ::1 4000 443\r\n", CLIENT6),
    ("TCP6, other spelling", b"PROXY TCP6 2001:DB8:0:0::1 ::1 4000 443\r\n", CLIENT6),
    ("TCP6, IPv4 inside", b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.9 4000 443\r\n", CLIENT),
    ("outermost ports", b"PROXY TCP4 192.0.2.1 198.51.100.7 0 65535\r\n", RemoteAddress("192.0.2.1", 0)),
    ("longest v1", b"PROXY UNKNOWN ".ljust(105, b"f") + b"\r\n", None),
    ("UNKNOWN", b"PROXY UNKNOWN\r\n", None),
    ("UNKNOWN with more", b"PROXY UNKNOWN ffff::1 ffff::1 65535 65535\r\n", None),
    ("v2 TCP4", v2(IPV4), CLIENT),
    ("v2 TCP6", v2(IPV6, 0x21), CLIENT6),
    ("v2 TCP6, IPv4 inside", v2(MAPPED, 0x21), CLIENT),
    ("v2 with TLVs", v2(IPV4 + b"\x04\x00\x03abc"), CLIENT),
    ("v2, longest", v2(IPV4.ljust(2048, b"\0")), CLIENT),
    ("v2 LOCAL", v2(b"", 0x00, 0x20), None),
    ("v2 LOCAL with a family", v2(IPV4, 0x31, 0x20), None),
    ("v2 unspecified", v2(b"", 0x00), None),
    ("v2 unspecified with TLVs", v2(b"\x04\x00\x01a", 0x00), None),
]

BAD: list[tuple[str, bytes]] = [
    ("no header", b"GET / HTTP/1.1\r\n\r\n"),
    ("TLS", b"\x16\x03\x01\x02\x00"),
    ("lower case", b"proxy TCP4 192.0.2.1 198.51.100.7 4000 443\r\n"),
    ("two spaces", b"PROXY  TCP4 192.0.2.1 198.51.100.7 4000 443\r\n"),
    ("two spaces later", b"PROXY TCP4 192.0.2.1  198.51.100.7 4000 443\r\n"),
    ("space last", b"PROXY TCP4 192.0.2.1 198.51.100.7 4000 443 \r\n"),
    ("tab", b"PROXY TCP4\t192.0.2.1 198.51.100.7 4000 443\r\n"),
    ("too few parts", b"PROXY TCP4 192.0.2.1 198.51.100.7 4000\r\n"),
    ("nothing", b"PROXY \r\n"),
    ("protocol only", b"PROXY TCP4\r\n"),
    ("other protocol", b"PROXY UDP4 192.0.2.1 198.51.100.7 4000 443\r\n"),
    ("UNKNOWN and more", b"PROXY UNKNOWNS\r\n"),
    ("UNKNOWN with a control byte", b"PROXY UNKNOWN a\nb\r\n"),
    ("lone LF", b"PROXY TCP4 192.0.2.1 198.51.100.7 4000 443\n\r\n"),
    ("IPv6 as TCP4", b"PROXY TCP4 2001:db8::1 ::1 4000 443\r\n"),
    ("IPv4 as TCP6", b"PROXY TCP6 192.0.2.1 198.51.100.7 4000 443\r\n"),
    ("short IPv4", b"PROXY TCP4 192.0.2 198.51.100.7 4000 443\r\n"),
    ("octal IPv4", b"PROXY TCP4 192.0.02.1 198.51.100.7 4000 443\r\n"),
    ("IPv4 out of range", b"PROXY TCP4 192.0.2.256 198.51.100.7 4000 443\r\n"),
    ("bad destination", b"PROXY TCP4 192.0.2.1 x 4000 443\r\n"),
    ("IPv6 with a zone", b"PROXY TCP6 fe80::1%1 ::1 4000 443\r\n"),
    ("not ASCII", "PROXY TCP4 \u066192.0.2.1 198.51.100.7 4000 443\r\n".encode()),
    ("port out of range", b"PROXY TCP4 192.0.2.1 198.51.100.7 65536 443\r\n"),
    ("bad destination port", b"PROXY TCP4 192.0.2.1 198.51.100.7 4000 x\r\n"),
    ("negative port", b"PROXY TCP4 192.0.2.1 198.51.100.7 -1 443\r\n"),
    ("port with a zero first", b"PROXY TCP4 192.0.2.1 198.51.100.7 04000 443\r\n"),
    ("port with a sign", b"PROXY TCP4 192.0.2.1 198.51.100.7 +4000 443\r\n"),
    ("no port", b"PROXY TCP4 192.0.2.1 198.51.100.7  443\r\n"),
    ("v1 too long", b"PROXY UNKNOWN ".ljust(106, b"f") + b"\r\n"),
    ("v1 without end", b"PROXY TCP4 ".ljust(107, b"1")),
    ("almost v2", SIGNATURE[:-1] + b"\r"),
    ("v2, version 1", v2(IPV4, command=0x11)),
    ("v2, version 3", v2(IPV4, command=0x31)),
    ("v2, command 2", v2(IPV4, command=0x22)),
    ("v2 UDP4", v2(IPV4, 0x12)),
    ("v2 UDP6", v2(IPV6, 0x22)),
    ("v2 UNIX", v2(bytes(216), 0x31)),
    ("v2, IPv4 without transport", v2(IPV4, 0x10)),
    ("v2, unknown family", v2(IPV4, 0x41)),
    ("v2 TCP4 too short", v2(IPV4[:-1])),
    ("v2 TCP6 too short", v2(IPV4, 0x21)),
    ("v2 TCP4, nothing", v2(b"")),
    ("v2 too long", v2(b"", length=2049)),
    ("v2 LOCAL too long", v2(b"", 0x00, 0x20, length=65535)),
]


def outcome(chunks: list[bytes]) -> Result | str:
    """The parser's result, what it was not given any more counted as rest, or "refused"."""
    parser = ProxyHeaderParser()
    for number, chunk in enumerate(chunks, 1):
        try:
            result = parser.feed(chunk)
        except ProxyHeaderError:
            return "refused"
        if result is not None:
            return result[0], result[1] + b"".join(chunks[number:])
    return None


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted(min(place, len(data)) for place in cuts)
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


class ProxyHeader(SynchronousTestCase):
    """The tables above."""

    def test_good(self) -> None:
        for name, data, address in GOOD:
            for rest in (b"", b"\x16\x03\x01", b"\r\n"):
                self.assertEqual(outcome([data + rest]), (address, rest), name)

    def test_bad(self) -> None:
        for name, data in BAD:
            self.assertEqual(outcome([data]), "refused", name)

    def test_splits(self) -> None:
        """However the bytes are split over reads, the outcome is the same."""
        rng = random.Random(107)
        for data in (*(data + b"rest" for _, data, _ in GOOD), *(data for _, data in BAD)):
            whole = outcome([data])
            self.assertEqual(outcome(cut(data, list(range(len(data))))), whole, data)
            for _ in range(3):
                self.assertEqual(outcome(cut(data, rng.choices(range(len(data)), k=3))), whole, data)

    def test_waits(self) -> None:
        """A header is waited for up to its last byte."""
        for name, data, _ in GOOD:
            for end in range(len(data)):
                self.assertIsNone(outcome([data[:end]]), name)

    def test_refused_at_once(self) -> None:
        """Who does not start as the protocol does is found out at the first byte; a long header before it has come."""
        self.assertEqual(outcome([b"G"]), "refused")
        self.assertEqual(outcome([v2(b"", length=2049)]), "refused")
        self.assertEqual(outcome([v2(b"", 0x31, length=216)]), "refused")

    def test_error_repeats_nothing(self) -> None:
        parser = ProxyHeaderParser()
        error = self.assertRaises(ProxyHeaderError, parser.feed, b"PROXY TCP4 canary canary 1 1\r\n")
        self.assertIsInstance(error, ValueError)
        self.assertNotIn("canary", repr(error))
        self.assertIsNone(error.__cause__)
        self.assertTrue(error.__suppress_context__)

    @thorough
    @given(
        st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", b"PROXY UNKNOWN", SIGNATURE, v2(b"", length=20)]),
        st.binary(max_size=120),
        st.lists(st.integers(0, 130), max_size=4),
    )
    def test_arbitrary_bytes(self, start: bytes, data: bytes, cuts: list[int]) -> None:
        """Nothing but `ProxyHeaderError` is ever raised, and splits do not matter."""
        self.assertEqual(outcome(cut(start + data, cuts)), outcome([start + data]))

    @thorough
    @given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), st.integers(0, 65535), st.binary(max_size=20))
    def test_round_trip(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, rest: bytes) -> None:
        """Both versions tell the address that was put into them."""
        name, family = ("TCP4", 0x11) if address.version == 4 else ("TCP6", 0x21)
        mapped = getattr(address, "ipv4_mapped", None)
        expected = (RemoteAddress(str(mapped or address), port), rest)
        self.assertEqual(outcome([f"PROXY {name} {address} {address} {port} 1\r\n".encode() + rest]), expected)
        body = address.packed * 2 + port.to_bytes(2, "big") + b"\0\1"
        self.assertEqual(outcome([v2(body, family) + rest]), expected)
