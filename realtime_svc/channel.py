"""Channel names: their grammar, their namespace, the users they are limited to.

    channel   = [ namespace ":" ] rest            at most 255 bytes
    namespace = 1*( ALPHA / DIGIT / "-" / "_" )
    rest      = 1*( ALPHA / DIGIT / "-" / "_" / "." / ":" / "#" / "$" / "," / "=" / "@" / ";" )

What follows the first `#` is a list of user ids, separated by commas: only these users may use the channel. `#42` is
the channel of user 42 alone. The grammar is ASCII only, so two names that look alike are the same name.
"""

from __future__ import annotations

import re

MAX_CHANNEL_BYTES = 255
DEFAULT_NAMESPACE = "default"

_CHANNEL = re.compile(r"[-A-Za-z0-9_]+:[-A-Za-z0-9_.:#$,=@;]+|[-A-Za-z0-9_.#$,=@;]+", re.ASCII)
NAMESPACE = re.compile(r"[-A-Za-z0-9_]+", re.ASCII)


def is_channel(name: str) -> bool:
    """Does `name` follow the grammar?"""
    return len(name) <= MAX_CHANNEL_BYTES and _CHANNEL.fullmatch(name) is not None


def namespace_of(channel: str) -> str:
    """The namespace a channel belongs to: the text before its first `:`, or the default one."""
    namespace, colon, _ = channel.partition(":")
    return namespace if colon else DEFAULT_NAMESPACE


def users_of(channel: str) -> list[str] | None:
    """The users a channel is limited to, or None where it is not limited."""
    _, boundary, users = channel.partition("#")
    return users.split(",") if boundary else None


def is_private(channel: str) -> bool:
    """Does the name start, after its namespace, with `$`? Such channels always take a subscription token."""
    namespace, colon, rest = channel.partition(":")
    return (rest if colon else namespace).startswith("$")
