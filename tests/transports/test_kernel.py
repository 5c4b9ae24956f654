"""What sends to many sockets and reads from many, on real sockets: the compiled kernel and its twin do the same."""

from __future__ import annotations

import errno
import gc
import select
import socket
import sys
import weakref

from realtime_svc.transports.kernel import CLOSED, SHORT, Outlet
from tests.transports.kernels import KernelCase, OnCompiled, OnTwin, drain, wait_for

LARGE = bytes(range(256)) * 65536  # more than any socket takes at once
HELD = 1 << 3


class Owner:
    """Something that can be in a cycle and seen to go."""

    def __init__(self, *has: object) -> None:
        self.has = has


class OutletContract(KernelCase):
    """One way out."""

    def test_sends_what_the_socket_takes(self) -> None:
        outlet, far = self.outlet()
        self.assertEqual(5, outlet.send(b"hello"))
        self.assertEqual(0, outlet.send(b""))
        self.assertEqual(b"hello", drain(far))

    def test_begins_without_holds_and_owner_and_keeps_both(self) -> None:
        outlet = self.kernel.Outlet()
        self.assertEqual((-1, 0, None), (outlet.fd, outlet.holds, outlet.owner))
        outlet.holds |= HELD
        outlet.owner = self
        self.assertEqual((HELD, self), (outlet.holds, outlet.owner))
        self.assertEqual(7, self.kernel.Outlet(fd=7).fd)

    def test_short_write_then_nothing_then_the_rest(self) -> None:
        for ends in (self.pair, self.tcp_pair):
            near, far = ends()
            outlet = self.kernel.Outlet(near.fileno())
            sent = outlet.send(LARGE)
            self.assertTrue(0 < sent < len(LARGE), sent)
            while more := outlet.send(LARGE[sent:]):  # TCP may have moved some on meanwhile
                sent += more
            wait_for(far, select.POLLIN)
            got = drain(far)
            wait_for(near, select.POLLOUT)
            self.assertGreater(outlet.send(LARGE[sent:]), 0)
            self.assertEqual(LARGE[: len(got)], got)

    def test_does_not_look_at_holds(self) -> None:
        outlet, _ = self.outlet()
        outlet.holds = HELD
        self.assertEqual(1, outlet.send(b"x"))

    def test_broken_connections_raise(self) -> None:
        near, far = self.pair()
        far.close()
        with self.assertRaises(BrokenPipeError):
            self.kernel.Outlet(near.fileno()).send(b"x")
        outlet = self.kernel.Outlet(self.reset_pair().fileno())
        with self.assertRaises(ConnectionResetError):
            outlet.send(b"x")
        with self.assertRaises(BrokenPipeError):
            outlet.send(b"x")

    def test_sends_nothing_once_closed_or_without_descriptor(self) -> None:
        outlet, far = self.outlet()
        outlet.holds = HELD
        outlet.close()
        outlet.close()
        self.assertEqual((-1, HELD | CLOSED), (outlet.fd, outlet.holds))
        for closed in (outlet, self.kernel.Outlet()):
            for data in (b"x", b""):
                with self.assertRaises(OSError) as caught:
                    closed.send(data)
                self.assertEqual(errno.EBADF, caught.exception.errno)
        self.assertEqual(b"", drain(far))

    def test_takes_bytes_only(self) -> None:
        outlet, _ = self.outlet()
        for data in ("x", bytearray(b"x"), memoryview(b"x"), None):
            with self.assertRaises(TypeError):
                outlet.send(data)  # type: ignore[arg-type]

    def test_cycle_through_its_owner_is_collected(self) -> None:
        outlet = self.kernel.Outlet()
        group = self.kernel.Group()
        outlet.owner = Owner(outlet, group)
        group.add(outlet)
        seen = weakref.ref(outlet.owner)
        del outlet, group
        gc.collect()
        self.assertIsNone(seen())

    def test_owner_is_kept_and_given_up(self) -> None:
        outlet = self.kernel.Outlet()
        outlet.owner = Owner()
        seen = weakref.ref(outlet.owner)
        gc.collect()
        self.assertIsNotNone(seen())
        outlet.owner = None
        self.assertIsNone(seen())
        outlet.owner = Owner()
        seen = weakref.ref(outlet.owner)
        del outlet
        self.assertIsNone(seen())


class GroupContract(KernelCase):
    """Many ways out for the same bytes."""

    def outlets(self, count: int) -> tuple[list[Outlet], list[socket.socket]]:
        made = [self.outlet() for _ in range(count)]
        return [outlet for outlet, _ in made], [far for _, far in made]

    def test_sends_to_all(self) -> None:
        group = self.kernel.Group()
        self.assertEqual((-1, 0, []), group.send(b"x"))
        outlets, fars = self.outlets(3)
        self.assertEqual([0, 1, 2], [group.add(outlet) for outlet in outlets])
        self.assertEqual(3, len(group))
        self.assertEqual((-1, 3, []), group.send(b"hello"))
        self.assertEqual((-1, 3, []), group.send(data=b"", place=0, nanoseconds=0))
        self.assertEqual([b"hello"] * 3, [drain(far) for far in fars])

    def test_goes_on_from_a_place(self) -> None:
        group = self.kernel.Group()
        outlets, fars = self.outlets(3)
        for outlet in outlets:
            group.add(outlet)
        self.assertEqual((-1, 2, []), group.send(b"x", 1))
        self.assertEqual((-1, 0, []), group.send(b"x", 3))
        self.assertEqual((-1, 0, []), group.send(b"x", 1 << 80))
        self.assertEqual([b"", b"x", b"x"], [drain(far) for far in fars])
        with self.assertRaises(ValueError):
            group.send(b"x", -1)

    def test_those_that_are_held_closed_or_broken_are_given_back_and_the_rest_is_served(self) -> None:
        group = self.kernel.Group()
        (held, closed, hung_up, good), fars = self.outlets(4)
        held.holds = HELD
        closed.close()
        fars[2].close()
        reset = self.kernel.Outlet(self.reset_pair().fileno())
        silent = self.kernel.Outlet()
        for outlet in (held, closed, hung_up, reset, silent, good):
            group.add(outlet)
        expected = [(held, 0), (closed, 0), (hung_up, 0), (reset, 0), (silent, 0)]
        self.assertEqual((-1, 1, expected), group.send(b"x"))
        self.assertEqual([HELD, CLOSED, 0, 0, 0, 0], [o.holds for o, _ in expected] + [good.holds])
        self.assertEqual([b"", b"", b"x"], [drain(far) for far in (fars[0], fars[1], fars[3])])

    def test_short_write_holds_the_outlet_and_a_full_one_is_not_held(self) -> None:
        group = self.kernel.Group()
        (outlet, other), (far, _) = self.outlets(2)
        group.add(outlet)
        place, whole, others = group.send(LARGE)
        self.assertEqual((-1, 0), (place, whole))
        ((back, taken),) = others
        self.assertIs(outlet, back)
        self.assertTrue(0 < taken < len(LARGE), taken)
        self.assertEqual(SHORT, outlet.holds)
        self.assertEqual((-1, 0, [(outlet, 0)]), group.send(b"y"), "nothing passes the rest by")
        self.assertEqual(LARGE[:taken], drain(far))
        while other.send(LARGE):
            pass
        group.add(other)
        self.assertEqual((-1, 0, [(outlet, 0), (other, 0)]), group.send(b"y"))
        self.assertEqual(0, other.holds)

    def test_error_is_met_again_by_the_connection_itself(self) -> None:
        near, far = self.pair()
        far.close()
        group, outlet = self.kernel.Group(), self.kernel.Outlet(near.fileno())
        group.add(outlet)
        self.assertEqual((-1, 0, [(outlet, 0)]), group.send(b"x"))
        with self.assertRaises(BrokenPipeError):
            outlet.send(b"x")

    def test_places_stay_and_are_used_again_last_first(self) -> None:
        group = self.kernel.Group()
        outlets, fars = self.outlets(4)
        places = [group.add(outlet) for outlet in outlets]
        group.remove(places[1])
        group.remove(places[2])
        self.assertEqual(2, len(group))
        self.assertEqual((-1, 2, []), group.send(b"a"))
        self.assertEqual([2, 1, 4], [group.add(outlets[2]), group.add(outlets[1]), group.add(outlets[0])])
        self.assertEqual((-1, 5, []), group.send(b"b"))
        self.assertEqual([b"abb", b"b", b"b", b"ab"], [drain(far) for far in fars])

    def test_empty_group_begins_again_at_the_first_place(self) -> None:
        group = self.kernel.Group()
        (outlet, _), _ = self.outlets(2)
        for place in [group.add(outlet) for _ in range(100)]:
            group.remove(place)
        self.assertEqual((0, 0), (len(group), group.add(outlet)))

    def test_place_that_is_free_cannot_be_left(self) -> None:
        group = self.kernel.Group()
        for place in (0, -1, 1 << 40, 1 << 80):
            with self.assertRaises(LookupError):
                group.remove(place)
        outlet, _ = self.outlet()
        group.add(outlet)
        group.add(outlet)
        group.remove(0)
        for place in (0, 2, -1):
            with self.assertRaises(LookupError):
                group.remove(place)
        self.assertEqual(1, len(group))

    def test_stops_when_the_time_is_over_and_says_where(self) -> None:
        group = self.kernel.Group()
        outlets, fars = self.outlets(40)
        for outlet in outlets:
            group.add(outlet)
        outlets[3].holds = HELD  # counts as well
        self.assertEqual((16, 15, [(outlets[3], 0)]), group.send(b"x", 0, 1))
        self.assertEqual((32, 16, []), group.send(b"x", 16, nanoseconds=1))
        self.assertEqual((-1, 8, []), group.send(b"x", place=32, nanoseconds=1))
        self.assertEqual((-1, 39, [(outlets[3], 0)]), group.send(b"y", 0, 10**15))
        self.assertEqual((-1, 39, [(outlets[3], 0)]), group.send(b"z", 0, 1 << 80))
        self.assertEqual({b"", b"xyz"}, {drain(far) for far in fars})

    def test_free_places_take_no_part_in_the_count(self) -> None:
        group = self.kernel.Group()
        outlets, _ = self.outlets(17)
        for outlet in outlets * 2:
            group.add(outlet)
        for place in range(17):
            group.remove(place)
        self.assertEqual((33, 16, []), group.send(b"x", 0, 1))
        group.remove(33)
        self.assertEqual((-1, 16, []), group.send(b"x", 0, 1), "behind the last one there is nobody")

    def test_takes_outlets_and_bytes_only(self) -> None:
        group = self.kernel.Group()
        for thing in (None, object(), 1):
            with self.assertRaises(TypeError):
                group.add(thing)  # type: ignore[arg-type]
            with self.assertRaises(TypeError):
                group.send(thing)  # type: ignore[arg-type]
        group.add(self.kernel.Outlet())
        for args, named in (
            ((), {}),
            ((b"x", 0, 0, 0), {}),
            ((b"x", "0"), {}),
            ((b"x", 0, "0"), {}),
            ((b"x", 0), {"place": 0}),
            ((b"x",), {"where": 0}),
        ):
            with self.assertRaises(TypeError):
                group.send(*args, **named)  # type: ignore[arg-type]

    def test_keeps_its_outlets_and_no_others(self) -> None:
        group = self.kernel.Group()
        outlet = self.kernel.Outlet()
        before = sys.getrefcount(outlet)
        places = [group.add(outlet) for _ in range(50)]
        self.assertEqual(before + 50, sys.getrefcount(outlet))
        for _ in range(10):
            group.send(b"x")
        self.assertEqual(before + 50, sys.getrefcount(outlet))
        for place in places[:20]:
            group.remove(place)
        self.assertEqual(before + 30, sys.getrefcount(outlet))
        del group
        self.assertEqual(before, sys.getrefcount(outlet))

    def test_owner_that_goes_with_its_place_may_change_the_group(self) -> None:
        group = self.kernel.Group()
        owner = Owner()
        outlet = self.kernel.Outlet()
        outlet.owner = owner
        weakref.finalize(owner, lambda: [group.add(self.kernel.Outlet()) for _ in range(100)])
        group.add(outlet)
        del owner, outlet
        group.remove(0)
        self.assertEqual(100, len(group))


class TwinOutletTests(OutletContract, OnTwin):
    """In Python."""


class CompiledOutletTests(OutletContract, OnCompiled):
    """Compiled."""


class TwinGroupTests(GroupContract, OnTwin):
    """In Python."""


class CompiledGroupTests(GroupContract, OnCompiled):
    """Compiled."""
