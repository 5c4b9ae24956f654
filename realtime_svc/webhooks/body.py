"""What is said to the backend: the body of a call, and its signature. Pure functions."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import Any

import msgspec

from realtime_svc.model import LifecycleEvent

ENDINGS = ("disconnect", "unsubscribe")


def encode(events: Iterable[LifecycleEvent]) -> bytes:
    """The body of a call, as JSON text."""
    return msgspec.json.encode({"events": [_event(event) for event in events]})


def _event(event: LifecycleEvent) -> dict[str, Any]:
    said: dict[str, Any] = {"type": event.kind, "time": round(event.time, 3)}
    if event.channel:
        said["channel"] = event.channel
    if event.client is not None:
        said |= {"client": event.client.client, "user": event.client.user}
        for name in ("info", "channel_info"):
            if (text := getattr(event.client, name)) is not None:
                said[name] = msgspec.Raw(text)
    if event.kind in ENDINGS:
        said |= {"code": event.code, "reason": event.reason}
    return said


def signature(secret: str, seconds: int, body: bytes) -> str:
    """The header's value. The time is signed, too: an old call can't be played back later."""
    digest = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"
