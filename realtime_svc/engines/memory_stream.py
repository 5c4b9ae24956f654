"""What a broker in memory keeps of one channel."""

from __future__ import annotations

import math
import secrets

from msgspec import structs

from realtime_svc.model import HistoryQuery, Publication, StreamOptions, StreamPosition

EPOCH_BYTES = 6  # 8 characters


class Stream:
    """The newest publications of a channel; and what outlives them: epoch, top offset, version.

    The publications are there until `kept_until`, all else until `lives_until`, which is never earlier. Offsets are
    without gaps, so a place in the list is a matter of arithmetic. Once as many are kept as are to be, the newest takes
    the place of the oldest, which is `_first`: one that falls out costs O(1) whatever the size.
    """

    __slots__ = (
        "_first",
        "_home",
        "_kept",
        "channel",
        "due",
        "epoch",
        "kept_until",
        "lives_until",
        "top",
        "version",
        "version_epoch",
    )

    def __init__(self, channel: str, home: dict[str, Stream]) -> None:
        """`home`: the streams by channel; this one leaves it when its time is up."""
        self.channel = channel
        self.epoch = secrets.token_urlsafe(EPOCH_BYTES)
        self.top = 0
        self.version = 0
        self.version_epoch = ""
        self.kept_until = 0.0
        self.lives_until = 0.0
        self.due = math.inf  # the sweeper's
        self._home = home
        self._kept: list[Publication] = []
        self._first = 0

    @property
    def position(self) -> StreamPosition:
        return StreamPosition(self.top, self.epoch)

    def __len__(self) -> int:
        return len(self._kept)

    def has(self, version: int, version_epoch: str) -> bool:
        """Is a publication of this version, or of a later one, in the stream already? 0: versions do not matter."""
        return 0 < version <= self.version and version_epoch == self.version_epoch

    def append(self, publication: Publication, options: StreamOptions, now: float) -> Publication:
        """Keep `publication`. Returns it as it stands at its place: the one after the top."""
        size, ttl, meta_ttl, _, version, version_epoch = options
        self.top = top = self.top + 1
        publication = structs.replace(publication, offset=top, epoch=self.epoch)
        kept = self._kept
        if len(kept) == size:
            first = self._first
            kept[first] = publication
            self._first = first + 1 if first + 1 < size else 0
        else:
            if self._first or len(kept) > size:  # so many were not to be kept before
                self._kept = kept = self._between(max(0, len(kept) - size + 1), len(kept))
                self._first = 0
            kept.append(publication)
        self.kept_until = now + ttl
        self.lives_until = now + (meta_ttl if meta_ttl > ttl else ttl)
        if version > 0:
            self.version = version
            self.version_epoch = version_epoch
        return publication

    def _between(self, start: int, end: int) -> list[Publication]:
        """Those kept, from `start` on and before `end`, counted from the oldest."""
        kept, turn = self._kept, len(self._kept)
        start, end = start + self._first, end + self._first
        if end <= turn:
            return kept[start:end]
        return kept[start:] + kept[: end - turn] if start < turn else kept[start - turn : end - turn]

    def clear(self) -> None:
        """Let all publications go."""
        self._kept.clear()
        self._first = 0
        self.kept_until = 0.0

    def read(self, query: HistoryQuery) -> list[Publication]:
        """What `query` asks for, in O(result)."""
        count = len(self)
        oldest = self.top - count + 1
        start, end = 0, count
        if query.reverse:
            if query.since is not None:
                end = min(count, query.since.offset - oldest)
            if query.limit is not None:
                start = max(0, end - query.limit)
        else:
            if query.since is not None:
                start = max(0, query.since.offset + 1 - oldest)
            if query.limit is not None:
                end = start + query.limit
        found = self._between(start, min(end, count)) if start < end else []
        if query.reverse:
            found.reverse()
        return found

    def prolong(self, meta_ttl: float, now: float) -> None:
        """Somebody asked for the position: it is good for `meta_ttl` seconds from now."""
        self.lives_until = max(self.kept_until, now + meta_ttl)

    def give_back(self, now: float) -> float:
        """Free what is over (see `memory_sweep.Perishable`). Returns the next deadline."""
        if now >= self.lives_until:
            self._home.pop(self.channel, None)
            return math.inf
        if now < self.kept_until:
            return self.kept_until
        self.clear()
        return self.lives_until
