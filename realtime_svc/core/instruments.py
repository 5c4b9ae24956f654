"""What is counted: plain integers, cheap enough for every message; `metrics.py` turns them into an exposition.

Labels come from our own tables only (protocol names, status codes, causes), never from a client, so they are bounded.
"""

from __future__ import annotations

from collections import Counter, defaultdict


class Instruments:
    """Counters of one node. Totals since start, except `connections`, which is how many there are now."""

    __slots__ = (
        "authentication_failures",
        "bytes_in",
        "bytes_out",
        "closes",
        "connections",
        "connections_total",
        "errors",
        "log_lines_suppressed",
        "messages_in",
        "messages_out",
        "positions_lost",
        "publications",
        "queued_bytes",
        "refusals",
        "subscriptions",
        "webhooks",
    )

    def __init__(self) -> None:
        self.connections: Counter[str] = Counter()  # by protocol: raw, plain, sse
        self.connections_total: Counter[str] = Counter()  # by protocol
        self.messages_in: dict[str, int] = defaultdict(int)  # by protocol, http publish included
        self.messages_out: dict[str, int] = defaultdict(int)  # by protocol; a Counter takes three times as long
        self.refusals: Counter[tuple[int, str]] = Counter()  # by (HTTP status, cause)
        self.errors: Counter[int] = Counter()  # error replies by number
        self.closes: Counter[int] = Counter()  # connections closed by us, by close code
        self.authentication_failures: Counter[str] = Counter()  # by cause
        self.webhooks: Counter[str] = Counter()  # lifecycle events by outcome: sent, failed, dropped, retried
        self.bytes_in = 0  # payload bytes of client messages
        self.bytes_out = 0  # framed bytes handed to sockets
        self.publications = 0  # accepted by this node
        self.positions_lost = 0  # subscriptions that were told of a loss
        self.subscriptions = 0  # now
        self.queued_bytes = 0  # waiting in client queues now
        self.log_lines_suppressed = 0
