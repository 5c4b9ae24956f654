"""What holds for the publications of one publisher in one channel, decided once instead of for each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime_svc import channel as channels
from realtime_svc.config import Namespace
from realtime_svc.model import ClientInfo, Identity, StreamOptions

if TYPE_CHECKING:
    from realtime_svc.core.session import Session
    from realtime_svc.core.subscription import Subscription


class Terms:
    """`most`: bytes of a payload. `schema`: the namespace whose schemas it has to follow ("": none). `options`: how it
    is kept, where it has no key of its own."""

    __slots__ = ("channel", "exclude", "is_json", "most", "options", "publisher", "schema")

    def __init__(
        self, channel: str, namespace: Namespace, most: int, publisher: ClientInfo | None, exclude: str | None
    ) -> None:
        kept = namespace.keeps_history
        self.channel = channel
        self.is_json = namespace.payload == "json"
        self.most = namespace.message_size or most
        self.schema = channels.namespace_of(channel) if namespace.schema and self.is_json else ""
        self.publisher = publisher
        self.exclude = exclude
        self.options = StreamOptions(
            size=namespace.history_size if kept else 0,
            ttl=namespace.history_ttl if kept else 0.0,
            meta_ttl=namespace.history_meta_ttl,
        )


class Permit(Terms):
    """A session may publish in a channel, on these terms: as long as its `identity`, its `subscription` and the `info`
    of that are the same."""

    __slots__ = ("identity", "info", "subscription")

    def __init__(self, session: Session, channel: str, namespace: Namespace) -> None:
        exclude = session.id if session.exclude_self else None
        super().__init__(channel, namespace, session.node.limits.message_size, session.info_in(channel), exclude)
        self.identity: Identity | None = session.identity
        self.subscription: Subscription | None = session.channels.get(channel)
        self.info = None if self.subscription is None else self.subscription.info
