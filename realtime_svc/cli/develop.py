"""`realtime-svc dev` and `realtime-svc dev-cert`: a development server with one command, certificates for it."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from pathlib import Path

from realtime_svc import configfile
from realtime_svc.cli.console import FAILURE, OK, CommandFailed, Console, plain_failure
from realtime_svc.devcert import DEFAULT_NAMES, make_dev_certificates
from realtime_svc.http.api_keys import hash_of, make_key

TEMPLATE = """\
# A development server, written by `realtime-svc dev`, which starts with this file from now on: change what you like.
# `realtime-svc config sample` prints every key there is.

[listeners.public]
host = "127.0.0.1"
port = 8000

# Who is there: `Authorization: Bearer <token>`. For development only.
[auth.tokens]
alice = "{alice}"
bob = "{bob}"

# The channels `chat:<anything>`: with a history, so that who comes back gets what was missed, and with presence.
[namespaces.chat]
history_size = 100
history_ttl = "10m"
recovery = "always"
presence = true
join_leave = "allowed"
tags_filter = true

# Channels without a namespace, such as `lobby`, keep nothing.
[namespaces.default]

# The server API on the internal port; the key itself is in the file `api.key` beside this one.
[api.keys.dev]
hash = "{api}"
"""
KEY_FILE = "api.key"
_KEYS = {"--port": "listeners.public.port", "--internal-port": "internal.port"}
_TWISTD = "from twisted.scripts.twistd import run; run()"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "dev",
        help="start a development server in the foreground",
        epilog="Where another program has one of the two ports, move it: --port, --internal-port.",
    )
    command.add_argument("--dir", type=Path, metavar="DIR", default=Path("var"), help="for dev.toml; default: var")
    command.add_argument("--port", metavar="PORT", help="instead of the one in dev.toml (8000)")
    command.add_argument("--internal-port", metavar="PORT", help="instead of the one in dev.toml (9000)")
    command.set_defaults(run=dev)
    command = commands.add_parser("dev-cert", help="make a development CA and a server certificate signed by it")
    command.add_argument("dir", type=Path, metavar="DIR")
    command.add_argument(
        "--name",
        action="append",
        metavar="NAME",
        help=f"DNS name or address the certificate is good for, repeatable; default: {', '.join(DEFAULT_NAMES)}",
    )
    command.set_defaults(run=dev_cert)


def dev(arguments: argparse.Namespace, console: Console) -> int:
    """Does not return when all is well: twistd takes the place of this process."""
    path = arguments.dir / "dev.toml"
    if ensure_config(path):
        console.note(f"wrote {path}")
    ports = {"--port": arguments.port, "--internal-port": arguments.internal_port}
    # A mistake in the file, or in a port, is told in one line before anything starts.
    configfile.load(path, console.environ, {_KEYS[flag]: port for flag, port in ports.items()})
    command = ["-n", "--pidfile=", "realtime_svc", "--config", str(path), "--welcome"]
    command += [f"{flag}={port}" for flag, port in ports.items() if port is not None]
    try:
        os.execve(sys.executable, [sys.executable, "-c", _TWISTD, *command], dict(console.environ))
    except OSError as error:
        console.note(f"realtime-svc: {sys.executable}: {error.strerror}")
    return FAILURE


def ensure_config(path: Path) -> bool:
    """Write the development configuration (mode 0600) unless it is there; was it written?

    Its tokens are 32 characters that may stand in a sub-protocol (`bearer.<token>`) and in a header alike.
    """
    if path.exists():
        return False
    key = make_key()
    text = TEMPLATE.format(alice=secrets.token_urlsafe(24), bob=secrets.token_urlsafe(24), api=hash_of(key))
    _write(path, text, os.O_EXCL)
    _write(path.with_name(KEY_FILE), key + "\n", os.O_TRUNC)
    return True


def _write(path: Path, text: str, how: int) -> None:
    """Into a file that only its owner can read."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o600)
    except OSError as error:
        raise CommandFailed(f"{path}: can't be written: {error.strerror}") from None
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def dev_cert(arguments: argparse.Namespace, console: Console) -> int:
    with plain_failure():
        made = make_dev_certificates(arguments.dir, arguments.name or DEFAULT_NAMES)
    console.say(f"authority, for clients to trust: {made.ca}")
    console.say(f"tls.certificate: {made.certificate}")
    console.say(f"tls.key:         {made.key}")
    return OK
