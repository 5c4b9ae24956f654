"""The load generator and the ceilings, in C: how they are built. README.md says what they do."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

FOLDER = Path(__file__).parent


def can_build() -> bool:
    """Is there what it takes: make and a C compiler?"""
    return shutil.which("make") is not None and any(shutil.which(name) for name in ("cc", "gcc", "clang"))


def build() -> Path:
    """Build what is not up to date; returns the folder with the programs `load` and `ceiling`.

    Raises `RuntimeError` with the compiler's words when it fails.
    """
    with (FOLDER / "Makefile").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two at once would write the same files
        made = subprocess.run(["make", "-s", "-C", str(FOLDER)], capture_output=True, text=True, check=False)
    if made.returncode:
        raise RuntimeError(f"the load generator could not be built:\n{made.stderr}")
    return FOLDER / "build"
