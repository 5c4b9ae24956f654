"""What a client that comes back gets: everything it missed, or the plain answer that this is not possible.

The algorithm is that of the Centrifugo client protocol (recovery of streams, and its cache mode).
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from realtime_svc.model import HistoryPage, HistoryQuery, Publication, StreamPosition


class Recovery(NamedTuple):
    """`position`: where the client stands before `publications`; `top`: where it stands after them."""

    recovered: bool
    publications: list[Publication]
    position: StreamPosition
    top: StreamPosition


def query(since: StreamPosition | None, last: int, page: int, cache: bool) -> HistoryQuery:
    """What to ask the broker for; the answer goes into `recover`. `page` is the most that one recovery brings."""
    if since is None:
        return HistoryQuery(limit=min(last, page), reverse=True)
    if cache:
        return HistoryQuery(limit=1, reverse=True)
    return HistoryQuery(limit=page, since=since)


def fitting(publications: list[Publication], size: int) -> list[Publication]:
    """The first of them that carry `size` bytes together at most; one at least, where there is any, and any room."""
    if size <= 0:
        return []
    for count, publication in enumerate(publications):
        size -= carried(publication)
        if size < 0 and count:
            return publications[:count]
    return publications


def carried(publication: Publication) -> int:
    """Bytes of all that others put into it, at their longest: bytes travel in base64 where a protocol is text."""
    data, tags, publisher = publication.data, publication.tags, publication.publisher
    size = len(data) if publication.is_json else (len(data) + 2) // 3 * 4
    if tags:
        size += len(msgspec.json.encode(tags))
    if publisher is not None:
        size += len(publisher.client) + len(publisher.user) + len(publisher.info or b"")
        size += len(publisher.channel_info or b"")
    return size


def recover(page: HistoryPage, since: StreamPosition | None, cache: bool, size: int) -> Recovery:
    """Whole or refused: a part of what was missed is never given. `size`: bytes that the publications of one answer
    may carry."""
    found, top = page
    if since is None:
        return Recovery(False, fitting(found, size)[::-1], top, top)
    same_stream = since.epoch in ("", top.epoch)
    if cache:
        if same_stream and since.offset == top.offset and top.offset:
            return Recovery(True, [], top, top)
        newest = fitting(found, size)
        return Recovery(bool(newest), newest, top, top)
    if not same_stream:
        return Recovery(False, [], top, top)
    if found:
        whole = found[0].offset == since.offset + 1 and found[-1].offset == top.offset
        whole = whole and len(fitting(found, size)) == len(found)
    else:
        whole = since.offset == top.offset
    if not whole:
        return Recovery(False, [], top, top)
    return Recovery(True, found, StreamPosition(since.offset, top.epoch), top)
