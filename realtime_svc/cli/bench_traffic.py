"""Publications and who gets them: what is on its way, in which order it comes, what does not come.

What a turn of the loop brings is booked at its end, in one go: a delay is the time from the send of a publication to
the end of the turn that read it, so this program's own slowness is in it, and never flatters the server.
"""

from __future__ import annotations

from time import perf_counter

from realtime_svc.cli.bench_peer import Loop, Peer
from realtime_svc.cli.bench_tally import Meter, Tally
from realtime_svc.cli.bench_wire import Dialect, Numbered, RunFailed, frame

PATIENCE = 5.0  # seconds for what is still on its way
PROBES = 10  # times a first message is sent before a subscriber counts as deaf
PROBE_PATIENCE = 1.0  # seconds for each to arrive
KNOWN = 64  # payloads whose numbers are remembered: subscribers get the same


class Stream:
    """One channel: `speaker` publishes, `audience` connections get it.

    A publication is on its way until all of them have it or, where acknowledgements count, until the server has
    answered.
    """

    def __init__(self, traffic: Traffic, channel: str, speaker: Peer, audience: int) -> None:
        self.traffic = traffic
        self.speaker = speaker
        self.arrived: dict[int, int] = {}  # in this turn: how often, by number
        self.answered: list[int] = []  # in this turn
        self._channel = channel
        self._audience = audience
        self._next = 1
        self._awaited: dict[int, int] = {}  # by number: how many have yet to get it
        self._unanswered: dict[int, float] = {}  # by number: when it was sent
        self._sent: dict[int, float] = {}  # when; until all have it

    @property
    def on_its_way(self) -> int:
        return len(self._unanswered if self.traffic.acknowledged else self._awaited)

    @property
    def newest_is_through(self) -> bool:
        return self._next - 1 not in self._awaited

    @property
    def all_is_through(self) -> bool:
        return not self._awaited and not (self.traffic.acknowledged and self._unanswered)

    def publish(self, count: int) -> None:
        """So many, in one write."""
        traffic, now = self.traffic, perf_counter()
        frames = []
        for number in range(self._next, self._next + count):
            self._sent[number] = now
            self._awaited[number] = self._audience
            if traffic.acknowledged:
                self._unanswered[number] = now
            payload = traffic.numbered.payload(number)
            frames.append(frame(traffic.dialect.publication(self._channel, number, payload)))
        self._next += count
        traffic.tally.publications += count
        self.speaker.send(b"".join(frames))

    def skipped(self, number: int) -> None:
        """One of the audience will not get it."""
        left = self._awaited.pop(number, 0)
        if left > 1:
            self._awaited[number] = left - 1
        else:
            self._sent.pop(number, None)

    def book(self, now: float) -> None:
        """At the end of a turn in which something arrived."""
        traffic = self.traffic
        for number, count in self.arrived.items():
            traffic.tally.deliveries += count
            sent = self._sent.get(number)
            if sent is None:  # of the warm-up
                continue
            if not traffic.acknowledged:
                traffic.tally.note(now - sent, count)
            self._awaited[number] -= count
            if not self._awaited[number]:
                del self._awaited[number], self._sent[number]
        self.arrived.clear()
        for number in self.answered:
            begun = self._unanswered.pop(number, None)
            if begun is not None:
                traffic.tally.note(now - begun, 1)
        self.answered.clear()

    def forget(self) -> None:
        """What is on its way does not count any more."""
        self._awaited.clear()
        self._sent.clear()
        self._unanswered.clear()

    def settle(self, tally: Tally) -> None:
        """What has not come will not come."""
        tally.lost += sum(self._awaited.values())
        tally.unacknowledged += len(self._unanswered)


class Speaker:
    """A connection that publishes."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._traffic = stream.traffic

    def opened(self, peer: Peer) -> None:
        """It is open already."""

    def received(self, peer: Peer, payload: bytes) -> None:
        answered = self._traffic.dialect.acknowledged(payload)
        if answered and self._traffic.acknowledged:
            self._stream.answered += answered
            self._traffic.heard[self._stream] = None


class Listener(Speaker):
    """A subscriber: it has to get each number once, and in order. It begins with the first one that it gets."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream)
        self._next = 0
        self._missing: set[int] = set()

    def received(self, peer: Peer, payload: bytes) -> None:
        stream, traffic = self._stream, self._traffic
        numbers = traffic.known.get(payload)
        if numbers is None:
            numbers = traffic.numbers(payload)
        if peer is stream.speaker or not numbers:
            super().received(peer, payload)
        for number in numbers:
            if number == self._next or not self._next:
                self._next = number + 1
            elif not self._misplaced(number, traffic.tally):
                continue
            stream.arrived[number] = stream.arrived.get(number, 0) + 1
            traffic.heard[stream] = None

    def _misplaced(self, number: int, tally: Tally) -> bool:
        """A number that was not next: does it have to be booked?"""
        if number > self._next:
            for skipped in range(self._next, number):
                self._missing.add(skipped)
                self._stream.skipped(skipped)
                tally.lost += 1
            self._next = number + 1
            return True
        if number in self._missing:
            self._missing.remove(number)
            tally.lost -= 1
            tally.deliveries += 1
            tally.out_of_order += 1
        else:
            tally.duplicates += 1
        return False


class Traffic:
    """All streams of a run. `acknowledged`: what counts is the answer to the publisher, not the delivery."""

    def __init__(self, loop: Loop, dialect: Dialect, numbered: Numbered, window: int, acknowledged: bool) -> None:
        self.loop = loop
        self.dialect = dialect
        self.numbered = numbered
        self.acknowledged = acknowledged
        self.tally = Tally()
        self.streams: list[Stream] = []
        self.heard: dict[Stream, None] = {}  # in this turn
        self.known: dict[bytes, list[int]] = {}
        self._window = window
        self._publishes = False
        loop.turn = self._turn

    def numbers(self, payload: bytes) -> list[int]:
        """Of our publications in it; remembered for the next who gets the same."""
        if len(self.known) >= KNOWN:
            self.known.clear()
        found = self.known[payload] = [int(number) for number in self.numbered.find(payload)]
        return found

    def join(self) -> None:
        """Publish until everybody gets it. Raises `RunFailed`."""
        for _ in range(PROBES):
            for stream in self.streams:
                stream.publish(1)
            if self.loop.run(lambda: all(stream.newest_is_through for stream in self.streams), PROBE_PATIENCE):
                return
            if self.loop.stopped:
                return
        raise RunFailed("connected, but not every subscriber gets what is published")

    def measure(self, seconds: float, meter: Meter, tally: Tally) -> None:
        """Publish for so long, then wait for what is on its way. Ends early, without losses, when stopped."""
        self.tally = tally
        meter.start()
        self._publishes = True
        for stream in self.streams:
            stream.forget()
            stream.publish(self._window)
        try:
            self.loop.run(lambda: False, seconds)
        finally:
            meter.stop()
            tally.in_time = tally.done
        self._publishes = False
        self.loop.run(lambda: all(stream.all_is_through for stream in self.streams), PATIENCE)
        if not self.loop.stopped:
            for stream in self.streams:
                stream.settle(tally)

    def _turn(self) -> None:
        heard, self.heard = self.heard, {}
        now = perf_counter()
        for stream in heard:
            stream.book(now)
            room = self._window - stream.on_its_way
            if self._publishes and room > 0:
                stream.publish(room)
