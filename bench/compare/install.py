"""Puts the peers into a scratch folder, at the versions that bench/peers pins. A peer that can't be had is told, with
the reason, and the others are measured without it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PEERS = ROOT / "bench" / "peers"
SCRATCH = ROOT / ".make" / "peers"
CHECKS = {  # what has to be importable once a section of requirements.txt is installed
    "websockets": "websockets",
    "picows": "picows",
    "socketify": "socketify",
    "autobahn": "autobahn.twisted.websocket",
    "python-socketio": "socketio, uvicorn",
    "channels": "channels, daphne",
}
NODE_PEERS = ("ws", "socket.io")


@dataclass
class Installed:
    """What is there to run peers with. `versions` and `missing` (the reason) by the peer's name."""

    python: Path = SCRATCH / "python" / "bin" / "python"
    node: str = "node"
    node_modules: Path = SCRATCH / "node" / "node_modules"
    nginx: Path = Path("/usr/sbin/nginx")
    nginx_modules: Path = Path("/usr/lib/nginx/modules")
    nats: Path = Path("/usr/sbin/nats-server")
    versions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


class NotInstalled(Exception):
    """Its text is the reason."""


def sections(text: str) -> dict[str, list[str]]:
    """The requirements of each peer: the lines below its `# peer: <name>`."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if match := re.fullmatch(r"# peer: (\S+)", line):
            name = match[1]
            found[name] = []
        elif line and not line.startswith("#"):
            found[name].append(line)
    return found


def install(wanted: set[str]) -> Installed:
    """Installs what is not there yet of the peers in `wanted`."""
    done = Installed()
    requirements = sections((PEERS / "requirements.txt").read_text())
    for name, lines in requirements.items():
        if name in wanted:
            _try(done, name, lambda lines=lines, name=name: _python(done, name, lines))  # type: ignore[misc]
    if wanted & set(NODE_PEERS):
        for name in NODE_PEERS:
            _try(done, name, lambda name=name: _node(done, name))  # type: ignore[misc]
    if "nchan" in wanted:
        _try(done, "nchan", lambda: _nchan(done))
    if "nats" in wanted:
        _try(done, "nats", lambda: _nats(done))
    return done


def _try(done: Installed, name: str, call: Callable[[], str]) -> None:
    try:
        done.versions[name] = call()
    except (NotInstalled, OSError) as error:
        done.missing[name] = str(error)


def _run(command: Sequence[str | Path], cwd: Path = ROOT) -> str:
    """What it prints to stdout. Raises `NotInstalled` with its last line, without the addresses in it."""
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if result.returncode:
        lines = (result.stderr.strip() or result.stdout.strip() or f"status {result.returncode}").splitlines()
        raise NotInstalled(f"{Path(command[0]).name}: " + re.sub(r"\b[a-z]+://\S+", "...", lines[-1]))
    return result.stdout


def _stamp(folder: Path, name: str, *contents: str) -> Path:
    """A file that exists once this, in this version, is installed."""
    digest = hashlib.sha256("\0".join((sys.version, *contents)).encode()).hexdigest()
    return folder / f".{name}-{digest[:16]}"


def _python(done: Installed, name: str, lines: list[str]) -> str:
    """Makes the virtual environment if need be; returns the version of the peer."""
    environment = done.python.parent.parent
    made = _stamp(environment, "python", sys.prefix)
    if not made.exists():
        print(f"Making a virtual environment in {environment.relative_to(ROOT)}")
        _run([sys.executable, "-m", "venv", "--clear", environment])
        made.touch()
    stamp = _stamp(environment, name, *lines)
    if not stamp.exists():
        print(f"Installing {name}: {', '.join(lines)}")
        pip = [str(done.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        _run([*pip, *lines])
        _run([done.python, "-c", f"import {CHECKS[name]}"])
        stamp.touch()
    pinned = dict(line.split("==") for line in lines)
    shown = {"python-socketio": ("python-socketio", "uvicorn"), "channels": ("channels", "daphne")}
    return ", ".join(f"{package} {pinned[package]}" for package in shown.get(name, (name,)))


def _node(done: Installed, name: str) -> str:
    if not shutil.which("node") or not shutil.which("npm"):
        raise NotInstalled("node and npm are needed")
    folder = done.node_modules.parent
    files = [PEERS / "package.json", PEERS / "package-lock.json"]
    stamp = _stamp(folder, "node", *(file.read_text() for file in files))
    if not stamp.exists():
        print(f"Installing the Node peers: {', '.join(NODE_PEERS)}")
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copy(file, folder)
        _run(["npm", "ci", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"], folder)
        stamp.touch()
    version = re.search(rf'"{re.escape(name)}": "([^"]+)"', files[0].read_text())
    node = _run(["node", "--version"]).strip().removeprefix("v")
    return f"{name} {version[1] if version else '?'}, Node {node}"


def _debian(folder: Path, *packages: str) -> Path:
    """Unpacks packages into the scratch folder: nothing of the system changes, no service is started."""
    if not shutil.which("apt-get"):
        raise NotInstalled(f"not on this system, and without apt-get: install {' and '.join(packages)}")
    stamp = _stamp(folder, "-".join(packages), platform.machine())
    if not stamp.exists():
        print(f"Unpacking Debian's {', '.join(packages)} into {folder.relative_to(ROOT)}")
        packed = folder / "packed"
        packed.mkdir(parents=True, exist_ok=True)
        try:
            _run(["apt-get", "download", "-qq", *packages], packed)
        except NotInstalled:
            if os.geteuid():
                raise
            _run(["apt-get", "update", "-qq"])
            _run(["apt-get", "download", "-qq", *packages], packed)
        for file in packed.glob("*.deb"):
            _run(["dpkg-deb", "-x", file, folder])
        shutil.rmtree(packed)
        stamp.touch()
    return folder


def _nchan(done: Installed) -> str:
    if not (done.nginx.exists() and (done.nginx_modules / "ngx_nchan_module.so").exists()):
        folder = _debian(SCRATCH / "debian", "nginx", "libnginx-mod-nchan")
        done.nginx = folder / "usr/sbin/nginx"
        done.nginx_modules = folder / "usr/lib/nginx/modules"
    # nchan makes a folder below this one when it starts, whatever the configuration says.
    Path("/var/lib/nginx").mkdir(exist_ok=True)
    result = subprocess.run([done.nginx, "-v"], capture_output=True, text=True, check=False)
    if result.returncode:
        raise NotInstalled(result.stderr.strip() or "nginx does not run")
    nchan = re.search(r"^Version: (?:\d+:)?([\d.]+)", _run(["apt-cache", "show", "libnginx-mod-nchan"]), re.MULTILINE)
    return f"nchan {nchan[1] if nchan else '?'}, nginx {result.stderr.strip().rpartition('/')[2]}"


def _nats(done: Installed) -> str:
    if not done.nats.exists():
        done.nats = _debian(SCRATCH / "debian", "nats-server") / "usr/sbin/nats-server"
    return "nats-server " + _run([done.nats, "--version"]).strip().rpartition("v")[2]
