"""`/metrics`: the node's instruments in the text format of Prometheus.

Read at scrape time from plain integers; nothing here is on the way of a message. The registry is our own: the library's
global one may hold what user code put there.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping

import twisted
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from realtime_svc import __version__
from realtime_svc.core.instruments import Instruments

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(instruments: Instruments, *, ready: bool) -> bytes:
    """Every metric of the process, as `CONTENT_TYPE`."""
    registry = CollectorRegistry()
    registry.register(_NodeCollector(instruments, ready))
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    return generate_latest(registry)


class _NodeCollector(Collector):
    def __init__(self, instruments: Instruments, ready: bool) -> None:
        self._instruments = instruments
        self._ready = ready

    def collect(self) -> Iterator[Metric]:
        build = {"version": __version__, "python": platform.python_version(), "twisted": twisted.__version__}
        yield InfoMetricFamily("realtime_svc_build", "What is running", build)
        yield GaugeMetricFamily(
            "realtime_svc_ready", "1: takes new connections; 0: starting or draining", int(self._ready)
        )
        yield from _connections(self._instruments)
        yield from _traffic(self._instruments)
        yield from _trouble(self._instruments)


def _connections(instruments: Instruments) -> Iterator[Metric]:
    gauge = GaugeMetricFamily("realtime_svc_connections", "Connections now", labels=["protocol"])
    for protocol, count in sorted(instruments.connections.items()):
        gauge.add_metric([protocol], count)
    yield gauge
    yield _by_label("connections_opened", "Connections since start", "protocol", instruments.connections_total)
    yield GaugeMetricFamily("realtime_svc_subscriptions", "Subscriptions now", instruments.subscriptions)


def _traffic(instruments: Instruments) -> Iterator[Metric]:
    yield _by_label("messages_in", "Messages from clients", "protocol", instruments.messages_in)
    yield _by_label("messages_out", "Messages to clients", "protocol", instruments.messages_out)
    yield _total("bytes_in", "Payload bytes from clients", instruments.bytes_in)
    yield _total("bytes_out", "Framed bytes to clients", instruments.bytes_out)
    yield _total("publications", "Publications accepted by this node", instruments.publications)
    yield GaugeMetricFamily("realtime_svc_queue_bytes", "Bytes waiting in client queues now", instruments.queued_bytes)


def _trouble(instruments: Instruments) -> Iterator[Metric]:
    refusals = CounterMetricFamily(
        "realtime_svc_refusals", "Requests refused before the upgrade", labels=["status", "cause"]
    )
    for (status, cause), count in sorted(instruments.refusals.items()):
        refusals.add_metric([str(status), cause], count)
    yield refusals
    yield _by_label("errors", "Error replies", "code", instruments.errors)
    yield _by_label("closes", "Connections closed by the server", "code", instruments.closes)
    yield _by_label(
        "authentication_failures", "Credentials that were refused", "cause", instruments.authentication_failures
    )
    yield _by_label("webhook_events", "Lifecycle events for the backend", "outcome", instruments.webhooks)
    yield _total("positions_lost", "Subscriptions told that publications are missing", instruments.positions_lost)
    yield _total("log_lines_suppressed", "Log lines left out or lost", instruments.log_lines_suppressed)


def _total(name: str, text: str, value: int) -> Metric:
    return CounterMetricFamily(f"realtime_svc_{name}", text, value)


def _by_label(name: str, text: str, label: str, counts: Mapping[str, int] | Mapping[int, int]) -> Metric:
    family = CounterMetricFamily(f"realtime_svc_{name}", text, labels=[label])
    for value, count in sorted((str(value), count) for value, count in counts.items()):
        family.add_metric([value], count)
    return family
