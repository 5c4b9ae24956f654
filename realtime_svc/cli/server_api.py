"""Commands that call the server API of a running server, and `realtime-svc api-key`, which makes a key for it.

A key is never on the command line, where every user of the machine can read it: it is in a file or in the environment.
The result is one line of JSON on standard output.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from realtime_svc import __version__, configfile, configrules
from realtime_svc.cli.api_client import ApiClient, read_key
from realtime_svc.cli.console import MAX_INPUT, OK, CommandFailed, Console
from realtime_svc.config import Api, ApiKey, Config
from realtime_svc.configfile import CLIENT_API_KEY
from realtime_svc.http import api_keys, openapi
from realtime_svc.log import escape
from realtime_svc.model import StreamPosition, parse_since

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

DEFAULT = "http://127.0.0.1:9000"
EPILOG = f"The key of the API comes from --key-file, or from the environment: {CLIENT_API_KEY}."
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_OFFSET = re.compile(r"[0-9]{1,18}", re.ASCII)

Body = Callable[[argparse.Namespace, Console], dict[str, Any]]


def add(commands: Commands) -> None:
    _add_publishing(commands)
    _add_reading(commands)
    _add_control(commands)
    command = commands.add_parser("api-key", help="make a key for the server API")
    command.add_argument("name", metavar="NAME", help="what logs show: letters, digits, - and _")
    scopes = '"all" (default), "read", a method, or a method and a prefix of channels ("publish:chat:"); repeatable'
    command.add_argument("--scope", action="append", metavar="SCOPE", help=scopes)
    command.add_argument("--key-file", metavar="FILE", help="write the key there (mode 0600) instead of showing it")
    command.set_defaults(run=make_key)
    command = commands.add_parser("openapi", help="print the OpenAPI document of the server API")
    command.set_defaults(run=print_document)


def _add_publishing(commands: Commands) -> None:
    for method, text in (("publish", "publish to a channel"), ("broadcast", "publish to several channels")):
        command = _add(commands, method, text, _publication)
        if method == "publish":
            command.add_argument("channel", metavar="CHANNEL")
        command.add_argument("data", metavar="DATA", help='JSON, such as \'{"text":"hi"}\'; "-" reads standard input')
        if method == "broadcast":
            command.add_argument("channels", metavar="CHANNEL", nargs="+")
        form = command.add_mutually_exclusive_group()
        form.add_argument("--text", action="store_true", help="DATA is plain text: publish it as a JSON string")
        form.add_argument("--base64", action="store_true", help="DATA is base64, for a namespace of bytes")
        command.add_argument("--tag", action="append", default=[], metavar="NAME=VALUE", help="repeatable")
        command.add_argument("--skip-history", action="store_true", help="deliver it, but do not keep it")
        command.add_argument("--idempotency-key", metavar="KEY", help="published once, however often it is tried")


def _add_reading(commands: Commands) -> None:
    command = _add(commands, "history", "what was published in a channel", _history)
    command.add_argument("channel", metavar="CHANNEL")
    command.add_argument("--limit", type=int, default=-1, metavar="N", help="0: the position only; default: a page")
    command.add_argument("--since", metavar="[EPOCH:]OFFSET", help="only what came after")
    command.add_argument("--reverse", action="store_true", help="newest first")
    command = _add(commands, "presence", "who is in a channel", lambda given, console: {"channel": given.channel})
    command.add_argument("channel", metavar="CHANNEL")
    command.add_argument(
        "--stats", dest="method", action="store_const", const="presence_stats", help="only how many there are"
    )
    command = _add(commands, "channels", "channels with subscribers", lambda given, console: {"pattern": given.pattern})
    command.add_argument("pattern", metavar="PATTERN", nargs="?", default="", help="a glob such as 'chat:*'")
    _add(commands, "info", "the processes of the service", lambda given, console: {})


def _add_control(commands: Commands) -> None:
    command = _add(commands, "disconnect", "close a user's connections", _disconnect)
    command.add_argument("user", metavar="USER")
    command.add_argument("--client", default="", metavar="ID", help="only the connection with this client id")
    command.add_argument("--code", type=int, default=0, metavar="CODE", help="close code; default: 3503")
    command.add_argument("--reason", default="", metavar="TEXT")
    command = _add(commands, "revoke", "refuse a token, or all tokens of a user issued until now", _revoke)
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("--token-id", default="", metavar="JTI", help="the token's claim `jti`")
    which.add_argument("--user", default="", metavar="USER")


def _add(commands: Commands, method: str, text: str, body: Body) -> argparse.ArgumentParser:
    command = commands.add_parser(method, help=f"server API: {text}", epilog=EPILOG, allow_abbrev=False)
    command.add_argument("--api", metavar="URL", help=f"default: internal.port of --config, or {DEFAULT}")
    command.add_argument("--key-file", metavar="FILE", help="the key of the API")
    command.add_argument("--config", type=Path, metavar="FILE", help="the server's configuration, for the address")
    command.add_argument("--ca", metavar="FILE", help="trust the authorities of this PEM file, not the system's")
    command.add_argument("--insecure", action="store_true", help="send the key over http:// too, readable for anyone")
    command.set_defaults(run=partial(call, body=body), method=method)
    return command


def call(arguments: argparse.Namespace, console: Console, *, body: Body) -> int:
    request = body(arguments, console)
    key = read_key(arguments.key_file) if arguments.key_file else console.environ.get(CLIENT_API_KEY)
    client = ApiClient(_address(arguments, console), key or None, ca=arguments.ca, insecure=arguments.insecure)
    console.say(escape(client.call(arguments.method, request)))
    return OK


def _address(arguments: argparse.Namespace, console: Console) -> str:
    if arguments.api:
        return str(arguments.api)
    if arguments.config is None:
        return DEFAULT
    internal = configfile.load(arguments.config, console.environ).internal
    host = ANY_ADDRESS.get(internal.host, internal.host)
    return f"http://[{host}]:{internal.port}" if ":" in host else f"http://{host}:{internal.port}"


# ---- bodies


def _publication(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    text = arguments.data
    if text == "-":
        text = console.stdin.read(MAX_INPUT).removesuffix("\n")
    body: dict[str, Any] = {"skip_history": arguments.skip_history}
    if arguments.method == "publish":
        body["channel"] = arguments.channel
    else:
        body["channels"] = arguments.channels
    if arguments.base64:
        body["b64data"] = _base64(text)
    else:
        body["data"] = text if arguments.text else _json(text)
    if arguments.tag:
        body["tags"] = dict(_tag(tag) for tag in arguments.tag)
    if arguments.idempotency_key:
        body["idempotency_key"] = arguments.idempotency_key
    return body


def _json(text: str) -> msgspec.Raw:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise CommandFailed("DATA: is not valid JSON; --text publishes it as a JSON string") from None
    return msgspec.Raw(text)


def _base64(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise CommandFailed("DATA: is not valid base64") from None
    return text


def _tag(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise CommandFailed("--tag: must be NAME=VALUE")
    return name, value


def _history(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    body = {"channel": arguments.channel, "limit": arguments.limit, "reverse": arguments.reverse}
    if arguments.since is not None:
        body["since"] = _position(arguments.since)._asdict()
    return body


def _position(text: str) -> StreamPosition:
    """EPOCH:OFFSET, or an OFFSET of whatever epoch the stream is in."""
    if _OFFSET.fullmatch(text):
        return StreamPosition(int(text), "")
    position = parse_since(text)
    if position is None:
        raise CommandFailed("--since: must be EPOCH:OFFSET or OFFSET")
    return position


def _disconnect(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    body: dict[str, Any] = {"user": arguments.user, "client": arguments.client}
    if arguments.code or arguments.reason:
        body["disconnect"] = {"code": arguments.code, "reason": arguments.reason}
    return body


def _revoke(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    return {"token_id": arguments.token_id, "user": arguments.user}


# ---- keys, and the document


def make_key(arguments: argparse.Namespace, console: Console) -> int:
    """What the configuration is to hold goes to standard output; the key itself goes to a file, or is shown beside."""
    key, scopes = api_keys.make_key(), tuple(arguments.scope or ("all",))
    entry = ApiKey(hash=api_keys.hash_of(key), scopes=scopes)
    for path, reason in configrules.problems(Config(api=Api(keys={arguments.name: entry}))):
        if path[:2] == ("api", "keys"):
            raise CommandFailed(f"{'--scope' if 'scopes' in path else 'NAME'}: {reason}")
    if arguments.key_file:
        _write_secret(arguments.key_file, key)
        console.note(f"wrote {arguments.key_file}")
    else:
        console.note(f"the key, shown this once: {key}")
    console.say(f"[api.keys.{arguments.name}]")
    console.say(f'hash = "{entry.hash}"')
    console.say(f"scopes = {msgspec.json.encode(scopes).decode()}")
    return OK


def _write_secret(path: str, secret: str) -> None:
    """A new file, for its owner only."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise CommandFailed(f"{path}: exists already: choose another name") from None
    except OSError as error:
        raise CommandFailed(f"{path}: can't be written: {error.strerror}") from None
    with os.fdopen(descriptor, "w") as file:
        file.write(secret + "\n")


def print_document(arguments: argparse.Namespace, console: Console) -> int:
    console.stdout.write(openapi.encoded(__version__).decode())
    return OK
