"""Who may do what in a channel: one pure function.

A rule is a list of words: "anonymous" (everybody), "authenticated", "user:<id>", and, for all rights but subscribing,
"subscriber". A channel that names users behind a `#` is besides limited to them, and a private one (`$`) to those who
have a subscription token; so who is subscribed to such a channel has passed that gate.
"""

from __future__ import annotations

from collections.abc import Sequence

from realtime_svc import channel as channels
from realtime_svc.config import Namespace
from realtime_svc.model import Identity

ANYBODY = "anonymous"
AUTHENTICATED = "authenticated"
SUBSCRIBER = "subscriber"
USER_PREFIX = "user:"


def may(identity: Identity, rule: Sequence[str], channel: str, subscribed: bool = False) -> bool:
    """Does `rule` let `identity` use `channel`? `subscribed`: the client is subscribed to it."""
    if not subscribed:
        if channels.is_private(channel):
            return False
        users = channels.users_of(channel)
        if users is not None and (not identity.user or identity.user not in users):
            return False
    if ANYBODY in rule or (subscribed and SUBSCRIBER in rule):
        return True
    return bool(identity.user) and (AUTHENTICATED in rule or USER_PREFIX + identity.user in rule)


def may_look_back(identity: Identity, namespace: Namespace, channel: str) -> bool:
    """May a subscriber have what was published before it came, without a position of its own to go on from?

    That is reading the history. Recovery is not: it is an option of its own.
    """
    return namespace.insecure or not namespace.keeps_history or may(identity, namespace.read_history, channel, True)
