"""`/ws`, protocol `plain.v1`: one short line of JSON that a person can type.

    frame   = line *( LF line )
    line    = object / words
    object  = JSON object; the first verb present of auth, subscribe, unsubscribe, publish, call, history, presence,
              ping names the command and its value the channel; "id" (string or integer) is echoed; other keys are
              options, and unknown ones are ignored
    words   = verb [ SP channel [ SP data ] ]                      a line that does not start with "{"
    answer  = {"hello":{..}} / {"ok":verb,..} / {"message":channel,..} / {"error":{..},..} / {"unsubscribed":channel,..}
              / {"bye":{..}}

Payloads travel as the bytes they came in: they are spliced into the envelope, not decoded and encoded again.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from realtime_svc import errors
from realtime_svc.core import messages
from realtime_svc.core.payload import check_depth
from realtime_svc.errors import ConnectionClosing, Disconnect, ErrorCode, ReplyError
from realtime_svc.model import ClientInfo, Publication
from realtime_svc.wire import frames

NAME = "plain"
SUBPROTOCOL = "plain.v1"
MAX_ENVELOPE_DEPTH = 40  # a payload of depth 32, the envelope around it, and room for the message that says so
MAX_TAGS = 16
MAX_TAG_BYTES = 256

_VERBS = ("auth", "subscribe", "unsubscribe", "publish", "call", "history", "presence", "ping")
_LATER = ("call", "history", "presence")
_HELP = (
    b'"one command a line, as JSON or as words: '
    b"auth TOKEN | subscribe CHANNEL | unsubscribe CHANNEL | publish CHANNEL DATA | ping | help"
    b'"'
)

_encode = msgspec.json.encode


class _Envelope(msgspec.Struct):
    """Every key that means something; the payload stays as bytes."""

    auth: str | msgspec.UnsetType = msgspec.UNSET
    subscribe: str | msgspec.UnsetType = msgspec.UNSET
    unsubscribe: str | msgspec.UnsetType = msgspec.UNSET
    publish: str | msgspec.UnsetType = msgspec.UNSET
    call: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    history: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    presence: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    ping: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    since: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    help: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    b64data: str | msgspec.UnsetType = msgspec.UNSET
    tags: dict[str, str] | None = None
    id: str | int | None = None


_decoder = msgspec.json.Decoder(_Envelope)


def error_body(error: ReplyError) -> bytes:
    """The object that describes an error, as JSON."""
    return _encode({"code": error.number, "message": error.message, "temporary": error.temporary})


class PlainDialect:
    """Stateless: one for all connections."""

    name = NAME

    def decode(self, payload: bytes, binary: bool, home: str) -> Iterator[messages.Command | messages.Failed]:
        """The commands of one frame, in order; what could not be read comes as `Failed` in its place.

        Raises `ConnectionClosing` (3506) for a binary frame.
        """
        if binary:
            raise ConnectionClosing(errors.INAPPROPRIATE_PROTOCOL)
        text = payload.strip()
        if b"\n" in text and not _is_one_object(text):
            for line in text.split(b"\n"):
                if line := line.strip():
                    yield _command(line)
        else:
            yield _command(text)

    def encode(self, reply: messages.Reply) -> frames.Frame | None:
        """One reply as one text frame."""
        return frames.message_frame(_ENCODERS[type(reply)](reply))

    def close_with(self, disconnect: Disconnect) -> Disconnect:
        """The close code on this protocol: as the table has it."""
        return disconnect


def _is_one_object(text: bytes) -> bool:
    """Is this frame one JSON object, written on several lines?"""
    if not text.startswith(b"{") or not check_depth(text, MAX_ENVELOPE_DEPTH):
        return False
    try:
        msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _command(line: bytes) -> messages.Command | messages.Failed:
    if not line.startswith(b"{"):
        return _from_words(line)
    if not check_depth(line, MAX_ENVELOPE_DEPTH):
        return messages.Failed(ReplyError(ErrorCode.BAD_REQUEST, "Invalid JSON"))
    try:
        envelope = _decoder.decode(line)
    except msgspec.ValidationError:
        return _mistyped(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return messages.Failed(ReplyError(ErrorCode.BAD_REQUEST, "Invalid JSON"))
    return _from_envelope(envelope)


def _mistyped(line: bytes) -> messages.Failed:
    """JSON, but a key holds the wrong type of value: say which keys a command takes, never the value."""
    try:
        fields = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        verb = next((verb for verb in _VERBS if verb in fields), None)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        verb = None
    detail = "a verb takes a string, id a string or an integer, tags an object of strings, b64data a string"
    return messages.Failed(ReplyError(ErrorCode.BAD_REQUEST, detail), verb)


def _from_envelope(envelope: _Envelope) -> messages.Command | messages.Failed:
    """The verb is the first one present, in the order of the table."""
    key = envelope.id
    if envelope.auth is not msgspec.UNSET:
        return messages.Authenticate(envelope.auth, key)
    if envelope.subscribe is not msgspec.UNSET:
        if any(option is not msgspec.UNSET for option in (envelope.history, envelope.since, envelope.presence)):
            detail = "history, since and presence are not available"
            error = ReplyError(ErrorCode.NOT_AVAILABLE, detail)
            return messages.Failed(error, "subscribe", _shown(envelope.subscribe), key)
        return messages.Subscribe(envelope.subscribe, key)
    if envelope.unsubscribe is not msgspec.UNSET:
        return messages.Unsubscribe(envelope.unsubscribe, key)
    if envelope.publish is not msgspec.UNSET:
        return _publish(envelope, envelope.publish)
    for verb in _LATER:
        if getattr(envelope, verb) is not msgspec.UNSET:
            return messages.Failed(ReplyError(ErrorCode.NOT_AVAILABLE), verb, None, key)
    if envelope.ping is not msgspec.UNSET:
        return messages.Ping(key)
    if envelope.help is not msgspec.UNSET:
        return messages.Help(key)
    detail = "no known verb: auth, subscribe, unsubscribe, publish, ping, help"
    return messages.Failed(ReplyError(ErrorCode.METHOD_NOT_FOUND, detail), None, None, key)


def _publish(envelope: _Envelope, channel: str) -> messages.Command | messages.Failed:
    def failed(detail: str) -> messages.Failed:
        return messages.Failed(ReplyError(ErrorCode.BAD_REQUEST, detail), "publish", _shown(channel), envelope.id)

    tags = envelope.tags
    if tags and (len(tags) > MAX_TAGS or any(len(k) + len(v) > MAX_TAG_BYTES for k, v in tags.items())):
        return failed(f"at most {MAX_TAGS} tags of {MAX_TAG_BYTES} characters each")
    if envelope.data is not msgspec.UNSET:
        return messages.Publish(channel, bytes(envelope.data), False, tags, envelope.id)
    if envelope.b64data is msgspec.UNSET:
        return failed("data is missing")
    try:
        data = base64.b64decode(envelope.b64data, validate=True)
    except (binascii.Error, ValueError):
        return failed("b64data is not base64")
    return messages.Publish(channel, data, True, tags, envelope.id)


def _from_words(line: bytes) -> messages.Command | messages.Failed:
    """A line typed by a person."""
    try:
        verb, _, rest = line.decode().partition(" ")
    except UnicodeDecodeError:
        return messages.Failed(ReplyError(ErrorCode.BAD_REQUEST, "Invalid UTF-8"))
    channel, _, data = rest.strip().partition(" ")
    if verb in ("subscribe", "unsubscribe", "auth") and data:
        return messages.Failed(ReplyError(ErrorCode.BAD_REQUEST, "one word too many"), verb)
    if verb == "publish" and not data:
        return messages.Failed(ReplyError(ErrorCode.BAD_REQUEST, "data is missing"), verb, _shown(channel))
    match verb:
        case "auth":
            return messages.Authenticate(channel)
        case "subscribe":
            return messages.Subscribe(channel)
        case "unsubscribe":
            return messages.Unsubscribe(channel)
        case "publish":
            return messages.Publish(channel, data.strip().encode())
        case "ping":
            return messages.Ping()
        case "help":
            return messages.Help()
        case "call" | "history" | "presence":
            return messages.Failed(ReplyError(ErrorCode.NOT_AVAILABLE), verb)
    detail = "neither a JSON object nor a known verb; try: help"
    return messages.Failed(ReplyError(ErrorCode.METHOD_NOT_FOUND, detail))


def _shown(channel: str) -> str | None:
    """A channel's name as an answer repeats it: only what could be one."""
    return channel if len(channel) <= 255 else None


def _id(key: messages.CommandId) -> bytes:
    return b"" if key is None else b',"id":' + _encode(key)


def _channel(channel: str | None) -> bytes:
    return b"" if channel is None else b',"channel":' + _encode(channel)


def _hello(reply: messages.Hello) -> bytes:
    body = {"client": reply.client, "user": reply.user, "version": "1", "recover": False, "max_size": reply.max_size}
    return b'{"hello":' + _encode(body) + b"}"


def _done(reply: messages.Done) -> bytes:
    user = b"" if reply.user is None else b',"user":' + _encode(reply.user)
    return b'{"ok":"' + reply.verb.encode() + b'"' + _channel(reply.channel) + user + _id(reply.id) + b"}"


def _failed(reply: messages.Failed) -> bytes:
    on = b"" if reply.verb is None else b',"on":"' + reply.verb.encode() + b'"'
    return b'{"error":' + error_body(reply.error) + on + _channel(reply.channel) + _id(reply.id) + b"}"


def _help(reply: messages.HelpText) -> bytes:
    return b'{"ok":"help","data":' + _HELP + _id(reply.id) + b"}"


def _message(reply: messages.Message) -> bytes:
    publication = reply.publication
    parts = [b'{"message":', _encode(publication.channel), _data(publication)]
    if publication.publisher is not None:
        parts += (b',"from":', _publisher(publication.publisher))
    if publication.tags:
        parts += (b',"tags":', _encode(publication.tags))
    parts.append(b"}")
    return b"".join(parts)


def _data(publication: Publication) -> bytes:
    if publication.is_json:
        return b',"data":' + publication.data
    return b',"b64data":"' + base64.b64encode(publication.data) + b'"'


def _publisher(publisher: ClientInfo) -> bytes:
    info = b"" if publisher.info is None else b',"info":' + publisher.info
    return b'{"client":' + _encode(publisher.client) + b',"user":' + _encode(publisher.user) + info + b"}"


def _unsubscribed(reply: messages.Unsubscribed) -> bytes:
    return _encode({"unsubscribed": reply.channel, "code": reply.code, "reason": reply.reason})


def _bye(reply: messages.Bye) -> bytes:
    code, reason = reply.disconnect
    return _encode({"bye": {"code": code, "reason": reason, "reconnect": reply.disconnect.reconnect}})


_ENCODERS: dict[type, Callable[[Any], bytes]] = {
    messages.Hello: _hello,
    messages.Done: _done,
    messages.Failed: _failed,
    messages.HelpText: _help,
    messages.Message: _message,
    messages.Unsubscribed: _unsubscribed,
    messages.Bye: _bye,
}
