"""What runs out while a client is connected: its token, and those of its subscriptions.

Dates in tokens are wall-clock time, which may be set: a timer says when to look, the wall clock decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime_svc import errors

if TYPE_CHECKING:
    from realtime_svc.core.session import Session

LOOK_AGAIN = 60.0  # seconds; the longest time between two looks


def look(session: Session) -> float | None:
    """End what has run out, the time of grace included. Returns in how many seconds to look again; None: never."""
    if session.identity is None or session.closing:
        return None
    now = session.node.wall_clock()
    following = session.node.subscriptions.expire(session, now)
    expires_at = session.identity.expires_at
    if expires_at is not None and not session.closing:
        until = expires_at + session.node.grace(session)
        if until <= now:
            session.close(errors.EXPIRED)
            return None
        following = until if following is None else min(following, until)
    return None if following is None else min(following - now, LOOK_AGAIN)
