"""One client in one channel: what it asked for, and where it stands.

While it is made, what is published waits in `line`; `hub.Channel.activate` lets it through, after the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from realtime_svc.core.ports import Group
from realtime_svc.model import ClientInfo, Grant, Publication

if TYPE_CHECKING:
    from realtime_svc.core.session import Session

MAX_LINE = 1000  # publications that wait while a subscription is made

TagsMatch = Callable[[Mapping[str, str]], bool]


class Subscription:
    """`after`: publications up to this offset are not for this client any more, and neither are the first `since`
    events of the channel on this node. `group`: every publication goes to it as it is, by its `place` there.
    `announced`: others are told that it comes and goes; `hears_joins`: it is told about others. `preparing`: it is
    being made, and who makes it clears up where it ends meanwhile. `told`: backends and others know of it.
    """

    __slots__ = (
        "after",
        "announced",
        "channel",
        "delta",
        "delta_ready",
        "ended",
        "expires_at",
        "filter_size",
        "group",
        "hears_joins",
        "info",
        "line",
        "matches",
        "overrun",
        "place",
        "positioned",
        "preparing",
        "presence",
        "recoverable",
        "server_side",
        "session",
        "since",
        "token_id",
        "told",
    )

    def __init__(self, session: Session, channel: str, grant: Grant, *, server_side: bool) -> None:
        self.session = session
        self.channel = channel
        self.info = grant.info
        self.expires_at = grant.expires_at
        self.token_id = grant.token_id
        self.server_side = server_side
        self.positioned = False
        self.recoverable = False
        self.presence = False
        self.announced = False
        self.hears_joins = False
        self.delta = False
        self.delta_ready = False
        self.matches: TagsMatch | None = None
        self.filter_size = 0  # bytes
        self.after = 0
        self.line: list[Publication] | None = []
        self.overrun = False
        self.preparing = True
        self.told = False
        self.ended = False
        self.since = 0
        self.group: Group | None = None
        self.place = 0

    @property
    def client_info(self) -> ClientInfo:
        """The subscriber, as others in the channel see it."""
        info = self.session.info
        return info if self.info is None else info._replace(channel_info=self.info)

    def hold(self, publication: Publication) -> None:
        """Keep a publication until the subscription is live."""
        assert self.line is not None
        if len(self.line) >= MAX_LINE:
            self.overrun = True
        else:
            self.line.append(publication)

    @property
    def simple(self) -> bool:
        """Does every publication from here on go straight to it, with nothing to be looked at?"""
        return self.line is None and self.matches is None and not (self.delta or self.after or self.ended)

    def hears(self, number: int) -> bool:
        """Is it told of a join or leave that is this event of the channel?"""
        return self.line is None and self.since < number and not self.ended

    def leave_group(self) -> None:
        """Have its publications looked at again."""
        group, self.group = self.group, None
        if group is not None:
            group.remove(self.place)

    def wants(self, publication: Publication) -> bool:
        """By its tags."""
        return self.matches is None or self.matches(publication.tags or {})
