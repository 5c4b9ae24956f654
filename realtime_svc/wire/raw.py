"""`/raw/<channel>`: no envelope. A frame you send is a payload published, a frame you get is a payload.

Only an error has an envelope, so that a person sees it:

    {"error":{"code":107,"message":"Invalid JSON","temporary":false}}
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from realtime_svc import errors
from realtime_svc.core import messages
from realtime_svc.core.ports import Frame, Traits
from realtime_svc.errors import Disconnect
from realtime_svc.wire import frames
from realtime_svc.wire.plain_replies import error_body

NAME = "raw"
SUBPROTOCOL = "raw.v1"


class RawDialect:
    """Stateless: one for all connections."""

    name = NAME
    traits = Traits(acknowledges=False)

    def decode(self, payload: bytes, binary: bool, home: str) -> Iterable[messages.Command | messages.Failed]:
        """Every message is a publication in the connection's own channel."""
        return (messages.Publish(home, payload, binary),)

    def encode(self, reply: messages.Reply) -> Frame | None:
        """Publications and errors have bytes; nothing else is said here."""
        if isinstance(reply, messages.Message):
            publication = reply.publication
            return frames.message_frame(publication.data, publication.binary and not publication.is_json)
        if isinstance(reply, messages.Failed):
            return frames.message_frame(b'{"error":' + error_body(reply.error) + b"}")
        return None

    def join(self, frames: Sequence[Frame]) -> Frame | None:
        """A frame is a payload."""
        return None

    def close_with(self, disconnect: Disconnect) -> Disconnect:
        """The close code on this protocol: a restart is 1012 here, since no SDK listens for 3001."""
        return errors.SERVICE_RESTART if disconnect is errors.SHUTDOWN else disconnect
