"""One channel on this node: who listens to it, where its stream stands, and what waits to be delivered."""

from __future__ import annotations

from realtime_svc.core.fanout import Encodings, Form, deliver
from realtime_svc.core.outgoing import Round
from realtime_svc.core.ports import Group
from realtime_svc.core.session import Session
from realtime_svc.core.subscription import Subscription
from realtime_svc.model import ChannelEvent, StreamPosition


class Channel:
    """The subscribers of one channel on this node, which all stand at the same place of its stream.

    `position` is the newest publication its subscribers were given (None: none yet, and nobody asked the broker).
    `ready`: the broker delivers. `last` is the newest payload, kept once somebody takes deltas (`deltas`). `hearing`
    are those of the subscriptions that are told who comes and goes; `groups` those that get everything as it is, by
    the form they get it in; `special` the others.

    Events wait in `waiting` for the end of the turn. While they do, or a round delivers them, the channel is `busy`:
    what comes then waits for the next round, so all see the events in one order. `seen` counts the events that were
    delivered, `size` is the bytes of those that wait.
    """

    __slots__ = (
        "busy",
        "deltas",
        "groups",
        "hearing",
        "last",
        "name",
        "position",
        "ready",
        "round",
        "seen",
        "size",
        "special",
        "subscriptions",
        "waiting",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.subscriptions: dict[Session, Subscription] = {}
        self.hearing: dict[Session, Subscription] = {}
        self.special: dict[Session, Subscription] = {}
        self.groups: dict[Form, Group] = {}
        self.waiting: list[ChannelEvent] = []
        self.busy = False
        self.round: Round | None = None
        self.seen = 0
        self.size = 0
        self.position: StreamPosition | None = None
        self.ready = False
        self.deltas = False
        self.last: bytes | None = None

    def positioned(self) -> list[Subscription]:
        """The live ones that have to learn of a loss."""
        return [one for one in self.subscriptions.values() if one.positioned and one.line is None]

    def missing(self, top: StreamPosition) -> list[Subscription]:
        """Those of them for whom something up to `top` was lost. Who read the stream up to there has it."""
        same = self.position is not None and self.position.epoch == top.epoch
        return [one for one in self.positioned() if not same or one.after < top.offset]

    def start_anew(self, position: StreamPosition) -> None:
        """Something was lost before `position`. Who stays takes what comes; in another epoch, whatever it had."""
        if self.position is None or self.position.epoch != position.epoch:
            for subscription in self.special.values():
                subscription.after = 0
        self.position = position
        self.last = None

    def advance(self, position: StreamPosition) -> tuple[bool, list[Subscription] | None]:
        """A publication stands at `position`: (is it new to this node?, who lost something before it?).

        None: nothing was lost.
        """
        known = self.position
        lost = None
        if known is not None and known.epoch == position.epoch:
            if position.offset <= known.offset:
                return False, None
            if position.offset > known.offset + 1:
                lost = self.missing(StreamPosition(position.offset - 1, position.epoch))
        elif known is not None:
            lost = self.positioned()
        if lost is None:
            self.position = position
        else:
            self.start_anew(position)
        return True, lost

    def activate(self, subscription: Subscription, top: StreamPosition | None) -> bool:
        """Let through what waited. `top`: the client has, or is about to have, everything up to there.

        False: something between `top` and what waited is missing.
        """
        line, subscription.line = subscription.line or [], None
        whole = not subscription.overrun
        if top is not None:
            subscription.after = top.offset
            if self.position is None and not self.busy:
                self.position = top
        reached = top
        for publication in line:
            if reached is not None and publication.offset:
                if top is not None and publication.epoch == top.epoch and publication.offset <= top.offset:
                    continue
                whole = whole and publication.position == StreamPosition(reached.offset + 1, reached.epoch)
                reached = publication.position
                subscription.after = 0
            if whole or not subscription.positioned:
                deliver(Encodings(publication), subscription)
        if reached is not None and self.position is not None and self.position.epoch == reached.epoch:
            whole = whole and self.position.offset <= reached.offset
            if self.position.offset >= subscription.after:
                subscription.after = 0
        return whole
