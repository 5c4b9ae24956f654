"""The compiled kernel: when it is chosen, how it compiles, and what it alone can do: send through OpenSSL by itself."""

from __future__ import annotations

import ctypes
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from subprocess import run
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

import realtime_svc.transports
from realtime_svc.transports import kernel
from realtime_svc.transports.kernel import CLOSED, SHORT
from tests.transports.kernels import OnCompiled, need_compiled

SOURCE = Path(realtime_svc.transports.__file__).with_name("_kernel.c")


class ChoiceTests(SynchronousTestCase):
    """Which kernel it is."""

    def without(self) -> None:
        """As if the compiled part were not installed."""
        patch = mock.patch.dict(sys.modules, {"realtime_svc.transports._kernel": None})
        patch.start()
        self.addCleanup(patch.stop)

    def test_compiled_where_it_is_installed(self) -> None:
        need_compiled(self)
        self.assertEqual("compiled", kernel.choose("auto").name)
        self.assertEqual("compiled", kernel.choose("compiled").name)

    def test_python_when_asked_for(self) -> None:
        self.assertIs(kernel.TWIN, kernel.choose("python"))

    def test_python_where_the_compiled_part_is_missing_and_told_when_it_was_asked_for(self) -> None:
        self.without()
        self.assertIs(kernel.TWIN, kernel.choose("auto"))
        with self.assertRaisesRegex(ImportError, "compiled part is not installed"):
            kernel.choose("compiled")


class SourceTests(SynchronousTestCase):
    """The C file itself."""

    def test_compiles_without_a_warning(self) -> None:
        compiler = sysconfig.get_config_var("CC")
        headers = [f"-isystem{sysconfig.get_path(kind)}" for kind in ("include", "platinclude")]
        need_compiled(self)
        flags = ["-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", *headers]
        done = run([*compiler.split(), *flags, str(SOURCE)], capture_output=True, text=True, check=False)
        self.assertEqual((0, ""), (done.returncode, done.stderr))


class TlsTests(OnCompiled):
    """Sending through OpenSSL's functions; here through two that stand for them."""

    def setUp(self) -> None:
        super().setUp()
        self.calls: list[bytes | None] = []
        self.answers: list[int] = []
        self.meanwhile: Callable[[], object] = int
        write = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)(self.write)
        clear = ctypes.CFUNCTYPE(None)(lambda: self.calls.append(None))
        self.functions = write, clear  # they live as long as the test
        self.outlet = self.kernel.Outlet(0)
        addresses = [ctypes.cast(function, ctypes.c_void_p).value or 0 for function in self.functions]
        self.outlet.bind_tls(0x1234, *addresses)

    def write(self, ssl: int, data: int, size: int) -> int:
        self.assertEqual(0x1234, ssl)
        self.calls.append(ctypes.string_at(data, size))
        self.meanwhile()
        return self.answers.pop(0)

    def test_goes_on_after_a_record_and_clears_the_errors_before_each_call(self) -> None:
        self.answers = [3, 2]
        self.assertEqual(5, self.outlet.send(b"abcde"))
        self.assertEqual([None, b"abcde", None, b"de"], self.calls)

    def test_what_it_does_not_take_is_no_exception_and_leaves_no_error_behind(self) -> None:
        for answers, taken in (([0], 0), ([-1], 0), ([4, -1], 4)):
            self.answers, self.calls = list(answers), []
            self.assertEqual(taken, self.outlet.send(b"abcde"))
            self.assertIsNone(self.calls[-1])
        self.calls = []
        self.assertEqual(0, self.outlet.send(b""))
        self.assertEqual([], self.calls)

    def test_group_sends_through_it_as_well(self) -> None:
        group = self.kernel.Group()
        group.add(self.outlet)
        self.answers = [5, 2, -1]
        self.assertEqual((-1, 1, []), group.send(b"abcde"))
        self.assertEqual((-1, 0, [(self.outlet, 2)]), group.send(b"abcde"))
        self.assertEqual(SHORT, self.outlet.holds)

    def test_callback_of_openssl_may_close_it_and_change_the_group(self) -> None:
        group = self.kernel.Group()
        group.add(self.outlet)
        outlets = [self.outlet]
        del self.outlet

        def close() -> None:
            outlets.pop().close()
            group.remove(0)
            for _ in range(100):
                group.add(self.kernel.Outlet())

        self.meanwhile = close
        self.answers = [2]
        place, whole, others = group.send(b"abcde")
        self.assertEqual((-1, 0, 100), (place, whole, len(others)))
        self.assertEqual((2, SHORT | CLOSED), (others[0][1], others[0][0].holds))

    def test_not_once_closed(self) -> None:
        self.outlet.close()
        with self.assertRaises(OSError):
            self.outlet.send(b"x")
        self.assertEqual([], self.calls)

    def test_addresses_are_numbers_and_not_0(self) -> None:
        for bad in ((0, 1, 1), (1, 0, 1), (1, 1, 0)):
            with self.assertRaises(ValueError):
                self.outlet.bind_tls(*bad)
        with self.assertRaises(TypeError):
            self.outlet.bind_tls("x", 1, 1)  # type: ignore[arg-type]

    def test_twin_cannot(self) -> None:
        with self.assertRaises(NotImplementedError):
            kernel.TWIN.Outlet(0).bind_tls(1, 1, 1)
