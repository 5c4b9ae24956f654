"""How far a connection has come."""

from __future__ import annotations

import enum


class State(enum.IntEnum):
    AUTHENTICATING = 0
    CONNECTING = 1
    OPEN = 2
    CLOSING = 3
    CLOSED = 4
