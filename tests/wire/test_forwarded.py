"""Who is behind the proxies, and who counts as one address."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.wire.forwarded import MAX_PROXIES, Networks, address_bucket, client_address

TRUSTED = Networks(["10.0.0.0/8", "2001:db8:1::/48", "192.0.2.7"])

# peer, fields, expected
CLIENTS: list[tuple[str, list[str], str | None]] = [
    ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
    ("192.0.2.7", ["203.0.113.9"], "203.0.113.9"),
    ("::ffff:10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
    ("2001:db8:1::5", ["2001:DB8:2:0::9"], "2001:db8:2::9"),
    ("10.0.0.1", ["::ffff:203.0.113.9"], "203.0.113.9"),
    # not from a trusted proxy
    ("203.0.113.1", ["198.51.100.1"], None),
    ("192.0.2.8", ["198.51.100.1"], None),
    ("", ["198.51.100.1"], None),
    ("/run/proxy.sock", ["198.51.100.1"], None),
    # nothing there
    ("10.0.0.1", [], None),
    ("10.0.0.1", [""], None),
    ("10.0.0.1", [","], None),
    # the right-most that is no proxy is the client, whatever it invents further left
    ("10.0.0.1", ["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
    ("10.0.0.1", ["198.51.100.1,203.0.113.9 ,\t10.0.0.2"], "203.0.113.9"),
    ("10.0.0.1", ["198.51.100.1", "203.0.113.9", "10.0.0.2"], "203.0.113.9"),
    ("10.0.0.1", ["203.0.113.9, ::ffff:10.9.9.9"], "203.0.113.9"),
    ("10.0.0.1", ["203.0.113.9", ""], None),
    # only proxies: the outermost of them
    ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
    # an invalid entry ends the walk at the last good address
    ("10.0.0.1", ["203.0.113.9, unknown"], None),
    ("10.0.0.1", ["203.0.113.9, unknown, 10.0.0.2"], "10.0.0.2"),
    ("10.0.0.1", ["203.0.113.9, , 10.0.0.2"], "10.0.0.2"),
    ("10.0.0.1", ["x, 203.0.113.9"], "203.0.113.9"),
    # ports
    ("10.0.0.1", ["203.0.113.9:4000"], "203.0.113.9"),
    ("10.0.0.1", ["[2001:db8:2::9]:4000"], "2001:db8:2::9"),
    ("10.0.0.1", ["[2001:db8:2::9]"], "2001:db8:2::9"),
    *[
        ("10.0.0.1", [bad], None)
        for bad in [
            "203.0.113",
            "203.0.113.256",
            "203.0.113.09",
            "203.0.113.9/32",
            "203.0.113.9:",
            "203.0.113.9:x",
            "203.0.113.9:123456",
            "203.0.113.9 x",
            '"203.0.113.9"',
            "for=203.0.113.9",
            "[2001:db8::1",
            "2001:db8::1]",
            "2001:db8::g",
            "fe80::1%eth0",
            "3405803785",
            "example.com",
            "٢03.0.113.9",
            "_hidden",
        ]
    ],
]


class ClientAddress(SynchronousTestCase):
    """`client_address`."""

    def test_table(self) -> None:
        for peer, fields, expected in CLIENTS:
            self.assertEqual(client_address(peer, fields, TRUSTED), expected, (peer, fields))

    def test_nobody_trusted(self) -> None:
        self.assertIsNone(client_address("10.0.0.1", ["203.0.113.9"], Networks()))

    def test_bounded(self) -> None:
        """The walk ends at the last good address of so many entries, however they are spread over fields."""
        proxies = [f"10.0.0.{n}" for n in range(MAX_PROXIES, 0, -1)]
        for fields in ([",".join(proxies)], proxies, [",".join(proxies[:9]), ",".join(proxies[9:])]):
            self.assertEqual(client_address("10.0.0.1", fields, TRUSTED), f"10.0.0.{MAX_PROXIES}")
            self.assertEqual(client_address("10.0.0.1", ["203.0.113.9", *fields], TRUSTED), f"10.0.0.{MAX_PROXIES}")
        self.assertEqual(client_address("10.0.0.1", [",".join(["203.0.113.9", *proxies])], TRUSTED), proxies[0])
        shorter = ",".join(["203.0.113.9", *proxies[1:]])
        self.assertEqual(client_address("10.0.0.1", [shorter], TRUSTED), "203.0.113.9")
        self.assertEqual(client_address("10.0.0.1", ["x," * 9999 + shorter], TRUSTED), "203.0.113.9")

    @settings(max_examples=150, deadline=None, derandomize=True, database=None)
    @given(st.lists(st.one_of(st.text("0123456789abcf:.[], \t%", max_size=30), st.text(max_size=9)), max_size=4))
    def test_arbitrary_text(self, fields: list[str]) -> None:
        """Whatever it says, the answer is an address in its one spelling, or none."""
        address = client_address("10.0.0.1", fields, TRUSTED)
        if address is not None:
            Networks([address])
            self.assertEqual(client_address("10.0.0.1", [address], TRUSTED), address)


class NetworksTest(SynchronousTestCase):
    """`Networks`."""

    def test_contains(self) -> None:
        networks = Networks(["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1", "::ffff:198.51.100.0/120"])
        inside = ["10.255.0.1", "192.0.2.7", "2001:db8:ffff::1", "::1", "::ffff:10.0.0.1", "198.51.100.9"]
        outside = [
            "11.0.0.1",
            "192.0.2.8",
            "2001:db9::1",
            "::2",
            "::ffff:11.0.0.1",
            "198.51.101.9",
            "",
            "localhost",
            "10/8",
        ]
        for host in inside:
            self.assertTrue(networks.contains(host), host)
        for host in outside:
            self.assertFalse(networks.contains(host), host)

    def test_zone(self) -> None:
        """A link-local peer comes with its zone."""
        self.assertTrue(Networks(["fe80::/10"]).contains("fe80::1%eth0"))

    def test_everything(self) -> None:
        both = Networks(["0.0.0.0/0", "::/0"])
        self.assertTrue(both.contains("203.0.113.9"))
        self.assertTrue(both.contains("2001:db8::1"))
        self.assertFalse(Networks(["::/0"]).contains("203.0.113.9"))
        self.assertTrue(Networks(["::ffff:0:0/96"]).contains("203.0.113.9"))

    def test_empty(self) -> None:
        self.assertFalse(Networks())
        self.assertTrue(Networks(["::1"]))
        self.assertFalse(Networks().contains("10.0.0.1"))

    def test_invalid(self) -> None:
        """The error says which entry it is, not what stands there."""
        for bad in [
            "",
            "x",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "10.0.0.0/255.0.0.1",
            "2001:db8::1/32",
            "::/129",
            "10.0.0",
            " ::1",
        ]:
            error = self.assertRaises(ValueError, Networks, ["10.0.0.0/8", bad])
            assert isinstance(error, ValueError)
            self.assertEqual(str(error), "entry 2 is not a network in CIDR notation, such as 10.0.0.0/8", bad)


class AddressBucket(SynchronousTestCase):
    """`address_bucket`."""

    def test_table(self) -> None:
        for host, expected in [
            ("203.0.113.9", "203.0.113.9"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2::", "2001:db8:1:2::/64"),
            ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
            ("2001:db8:1:3::", "2001:db8:1:3::/64"),
            ("fe80::1%eth0", "fe80::/64"),
            ("/run/proxy.sock", "/run/proxy.sock"),
            ("", ""),
        ]:
            self.assertEqual(address_bucket(host), expected, host)
