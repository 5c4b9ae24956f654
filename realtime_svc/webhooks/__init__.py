"""Lifecycle events, told to a backend: one POST at a time to `webhooks.url`, each with a batch of events in order.

    POST <url>
    Content-Type: application/json
    X-Realtime-Event-Id: <32 hexadecimal digits>            the same when the call is repeated
    X-Realtime-Signature: t=<unix time>,v1=<hexadecimal HMAC-SHA256 of "<t>.<body>">

    {"events":[{"type":"subscribe","time":1760000000.123,"channel":"chat:x","client":"<id>","user":"42"}, ...]}

Delivery is at least once: a 2xx is success; a network error, no answer in time, 5xx or 429 is tried again; anything
else is final. `docs/webhooks.md` says what is in an event, and how to check the signature.
"""

from __future__ import annotations

from realtime_svc.webhooks.backend import Answer, Backend, CallFailed
from realtime_svc.webhooks.delivery import Webhooks

__all__ = ["Answer", "Backend", "CallFailed", "Webhooks"]
