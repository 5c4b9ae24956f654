"""The two kernels for suites that both have to pass, and connected sockets to use them on."""

from __future__ import annotations

import os
import select
import socket
import struct
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.transports.kernel import TWIN, Kernel, Outlet, compiled

if TYPE_CHECKING:
    Case = SynchronousTestCase
else:
    Case = object

BUFFER = 1 << 18  # what TCP holds stays far below what the tests send
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, no time: close(2) sends RST


class KernelCase(Case):
    """The base of a suite; `kernel` is the one it is run on."""

    kernel: Kernel

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """Two ends of a stream that do not block."""
        ends = socket.socketpair()
        for end in ends:
            end.setblocking(False)
            self.addCleanup(end.close)
        return ends

    def tcp_pair(self) -> tuple[socket.socket, socket.socket]:
        """The same over loopback TCP."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            near = socket.create_connection(server.getsockname())
            far, _ = server.accept()
        for end in (near, far):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            self.addCleanup(end.close)
        return near, far

    def reset_pair(self) -> socket.socket:
        """An end whose peer has sent RST."""
        near, far = self.tcp_pair()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        far.close()
        wait_for(near, select.POLLERR)
        return near

    def outlet(self) -> tuple[Outlet, socket.socket]:
        """An outlet, and the socket at which its bytes arrive."""
        near, far = self.pair()
        return self.kernel.Outlet(near.fileno()), far


class OnTwin(SynchronousTestCase):
    """Runs a suite on the kernel in Python."""

    kernel = TWIN


class OnCompiled(SynchronousTestCase):
    """Runs a suite on the compiled kernel. It may be missing, but not in CI."""

    kernel: Kernel

    def setUp(self) -> None:
        self.kernel = need_compiled(self)


def need_compiled(case: SynchronousTestCase) -> Kernel:
    """The compiled kernel. Skips the test where there is none; in CI that is an error."""
    try:
        return compiled()
    except ImportError:
        if os.environ.get("CI") == "true":
            raise
        return case.skipTest("the compiled part is not installed")


def wait_for(end: socket.socket, event: int) -> None:
    """Until poll(2) tells of `event`."""
    poll = select.poll()
    poll.register(end, event)
    if not poll.poll(10_000):
        raise AssertionError("the event did not come")


def drain(end: socket.socket) -> bytes:
    """All that has arrived at a local socket."""
    got = bytearray()
    try:
        while data := end.recv(65536):
            got += data
    except BlockingIOError:
        pass
    return bytes(got)
