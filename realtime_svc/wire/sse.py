"""`/sse/<channel>`: Server-Sent Events (WHATWG HTML 9.2), one event a publication.

    event   = [ "event:" name LF ] [ id ] "data:" payload LF LF / id LF
    id      = "id:" epoch ":" offset LF                     where the publication has a place in a stream
    comment = ":" LF LF                                     keeps proxies from closing an idle stream

A browser that reconnects says by itself which id it saw last (Last-Event-ID) and gets what it missed. An id without
data is no event for the page, but is remembered: so who saw no publication yet loses none either. What could not be
recovered is an event `reset`, whose id is where the stream stands now:

    event: reset / data: {"epoch":"kQzT","offset":7} / id: kQzT:7

A JSON payload holds no raw newline, so it is one `data` line. A payload of a `bytes` namespace comes as base64.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence

import msgspec

from realtime_svc.core import messages
from realtime_svc.core.messages import SubscriptionResult
from realtime_svc.core.ports import Frame, Traits
from realtime_svc.errors import Disconnect
from realtime_svc.model import Publication, StreamPosition, format_since
from realtime_svc.wire import frames

NAME = "sse"
COMMENT = b":\n\n"


class SseDialect:
    """Stateless: one for all connections. Nothing is read from such a client."""

    name = NAME
    traits = Traits()

    def decode(self, payload: bytes, binary: bool, home: str) -> Iterable[messages.Command | messages.Failed]:
        return ()

    def encode(self, reply: messages.Reply) -> Frame | None:
        """Publications, where the stream stands, and the reason of a close as an event `bye`."""
        if isinstance(reply, messages.Message):
            return _publication(reply.publication)
        if isinstance(reply, messages.Subscribed):
            return _position(reply.result)
        if isinstance(reply, messages.Bye):
            code, reason = reply.disconnect
            return _event(b"event: bye\n", msgspec.json.encode({"code": code, "reason": reason}))
        return None

    def join(self, frames: Sequence[Frame]) -> Frame | None:
        """Each event leaves for itself."""
        return None

    def close_with(self, disconnect: Disconnect) -> Disconnect:
        return disconnect


def _publication(publication: Publication) -> Frame:
    data = publication.data if publication.is_json else base64.b64encode(publication.data)
    return _event(_id(publication.position) if publication.epoch else b"", data)


def _position(result: SubscriptionResult) -> Frame | None:
    """Where the client stands, before what is recovered."""
    if result.was_recovering and not result.recovered:
        epoch, offset = (result.position.epoch, result.position.offset) if result.position else ("", 0)
        event_id = _id(result.position) if result.position else b"id:\n"
        return _event(b"event: reset\n" + event_id, msgspec.json.encode({"epoch": epoch, "offset": offset}))
    if result.position is None:
        return None
    event_id = _id(result.position)
    return frames.Frame(event_id, False, event_id + b"\n")


def _id(position: StreamPosition) -> bytes:
    return f"id: {format_since(position)}\n".encode()


def _event(head: bytes, data: bytes) -> Frame:
    return frames.Frame(data, False, head + b"data: " + data + b"\n\n")
