"""One event to many sessions: encoded once for each protocol, the same bytes to all."""

from __future__ import annotations

from collections.abc import Iterable

from realtime_svc.core.fossil import delta
from realtime_svc.core.messages import Message, Reply
from realtime_svc.core.ports import Dialect, Frame
from realtime_svc.core.session import Session
from realtime_svc.core.subscription import Subscription
from realtime_svc.model import Publication


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


def fan_out(encodings: Encodings, subscriptions: Iterable[Subscription]) -> None:
    """Send a publication to each subscriber but the one it excludes. A slow or closed one never stops the others."""
    publication = encodings.publication
    exclude = publication.exclude
    plain: dict[Dialect, Frame | None] = {}
    for subscription in subscriptions:
        if subscription.simple:
            session = subscription.session
            if session.id == exclude:
                continue
            dialect = session.dialect
            try:
                frame = plain[dialect]
            except KeyError:
                frame = plain[dialect] = encodings.frame(dialect)
            if frame is not None:
                session.send(frame)
        else:
            deliver(encodings, subscription)


def deliver(encodings: Encodings, subscription: Subscription) -> None:
    """To one subscriber for which something has to be looked at: it is being made, it filters, it takes deltas."""
    publication = encodings.publication
    if subscription.ended:  # by what the same publication brought about
        return
    if subscription.line is not None:
        subscription.hold(publication)
        return
    if publication.offset:
        if publication.offset <= subscription.after:
            subscription.delta_ready = False
            return
        subscription.after = 0
        subscription.settle()
    session = subscription.session
    if session.id == publication.exclude or not subscription.wants(publication):
        subscription.delta_ready = False
        return
    frame = encodings.frame(session.dialect, subscription.delta, subscription.delta and subscription.delta_ready)
    subscription.delta_ready = subscription.delta
    if frame is not None:
        session.send(frame)


def tell(reply: Reply, sessions: Iterable[Session]) -> None:
    """The same reply to many."""
    encoded: dict[Dialect, Frame | None] = {}
    for session in sessions:
        dialect = session.dialect
        if dialect not in encoded:
            encoded[dialect] = dialect.encode(reply)
        frame = encoded[dialect]
        if frame is not None:
            session.send(frame)
