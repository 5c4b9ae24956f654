"""What `realtime-svc bench` does in each of its modes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

from realtime_svc.cli.bench_peer import Loop, Peer, Target
from realtime_svc.cli.bench_tally import Meter, Tally, memory
from realtime_svc.cli.bench_traffic import Listener, Speaker, Stream, Traffic
from realtime_svc.cli.bench_wire import Dialect, Numbered, RunFailed, frame

AT_ONCE = 64  # connections that are being made
OPEN_PATIENCE = 10.0  # seconds without one more of them
WARM_UP = 50  # connections that come and go before memory is looked at
SETTLE = 1.0  # seconds, then too

Wish = tuple[str, bool, bool]
"""A connection that is wanted: its channel, does it subscribe, do its own messages come back?"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured. `pid`: of the server, None: not told."""

    mode: str
    dialect: Dialect
    channel: str
    connections: int
    window: int
    size: int
    seconds: float
    numbered: Numbered
    pid: int | None = None


@dataclass(slots=True)
class Result:
    """What came of it, as far as it came. `memory`: bytes of the server (before, with all connections)."""

    meter: Meter
    tally: Tally = field(default_factory=Tally)
    memory: tuple[int, int] | None = None


class Opening:
    """Makes connections, at most `AT_ONCE` at a time; `peers` are those that are there, by the place of their wish."""

    def __init__(self, loop: Loop, target: Target, dialect: Dialect, wishes: list[Wish]) -> None:
        self.peers: dict[int, Peer] = {}
        self._loop, self._target, self._dialect, self._wishes = loop, target, dialect, wishes
        self._under_way: dict[Peer, int] = {}
        self._begun = self._had = 0

    def run(self) -> list[Peer]:
        """All of them, in order; fewer when stopped. Raises `RunFailed`, `HandshakeRefused`, `ConnectionFailed`."""
        while len(self.peers) < len(self._wishes) and not self._loop.stopped:
            self._begin()
            self._had = len(self.peers)
            if not self._loop.run(self._has_more, OPEN_PATIENCE) and not self._loop.stopped:
                raise RunFailed(f"{self._had} connections are open, and the server does not answer the next ones")
        return [self.peers[place] for place in sorted(self.peers)]

    def _has_more(self) -> bool:
        return len(self.peers) > self._had

    def _begin(self) -> None:
        while self._begun < len(self._wishes) and len(self._under_way) < AT_ONCE:
            channel, _, echo = self._wishes[self._begun]
            peer = Peer(self._loop, self._target, self._dialect.resource(channel, echo), self)
            self._under_way[peer] = self._begun
            self._begun += 1

    def opened(self, peer: Peer) -> None:
        channel, subscribes, _ = self._wishes[self._under_way[peer]]
        greeting = self._dialect.greeting(channel if subscribes else None)
        if greeting:
            peer.send(frame(greeting))
        else:
            self.peers[self._under_way.pop(peer)] = peer

    def received(self, peer: Peer, payload: bytes) -> None:
        """Who is in may get messages of others meanwhile."""
        place = self._under_way.get(peer)
        if place is not None and self._dialect.is_joined(payload, self._wishes[place][1]):
            self.peers[self._under_way.pop(peer)] = peer


class Bench:
    """One run. `began` is called, with the number of connections, when measuring begins; `result` can be read at any
    time. The run raises `RunFailed`, `HandshakeRefused`, `ConnectionFailed`, `CommandFailed`.
    """

    def __init__(self, loop: Loop, target: Target, plan: Plan, began: Callable[[int], None]) -> None:
        self.result = Result(Meter(plan.pid))
        self._loop, self._target, self._plan, self._began = loop, target, plan, began

    def run(self) -> None:
        modes = {"connect": self._connect, "idle": self._idle, "fanout": self._fan_out}
        modes.get(self._plan.mode, self._own_channels)()

    def _open(self, wishes: list[Wish]) -> list[Peer]:
        return Opening(self._loop, self._target, self._plan.dialect, wishes).run()

    def _traffic(self, acknowledged: bool = False) -> Traffic:
        plan = self._plan
        return Traffic(self._loop, plan.dialect, plan.numbered, plan.window, acknowledged)

    def _fan_out(self) -> None:
        plan, traffic = self._plan, self._traffic()
        listeners = self._open([(plan.channel, True, False)] * plan.connections)
        self._spread(traffic, listeners, [(plan.channel, False, False)])
        self._measure(traffic, plan.connections + 1)

    def _spread(self, traffic: Traffic, listeners: list[Peer], wish: list[Wish]) -> None:
        """One stream, from a connection of its own to all listeners."""
        speakers = self._open(wish)
        if self._loop.stopped:
            return
        stream = Stream(traffic, self._plan.channel, speakers[0], len(listeners))
        traffic.streams.append(stream)
        speakers[0].owner = Speaker(stream)
        for peer in listeners:
            peer.owner = Listener(stream)

    def _own_channels(self) -> None:
        """Echo and publish: a channel each."""
        plan, traffic = self._plan, self._traffic(self._plan.mode == "publish")
        names = [f"{plan.channel}-{number}" for number in range(1, plan.connections + 1)]
        for name, peer in zip(names, self._open([(name, True, True) for name in names]), strict=False):
            stream = Stream(traffic, name, peer, 1)
            traffic.streams.append(stream)
            peer.owner = Listener(stream)
        self._measure(traffic, plan.connections)

    def _measure(self, traffic: Traffic, connections: int) -> None:
        traffic.join()
        if not self._loop.stopped:
            self._began(connections)
            self.result.tally = Tally()
            traffic.measure(self._plan.seconds, self.result.meter, self.result.tally)

    def _connect(self) -> None:
        """As many at a time as are asked for; each is let go as soon as it is in."""
        plan, meter, tally = self._plan, self.result.meter, self.result.tally
        storm = Storm(self._loop, self._target, plan, tally)
        self._began(plan.connections)
        meter.start()
        try:
            self._loop.turn = storm.fill
            storm.fill()
            self._loop.run(lambda: False, plan.seconds)
        finally:
            meter.stop()
            tally.in_time = tally.done

    def _idle(self) -> None:
        """Held for the time that is asked for; then one message has to reach all."""
        plan, traffic, meter = self._plan, self._traffic(), self.result.meter
        wish = (plan.channel, True, False)
        before = 0
        if plan.pid is not None:
            for peer in self._open([wish] * min(WARM_UP, plan.connections)):
                peer.close()
            self._loop.run(lambda: False, SETTLE)
            before = memory(plan.pid)
        listeners = self._open([wish] * plan.connections)
        self._began(len(listeners))
        meter.start()
        try:
            self._loop.run(lambda: False, plan.seconds)
        finally:
            meter.stop()
            self.result.tally.done = len(listeners)
        if plan.pid is not None and not self._loop.stopped:
            self.result.memory = before, memory(plan.pid)
        self._spread(traffic, listeners, [(plan.channel, False, False)])
        traffic.join()


class Storm:
    """Connections that come and go, at most `connections` at a time."""

    def __init__(self, loop: Loop, target: Target, plan: Plan, tally: Tally) -> None:
        self._loop, self._target, self._plan, self._tally = loop, target, plan, tally
        self._begun: dict[Peer, float] = {}

    def fill(self) -> None:
        plan = self._plan
        while len(self._begun) < plan.connections:
            peer = Peer(self._loop, self._target, plan.dialect.resource(plan.channel, False), self)
            self._begun[peer] = perf_counter()

    def opened(self, peer: Peer) -> None:
        greeting = self._plan.dialect.greeting(None)
        peer.send(frame(greeting)) if greeting else self._through(peer)

    def received(self, peer: Peer, payload: bytes) -> None:
        if peer in self._begun and self._plan.dialect.is_joined(payload, False):
            self._through(peer)

    def _through(self, peer: Peer) -> None:
        self._tally.note(perf_counter() - self._begun.pop(peer))
        peer.close(reset=True)
