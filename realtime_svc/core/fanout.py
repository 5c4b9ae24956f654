"""One event to many sessions: encoded once for each protocol, the same bytes to all, sent without a turn for each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from realtime_svc.core.fossil import delta
from realtime_svc.core.messages import Message, Reply
from realtime_svc.core.outbox import EXCLUDED, parts
from realtime_svc.core.outgoing import STEP
from realtime_svc.core.ports import Deflation, Dialect, Frame, Group
from realtime_svc.core.session import Session
from realtime_svc.core.subscription import Subscription
from realtime_svc.model import Publication

if TYPE_CHECKING:
    from realtime_svc.core.instruments import Instruments

A_STEP = 64  # sessions that are served one by one before the others get a chance

Form = tuple[Dialect, Deflation | None]  # clients of one form get the same bytes


class Encodings:
    """The forms one publication takes; each is made when the first client needs it.

    `previous` is the payload of the publication before it in the channel, where somebody may want the difference.
    """

    __slots__ = ("_delta", "_encoded", "_previous", "publication")

    def __init__(self, publication: Publication, previous: bytes | None = None) -> None:
        self.publication = publication
        self._previous = previous
        self._delta: bytes | None = None
        self._encoded: dict[tuple[Dialect, int], Frame | None] = {}

    def frame(self, dialect: Dialect, fossil: bool = False, differs: bool = False) -> Frame | None:
        """`fossil`: for a client that takes deltas; `differs`: it got the previous publication."""
        if differs and not self._has_delta():
            differs = False
        key = (dialect, fossil + differs)
        try:
            return self._encoded[key]
        except KeyError:
            message = Message(self.publication, fossil, self._delta if differs else None)
            frame = self._encoded[key] = dialect.encode(message)
            return frame

    def _has_delta(self) -> bool:
        """Is there a difference that is shorter than the payload?"""
        if self._previous is None:
            return False
        if self._delta is None:
            self._delta = delta(self._previous, self.publication.data)
        return len(self._delta) < len(self.publication.data)


def fan_out(
    several: Sequence[Encodings],
    groups: Iterable[tuple[Form, Group]],
    excluded: Mapping[str, Session],
    counts: Instruments,
) -> Iterator[None]:
    """Send publications of one channel, in order, to all clients in `groups` but, each, to the one it excludes.

    One write a client, where it is not too much for one. `excluded`, by id, are the sessions that some of them exclude.
    At each step some clients got everything up to there. A slow or closed one never stops the others.
    """
    for (dialect, deflation), group in groups:
        if not len(group):
            continue
        frames: list[Frame] = []
        not_for: dict[Frame, str | None] = {}
        for one in several:
            frame = one.frame(dialect)
            if frame is not None:
                frames.append(frame)
                if excluded:
                    not_for[frame] = one.publication.exclude
        for part in parts(frames):
            wires = [frame.wire if deflation is None else deflation.wire(frame) for frame in part]
            data = wires[0] if len(wires) == 1 else b"".join(wires)
            sending = _Sending(part, data, dialect.name, not_for, excluded, counts)
            place = sending.step(group, 0)
            while place >= 0:
                yield
                place = sending.step(group, place)


def send_to_few(publication: Publication, form: Form, group: Group, counts: Instruments) -> None:
    """As `fan_out`, for one publication that excludes nobody and a group that takes one step."""
    dialect, deflation = form
    frame = dialect.encode(Message(publication))
    if frame is None:
        return
    data = frame.wire if deflation is None else deflation.wire(frame)
    _, took, others = group.send(data)
    if others:
        for outlet, taken in others:
            if taken or not outlet.holds:
                outlet.owner.transport.write_rest(data[taken:])
                took += 1
            else:
                outlet.owner.send(frame)
    counts.messages_out[dialect.name] += took
    counts.bytes_out += took * len(data)


class _Sending(NamedTuple):
    """One buffer on its way to a group. `not_for`: who is not to get which of the frames in it."""

    frames: list[Frame]
    data: bytes
    protocol: str
    not_for: dict[Frame, str | None]
    excluded: Mapping[str, Session]
    counts: Instruments

    def step(self, group: Group, place: int) -> int:
        """Send to some, from `place` on; returns the next place, -1 at the end."""
        data = self.data
        for session in self.excluded.values():
            session.outlet.holds |= EXCLUDED
        try:
            place, took, others = group.send(data, place, STEP)
            for outlet, taken in others:
                if taken or not outlet.holds:
                    outlet.owner.transport.write_rest(data[taken:])
                    took += 1
                else:
                    self._by_its_outbox(outlet.owner)
        finally:
            for session in self.excluded.values():
                session.outlet.holds &= ~EXCLUDED
        self.counts.messages_out[self.protocol] += took * len(self.frames)
        self.counts.bytes_out += took * len(data)
        return place

    def _by_its_outbox(self, session: Session) -> None:
        for frame in self.frames:
            if not self.not_for or self.not_for[frame] != session.id:
                session.send(frame)


def deliver(encodings: Encodings, subscription: Subscription) -> None:
    """To one live subscriber for which something has to be looked at: it filters, it takes deltas, it came just now."""
    publication = encodings.publication
    if subscription.ended:  # by what the same publication brought about
        return
    if publication.offset:
        if publication.offset <= subscription.after:
            subscription.delta_ready = False
            return
        subscription.after = 0
    session = subscription.session
    if session.id == publication.exclude or not subscription.wants(publication):
        subscription.delta_ready = False
        return
    frame = encodings.frame(session.dialect, subscription.delta, subscription.delta and subscription.delta_ready)
    subscription.delta_ready = subscription.delta
    if frame is not None:
        session.send(frame)


def tell(reply: Reply, sessions: Iterable[Session]) -> Iterator[None]:
    """The same reply to many, in steps. Who comes next is asked for when the one before has got it."""
    encoded: dict[Dialect, Frame | None] = {}
    for number, session in enumerate(sessions, 1):
        dialect = session.dialect
        if dialect not in encoded:
            encoded[dialect] = dialect.encode(reply)
        frame = encoded[dialect]
        if frame is not None:
            session.send(frame)
        if not number % A_STEP:
            yield
