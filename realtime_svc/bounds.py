"""What the configuration allows a client, and what the system leaves room for."""

from __future__ import annotations

import math
import resource
import sys

from realtime_svc.config import Config
from realtime_svc.core.node import SessionLimits
from realtime_svc.core.ratelimit import RateLimit

RESERVED_DESCRIPTORS = 200  # what the process needs besides its connections


def session_limits(config: Config) -> SessionLimits:
    """What every session keeps to."""
    limits = config.limits
    per_second = limits.errors_per_minute / 60
    return SessionLimits(
        message_size=limits.message_size,
        queue_size=limits.queue_size,
        stall_timeout=limits.stall_timeout,
        auth_timeout=limits.auth_timeout,
        refresh_grace=config.auth.refresh_grace,
        channels_per_client=limits.channels_per_client,
        connections_per_user=limits.connections_per_user,
        anonymous=config.auth.anonymous or config.auth.insecure,
        personal_channel=config.auth.personal_channel,
        ping=math.ceil(config.websocket.ping_interval),
        page=config.streams.page,
        members=config.streams.members,
        position_check=config.streams.position_check,
        messages=RateLimit(limits.messages_per_second, 2 * limits.messages_per_second, limits.flood_patience),
        errors=RateLimit(per_second, limits.errors_per_minute / 2, limits.flood_patience),
    )


def descriptors() -> int:
    """How many connections the limit of file descriptors leaves room for."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return sys.maxsize
    return max(hard - RESERVED_DESCRIPTORS, 1)


def raise_descriptor_limit() -> None:
    """Take as many file descriptors as the system gives without asking."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
