"""`/ws`, protocol `plain.v1`: one short line of JSON that a person can type.

    frame   = line *( LF line )
    line    = object / words
    object  = JSON object; the first verb present of auth, subscribe, unsubscribe, publish, call, history, presence,
              ping names the command and its value the channel (or token, or method); "id" (string or integer) is
              echoed; other keys are options, and unknown ones are ignored
    words   = verb [ SP channel [ SP data ] ]                      a line that does not start with "{"

What the server says is in `plain_replies`. Payloads travel as the bytes they came in: they are not decoded and encoded
again.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence

import msgspec

from realtime_svc import errors
from realtime_svc.core import messages
from realtime_svc.core.payload import check_depth, parse_json
from realtime_svc.core.ports import Frame, Traits
from realtime_svc.errors import ConnectionClosing, Disconnect, ErrorCode, ReplyError
from realtime_svc.model import StreamPosition, parse_since
from realtime_svc.wire import plain_replies

NAME = "plain"
SUBPROTOCOL = "plain.v1"
MAX_ENVELOPE_DEPTH = 40  # a payload of depth 32, the envelope around it, and room for the message that says so
MAX_TAGS = 16
MAX_TAG_BYTES = 256

_VERBS = ("auth", "subscribe", "unsubscribe", "publish", "call", "history", "presence", "ping")
_TYPES = (
    "verbs, since, token, key and b64data take a string, id a string or an integer, limit and history an integer, "
    "presence, stats and reverse true or false, tags an object of strings"
)
_UNSET = msgspec.UNSET
_NEWLINE, _OBJECT = b"\n{"  # to look for a byte by its number is several times as fast as by a text of length 1
_A_PAGE = -1  # as many as one answer holds
_COUNT = re.compile(r"[0-9]{1,9}", re.ASCII)


class _Envelope(msgspec.Struct):
    """Every key that means something; the payload stays as bytes."""

    auth: str | msgspec.UnsetType = _UNSET
    subscribe: str | msgspec.UnsetType = _UNSET
    unsubscribe: str | msgspec.UnsetType = _UNSET
    publish: str | msgspec.UnsetType = _UNSET
    call: str | msgspec.UnsetType = _UNSET
    history: str | int | msgspec.UnsetType = _UNSET  # a verb, or an option of subscribe
    presence: str | bool | msgspec.UnsetType = _UNSET  # likewise
    ping: msgspec.Raw | msgspec.UnsetType = _UNSET
    help: msgspec.Raw | msgspec.UnsetType = _UNSET
    data: msgspec.Raw | msgspec.UnsetType = _UNSET
    b64data: str | msgspec.UnsetType = _UNSET
    tags: dict[str, str] | None = None
    key: str | None = None
    since: str | None = None
    token: str | None = None
    limit: int | None = None
    reverse: bool = False
    stats: bool = False
    id: str | int | None = None


_decoder = msgspec.json.Decoder(_Envelope)


class PlainDialect:
    """Stateless: one for all connections."""

    name = NAME
    traits = Traits()

    def decode(
        self, payload: bytes, binary: bool, home: str
    ) -> tuple[messages.Command | messages.Failed] | Iterator[messages.Command | messages.Failed]:
        """The commands of one frame, in order; what could not be read comes as `Failed` in its place.

        Raises `ConnectionClosing` (3506) for a binary frame.
        """
        if binary:
            raise ConnectionClosing(errors.INAPPROPRIATE_PROTOCOL)
        text = payload.strip()
        if _NEWLINE not in text or _is_one_object(text):
            return (_command(text),)
        return (_command(line) for part in text.split(b"\n") if (line := part.strip()))

    def encode(self, reply: messages.Reply) -> Frame | None:
        """One reply as one text frame."""
        return plain_replies.encode(reply)

    def join(self, frames: Sequence[Frame]) -> Frame | None:
        """Each reply is a frame of its own."""
        return None

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
    if not line or line[0] != _OBJECT:
        return _from_words(line)
    if len(line) > 2 * MAX_ENVELOPE_DEPTH and not check_depth(line, MAX_ENVELOPE_DEPTH):  # a level takes two bytes
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
    return messages.Failed(ReplyError(ErrorCode.BAD_REQUEST, _TYPES), verb)


def _from_envelope(envelope: _Envelope) -> messages.Command | messages.Failed:
    """The verb is the first one present, in the order of the table."""
    key = envelope.id
    try:
        if envelope.auth is not _UNSET:
            return messages.Authenticate(envelope.auth, key)
        if envelope.subscribe is not _UNSET:
            return _subscribe(envelope, envelope.subscribe)
        if envelope.unsubscribe is not _UNSET:
            return messages.Unsubscribe(envelope.unsubscribe, key)
        if envelope.publish is not _UNSET:
            return _publish(envelope, envelope.publish)
        if envelope.call is not _UNSET:
            data = None if envelope.data is _UNSET else parse_json(bytes(envelope.data))[0]
            return messages.Call(envelope.call, data, key)
        if envelope.history is not _UNSET:
            return _history(envelope, envelope.history)
        if envelope.presence is not _UNSET:
            return _presence(envelope, envelope.presence)
    except ReplyError as error:
        return _failed(envelope, error)
    if envelope.ping is not _UNSET:
        return messages.Ping(key)
    if envelope.help is not _UNSET:
        return messages.Help(key)
    detail = f"no known verb: {', '.join(_VERBS)}, help"
    return messages.Failed(ReplyError(ErrorCode.METHOD_NOT_FOUND, detail), None, None, key)


def _failed(envelope: _Envelope, error: ReplyError) -> messages.Failed:
    """A command whose options are wrong, with its verb and its channel."""
    verb = next(verb for verb in _VERBS if getattr(envelope, verb) is not _UNSET)
    channel = getattr(envelope, verb) if verb != "call" else None
    return messages.Failed(error, verb, _shown(channel) if isinstance(channel, str) else None, envelope.id)


def _bad(detail: str) -> ReplyError:
    return ReplyError(ErrorCode.BAD_REQUEST, detail)


def _subscribe(envelope: _Envelope, channel: str) -> messages.Subscribe:
    """Who speaks this protocol can always go on from a position, so it is told where it stands."""
    last, presence = envelope.history, envelope.presence
    if isinstance(last, str) or isinstance(presence, str):
        raise _bad(_TYPES)
    if last is not _UNSET and last < 0:
        raise _bad("history is below 0")
    return messages.Subscribe(
        channel,
        envelope.id,
        token=envelope.token or "",
        recover=_since(envelope),
        last=0 if last is _UNSET else last,
        recoverable=True,
        join_leave=presence is True,
    )


def _since(envelope: _Envelope) -> StreamPosition | None:
    if envelope.since is None:
        return None
    position = parse_since(envelope.since)
    if position is None:
        raise _bad("since is <epoch>:<offset>")
    return position


def _history(envelope: _Envelope, channel: str | int) -> messages.History:
    if isinstance(channel, int):
        raise _bad(_TYPES)
    limit = _A_PAGE if envelope.limit is None else envelope.limit
    return messages.History(channel, limit, _since(envelope), envelope.reverse, envelope.id)


def _presence(envelope: _Envelope, channel: str | bool) -> messages.Presence | messages.PresenceStats:
    if isinstance(channel, bool):
        raise _bad(_TYPES)
    return (messages.PresenceStats if envelope.stats else messages.Presence)(channel, envelope.id)


def _publish(envelope: _Envelope, channel: str) -> messages.Publish:
    tags, key = envelope.tags, envelope.key or ""
    if tags and (len(tags) > MAX_TAGS or any(len(k) + len(v) > MAX_TAG_BYTES for k, v in tags.items())):
        raise _bad(f"at most {MAX_TAGS} tags of {MAX_TAG_BYTES} characters each")
    if envelope.data is not _UNSET:
        return messages.Publish(channel, bytes(envelope.data), False, tags, envelope.id, key)
    if envelope.b64data is _UNSET:
        raise _bad("data is missing")
    try:
        data = base64.b64decode(envelope.b64data, validate=True)
    except (binascii.Error, ValueError):
        raise _bad("b64data is not base64") from None
    return messages.Publish(channel, data, True, tags, envelope.id, key)


def _from_words(line: bytes) -> messages.Command | messages.Failed:
    """A line typed by a person."""
    try:
        verb, _, rest = line.decode().partition(" ")
    except UnicodeDecodeError:
        return messages.Failed(_bad("Invalid UTF-8"))
    channel, _, data = (part.strip() for part in rest.strip().partition(" "))
    try:
        command = _command_of_words(verb, channel, data)
    except ReplyError as error:
        return messages.Failed(error, verb, _shown(channel) if verb in ("publish", "history") else None)
    if command is None:
        detail = "neither a JSON object nor a known verb; try: help"
        return messages.Failed(ReplyError(ErrorCode.METHOD_NOT_FOUND, detail))
    return command


def _command_of_words(verb: str, channel: str, data: str) -> messages.Command | None:
    if verb in ("subscribe", "unsubscribe", "auth", "presence") and data:
        raise _bad("one word too many")
    match verb:
        case "auth":
            return messages.Authenticate(channel)
        case "subscribe":
            return messages.Subscribe(channel, recoverable=True)
        case "unsubscribe":
            return messages.Unsubscribe(channel)
        case "publish":
            if not data:
                raise _bad("data is missing")
            return messages.Publish(channel, data.encode())
        case "call":
            return messages.Call(channel, parse_json(data.encode())[0] if data else None)
        case "history":
            return messages.History(channel, _count(data) if data else _A_PAGE)
        case "presence":
            return messages.Presence(channel)
        case "ping":
            return messages.Ping()
        case "help":
            return messages.Help()
    return None


def _count(word: str) -> int:
    if _COUNT.fullmatch(word) is None:
        raise _bad("history CHANNEL [HOW MANY]")
    return int(word)


def _shown(channel: str) -> str | None:
    """A channel's name as an answer repeats it: only what could be one."""
    return channel if len(channel) <= 255 else None
