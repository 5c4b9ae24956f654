"""Centrifugo client protocol, version 2, in Protocol Buffers: over WebSocket and as a stream of bytes.

    frame   = 1*( length message )            length: a varint; the message is a Command or a Reply of centrifuge.proto
    ping    = a message of length 0, answered by the same

Payloads are bytes here, JSON or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from google.protobuf.message import DecodeError

from realtime_svc.core import messages
from realtime_svc.core.messages import Command, Failed
from realtime_svc.core.ports import Frame, Traits
from realtime_svc.errors import Disconnect
from realtime_svc.wire import centrifuge, frames
from realtime_svc.wire import centrifuge_pb2 as pb
from realtime_svc.wire import centrifuge_protobuf_short as short
from realtime_svc.wire.centrifuge_protobuf_replies import messages_of


class CentrifugeProtobufDialect:
    """Stateless: one for all connections of a transport. `framing` makes a frame of one or more messages.

    `goodbye`: the reason of a close is said in a message, since the transport has no other way to say it.
    """

    traits = Traits(handshake=True, inline_recovery=True)

    def __init__(self, framing: Callable[[bytes], frames.Frame], name: str, *, goodbye: bool = False) -> None:
        self.name = name
        self._framing = framing
        self._goodbye = goodbye

    def decode(self, payload: bytes, binary: bool, home: str) -> tuple[Command | Failed] | Iterator[Command | Failed]:
        """The commands of one frame, in order. Raises `ConnectionClosing` (3501)."""
        length, start = _read_length(payload, 0)
        if start + length == len(payload):
            return (_command(payload[start:]),)
        return _commands(payload)

    def encode(self, reply: messages.Reply) -> frames.Frame | None:
        """One reply as one frame. None: this is not said here."""
        body = None
        if isinstance(reply, messages.Message):
            body = short.push(reply)
        elif isinstance(reply, messages.Published):
            body = short.published(reply)
        elif isinstance(reply, messages.Bye) and not self._goodbye:
            return None
        if body is not None:
            return self._framing(short.varint(len(body)) + body)
        bodies = messages_of(reply)
        return self._framing(b"".join([short.varint(len(body)) + body for body in bodies])) if bodies else None

    def join(self, several: Sequence[Frame]) -> frames.Frame:
        """One frame with a message for each."""
        return self._framing(b"".join([frame.payload for frame in several]))

    def close_with(self, disconnect: Disconnect) -> Disconnect:
        """The close code on this protocol: the table is its own."""
        return disconnect


def _read_length(payload: bytes, position: int) -> tuple[int, int]:
    """(length, where the message starts)."""
    try:
        return short.read_varint(payload, position)
    except (IndexError, ValueError):
        raise centrifuge.broken() from None


def _commands(payload: bytes) -> Iterator[Command | Failed]:
    position = 0
    while position < len(payload):
        length, start = _read_length(payload, position)
        position = start + length
        if position > len(payload):
            raise centrifuge.broken()
        yield _command(payload[start:position])


def _command(message: bytes) -> Command | Failed:
    usual = short.read_publish(message)
    if usual is not None:
        return usual
    try:
        command = pb.Command.FromString(message)
    except DecodeError:
        raise centrifuge.broken() from None
    requests = [(field.name, value) for field, value in command.ListFields() if field.name != "id"]
    return centrifuge.interpret(command.id, requests, _HANDLERS)


def _subscribe(request: pb.SubscribeRequest, key: int) -> Command | Failed:
    return centrifuge.subscribe(request, request.tf if request.HasField("tf") else None, key)


def _publish(request: pb.PublishRequest, key: int) -> Command | Failed:
    return centrifuge.publish(request, not centrifuge.is_utf8(request.data), key)


def _history(request: pb.HistoryRequest, key: int) -> Command | Failed:
    return centrifuge.history(request, request.since if request.HasField("since") else None, key)


def _send(request: pb.SendRequest, key: int) -> Command | Failed:
    return messages.Send(request.data)


_HANDLERS: Mapping[str, centrifuge.Handler] = {
    **centrifuge.HANDLERS,
    "subscribe": _subscribe,
    "publish": _publish,
    "history": _history,
    "send": _send,
}

WEBSOCKET = CentrifugeProtobufDialect(partial(frames.message_frame, binary=True), "centrifuge_protobuf")
HTTP_STREAM = CentrifugeProtobufDialect(frames.bare_frame, "centrifuge_http_stream_protobuf", goodbye=True)
