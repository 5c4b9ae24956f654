"""What a channel and its clients have to be like, told as simply as possible: the truth to compare the core with.

`Truth` is the stream as it should be kept: every publication ever made (so that what a client gets can be looked up),
and the window that can still be asked for. `Listener` is a client as an SDK is one: it believes what it is told, and
keeps its position; whatever contradicts the truth is a failure.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field

from realtime_svc.core.messages import Message, SubscriptionResult
from realtime_svc.model import StreamPosition

SIZE = 5  # publications that are kept
PAGE = 4  # publications that one recovery may bring


@dataclass
class Truth:
    """One channel. Epochs are numbered here: the core calls them by names of its own, learnt in `names`."""

    log: list[list[bytes]] = field(default_factory=lambda: [[]])
    first: int = 1  # the oldest offset that is still kept
    names: dict[str, int] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        return len(self.log) - 1

    @property
    def top(self) -> int:
        return len(self.log[-1])

    def publish(self, data: bytes) -> None:
        self.log[-1].append(data)
        self.first = max(self.first, self.top - SIZE + 1)

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


@dataclass
class Listener:
    """One client's subscription, from the client's side."""

    truth: Truth
    position: StreamPosition | None = None  # where it believes to be; kept while it is away
    live: bool = False

    def subscribed(self, result: SubscriptionResult, since: StreamPosition | None, could: Set[bool]) -> None:
        """The answer to a subscribe that asked for everything after `since`.

        `could`: was that possible, at any time between the question and the answer?
        """
        assert result.was_recovering is (since is not None)
        assert result.position is not None and result.position.epoch in self.truth.names
        if result.recovered:
            assert since is not None and True in could, "recovered what could not be recovered"
            assert result.position.offset == since.offset
        else:
            assert not result.messages, "a part of what was missed"
            assert since is None or False in could, "refused although nothing is missing"
        self.position = result.position
        self.live = True
        for message in result.messages:
            self.heard(message)

    def heard(self, message: Message) -> None:
        """A publication: the next one, and the right one."""
        publication = message.publication
        assert self.live, "a message without a subscription"
        assert self.position is not None
        assert publication.epoch == self.position.epoch, "another stream, and nobody said so"
        assert publication.offset == self.position.offset + 1, f"{publication.offset} after {self.position.offset}"
        log = self.truth.log[self.truth.names[publication.epoch]]
        assert log[publication.offset - 1] == publication.data, "not what was published there"
        self.position = publication.position

    def check_complete(self) -> None:
        """Nothing is on its way any more: it has heard everything."""
        if self.live and self.position is not None:
            assert self.truth.names[self.position.epoch] == self.truth.epoch
            assert self.position.offset == self.truth.top, f"stands at {self.position.offset} of {self.truth.top}"
