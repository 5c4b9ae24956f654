"""Who may subscribe to a channel and publish in it: one pure function.

A rule is a list of words: "anonymous" (everybody), "authenticated", "user:<id>". A channel that names users behind a
`#` is besides limited to them, and a private one (`$`) is closed to clients, whatever the namespace says.
"""

from __future__ import annotations

from collections.abc import Sequence

from realtime_svc import channel as channels
from realtime_svc.model import Identity

ANYBODY = "anonymous"
AUTHENTICATED = "authenticated"
USER_PREFIX = "user:"


def may(identity: Identity, rule: Sequence[str], channel: str) -> bool:
    """Does `rule` let `identity` use `channel`?"""
    if channels.is_private(channel):
        return False
    users = channels.users_of(channel)
    if users is not None and (not identity.user or identity.user not in users):
        return False
    if ANYBODY in rule:
        return True
    return bool(identity.user) and (AUTHENTICATED in rule or USER_PREFIX + identity.user in rule)
