"""`realtime-svc bench MODE --url URL`: how fast is that server, from here?

Every delivery is counted, and has to come once and in order. The load is made by this one process in Python, which is
told beside the figures: where it uses up a core, it is the bottleneck. Exit code 0: measured, nothing missing; 1: it
could not be, or something was lost, came twice or out of order; 130: Ctrl-C, with the figures up to then.
"""

from __future__ import annotations

import argparse
import resource
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from realtime_svc.channel import is_channel
from realtime_svc.cli import bench_report as report
from realtime_svc.cli.bench_modes import Bench, Plan
from realtime_svc.cli.bench_peer import Loop, Target
from realtime_svc.cli.bench_tally import memory, processor_seconds
from realtime_svc.cli.bench_wire import DIALECTS, PAYLOAD, Numbered, RunFailed
from realtime_svc.cli.connect import INTERRUPTED, first_line
from realtime_svc.cli.console import FAILURE, OK, CommandFailed, Console
from realtime_svc.client.errors import ConnectionFailed, HandshakeRefused
from realtime_svc.client.request import Request, make_request
from realtime_svc.configfile import CLIENT_TOKEN
from realtime_svc.log import escape

MODES = {
    "fanout": "one connection publishes, all others get it; --window publications are on their way at a time",
    "echo": "each connection publishes in a channel of its own, and publishes again when it got that back",
    "publish": "as echo, but counts the acknowledgements; through the Centrifugo protocol",
    "connect": "connections that come and go, --connections at a time",
    "idle": "connections that are held; with --pid what they cost in memory",
}
MOST_CONNECTIONS = 10_000
MOST_SECONDS = 300.0
CONNECT_TIMEOUT = 10.0
RESERVED = 50  # file descriptors besides the connections
MODES_TEXT = "\n".join(f"  {name:<9}{text}" for name, text in MODES.items())
EPILOG = f"""modes:
{MODES_TEXT}

A token may also stand in the environment: {CLIENT_TOKEN}. Ctrl-C ends a run early, and shows its figures."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "bench",
        help="measure a server: deliveries, echoes, connections a second, delays",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_argument("mode", choices=list(MODES), metavar="MODE", help=", ".join(MODES))
    command.add_argument("--url", required=True, help="ws://HOST:PORT or wss://..., without /raw or /connection")
    credential = command.add_mutually_exclusive_group()
    credential.add_argument("--token-file", metavar="FILE", help="a bearer token")
    credential.add_argument("--token", help="the same here, where every user of this machine can read it")
    command.add_argument("--protocol", choices=list(DIALECTS), help="default: raw; of publish: centrifugo")
    command.add_argument("--channel", default="bench", help="or what its name begins with; default: bench")
    add_number = partial(_add_number, command)
    add_number("--connections", 50, 1, MOST_CONNECTIONS, int, "how many, or at a time; default: 50")
    add_number("--window", 1, 1, 1000, int, "publications on their way, of each who publishes; default: 1")
    add_number("--size", 128, 1, 2**20, int, "bytes of a payload; default: 128")
    add_number("--seconds", 5.0, 0.1, MOST_SECONDS, float, "default: 5")
    command.add_argument("--payload", default=PAYLOAD, metavar="JSON", help=f"default: {PAYLOAD.replace('%', '%%')}")
    add_number("--pid", None, 1, 2**31, int, "process of the server, if it runs here: what it uses is told, too")
    command.add_argument("--ca", metavar="FILE", help="trust the authorities of this PEM file, not the system's")
    command.add_argument("--insecure", action="store_true", help="send the token over ws:// too, readable for anyone")
    command.add_argument("--json", action="store_true", help="one line of JSON")
    command.set_defaults(run=run)


def _add_number(
    command: argparse.ArgumentParser,
    name: str,
    default: float | None,
    least: float,
    most: float,
    kind: Callable[[str], float],
    text: str,
) -> None:
    def number(given: str) -> float:
        try:
            value = kind(given)
        except ValueError:
            raise argparse.ArgumentTypeError("is not a number") from None
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be {least} to {most}")
        return value

    command.add_argument(name, type=number, default=default, metavar="N", help=text)


def run(arguments: argparse.Namespace, console: Console) -> int:
    plan = make_plan(arguments)
    token = _token(arguments, console)
    request = _request(arguments, token)
    _raise_descriptor_limit(plan.connections)
    if plan.pid is not None:
        (memory if plan.mode == "idle" else processor_seconds)(plan.pid)  # now, not when the work is done
    target = _reach(request, arguments.ca)
    loop = Loop()
    bench = Bench(loop, target, plan, partial(_began, console, plan))
    failure = ""
    with _ctrl_c(loop):
        try:
            bench.run()
        except (RunFailed, HandshakeRefused, ConnectionFailed) as error:
            failure = report.advice(error, plan.mode, token is not None)
        finally:
            loop.close()
    return _tell(bench, plan, console, failure, loop.stopped, arguments.json)


def make_plan(arguments: argparse.Namespace) -> Plan:
    """Raises `CommandFailed` for what does not go together."""
    name = arguments.protocol or ("centrifugo" if arguments.mode == "publish" else "raw")
    dialect = DIALECTS[name]
    if arguments.mode == "publish" and not dialect.acknowledges:
        raise CommandFailed("--protocol: publish counts acknowledgements, which raw does not have")
    if not is_channel(f"{arguments.channel}-{MOST_CONNECTIONS}"):
        raise CommandFailed("--channel: is not a channel's name")
    try:
        numbered = Numbered(arguments.size, arguments.payload)
    except ValueError as error:
        raise CommandFailed(str(error)) from None
    return Plan(
        mode=arguments.mode,
        dialect=dialect,
        channel=arguments.channel,
        connections=arguments.connections,
        window=arguments.window,
        size=arguments.size,
        seconds=arguments.seconds,
        numbered=numbered,
        pid=arguments.pid,
    )


def _token(arguments: argparse.Namespace, console: Console) -> str | None:
    if arguments.token is not None:
        return str(arguments.token)
    return first_line(arguments.token_file) if arguments.token_file else console.environ.get(CLIENT_TOKEN) or None


def _request(arguments: argparse.Namespace, token: str | None) -> Request:
    """Raises `CommandFailed`; its text holds nothing of the address, which may be a secret by mistake."""
    try:
        request = make_request(arguments.url, token=token, insecure=arguments.insecure)
    except ValueError as error:
        raise CommandFailed(f"--url: {error}".replace("insecure=True", "--insecure")) from None
    if "?" in request.resource:
        raise CommandFailed("--url: must have no query: a token belongs into --token-file")
    if request.resource.endswith("/connection/websocket") or "/raw/" in request.resource:
        raise CommandFailed("--url: only up to the port, or a proxy's path: --protocol and --channel say the rest")
    return request


def _raise_descriptor_limit(connections: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < connections + RESERVED:
        raise CommandFailed(f"--connections: needs {connections + RESERVED} file descriptors, and there are {hard}")


def _reach(request: Request, ca: str | None) -> Target:
    """Of the host's addresses the first that answers. Raises `CommandFailed`."""
    context = None
    try:
        if request.secure:
            context = ssl.create_default_context(cafile=ca)
            context.set_alpn_protocols(["http/1.1"])
    except (OSError, ssl.SSLError) as error:
        raise CommandFailed(f"{ca}: {getattr(error, 'strerror', None) or 'is not a PEM file'}") from None
    try:
        with socket.create_connection((request.host, request.port), CONNECT_TIMEOUT) as probe:
            return Target(probe.family, probe.getpeername(), request, context)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "no answer in time"
        raise CommandFailed(f"can't connect: {escape(reason)}") from None


@contextmanager
def _ctrl_c(loop: Loop) -> Iterator[None]:
    """The first ends the run in good order, the second one at once."""
    usual = signal.getsignal(signal.SIGINT)

    def stop(number: int, frame: Any) -> None:
        loop.stopped = True
        signal.signal(signal.SIGINT, usual)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


def _began(console: Console, plan: Plan, connections: int) -> None:
    word = "connections at a time" if plan.mode == "connect" else "connections"
    console.note(f"{plan.mode}: {connections} {word}, for {plan.seconds:g} s (Ctrl-C: less)")


def _tell(bench: Bench, plan: Plan, console: Console, failure: str, stopped: bool, as_json: bool) -> int:
    """The figures as far as there are any; the exit code."""
    result = bench.result
    found = report.figures(plan, result)
    told = report.notes(plan, result)
    if as_json:
        more = {"notes": told, "interrupted": stopped} | ({"error": failure} if failure else {})
        console.say(report.as_json(found | more))
    elif result.meter.seconds:
        for line in report.as_text(found):
            console.say(line)
        for text in told:
            console.note(f"note: {text}")
    if failure:
        console.note(f"realtime-svc: {escape(failure)}")
        return FAILURE
    if not result.tally.faultless:
        console.note("realtime-svc: not every message came once and in order")
        return FAILURE
    return INTERRUPTED if stopped else OK
