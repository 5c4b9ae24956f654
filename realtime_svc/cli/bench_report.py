"""What `realtime-svc bench` says: figures for people and for programs, and advice where something stood in the way."""

from __future__ import annotations

from typing import Any

import msgspec

from realtime_svc.cli.bench_modes import Plan, Result
from realtime_svc.cli.bench_peer import Closed
from realtime_svc.cli.connect import ADVICE, NOT_TRUSTED, TRUST
from realtime_svc.client.errors import HandshakeRefused
from realtime_svc.config import Limits

BUSY = 0.9  # of a core: from there on this program is what is measured
UNITS = {"fanout": "deliveries", "echo": "echoes", "publish": "acknowledged", "connect": "accepted"}
BOTTLENECK = (
    "this program, which is Python, used up its core: it was the bottleneck, and the server can do more. "
    "bench/load in the sources is a generator in C"
)
_FEWER = "or ask for fewer --connections"
_STATUS = {
    403: "the user of this token needs the right to subscribe and to publish in --channel",
    404: "--channel must be in a namespace of the server's configuration, and --url lead to realtime_svc",
    429: f"raise limits.connections_per_address or limits.connections_per_user (0: no limit), {_FEWER}",
    503: f"raise limits.connections (0: no limit) or the server's ulimit -n, {_FEWER}",
}
_TOKEN = (3500, 3501)
_CLOSE = {
    1008: "raise limits.frames_per_second (0: no limit)",
    1009: "raise limits.message_size, or ask for a smaller --size",
    3008: f"this program took too little: raise limits.queue_size and limits.stall_timeout, {_FEWER}",
    3013: "raise limits.messages_per_second (0: no limit)",
    3504: f"raise limits.connections_per_user (0: no limit), {_FEWER}",
    3509: "what was published was refused: raise limits.errors_per_minute only to find out more",
}


def advice(error: Exception, mode: str, has_token: bool) -> str:
    """The error, and what to do about it."""
    text, more = str(error), ""
    if isinstance(error, Closed):
        more = ADVICE if error.code in _TOKEN and not has_token else _CLOSE.get(error.code, "")
    elif isinstance(error, HandshakeRefused):
        more = _STATUS.get(error.status, "") if error.status != 401 or has_token else ADVICE
        if error.status == 403 and mode == "echo":
            more = "set echo = true there, or take --protocol centrifugo"
    elif text == NOT_TRUSTED:
        more = TRUST
    return f"{text}; {more}" if more else text


def figures(plan: Plan, result: Result) -> dict[str, Any]:
    """By name, as bench/load calls them. Times in seconds, delays in microseconds."""
    meter, tally = result.meter, result.tally
    found: dict[str, Any] = {
        "generator": "python",
        "mode": plan.mode,
        "protocol": plan.dialect.name,
        "connections": plan.connections,
    }
    if not meter.seconds:
        return found
    found["seconds"] = round(meter.seconds, 3)
    if plan.mode in UNITS:
        found |= {UNITS[plan.mode]: tally.done, "per_second": _rate(tally.in_time, meter.seconds)}
        found |= {name: tally.delays.quantile(share) for name, share in (("p50_us", 0.5), ("p99_us", 0.99))}
    if plan.mode in ("fanout", "echo", "publish"):
        found |= {"window": plan.window, "size": plan.size, "publications": tally.publications}
        names = ("deliveries", "lost", "out_of_order", "duplicates", "unacknowledged")
        found |= {name: getattr(tally, name) for name in names}
    if plan.mode == "idle":
        found["held"] = tally.done
    if result.memory is not None:
        before, after = result.memory
        each = round((after - before) / max(tally.done, 1))
        found |= {"memory_before": before, "memory_with_all": after, "bytes_a_connection": each}
    found |= {"load_cpu_seconds": round(meter.own, 3), "load_busy": _share(meter.own, meter.seconds)}
    if meter.server is not None:
        found |= {"server_cpu_seconds": round(meter.server, 3), "server_busy": _share(meter.server, meter.seconds)}
        if tally.in_time and plan.mode != "idle":
            found["server_cpu_per_million"] = round(1e6 * meter.server / tally.in_time, 2)
    return found


def _rate(count: int, seconds: float) -> float:
    return round(count / seconds, 1) if seconds else 0.0


def _share(part: float, whole: float) -> float:
    return round(part / whole, 3) if whole else 0.0


def notes(plan: Plan, result: Result) -> list[str]:
    """What has to be known to read the figures right."""
    meter, tally = result.meter, result.tally
    found = []
    if meter.seconds and meter.own / meter.seconds >= BUSY:
        found.append(BOTTLENECK)
    if plan.mode in ("fanout", "echo", "publish"):
        speakers = 1 if plan.mode == "fanout" else plan.connections
        limit = limited_by(tally.publications / speakers, meter.seconds)
        if limit:
            found.append(
                f"each connection published just what the default of {limit} lets through: raise it (0: no limit)"
            )
    return found


def limited_by(sent: float, seconds: float) -> str:
    """The limit whose default is what one connection sent in so many seconds; "": none. Twice the rate may come at
    once."""
    for name in ("messages_per_second", "frames_per_second"):
        most = getattr(Limits(), name) * (seconds + 2)
        if seconds >= 1 and 0.9 * most <= sent <= 1.05 * most:
            return f"limits.{name}"
    return ""


def as_json(found: dict[str, Any]) -> str:
    return msgspec.json.encode(found).decode()


def as_text(found: dict[str, Any]) -> list[str]:
    """A line a figure. Processor time as a share of one core."""
    lines = []
    for name, value in found.items():
        label, shown = name.replace("_", " "), f"{value:,}" if isinstance(value, int | float) else str(value)
        if name.endswith("_us"):
            label, shown = f"delay {label[:3]}", "-" if value is None else f"{value / 1000:,.2f} ms"
        elif name.endswith("_busy"):
            label = "this program (Python)" if name == "load_busy" else "server"
            shown = f"{100 * value:.0f} % of a core"
        elif name.startswith("memory"):
            shown = f"{value / 2**20:,.1f} MiB"
        elif name == "generator" or name.endswith("cpu_seconds"):
            continue
        lines.append(f"{label:<24}{shown}")
    return lines
