"""Does a client come back, and when?"""

from __future__ import annotations

from collections.abc import Callable

from realtime_svc.client.errors import ConnectionClosed, HandshakeRefused, ProtocolViolation

MIN_DELAY = 0.5
MAX_DELAY = 20.0
MAX_RETRY_AFTER = 60.0

STOP_STATUSES = frozenset((400, 401, 403, 404, 405, 414, 421, 426, 431))
STOP_CODES = frozenset((1002, 1003, 1007, 1008, 1009))  # what we said would be wrong again

Uniform = Callable[[float, float], float]


def comes_back(error: Exception) -> bool:
    """After `error` ended a connection, or the attempt at one: is it worth another?

    Close codes 3500-3999 and 4500-4999 mean no, by the range rule that all SDKs of the Centrifugo protocol share.
    """
    match error:
        case ConnectionClosed(code=code):
            return not (code in STOP_CODES or 3500 <= code <= 3999 or 4500 <= code <= 4999)
        case HandshakeRefused(status=status):
            return status not in STOP_STATUSES
    return not isinstance(error, ProtocolViolation | ValueError)


def delay(attempt: int, uniform: Uniform) -> float:
    """Seconds before attempt number `attempt` (from 0): full jitter, 0.5 s at least, 20 s at most."""
    return min(MAX_DELAY, MIN_DELAY + uniform(0.0, min(MAX_DELAY, MIN_DELAY * 2.0 ** min(attempt, 16))))


def delay_after(error: Exception, attempt: int, uniform: Uniform) -> float:
    """As `delay`, and not before the time the server asked for (Retry-After), up to a minute."""
    asked = error.retry_after if isinstance(error, HandshakeRefused) else None
    return min(asked or 0.0, MAX_RETRY_AFTER) + delay(attempt, uniform)
