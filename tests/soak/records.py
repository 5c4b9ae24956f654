"""What happened, one record each, and its form in a file: a line of values between tabs."""

from __future__ import annotations

from typing import NamedTuple

PUBLISH = "publish"  # `client` sends message `note`
ACK = "ack"  # it was told that the message is published; at `epoch` and `offset` where it was told that too
SUBSCRIBED = "subscribed"  # `client` is at `epoch` and `offset`; `note` is NEW, RECOVERED or GAP
DELIVERY = "delivery"  # `client` gets message `note`, at `epoch` and `offset`
LEFT = "left"  # `client` is not subscribed any more
TOP = "top"  # the end of the channel's stream, when all is over

NEW = "new"  # it wants what comes from now on
RECOVERED = "recovered"  # it is promised all that follows the position it had
GAP = "gap"  # it is told that it may have missed something


class Record(NamedTuple):
    """`time` is in seconds, of the recorder's clock. `note` depends on the kind."""

    time: float
    kind: str
    client: str
    channel: str
    epoch: str = ""
    offset: int = 0
    note: str = ""

    def line(self) -> str:
        values = (f"{self.time:.6f}", self.kind, self.client, self.channel, self.epoch, str(self.offset), self.note)
        return "\t".join(values) + "\n"


def parse(line: str) -> Record:
    """The record of a line. Raises ValueError."""
    time, kind, client, channel, epoch, offset, note = line.rstrip("\n").split("\t")
    return Record(float(time), kind, client, channel, epoch, int(offset), note)
