"""The import rule: four rooms, one direction. And what keeps the tree readable: short files, none of them empty."""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "realtime_svc"
MOST_LINES = 400

# Every module or package directly below realtime_svc has its room here.
VALUES = {"errors", "model", "channel", "config"}
CORE = {"core", "wire"}
ADAPTERS = {
    "transports",
    "engines",
    "auth",
    "validation",
    "handlers",
    "client",
    "http",
    "webhooks",
    "metrics",
    "log",
    "driver",
}
COMPOSITION = {
    "service",
    "tap",
    "cli",
    "testing",
    "configfile",
    "configschema",
    "configrules",
    "bounds",
    "listening",
    "devcert",
    "welcome",
    "__main__",
}
ROOM = {name: room for room, names in enumerate((VALUES, CORE, ADAPTERS, COMPOSITION)) for name in names}

# The core does no I/O and has no clock of its own: not even with the standard library.
IMPURE = {
    *("asyncio", "concurrent", "http", "multiprocessing", "sched", "select", "selectors", "signal", "smtplib"),
    *("socket", "socketserver", "sqlite3", "ssl", "subprocess", "threading", "time", "urllib.request", "xmlrpc"),
}

# What of others' code a room may import, and what each adapter may import besides.
FOREIGN: dict[int, set[str]] = {0: {"msgspec"}, 1: {"msgspec"}, 2: {"msgspec", "twisted", "zope"}}
TLS = {"OpenSSL", "cryptography", "service_identity"}
OWN_LIBRARY = {
    "wire": {"google"},  # protobuf: as pure as msgspec
    "transports": {"autobahn", "txaio"} | TLS,
    "client": {"autobahn", "txaio"} | TLS,
    "auth": {"jwt"} | TLS,
    "webhooks": TLS,
    "validation": {"jsonschema", "jsonschema_rs", "referencing"},
    "metrics": {"prometheus_client"},
}
REACTOR = "twisted.internet.reactor"
# They install the reactor when they are imported.
REACTOR_INSTALLERS = ("klein", "prometheus_client.twisted", "txredisapi")


class Import(NamedTuple):
    """`target`: the dotted name that is imported. `in_function`: when it is called, not when the module is imported."""

    target: str
    line: int
    in_function: bool


def imports_of(source: str, module: str, *, is_package: bool = False) -> Iterator[Import]:
    """Every import in `source`, those for type checking and those in functions included."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    yield from _imports_below(ast.parse(source), package, in_function=False)


def _imports_below(node: ast.AST, package: list[str], *, in_function: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        for target in _targets(child, package):
            yield Import(target, getattr(child, "lineno", 0), in_function)
        function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _imports_below(child, package, in_function=in_function or function)


def _targets(node: ast.AST, package: list[str]) -> list[str]:
    """The dotted names that `node` itself imports."""
    match node:
        case ast.Import():
            return [alias.name for alias in node.names]
        case ast.ImportFrom():
            base = package[: len(package) + 1 - node.level] if node.level else []
            prefix = [*base, *([node.module] if node.module else [])]
            return [".".join([*prefix, alias.name]) for alias in node.names]
        case ast.Call(
            func=ast.Name("__import__" | "import_module") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value=str() as name), *_],
        ):
            return [name]
        case _:
            return []


def is_below(target: str, name: str) -> bool:
    """Is `target` the module `name`, or something in it?"""
    return target == name or target.startswith(name + ".")


def part_of(name: str) -> str:
    """The module or package directly below realtime_svc that a dotted name is in; "" for realtime_svc itself."""
    return name.split(".")[1] if "." in name else ""


def violations(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """What `module` (a dotted name such as `realtime_svc.core.hub`) imports against the rule."""
    part = part_of(module)
    if part and part not in ROOM:
        return [f"{module}: {part} has no room: give it one in {Path(__file__).name}"]
    found = []
    for item in imports_of(source, module, is_package=is_package):
        reason = _reason_against(item, module)
        if reason:
            found.append(f"{module}:{item.line}: {item.target}: {reason}")
    return found


def _reason_against(item: Import, module: str) -> str | None:
    """Why `module` may not have this import; None: it may."""
    part = part_of(module)
    if any(is_below(item.target, name) for name in REACTOR_INSTALLERS):
        return "installs the reactor when it is imported"
    if is_below(item.target, REACTOR):
        allowed = module == f"{PACKAGE}.tap" or (part == "cli" and item.in_function)
        return None if allowed else "only tap.py imports the reactor, and a command of cli in its function"
    if is_below(item.target, "autobahn") and part not in ("transports", "client"):
        return "Autobahn is known in transports/ and client/ only"
    room = ROOM.get(part, 0)
    top = item.target.split(".")[0]
    if top == PACKAGE:
        return _reason_against_ours(item.target, part, room)
    if top in sys.stdlib_module_names:
        impure = room < 2 and any(is_below(item.target, name) for name in IMPURE)
        return f"room {room} has no I/O and no clock of its own" if impure else None
    if room == 3 or top in FOREIGN[room] | OWN_LIBRARY.get(part, set()):
        return None
    return f"{part or PACKAGE} (room {room}) may not use this library"


def _reason_against_ours(target: str, part: str, room: int) -> str | None:
    other = part_of(target)
    if other not in ROOM or other == part:
        return None  # the package itself (its version), or the importer's own package
    if ROOM[other] > room:
        return f"room {room} may not import room {ROOM[other]}"
    if room == ROOM[other] == 2:
        return "an adapter may not import another adapter"
    return None


def module_of(path: Path) -> tuple[str, bool]:
    """(dotted name, is it a package) of a file of ours."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return (".".join(parts[:-1]), True) if parts[-1] == "__init__" else (".".join(parts), False)


def sources(*tops: str) -> list[Path]:
    """Our Python files below the directories `tops`."""
    found = sorted(path for top in tops for path in (ROOT / top).rglob("*.py"))
    return [path for path in found if "node_modules" not in path.parts]


class ImportRuleTests(SynchronousTestCase):
    """The tree as it is keeps the rule."""

    def test_every_import_of_every_module(self) -> None:
        paths = sources(PACKAGE)
        self.assertGreater(len(paths), 10, "the tree was not found")
        found = []
        for path in paths:
            module, is_package = module_of(path)
            found += violations(path.read_text(), module, is_package=is_package)
        self.assertEqual([], found, "\n" + "\n".join(found))

    def test_no_import_installs_the_reactor(self) -> None:
        """Also not by way of a library: twistd chooses the reactor after it imported some of us."""
        modules = [module_of(path)[0] for path in sources(PACKAGE)]
        modules = [name for name in modules if name != f"{PACKAGE}.tap" and not name.endswith("__main__")]
        program = """
            import importlib, sys
            for name in sys.argv[1:]:
                importlib.import_module(name)
                if "twisted.internet.reactor" in sys.modules:
                    sys.exit(name)
        """
        command = [sys.executable, "-c", textwrap.dedent(program), *modules]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(0, done.returncode, done.stderr)

    def test_plugin_file_imports_nothing_of_ours(self) -> None:
        """twistd imports it at the start of any plugin."""
        path = ROOT / "twisted/plugins/realtime_svc_plugin.py"
        targets = [item.target for item in imports_of(path.read_text(), "realtime_svc_plugin")]
        self.assertEqual(["twisted.application.service.ServiceMaker"], targets)


class CheckerTests(SynchronousTestCase):
    """The checker finds what it is there for."""

    BAD = (
        ("errors", "import twisted"),
        ("errors", "import attrs"),
        ("model", "from realtime_svc.core import hub"),
        ("config", "import socket"),
        ("channel", "from realtime_svc import service"),
        ("core.hub", "from twisted.internet import defer"),
        ("core.hub", "import time"),
        ("core.hub", "from urllib import request"),
        ("core.hub", "import asyncio"),
        ("core.hub", "import msgspec, jwt"),
        ("core.hub", "from ..transports import websocket"),
        ("core.hub", "if TYPE_CHECKING:\n    from realtime_svc.auth.jwt import Keys"),
        ("core.ports", "from realtime_svc.service import RealtimeService"),
        ("core.hub", "def late():\n    import realtime_svc.http.api"),
        ("core.hub", "import importlib\nimportlib.import_module('twisted.web')"),
        ("core.hub", "from google.protobuf import message"),
        ("wire.raw", "from autobahn.websocket import types"),
        ("transports.websocket", "from realtime_svc.auth import tokens"),
        ("transports.websocket", "import realtime_svc.metrics"),
        ("transports.websocket", "from realtime_svc.service import build"),
        ("transports.websocket", "import jwt"),
        ("transports.websocket", "from twisted.internet import reactor"),
        ("http.api", "from autobahn.twisted import websocket"),
        ("engines.broker_redis", "import txredisapi"),
        ("metrics", "from prometheus_client.twisted import MetricsResource"),
        ("validation", "def late():\n    from twisted.internet import reactor"),
        ("service", "from twisted.internet import reactor"),
        ("service", "from autobahn.twisted.websocket import WebSocketServerProtocol"),
        ("cli", "from twisted.internet import reactor"),
        ("cli.bench", "import twisted.internet.reactor"),
        ("odds_and_ends", "import json"),
    )
    GOOD = (
        ("wire.centrifuge_protobuf", "from google.protobuf.message import DecodeError"),
        ("errors", "import enum\nfrom collections.abc import Mapping"),
        ("config", "import msgspec"),
        ("core.hub", "from realtime_svc.model import Publication\nfrom realtime_svc.core.ports import Broker"),
        ("core.hub", "from urllib.parse import urlsplit\nfrom ..wire import raw"),
        ("wire.plain", "from realtime_svc.core.session import Session"),
        ("transports.websocket", "from autobahn.twisted.websocket import WebSocketServerProtocol"),
        ("transports.websocket", "from realtime_svc.core import node\nfrom realtime_svc.transports import frontdoor"),
        ("transports.tls", "import socket, time\nfrom OpenSSL import SSL\nfrom twisted.internet import ssl"),
        ("auth.tokens", "import jwt\nfrom realtime_svc.errors import AuthenticationFailed"),
        ("validation", "import jsonschema_rs"),
        ("cli", "from realtime_svc import __version__, client\nimport realtime_svc.configfile"),
        ("cli.bench", "def main():\n    from twisted.internet import reactor"),
        ("tap", "from twisted.internet import reactor"),
    )

    def test_each_bad_import_is_reported_once(self) -> None:
        for module, source in self.BAD:
            found = violations(source, f"{PACKAGE}.{module}")
            self.assertEqual(1, len(found), f"{module}: {source!r}: {found}")

    def test_good_imports_are_not_reported(self) -> None:
        for module, source in self.GOOD:
            self.assertEqual([], violations(source, f"{PACKAGE}.{module}"))

    def test_relative_import_in_a_package_starts_at_the_package(self) -> None:
        found = violations("from . import hub\nfrom ..http import api", f"{PACKAGE}.core", is_package=True)
        self.assertEqual(1, len(found), found)
        self.assertIn(":2: realtime_svc.http.api:", found[0])

    def test_package_itself_imports_nothing_above_room_0(self) -> None:
        self.assertEqual(1, len(violations("from realtime_svc.service import build", PACKAGE, is_package=True)))


class TreeTests(SynchronousTestCase):
    """Files: where they may be, how long, and that there is something in them."""

    def test_no_package_file_hides_the_plugin_or_twisted(self) -> None:
        self.assertEqual([], list((ROOT / "twisted").rglob("__init__.py")))

    def test_every_directory_of_modules_is_a_package(self) -> None:
        directories = {path.parent for path in sources(PACKAGE, "tests")}
        self.assertEqual([], [str(path) for path in sorted(directories) if not (path / "__init__.py").exists()])

    def test_every_module_says_what_it_is_and_has_something_in_it(self) -> None:
        found = []
        for path in sources(PACKAGE, "tests", "tools", "twisted"):
            tree = ast.parse(path.read_text())
            enough = 1 if path.name == "__init__.py" else 2
            if ast.get_docstring(tree) is None or len(tree.body) < enough:
                found.append(str(path.relative_to(ROOT)))
        self.assertEqual([], found)

    def test_files_are_short(self) -> None:
        lines = {path: len(path.read_text().splitlines()) for path in sources(PACKAGE, "tests", "tools", "twisted")}
        found = {str(path.relative_to(ROOT)): count for path, count in lines.items() if count > MOST_LINES}
        self.assertEqual({}, found, "a second concept has moved in and wants a room of its own")
