"""What a run was made on and with: figures without it say nothing."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

from bench.compare.install import Installed
from bench.compare.runner import Plan
from realtime_svc import __version__
from realtime_svc.transports.kernel import choose

QUIET = 1.0  # load average of a machine on which nothing else runs, with what the installation left of it


def processor(cpuinfo: str) -> str:
    """Its name, of the text of /proc/cpuinfo."""
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def system(os_release: str) -> str:
    """Such as "Debian GNU/Linux 12 (bookworm)", of the text of /etc/os-release."""
    found = re.search(r'^PRETTY_NAME="?([^"\n]+)', os_release, re.MULTILINE)
    return found[1] if found else platform.system()


def _read(path: str) -> str:
    file = Path(path)
    return file.read_text() if file.exists() else ""


def _compiler() -> str:
    done = subprocess.run([os.environ.get("CC", "cc"), "--version"], capture_output=True, text=True, check=False)
    return done.stdout.splitlines()[0] if done.stdout else "unknown"


def conditions(plan: Plan, installed: Installed, command: str, took: float, busy: float) -> list[tuple[str, str]]:
    """Name and value of each, for the report. `took`: seconds. `busy`: the load average before the first run."""
    ours = (
        f"realtime_svc {__version__} (sockets.path auto: {choose('auto').name}), Python {platform.python_version()}, "
    )
    ours += f"Twisted {version('twisted')}, Autobahn {version('autobahn')}, pyOpenSSL {version('pyopenssl')}"
    cores = f"{len(os.sched_getaffinity(0))} of {processor(_read('/proc/cpuinfo'))}; the server on core "
    return [
        ("date", f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC, {took / 60:.0f} min"),
        ("command", f"`{command}`"),
        ("cores", f"{cores}{plan.server_core}, the load on core {plan.load_core}"),
        ("system", f"{system(_read('/etc/os-release'))}, Linux {platform.release()}, loopback"),
        ("before", f"load average {busy:.1f}" + (": something else ran, too" if busy > QUIET else "")),
        ("runs", f"{plan.runs} of {plan.seconds:g} s a figure and server, round robin; medians"),
        ("realtime_svc", ours),
        ("peers", "; ".join(installed.versions.values()) or "none"),
        ("C compiler", _compiler()),
    ]
