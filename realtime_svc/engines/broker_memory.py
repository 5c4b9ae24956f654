"""The broker of a single process: what is published is kept and delivered in the same call."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from realtime_svc.core.ports import Clock
from realtime_svc.engines.memory_keys import Keys
from realtime_svc.engines.memory_stream import Stream
from realtime_svc.engines.memory_sweep import Sweeper
from realtime_svc.model import (
    ChannelEvent,
    HistoryPage,
    HistoryQuery,
    Join,
    Leave,
    Publication,
    PublishResult,
    StreamOptions,
    StreamPosition,
)

MOST_EMPTY = 100_000  # streams without a publication and without a subscriber
NOWHERE = StreamPosition(0, "")
PUBLISHED = PublishResult(None)


class MemoryBroker:
    """Implements `core.ports.Broker`. Never waits, never fails; the order is that of the calls. Any call costs O(1),
    or O(publications returned).

    * Time: a publication that is kept renews the life of all that are kept, and of the epoch, with its own `ttl` and
      `meta_ttl`, be they shorter or longer than before; an epoch lives at least as long as its publications. What is
      over at a moment is not seen from that moment on; its memory is given back at most a sixteenth of the time later.
    * Version: it is part of the stream, and lives as long as its epoch. A publication that is not kept (size or ttl 0)
      leaves the stream alone: its version is neither looked at nor remembered.
    * Key: remembered for `idempotency_window` seconds from the first time on, also where the publication was not kept;
      not remembered where its version was too old, because nothing was published. It comes before the version.
    * Empty streams: of those that nobody ever published to and nobody is subscribed to, the 100,000 asked for last keep
      their epoch.
    * Delivery: one event at a time, in the order in which they took effect. What `receive` itself publishes or
      announces is kept and numbered at once, answered, and delivered when `receive` has returned.
    """

    def __init__(self, clock: Clock, idempotency_window: float = 300.0, idempotency_keys: int = 100_000) -> None:
        self._clock = clock
        self._streams: dict[str, Stream] = {}
        self._keys = Keys(idempotency_window, idempotency_keys)
        self._sweeper = Sweeper(clock)
        self._receive: Callable[[ChannelEvent], None] = lambda event: None
        self._subscribed: set[str] = set()
        self._empty: dict[str, None] = {}  # nobody published there or subscribes: the longest forgotten comes first
        self._undelivered: deque[ChannelEvent] = deque()
        self._delivering = False

    def stop(self) -> None:
        """Leave no timer behind. What is kept stays until its time; memory is not given back any more."""
        self._sweeper.stop()

    @property
    def streams(self) -> int:
        """How many channels take memory: have publications, or a position that is still good."""
        return len(self._streams)

    @property
    def keys(self) -> int:
        """How many idempotency keys take memory."""
        return len(self._keys)

    def on_event(self, receive: Callable[[ChannelEvent], None]) -> None:
        self._receive = receive

    async def subscribe(self, channel: str) -> None:
        """All that happens, happens here: this only tells which empty streams somebody relies on."""
        self._subscribed.add(channel)
        self._empty.pop(channel, None)

    async def unsubscribe(self, channel: str) -> None:
        """As `subscribe`."""
        self._subscribed.discard(channel)
        stream = self._streams.get(channel)
        if stream is not None:
            self._note_empty(stream)

    async def publish(self, publication: Publication, options: StreamOptions) -> PublishResult:
        return self.publish_at_once(publication, options)

    def publish_at_once(self, publication: Publication, options: StreamOptions) -> PublishResult:
        """Implements `core.ports.PromptBroker`."""
        size, ttl, _, key, version, version_epoch = options
        if publication.offset or publication.epoch:  # a place it had elsewhere
            publication = publication.at(NOWHERE)
        result = PUBLISHED
        if key:
            known = self._keys.find(publication.channel, key, self._clock.seconds())
            if known is not None:
                return known
        if size and ttl:
            now = self._clock.seconds()
            stream = self._streams.get(publication.channel)
            if stream is None or now >= stream.kept_until:
                stream = self._stream(publication.channel, now)
            if version and stream.has(version, version_epoch):
                return PublishResult(stream.position, fresh=False)
            publication = stream.append(publication, options, now)
            result = PublishResult(publication.position)
            if stream.kept_until < stream.due:
                self._sweeper.watch(stream, stream.kept_until)
            if self._empty:
                self._empty.pop(publication.channel, None)
        if key:
            now = self._clock.seconds()
            self._sweeper.watch(self._keys, self._keys.add(publication.channel, key, result.position, now))
        self._deliver(publication)
        return result

    async def announce(self, event: Join | Leave) -> None:
        self._deliver(event)

    async def history(self, channel: str, query: HistoryQuery, meta_ttl: float) -> HistoryPage:
        now = self._clock.seconds()
        stream = self._stream(channel, now)
        stream.prolong(meta_ttl, now)
        self._sweeper.watch(stream, stream.kept_until or stream.lives_until)
        self._note_empty(stream)
        return HistoryPage(stream.read(query), stream.position)

    def _note_empty(self, stream: Stream) -> None:
        """A client can make any number of channels by asking for them: those that hold nothing are bounded."""
        if stream.top or stream.channel in self._subscribed:
            return
        self._empty.pop(stream.channel, None)
        self._empty[stream.channel] = None
        if len(self._empty) > MOST_EMPTY:
            oldest = next(iter(self._empty))
            del self._empty[oldest]
            forgotten = self._streams.pop(oldest, None)
            if forgotten is not None:
                self._sweeper.forget(forgotten)

    async def remove_history(self, channel: str) -> None:
        stream = self._streams.get(channel)
        if stream is not None:
            stream.clear()

    def _stream(self, channel: str, now: float) -> Stream:
        """The stream of a channel as it is now: a new one where there is none any more."""
        stream = self._streams.get(channel)
        if stream is not None:
            if now < stream.kept_until:
                return stream
            if now < stream.lives_until:
                stream.clear()
                return stream
            self._sweeper.forget(stream)
        stream = self._streams[channel] = Stream(channel, self._streams)
        return stream

    def _deliver(self, event: ChannelEvent) -> None:
        """An error of `receive` reaches the caller, but takes nothing from those that wait."""
        if self._delivering:
            self._undelivered.append(event)
            return
        self._delivering = True
        failed: Exception | None = None
        try:
            while True:
                try:
                    self._receive(event)
                except Exception as error:  # ours to pass on, whatever it is
                    failed = failed or error
                if not self._undelivered:
                    break
                event = self._undelivered.popleft()
        finally:
            self._delivering = False
        if failed is not None:
            raise failed
