"""From `package.module:name` to the handlers of the user's object."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from realtime_svc.errors import ConfigError

KEY = "handlers.object"
ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "connect": ("client", "request"),
    "subscribe": ("client", "channel", "request"),
    "publish": ("client", "message"),
    "rpc": ("client", "method", "data"),
    "message": ("client", "message"),
    "unsubscribe": ("client", "channel", "code", "reason"),
    "disconnect": ("client", "code", "reason"),
    "close": ("client", "code", "reason"),
}
"""What each handler is called with. A last `request` may be left out."""


class Handler(NamedTuple):
    """`takes` is how many arguments it is given."""

    function: Callable[..., Any]
    takes: int


def load_target(path: str, folder: str = "") -> Any:
    """Import `package.module:name`, with `folder` searched first. Raises `ConfigError`."""
    module, _, name = path.partition(":")
    if folder and folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        target = importlib.import_module(module)
        for part in name.split("."):
            target = getattr(target, part)
    except Exception as error:
        raise ConfigError("", KEY, f"can't load {path}: {_one_line(error)}") from error
    if not find_handlers(target, path):
        raise ConfigError("", KEY, f"{path} has none of the handlers {', '.join(ARGUMENTS)}")
    if isinstance(target, type) and not _takes(target, 1):
        raise ConfigError("", KEY, f"{path} does not take the server")
    return target


def make(target: Any, server: Any) -> Any:
    """The user's object: a class is called with the server. Raises `ConfigError`."""
    if not isinstance(target, type):
        return target
    try:
        return target(server)
    except Exception as error:
        raise ConfigError("", KEY, f"can't make {target.__name__}: {_one_line(error)}") from error


def find_handlers(target: Any, name: str) -> dict[str, Handler]:
    """The handlers of an object, or of a class that is not called yet. `name` is what to call it in errors.

    Raises `ConfigError` for one that can't take its arguments, and for `disconnect` beside `close`.
    """
    found = {}
    for event, arguments in ARGUMENTS.items():
        function = getattr(target, event, None)
        if callable(function):
            found[event] = Handler(
                function, _fitting(function, arguments, _lacks_self(target, event), f"{name}.{event}")
            )
    if "close" in found:
        if "disconnect" in found:
            raise ConfigError("", KEY, f"{name} has disconnect and close: two names of one handler")
        found["disconnect"] = found.pop("close")
    return found


def _fitting(function: Callable[..., Any], arguments: tuple[str, ...], extra: int, name: str) -> int:
    counts = [len(arguments)] + ([len(arguments) - 1] if arguments[-1] == "request" else [])
    for count in counts:
        if _takes(function, count + extra):
            return count
    raise ConfigError("", KEY, f"{name} does not take ({', '.join(arguments)})")


def _lacks_self(target: Any, event: str) -> int:
    """1 for a method of a class, which takes the object besides."""
    return int(isinstance(target, type) and inspect.isfunction(inspect.getattr_static(target, event)))


def _takes(function: Callable[..., Any], count: int) -> bool:
    """Can it be called with so many arguments? Where that can't be known, it is tried when the time has come."""
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
