"""`realtime-svc config ...`: check a file, show what holds in the end, print the schema and the sample."""

from __future__ import annotations

import argparse
from pathlib import Path

from realtime_svc import configfile, configrules
from realtime_svc.cli import configtext
from realtime_svc.cli.console import OK, Console
from realtime_svc.errors import ConfigError


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    group = commands.add_parser("config", help="check and show the configuration")
    config = group.add_subparsers(metavar="COMMAND", required=True)
    command = config.add_parser("check", help="is a file, together with the environment, a usable configuration?")
    command.add_argument("file", type=Path, metavar="FILE")
    command.set_defaults(run=check)
    command = config.add_parser("show", help="what holds in the end: defaults, file, environment; secrets are masked")
    command.add_argument("file", type=Path, metavar="FILE", nargs="?")
    command.set_defaults(run=show)
    command = config.add_parser("schema", help="the JSON Schema of the configuration")
    command.set_defaults(run=lambda arguments, console: _print(console, configtext.schema_text()))
    command = config.add_parser("sample", help="every key, documented, with its default")
    command.set_defaults(run=lambda arguments, console: _print(console, configtext.sample()))


def check(arguments: argparse.Namespace, console: Console) -> int:
    """All that the server reads before it starts is read: keys, certificates, passwords, schemas, user code.

    What is allowed, but can't be what was meant, is a warning.
    """
    from realtime_svc.service import prepare  # here: the whole server hangs on it, and no other command needs it

    config = configfile.load(arguments.file, console.environ)
    try:
        prepare(config, reactor=None)
    except ConfigError as error:
        raise ConfigError(error.where or str(arguments.file), error.key, error.reason) from None
    for warning in configrules.warnings(config):
        console.note(f"{arguments.file}: warning: {warning}")
    console.say(f"{arguments.file}: ok")
    return OK


def show(arguments: argparse.Namespace, console: Console) -> int:
    return _print(console, configtext.effective(configfile.load(arguments.file, console.environ)))


def _print(console: Console, text: str) -> int:
    console.say(text.rstrip("\n"))
    return OK
