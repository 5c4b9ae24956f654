"""What is published, and who is there, as user code sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import UNSET, structs

from realtime_svc.core.publishing import DEFAULT_EVENT, EVENT_TAG
from realtime_svc.handlers.values import check_tags, from_json, to_payload
from realtime_svc.model import ClientInfo, Publication, StreamPosition

if TYPE_CHECKING:
    from realtime_svc.handlers.client import Client


class Member(NamedTuple):
    """A client as others see it. `info` and `channel_info` are decoded; the latter belongs to one subscription."""

    client: str
    user: str
    info: Any = None
    channel_info: Any = None


def member(info: ClientInfo) -> Member:
    """The same with its JSON decoded."""
    return Member(info.client, info.user, from_json(info.info), from_json(info.channel_info))


class Message:
    """A publication; with channel "", what a client says outside any channel. It never changes: see `replace`."""

    __slots__ = ("_publication",)

    def __init__(self, publication: Publication) -> None:
        self._publication = publication

    def __repr__(self) -> str:
        return f"<Message in {self.channel!r}: {len(self.raw)} bytes>"

    @property
    def publication(self) -> Publication:
        """As the core knows it."""
        return self._publication

    @property
    def channel(self) -> str:
        return self._publication.channel

    @property
    def event(self) -> str:
        """The tag `event`; "message" where there is none."""
        return self.tags.get(EVENT_TAG, DEFAULT_EVENT)

    @property
    def tags(self) -> dict[str, str]:
        """A copy."""
        return dict(self._publication.tags or {})

    @property
    def data(self) -> Any:
        """The decoded JSON value, or the bytes where the payload is not JSON. Decoded at each look."""
        return from_json(self.raw) if self._publication.is_json else self.raw

    @property
    def raw(self) -> bytes:
        """The payload as it travels."""
        return self._publication.data

    @property
    def publisher(self) -> Member | None:
        """Who said it; None: the server."""
        return member(self._publication.publisher) if self._publication.publisher else None

    @property
    def position(self) -> StreamPosition | None:
        """Its place in the channel's stream; None where it has none (yet)."""
        return self._publication.position if self._publication.epoch else None

    def replace(self, *, data: Any = UNSET, tags: Any = UNSET, exclude: Client | None = None) -> Message:
        """A changed copy, to be returned by a `publish` handler; it is checked once more, as if it had come so.

        `data` is anything JSON can say, or bytes (in a json namespace they have to be JSON text). `tags` (a dict of
        text, or None) replace all tags. `exclude` is a client that is not to get it, such as the sender.
        """
        changes: dict[str, Any] = {}
        if data is not UNSET:
            binary = isinstance(data, bytes) and not self._publication.is_json
            changes.update(data=to_payload(data), binary=binary)
        if tags is not UNSET:
            changes["tags"] = check_tags(tags)
        if exclude is not None:
            changes["exclude"] = exclude.id
        return Message(structs.replace(self._publication, **changes))


class History(NamedTuple):
    """`position` is the top of the stream, not the end of `messages`."""

    messages: list[Message]
    position: StreamPosition
