"""What a command talks to: its streams, its environment, and the exit codes."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

from realtime_svc.errors import ConfigError

OK = 0
FAILURE = 1
USAGE = 2
BAD_CONFIG = 78  # EX_CONFIG of sysexits.h

MAX_INPUT = 2**20


class CommandFailed(Exception):
    """A command can't do what it was asked to; the text is one line for the person who asked."""


@contextmanager
def plain_failure() -> Iterator[None]:
    """For a command that has nothing to do with the configuration: what it can't use is a failure (exit code 1)."""
    try:
        yield
    except ConfigError as error:
        raise CommandFailed(str(error)) from None


@dataclass(frozen=True)
class Console:
    """The streams and the environment of a command; tests give their own."""

    stdin: TextIO = field(default_factory=lambda: sys.stdin)
    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    stderr: TextIO = field(default_factory=lambda: sys.stderr)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def say(self, line: str) -> None:
        """One line of the result."""
        self.stdout.write(line + "\n")
        self.stdout.flush()

    def note(self, line: str) -> None:
        """One line beside the result: progress, a reason."""
        self.stderr.write(line + "\n")
        self.stderr.flush()

    def secret(self, prompt: str, *, piped: bool = False) -> str:
        """A secret: typed without echo, or the first line of standard input (`piped`, or nobody sits there)."""
        if not piped and self.stdin.isatty():
            return getpass.getpass(prompt, self.stderr)
        return self.stdin.readline(MAX_INPUT).rstrip("\r\n")
