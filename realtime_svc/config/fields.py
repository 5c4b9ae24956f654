"""What all sections of the configuration are made of: keys with units, secrets, the base of a section.

Durations are seconds (float) and sizes are bytes (int) once loaded; in a file they may also be text such as "25s",
"500ms", "2m", "64KiB", "1MiB".
"""

from __future__ import annotations

import msgspec
from msgspec import Meta

DURATION_PATTERN = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$"
SIZE_PATTERN = r"^[0-9]+(B|KiB|MiB|GiB)?$"


def duration(description: str, *, least: float = 0.0, most: float = 86400.0) -> Meta:
    """A key that holds seconds, or text with a unit (ms, s, m, h)."""
    extra = {"format": "duration", "pattern": DURATION_PATTERN}
    return Meta(description=description, ge=least, le=most, extra_json_schema=extra)


def size(description: str, *, least: int = 0, most: int = 2**31 - 1) -> Meta:
    """A key that holds bytes, or text with a unit (B, KiB, MiB, GiB)."""
    extra = {"format": "size", "pattern": SIZE_PATTERN}
    return Meta(description=description, ge=least, le=most, extra_json_schema=extra)


def secret(description: str, *, least: int | None = None) -> Meta:
    """A key whose value is never shown: `config show` masks it; the environment may name a file for it (`_FILE`)."""
    return Meta(description=description, min_length=least, extra_json_schema={"writeOnly": True})


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The base of all sections. Its repr shows no values: some are secrets."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"
