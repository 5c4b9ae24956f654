"""What a channel and its clients have to be like, told as simply as possible: the truth to compare the core with.

`Truth` is the stream as it should be kept: every publication ever made (so that what a client gets can be looked up),
the window that can still be asked for, and what has reached the node, in order. `Listener` is a client as an SDK is
one: it believes what it is told, and keeps its position; whatever contradicts the truth is a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, field

from realtime_svc.core.messages import Message, SubscriptionResult
from realtime_svc.model import ChannelEvent, ClientInfo, Join, Leave, Publication, StreamPosition

SIZE = 5  # publications that are kept
PAGE = 4  # publications that one recovery may bring


@dataclass
class Truth:
    """One channel. Epochs are numbered here: the core calls them by names of its own, learnt in `names`."""

    log: list[list[bytes]] = field(default_factory=lambda: [[]])
    first: int = 1  # the oldest offset that is still kept
    names: dict[str, int] = field(default_factory=dict)
    excluded: dict[tuple[int, int], str] = field(default_factory=dict)  # who is not to get which, by epoch and offset
    arrived: list[ChannelEvent] = field(default_factory=list)  # what the node was given

    @property
    def epoch(self) -> int:
        return len(self.log) - 1

    @property
    def top(self) -> int:
        return len(self.log[-1])

    def publish(self, data: bytes, exclude: str | None = None) -> None:
        self.log[-1].append(data)
        self.first = max(self.first, self.top - SIZE + 1)
        if exclude is not None:
            self.excluded[self.epoch, self.top] = exclude

    def trim(self) -> None:
        """Nothing that was published can be asked for any more; the position stays."""
        self.first = self.top + 1

    def forget(self) -> None:
        """The stream begins anew."""
        self.log.append([])
        self.first = 1

    def epoch_named(self, name: str) -> int:
        """The number of an epoch. A name that was never heard is that of the present epoch."""
        return self.names.setdefault(name, self.epoch)

    def recoverable(self, since: StreamPosition) -> bool:
        """Can a client that stands at `since` get all it missed?"""
        if since.epoch and self.names.get(since.epoch) != self.epoch:
            return False
        return self.first <= since.offset + 1 <= self.top + 1 and self.top - since.offset <= PAGE

    def has(self, publication: Publication) -> bool:
        """Was this published at its place?"""
        log = self.log[self.names[publication.epoch]]
        return log[publication.offset - 1] == publication.data


@dataclass
class Listener:
    """One client's subscription, from the client's side. `me` is its id.

    From `at` on, what arrived at the node is for it; up to `reach`, what was kept came with the answer, or before.
    `sure`: what arrived from there on it can't have missed while its subscription was being made.
    """

    truth: Truth
    position: StreamPosition | None = None  # where it believes to be; kept while it is away
    live: bool = False
    positioned: bool = True
    me: str = ""
    at: int = 0
    sure: int = 0
    reach: StreamPosition | None = None

    def subscribed(
        self, result: SubscriptionResult, since: StreamPosition | None, could: Set[bool], at: int = 0
    ) -> None:
        """The answer to a subscribe that asked for everything after `since`, and was there when `at` events had arrived
        at the node.

        `could`: was that possible, at any time between the question and the answer?
        """
        self.live, self.at, self.sure = True, at, len(self.truth.arrived)
        self.positioned, self.reach = result.positioned, result.position
        if not result.positioned:
            self._looked_back(result)
            return
        assert result.was_recovering is (since is not None)
        assert result.position is not None and result.position.epoch in self.truth.names
        if result.recovered:
            assert since is not None and True in could, "recovered what could not be recovered"
            assert result.position.offset == since.offset
        else:
            assert not result.messages, "a part of what was missed"
            assert since is None or False in could, "refused although nothing is missing"
        self.position = result.position
        for message in result.messages:
            self._next(message.publication, self.position.offset + 1)
        self.reach = self.position

    def _looked_back(self, result: SubscriptionResult) -> None:
        """The newest ones, if it asked for them."""
        found = [message.publication for message in result.messages]
        for publication in found:
            assert self.truth.has(publication), "not what was published there"
        if found:
            assert result.position == found[-1].position
            first = found[0].offset
            assert [one.offset for one in found] == list(range(first, first + len(found))), "a gap"

    def heard(self, message: Message) -> None:
        """A publication: the next one, and the right one."""
        publication = message.publication
        self._expect(lambda event: event is publication)
        assert publication.exclude != self.me, "its own one came back"
        assert not self._covered(publication), "twice"
        if self.positioned and publication.offset:
            self._next(publication, self._following())

    def heard_of(self, kind: type[Join | Leave], info: ClientInfo) -> None:
        """Somebody came or went."""
        self._expect(lambda event: type(event) is kind and event.info == info)

    def _next(self, publication: Publication, offset: int) -> None:
        assert self.position is not None
        assert publication.epoch == self.position.epoch, "another stream, and nobody said so"
        assert publication.offset == offset, f"{publication.offset} after {self.position.offset}"
        assert self.truth.has(publication), "not what was published there"
        self.position = publication.position

    def _following(self) -> int:
        """The offset of the next publication that is for it."""
        assert self.position is not None
        offset = self.position.offset + 1
        while self.truth.excluded.get((self.truth.names[self.position.epoch], offset)) == self.me:
            offset += 1
        return offset

    def _expect(self, fits: Callable[[ChannelEvent], bool]) -> None:
        assert self.live, "something without a subscription"
        while self.at < len(self.truth.arrived):
            event = self.truth.arrived[self.at]
            self.at += 1
            if fits(event):
                return
            assert self._may_miss(event), f"left out: {event}"
        raise AssertionError("nothing like it was published since it subscribed")

    def _may_miss(self, event: ChannelEvent) -> bool:
        if isinstance(event, Publication):
            return event.exclude == self.me or self._covered(event)
        return self.at <= self.sure

    def _covered(self, publication: Publication) -> bool:
        reach = self.reach
        return (
            reach is not None
            and publication.offset > 0
            and publication.epoch == reach.epoch
            and publication.offset <= reach.offset
        )

    def check_heard(self, until: int) -> None:
        """Nothing is on its way from the node to it: it has heard the first `until` events that arrived there."""
        if self.live:
            for event in self.truth.arrived[self.at : until]:
                self.at += 1
                assert self._may_miss(event), f"never heard: {event}"

    def check_complete(self) -> None:
        """Nothing is on its way any more: it has heard everything."""
        self.check_heard(len(self.truth.arrived))
        if self.live and self.positioned and self.position is not None:
            assert self.truth.names[self.position.epoch] == self.truth.epoch
            assert self._following() == self.truth.top + 1, f"stands at {self.position.offset} of {self.truth.top}"
