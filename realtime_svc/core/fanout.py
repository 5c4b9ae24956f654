"""One publication to many sessions: encoded once for each protocol, the same bytes to all."""

from __future__ import annotations

from collections.abc import Iterable

from realtime_svc.core.messages import Message
from realtime_svc.core.ports import Dialect, Frame
from realtime_svc.core.session import Session
from realtime_svc.model import Publication


def fan_out(publication: Publication, sessions: Iterable[Session]) -> None:
    """Send `publication` to each session but the one it excludes. A slow or closed session never stops the others."""
    message = Message(publication)
    encoded: dict[Dialect, Frame | None] = {}
    exclude = publication.exclude
    for session in sessions:
        dialect = session.dialect
        if session.id == exclude:
            continue
        try:
            frame = encoded[dialect]
        except KeyError:
            frame = encoded[dialect] = dialect.encode(message)
        if frame is not None:
            session.send(frame)
