"""Centrifugo client protocol, version 2, in JSON: over WebSocket, as a stream of lines, as Server-Sent Events.

    frame   = command *( LF command ) [ LF ]
    command = {"id":number,"<method>":request} / {"send":request} / {}                        {} answers a ping
    reply   = {"id":number,"<method>":result} / {"id":number,"error":{..}} / {"push":{..}} / {}     {} is a ping

Payloads are JSON values in the middle of it and travel as the bytes they came in. What is not JSON can't be said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from realtime_svc.core import messages
from realtime_svc.core.ports import Frame, Traits
from realtime_svc.errors import Disconnect
from realtime_svc.wire import centrifuge, frames
from realtime_svc.wire.centrifuge_json_commands import read_command
from realtime_svc.wire.centrifuge_json_replies import ENCODERS, NotJsonError, not_json

_NEWLINE = 10


class CentrifugeJsonDialect:
    """Stateless: one for all connections of a transport. `framing` makes a frame of one or more lines.

    `goodbye`: the reason of a close is said in a message, since the transport has no other way to say it.
    """

    traits = Traits(handshake=True, inline_recovery=True, json_only=True)

    def __init__(self, framing: Callable[[bytes], frames.Frame], name: str, *, goodbye: bool = False) -> None:
        self.name = name
        self._framing = framing
        self._encoders = {kind: encoder for kind, encoder in ENCODERS.items() if goodbye or kind is not messages.Bye}

    def decode(
        self, payload: bytes, binary: bool, home: str
    ) -> tuple[messages.Command | messages.Failed] | Iterator[messages.Command | messages.Failed]:
        """The commands of one frame, text or binary, in order. Raises `ConnectionClosing` (3501)."""
        if not centrifuge.is_utf8(payload):
            raise centrifuge.broken()
        if _NEWLINE not in payload:
            return (read_command(payload),)
        lines = [line for line in payload.split(b"\n") if line and not line.isspace()]
        if not lines:
            raise centrifuge.broken()
        return map(read_command, lines)

    def encode(self, reply: messages.Reply) -> frames.Frame | None:
        """One reply as one frame. None: this is not said here, or is not JSON."""
        encoder = self._encoders.get(type(reply))
        if encoder is None:
            return None
        try:
            line = encoder(reply)
        except NotJsonError:
            line = not_json(reply)
        return None if line is None else self._framing(line)

    def join(self, several: Sequence[Frame]) -> frames.Frame:
        """One frame with a line for each."""
        return self._framing(b"\n".join([frame.payload for frame in several]))

    def close_with(self, disconnect: Disconnect) -> Disconnect:
        """The close code on this protocol: the table is its own."""
        return disconnect


WEBSOCKET = CentrifugeJsonDialect(frames.message_frame, "centrifuge")
HTTP_STREAM = CentrifugeJsonDialect(frames.line_frame, "centrifuge_http_stream", goodbye=True)
SSE = CentrifugeJsonDialect(frames.event_frame, "centrifuge_sse", goodbye=True)
