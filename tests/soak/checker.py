"""Does a recording keep the promises? Nothing lost, nothing twice, everything in order, each gap signalled.

Pure: records in, figures out. `python -m tests.soak.checker FILE` checks a recording.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.soak.records import ACK, DELIVERY, GAP, LEFT, NEW, PUBLISH, RECOVERED, SUBSCRIBED, TOP, Record, parse

SHOWN = 20
"""So many violations are described; all are counted."""


@dataclass
class Figures:
    """What was counted. The last four must be 0."""

    published: int = 0
    acknowledged: int = 0
    delivered: int = 0
    subscriptions: int = 0
    recoveries: int = 0
    signalled_gaps: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    unsignalled_gaps: int = 0
    violations: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not (self.lost or self.duplicated or self.reordered or self.unsignalled_gaps)

    def __str__(self) -> str:
        lines = [
            f"{name.replace('_', ' '):17}{value:10,}" for name, value in vars(self).items() if name != "violations"
        ]
        return "\n".join([*lines, *self.violations])


class _Follower:
    """One client in one channel: what it was given, up to `position`; `missing` was passed over and not signalled.

    Nothing up to `floor` belongs to it: that is where its subscription began.
    """

    __slots__ = ("epoch", "floor", "live", "missing", "position")

    def __init__(self, epoch: str, position: int) -> None:
        self.epoch = epoch
        self.floor = self.position = position
        self.missing: set[int] = set()
        self.live = True

    def pass_over(self, position: int) -> None:
        self.missing.update(range(self.position + 1, position))


class Checker:
    """Takes records in the order in which they were made, then says `figures()`."""

    def __init__(self) -> None:
        self._figures = Figures()
        self._followers: dict[tuple[str, str], _Follower] = {}
        self._tops: dict[str, Record] = {}
        self._contents: dict[tuple[str, str, int], str] = {}  # place in a stream -> message
        self._places: dict[str, tuple[str, str, int]] = {}  # message -> place
        self._acknowledged: dict[tuple[str, str], list[Record]] = defaultdict(list)  # by publisher and channel
        self._handlers = {
            PUBLISH: self._publish,
            ACK: self._ack,
            SUBSCRIBED: self._subscribed,
            DELIVERY: self._delivery,
            LEFT: self._left,
            TOP: self._top,
        }

    def feed(self, record: Record) -> None:
        self._handlers[record.kind](record)

    def _publish(self, record: Record) -> None:
        self._figures.published += 1

    def _ack(self, record: Record) -> None:
        self._figures.acknowledged += 1
        self._acknowledged[record.client, record.channel].append(record)
        if record.offset:
            self._place(record)

    def _subscribed(self, record: Record) -> None:
        self._figures.subscriptions += 1
        key = (record.client, record.channel)
        follower = self._followers.get(key)
        if record.note == RECOVERED and follower is not None:
            self._figures.recoveries += 1
            self._recovered(follower, record)
            return
        if record.note == GAP:
            self._figures.signalled_gaps += 1
        if follower is not None:
            self._lose(len(follower.missing), record, "were passed over before")
            if record.note == NEW and follower.live:
                self._gap(record, "subscribed anew without having left")
        self._followers[key] = _Follower(record.epoch, record.offset)

    def _recovered(self, follower: _Follower, record: Record) -> None:
        """It goes on where it was; what was published meanwhile follows as deliveries."""
        follower.live = True
        if record.epoch != follower.epoch:
            self._gap(record, f"recovered from another epoch than {follower.epoch}")
            follower.epoch, follower.position, follower.floor = record.epoch, record.offset, record.offset
        elif record.offset > follower.position:
            self._gap(record, f"recovered from {record.offset}, was at {follower.position}")
            follower.pass_over(record.offset + 1)
            follower.position = record.offset

    def _delivery(self, record: Record) -> None:
        self._figures.delivered += 1
        self._place(record)
        follower = self._followers.get((record.client, record.channel))
        offset = record.offset
        if follower is None or not follower.live or record.epoch != follower.epoch:
            self._reorder(record, "not subscribed, or of another epoch")
        elif offset == follower.position + 1:
            follower.position = offset
        elif offset > follower.position:
            self._gap(record, f"delivered {offset} after {follower.position}")
            follower.pass_over(offset)
            follower.position = offset
        elif offset in follower.missing:
            self._reorder(record, f"delivered {offset} after {follower.position}")
            follower.missing.discard(offset)
        elif offset > follower.floor:
            self._figures.duplicated += 1
            self._describe("duplicated", record, f"at {follower.position} already")
        else:
            self._reorder(record, f"subscribed at {follower.floor}")

    def _left(self, record: Record) -> None:
        follower = self._followers.get((record.client, record.channel))
        if follower is not None:
            follower.live = False

    def _top(self, record: Record) -> None:
        self._tops[record.channel] = record

    def _place(self, record: Record) -> None:
        """One place holds one message, for all who see it; a message has one place."""
        place = (record.channel, record.epoch, record.offset)
        if self._contents.setdefault(place, record.note) != record.note:
            self._reorder(record, f"{self._contents[place]} is there for others")
        if self._places.setdefault(record.note, place) != place:
            self._figures.duplicated += 1
            self._describe("duplicated", record, f"it is at {self._places[record.note]}, too")

    # ---- the end

    def figures(self) -> Figures:
        """Call it once, after the last record."""
        for (client, channel), follower in self._followers.items():
            self._arrived(client, channel, follower)
        for records in self._acknowledged.values():
            self._in_order(records)
        return self._figures

    def _arrived(self, client: str, channel: str, follower: _Follower) -> None:
        """A client that is still there has everything up to the top of the stream."""
        top = self._tops.get(channel)
        where = Record(0.0, "", client, channel, follower.epoch, follower.position)
        self._lose(len(follower.missing), where, "were passed over")
        if top is None or not follower.live:
            return
        if top.epoch != follower.epoch:
            self._gap(where, f"the epoch is {top.epoch}")
        else:
            self._lose(max(0, top.offset - follower.position), where, f"up to {top.offset} never came")

    def _in_order(self, records: list[Record]) -> None:
        """What a publisher was told is published can be found, in the order in which it published."""
        last = 0
        for record in records:
            place = self._places.get(record.note)
            if place is None:
                self._lose(1, record, "acknowledged, and nobody ever got it")
                continue
            if place[2] <= last:
                self._reorder(record, f"is at {place[2]}, the one published before it at {last}")
            last = place[2]

    # ---- counting

    def _lose(self, count: int, record: Record, what: str) -> None:
        if count:
            self._figures.lost += count
            self._describe("lost", record, f"{count} {what}")

    def _gap(self, record: Record, what: str) -> None:
        self._figures.unsignalled_gaps += 1
        self._describe("unsignalled gap", record, what)

    def _reorder(self, record: Record, what: str) -> None:
        self._figures.reordered += 1
        self._describe("reordered", record, what)

    def _describe(self, kind: str, record: Record, what: str) -> None:
        if len(self._figures.violations) < SHOWN:
            self._figures.violations.append(f"{kind}: {what}: {record.line().expandtabs(1).rstrip()}")


def check(records: Iterable[Record]) -> Figures:
    checker = Checker()
    for record in records:
        checker.feed(record)
    return checker.figures()


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as lines:
        figures = check(map(parse, lines))
    sys.stdout.write(f"{figures}\n")
    sys.exit(not figures.good)


if __name__ == "__main__":
    main()
