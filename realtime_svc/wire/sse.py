"""`/sse/<channel>`: Server-Sent Events (WHATWG HTML 9.2), one event a publication.

    event   = [ "event:" name LF ] "data:" payload LF LF
    comment = ":" LF LF                                     keeps proxies from closing an idle stream

A JSON payload holds no raw newline, so it is one `data` line. A payload of a `bytes` namespace comes as base64.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable

from realtime_svc.core import messages
from realtime_svc.errors import Disconnect
from realtime_svc.wire import frames

NAME = "sse"
COMMENT = b":\n\n"


class SseDialect:
    """Stateless: one for all connections. Nothing is read from such a client."""

    name = NAME

    def decode(self, payload: bytes, binary: bool, home: str) -> Iterable[messages.Command | messages.Failed]:
        return ()

    def encode(self, reply: messages.Reply) -> frames.Frame | None:
        """Publications, and the reason of a close as an event `bye`."""
        if isinstance(reply, messages.Message):
            publication = reply.publication
            data = publication.data if publication.is_json else base64.b64encode(publication.data)
            return _event(b"", data)
        if isinstance(reply, messages.Bye):
            return _event(b"event: bye\n", f'{{"code":{reply.disconnect.code}}}'.encode())
        return None

    def close_with(self, disconnect: Disconnect) -> Disconnect:
        return disconnect


def _event(head: bytes, data: bytes) -> frames.Frame:
    wire = head + b"data: " + data + b"\n\n"
    return frames.Frame(data, False, wire)
