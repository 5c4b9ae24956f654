"""`realtime-svc`: the command line beside the server.

Exit codes: 0 done; 1 it could not be done; 2 the command line is wrong; 78 the configuration is (EX_CONFIG).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from realtime_svc import __version__
from realtime_svc.cli import bench, config, connect, credentials, develop, server_api
from realtime_svc.cli.console import BAD_CONFIG, FAILURE, CommandFailed, Console
from realtime_svc.errors import ConfigError

EPILOG = "exit codes: 0 done, 1 could not be done, 2 wrong command line, 78 wrong configuration"


def parser() -> argparse.ArgumentParser:
    """The grammar of the command line; each command sets `run`."""
    top = argparse.ArgumentParser(prog="realtime-svc", epilog=EPILOG, allow_abbrev=False)
    top.add_argument("--version", action="version", version=f"realtime_svc {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for group in (develop, connect, server_api, bench, config, credentials):
        group.add(commands)
    return top


def main(argv: Sequence[str] | None = None, console: Console | None = None) -> int:
    """Run one command; the exit code. A wrong command line raises `SystemExit(2)`, as argparse does."""
    console = console or Console()
    arguments = parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments, console)
        return code
    except ConfigError as error:
        console.note(f"realtime-svc: {error}")
        return BAD_CONFIG
    except CommandFailed as error:
        console.note(f"realtime-svc: {error}")
        return FAILURE
    except BrokenPipeError:  # `realtime-svc config sample | head`
        return FAILURE
    except KeyboardInterrupt:
        return 130
