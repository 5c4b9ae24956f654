"""Centrifugo client protocol in Protocol Buffers: what comes and goes all the time, read and written byte by byte.

That is a publication, its answer and its push, each in the shape that clients and generated code give it. Everything
else is None here, and is for the generated code. A quarter of its time.

    message = *field
    field   = varint (number * 8 + type), value      type 0: a varint; type 2: varint (length of what follows), bytes

Numbers are those of centrifuge.proto.
"""

from __future__ import annotations

from functools import lru_cache

from realtime_svc.core.messages import Message, Publish, Published
from realtime_svc.model import ClientInfo
from realtime_svc.wire.centrifuge import is_utf8

PUBLISHERS = 1024  # clients whose description is kept in its encoded form
MOST_BYTES = 5  # of a varint that is a length or an id


def varint(number: int) -> bytes:
    """The lowest 7 bits first."""
    if number < 0x80:
        return _ONE_BYTE[number]
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    return bytes((number & 0x7F | 0x80,)) + varint(number >> 7)


_ONE_BYTE = tuple(bytes((number,)) for number in range(0x80))


def read_varint(payload: bytes, position: int) -> tuple[int, int]:
    """(number, where it ends). Raises `IndexError` where it does not end, `ValueError` where it is too long."""
    number = payload[position]
    if number < 0x80:
        return number, position + 1
    byte = payload[position + 1]
    number += (byte - 1) << 7  # the bit that says that it goes on is not part of it
    if byte < 0x80:
        return number, position + 2
    for index in range(2, MOST_BYTES):
        byte = payload[position + index]
        number += (byte - 1) << 7 * index
        if byte < 0x80:
            return number, position + index + 1
    raise ValueError("a varint of more than 32 bits")


def read_publish(message: bytes) -> Publish | None:
    """Command{id=1, publish=7: PublishRequest{channel=1, data=2}}, in this order and with nothing else in it."""
    try:
        if message[0] != 0x08:
            return None
        key, at = message[1], 2
        if key > 0x7F:
            key, at = read_varint(message, 1)
        size, start = message[at + 1], at + 2
        if size > 0x7F:
            size, start = read_varint(message, at + 1)
        if message[at] != 0x3A or start + size != len(message) or message[start] != 0x0A:
            return None
        end = start + 2 + message[start + 1]
        channel = message[start + 2 : end].decode()
        size, at = message[end + 1], end + 2
        if size > 0x7F:
            size, at = read_varint(message, end + 1)
        if message[end] != 0x12 or at + size != len(message) or not 0 < len(channel) < 0x80 or not 0 < key < 2**32:
            return None
    except (IndexError, ValueError):
        return None
    data = message[at:]
    return Publish(channel, data, not is_utf8(data), None, key)


def published(reply: Published) -> bytes | None:
    """Reply{id=1, publish=8: {}}."""
    key = reply.id
    return b"\x08" + varint(key) + b"\x42\x00" if isinstance(key, int) and key else None


def push(reply: Message) -> bytes | None:
    """Reply{push=4: Push{channel=2, pub=4: Publication{data=4, info=5, offset=6}}}."""
    publication = reply.publication
    offset = publication.offset
    if reply.delta is not None or offset == 1 or publication.tags or publication.version or not publication.channel:
        return None
    channel = publication.channel.encode()
    body = _field(b"\x22", publication.data)
    if publication.publisher is not None:
        body += _info(publication.publisher)
    if offset:
        body += b"\x30" + varint(offset)
    pushed = b"\x12%b%b\x22%b%b" % (varint(len(channel)), channel, varint(len(body)), body)
    return b"\x22" + varint(len(pushed)) + pushed


def _field(tag: bytes, value: bytes) -> bytes:
    """A field without content is left out."""
    return tag + varint(len(value)) + value if value else b""


@lru_cache(PUBLISHERS)
def _info(info: ClientInfo) -> bytes:
    """ClientInfo{user=1, client=2, conn_info=3, chan_info=4}."""
    who = _field(b"\x0a", info.user.encode()) + _field(b"\x12", info.client.encode())
    body = who + _field(b"\x1a", info.info or b"") + _field(b"\x22", info.channel_info or b"")
    return b"\x2a" + varint(len(body)) + body
