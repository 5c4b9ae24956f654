"""A broker and a store of presence as simple as can be, and random calls: an engine must say what they say."""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import strategies as st

from realtime_svc.model import HistoryQuery, StreamOptions, StreamPosition

CHANNELS = ("a", "b")
WINDOW = 40.5
# Times end in a half and time passes in whole seconds, so no deadline is met exactly.
TTLS = (0.0, 5.5, 20.5)
META_TTLS = (10.5, 60.5)


class Publish(NamedTuple):
    channel: str
    options: StreamOptions


class History(NamedTuple):
    channel: str
    query: HistoryQuery
    meta_ttl: float


class Remove(NamedTuple):
    channel: str


class Wait(NamedTuple):
    seconds: int


Step = Publish | History | Remove | Wait

_channels = st.sampled_from(CHANNELS)
_options = st.builds(
    StreamOptions,
    size=st.sampled_from((0, 1, 2, 5)),
    ttl=st.sampled_from(TTLS),
    meta_ttl=st.sampled_from(META_TTLS),
    key=st.sampled_from(("", "", "k", "l")),
    version=st.sampled_from((0, 0, 1, 2, 3)),
    version_epoch=st.sampled_from(("", "e")),
)
_queries = st.builds(
    HistoryQuery,
    limit=st.sampled_from((None, 0, 1, 2, 100)),
    since=st.none() | st.builds(StreamPosition, st.integers(0, 9), st.just("")),
    reverse=st.booleans(),
)
_publishes = st.builds(Publish, _channels, _options)
STEPS = st.lists(
    st.one_of(
        _publishes,
        _publishes,
        st.builds(History, _channels, _queries, st.sampled_from(META_TTLS)),
        st.builds(Remove, _channels),
        st.builds(Wait, st.sampled_from((1, 4, 6, 15, 30, 61))),
    ),
    max_size=40,
)


class _Stream:
    def __init__(self, number: int) -> None:
        self.number = number  # stands for its epoch
        self.top = 0
        self.kept: list[tuple[int, int]] = []  # (offset, what)
        self.kept_until = self.lives_until = 0.0
        self.version = (0, "")


class ReferenceBroker:
    """Answers with plain tuples; an epoch is a number. `delivered`: channel -> [(epoch, offset, what)]."""

    def __init__(self) -> None:
        self.now = 0.0
        self.streams: dict[str, _Stream] = {}
        self.epochs = 0
        self.keys: dict[tuple[str, str], tuple[float, Any]] = {}
        self.delivered: dict[str, list[Any]] = {channel: [] for channel in CHANNELS}

    def stream(self, channel: str) -> _Stream:
        stream = self.streams.get(channel)
        if stream is None or self.now >= stream.lives_until:
            self.epochs += 1
            stream = self.streams[channel] = _Stream(self.epochs)
        if self.now >= stream.kept_until:
            stream.kept = []
        return stream

    def publish(self, channel: str, options: StreamOptions, what: int) -> tuple[Any, bool]:
        """(position or None, fresh)."""
        known = self.keys.get((channel, options.key))
        if options.key and known and self.now < known[0]:
            return known[1], False
        position: tuple[int, int] | None = None
        if options.size and options.ttl:
            stream = self.stream(channel)
            version, version_epoch = stream.version
            if options.version and options.version_epoch == version_epoch and options.version <= version:
                return (stream.number, stream.top), False
            stream.top += 1
            stream.kept = [*stream.kept, (stream.top, what)][-options.size :]
            stream.kept_until = self.now + options.ttl
            stream.lives_until = self.now + max(options.ttl, options.meta_ttl)
            if options.version:
                stream.version = (options.version, options.version_epoch)
            position = (stream.number, stream.top)
        if options.key:
            self.keys[channel, options.key] = (self.now + WINDOW, position)
        self.delivered[channel].append((*(position or (0, 0)), what))
        return position, True

    def history(self, channel: str, query: HistoryQuery, meta_ttl: float) -> tuple[list[Any], tuple[int, int]]:
        """([(offset, what)], position)."""
        stream = self.stream(channel)
        stream.lives_until = max(self.now + meta_ttl, stream.kept_until if stream.kept else 0.0)
        found = sorted(stream.kept, reverse=query.reverse)
        if query.since is not None:
            since = query.since.offset
            found = [item for item in found if (item[0] < since if query.reverse else item[0] > since)]
        return found[: query.limit], (stream.number, stream.top)

    def remove_history(self, channel: str) -> None:
        if channel in self.streams:
            self.streams[channel].kept = []
