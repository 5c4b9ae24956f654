"""`realtime-svc token ...` and `realtime-svc passwd`: make and explain what clients prove themselves with."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import msgspec

from realtime_svc import configfile, configschema
from realtime_svc.auth import passwords, tools
from realtime_svc.auth.claims import LAST_DATE
from realtime_svc.auth.jwt import JwtKeeper
from realtime_svc.auth.keys import load_keys
from realtime_svc.auth.tokens import StaticTokens
from realtime_svc.cli.console import FAILURE, OK, CommandFailed, Console, plain_failure
from realtime_svc.config import Auth


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    group = commands.add_parser("token", help="make and explain JSON Web Tokens")
    token = group.add_subparsers(metavar="COMMAND", required=True)
    _add_make(token.add_parser("make", help="a token that the configured server accepts"))
    command = token.add_parser("explain", help="what a token says; exit code 0 if the configured server takes it")
    command.add_argument("token", metavar="TOKEN", nargs="?", help="default: asked for, or read from standard input")
    _add_config(command)
    command.set_defaults(run=explain)
    command = commands.add_parser("passwd", help="set or remove a user's password in a password file")
    command.add_argument("file", metavar="FILE")
    command.add_argument("user", metavar="USER")
    command.add_argument("--delete", action="store_true", help="take the user out of the file")
    command.add_argument("--stdin", action="store_true", help="the password is the first line of standard input")
    command.set_defaults(run=passwd)


def _add_make(command: argparse.ArgumentParser) -> None:
    command.add_argument("user", metavar="USER", help='the user id (`sub`); "" makes a token for an anonymous client')
    command.add_argument("--expires", metavar="DURATION", default="1h", help="30s, 10m, 24h or never; default: 1h")
    command.add_argument("--info", metavar="JSON", help="what other clients see of the user")
    command.add_argument("--meta", metavar="JSON", help="an object that only code in the server sees")
    command.add_argument("--jti", metavar="ID", help="the token's own id, by which it can be revoked")
    command.add_argument("--channels", metavar="A,B", help="channels the user is subscribed to when it connects")
    command.add_argument("--channel", metavar="NAME", help="make a subscription token, for this channel")
    command.add_argument(
        "--expire-at",
        metavar="TIME",
        help="when the connection or subscription ends, if not at --expires: a duration from now, seconds since 1970, "
        "or never",
    )
    command.add_argument("--private-key", metavar="FILE", default="", help="PEM file to sign with (RS, ES, EdDSA)")
    _add_config(command)
    command.set_defaults(run=make)


def _add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument("--config", type=Path, metavar="FILE", help="the server's configuration")


def make(arguments: argparse.Namespace, console: Console) -> int:
    auth, now = _auth(arguments, console), time.time()
    info = _json("--info", arguments.info) if arguments.info is not None else None
    ttl = _seconds("--expires", arguments.expires)
    token = tools.make_token(
        auth.jwt,
        arguments.user,
        ttl,
        now,
        info,
        more=_more_claims(arguments, now),
        private_key_file=arguments.private_key,
        insecure=auth.insecure,
    )
    console.say(token)
    return OK


def _more_claims(arguments: argparse.Namespace, now: float) -> dict[str, Any]:
    claims: dict[str, Any] = {}
    if arguments.channel is not None:
        if arguments.meta is not None or arguments.channels is not None:
            raise CommandFailed("--channel: a subscription token has neither --meta nor --channels")
        claims["channel"] = arguments.channel
    if arguments.meta is not None:
        claims["meta"] = _json("--meta", arguments.meta)
        if not isinstance(claims["meta"], dict):
            raise CommandFailed("--meta: must be a JSON object")
    if arguments.jti is not None:
        claims["jti"] = arguments.jti
    if arguments.channels is not None:
        claims["channels"] = arguments.channels.split(",")
    if arguments.expire_at is not None:
        claims["expire_at"] = _moment(arguments.expire_at, now)
    return claims


def _moment(text: str, now: float) -> int:
    """Seconds since 1970; 0: never."""
    if text.isdecimal() and text.isascii() and len(text) < 20:
        return int(text)
    ttl = _seconds("--expire-at", text)
    return 0 if ttl is None else int(now + ttl)


def _seconds(option: str, text: str) -> float | None:
    if text == "never":
        return None
    try:
        seconds = configschema.seconds(text)
        if seconds > LAST_DATE:
            raise ValueError(text)
        return seconds
    except ValueError:
        raise CommandFailed(f'{option}: must be a duration such as "30s", "10m", "24h", or "never"') from None


def _json(option: str, text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise CommandFailed(f"{option}: is not valid JSON") from None


def explain(arguments: argparse.Namespace, console: Console) -> int:
    auth = _auth(arguments, console)
    token = arguments.token or console.secret("Token: ").strip()
    owner = StaticTokens(auth.tokens).find(token)
    if owner is not None:
        console.say(f"verdict: accepted, the static token of user {msgspec.json.encode(owner.user).decode()}")
        return OK
    keeper = (
        JwtKeeper(auth.jwt, load_keys(auth.jwt, insecure=auth.insecure), time.time) if auth.jwt.algorithms else None
    )
    lines = tools.explain_token(token, keeper, time.time())
    for line in lines:
        console.say(line)
    return OK if lines[-1].startswith("verdict: accepted") else FAILURE


def passwd(arguments: argparse.Namespace, console: Console) -> int:
    if arguments.delete:
        with plain_failure():
            removed = passwords.remove_user(arguments.file, arguments.user)
        if not removed:
            raise CommandFailed(f"{arguments.file}: has no such user")
        console.note("removed")
        return OK
    password = console.secret("Password: ", piped=arguments.stdin)
    if not arguments.stdin and console.stdin.isatty() and console.secret("Again: ") != password:
        raise CommandFailed("the two passwords differ; nothing was changed")
    with plain_failure():
        passwords.set_user(arguments.file, arguments.user, password)
    console.note("set; running servers read the file again at SIGHUP")
    return OK


def _auth(arguments: argparse.Namespace, console: Console) -> Auth:
    return configfile.load(arguments.config, console.environ).auth
