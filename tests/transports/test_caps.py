"""How many connections there may be."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.errors import Refusal
from realtime_svc.transports.caps import SLACK, Caps, Lease


def accept(caps: Caps, host: str | None = "192.0.2.1") -> Lease:
    lease = caps.accept(host)
    assert lease is not None
    return lease


class CapsTests(SynchronousTestCase):
    def outcome(self, lease: Lease, host: str = "192.0.2.1") -> int:
        """The status a claim gets; 200 is none."""
        try:
            lease.claim(host)
        except Refusal as refusal:
            self.assertEqual(refusal.headers, {"Retry-After": "10"})
            return refusal.status
        return 200

    def test_total(self) -> None:
        """Decided at accept: those who came in time keep their place, whenever their request comes."""
        caps = Caps(2, 0)
        leases = [accept(caps, f"192.0.2.{number}") for number in range(4)]
        self.assertEqual([self.outcome(lease) for lease in reversed(leases)], [503, 503, 200, 200])
        self.assertEqual(caps.open, 4)
        for lease in leases[2:]:
            lease.release()
        leases[0].release()
        self.assertEqual(self.outcome(accept(caps)), 200)

    def test_of_one_address(self) -> None:
        """Connections without a request count too, for their own address only."""
        caps = Caps(0, 2)
        leases = [accept(caps) for _ in range(3)]
        self.assertEqual([self.outcome(lease) for lease in leases], [200, 200, 429])
        self.assertEqual(self.outcome(accept(caps, "192.0.2.2"), "192.0.2.2"), 200)
        leases[0].release()
        self.assertEqual(self.outcome(accept(caps)), 429, "the refused one is still there")
        leases[2].release()
        for lease in leases:
            lease.release()

    def test_one_network_of_ipv6(self) -> None:
        """A /64 counts as one address; an IPv4 address mapped into IPv6 is that IPv4 address."""
        caps = Caps(0, 1)
        self.assertEqual(self.outcome(accept(caps, "2001:db8::1"), "2001:db8::1"), 200)
        self.assertEqual(self.outcome(accept(caps, "2001:db8::ffff"), "2001:db8::ffff"), 429)
        self.assertEqual(self.outcome(accept(caps, "2001:db8:0:1::1"), "2001:db8:0:1::1"), 200)
        self.assertEqual(self.outcome(accept(caps, "192.0.2.1"), "192.0.2.1"), 200)
        self.assertEqual(self.outcome(accept(caps, "::ffff:192.0.2.1"), "::ffff:192.0.2.1"), 429)

    def test_behind_a_proxy(self) -> None:
        """The address counts from the request that names it; the proxy's own never does."""
        caps = Caps(0, 1)
        leases = [accept(caps, None) for _ in range(3)]
        outcomes = [self.outcome(lease, host) for lease, host in zip(leases, ("a", "a", "b"), strict=True)]
        self.assertEqual(outcomes, [200, 429, 200])
        for lease in leases:
            lease.release()
        self.assertEqual(self.outcome(accept(caps, None), "a"), 200)

    def test_a_claim_is_counted_once(self) -> None:
        caps = Caps(0, 1)
        lease = accept(caps, None)
        self.assertEqual([self.outcome(lease, "a"), self.outcome(lease, "a")], [200, 200])

    def test_dropped(self) -> None:
        """Far above a limit nobody is told why any more, and nothing is counted."""
        for caps in (Caps(2, 0), Caps(0, 2)):
            leases = [accept(caps) for _ in range(2 + SLACK)]
            self.assertIsNone(caps.accept("192.0.2.1"))
            self.assertEqual(caps.open, len(leases))
            leases[0].release()
            self.assertIsNotNone(caps.accept("192.0.2.1"))
        self.assertIsNotNone(Caps(0, 0).accept("192.0.2.1"))

    def test_release(self) -> None:
        """More than once does no harm; the last one is told; no address is remembered."""
        caps = Caps(0, 5)
        empty: list[int] = []
        caps.on_empty = lambda: empty.append(caps.open)
        first, second = accept(caps), accept(caps, None)
        first.release()
        first.release()
        self.assertEqual((caps.open, empty), (1, []))
        second.release()
        self.assertEqual((caps.open, empty), (0, [0]))
        self.assertEqual(len(caps._addresses), 0)
