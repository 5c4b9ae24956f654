"""The short way between many sockets and Python: compiled where that part is installed, else its twin in Python.

Both have the same classes and functions; `kernel_twin` describes them. `Outlet`, `Group` and `Poll` here are for
annotations: make objects by the classes of the `Kernel` that was chosen, and don't mix the two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from realtime_svc.transports import kernel_twin
from realtime_svc.transports.kernel_twin import CLOSED, SHORT, Group, Outlet, Poll

__all__ = ["CLOSED", "SHORT", "TWIN", "Group", "Kernel", "Outlet", "Poll", "choose", "compiled"]


class Kernel(NamedTuple):
    """One of the two. `name`: "compiled" or "python"."""

    name: str
    Outlet: type[kernel_twin.Outlet]
    Group: type[kernel_twin.Group]
    Poll: type[kernel_twin.Poll]
    parse_frames: Callable[[bytes, int], tuple[list[tuple[bytes, bool]], int]]


TWIN = Kernel("python", kernel_twin.Outlet, kernel_twin.Group, kernel_twin.Poll, kernel_twin.parse_frames)


def compiled() -> Kernel:
    """The compiled one. Raises `ImportError`: it is not installed."""
    import realtime_svc.transports._kernel as native

    return Kernel("compiled", native.Outlet, native.Group, native.Poll, native.parse_frames)


def choose(path: str) -> Kernel:
    """The kernel for `sockets.path` of the configuration: "auto", "compiled" or "python". Raises `ImportError`, with a
    text for the operator: the compiled one is asked for and not installed."""
    if path == "python":
        return TWIN
    try:
        return compiled()
    except ImportError as error:
        if path == "auto":
            return TWIN
        text = "the compiled part is not installed: install again where there are a C compiler and Python's headers"
        raise ImportError(text) from error
