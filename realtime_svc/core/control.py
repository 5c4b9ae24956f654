"""What the server does to its clients from outside: for the server API and for user code."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from realtime_svc import errors
from realtime_svc.core.session import Session
from realtime_svc.core.state import State
from realtime_svc.errors import Disconnect, ErrorCode, ReplyError
from realtime_svc.model import Grant

if TYPE_CHECKING:
    from realtime_svc.core.node import Node

MAX_PATTERN = 255


class NodeInfo(NamedTuple):
    """`uptime` in whole seconds."""

    uid: str
    name: str
    version: str
    num_clients: int
    num_users: int
    num_channels: int
    num_subs: int
    uptime: int


class Control:
    """The use cases of one node. `user`, `client` and `session` say whose connections are meant: all of the user, or
    the one. Who is not there is no error.
    """

    def __init__(self, node: Node) -> None:
        self._node = node

    def _meant(self, user: str, client: str, session: str) -> list[Session]:
        if not user and not client and not session:
            raise ReplyError(ErrorCode.BAD_REQUEST, "user is missing")
        if client:
            found = self._node.hub.sessions.get(client)
            candidates: Iterable[Session] = (found,) if found is not None else ()
        elif session:
            emulated = self._node.emulated(session)
            candidates = (emulated,) if emulated is not None else ()
        else:
            return self._node.sessions_of(user)
        return [one for one in candidates if not user or one.info.user == user]

    async def disconnect(
        self,
        *,
        user: str,
        client: str = "",
        session: str = "",
        whitelist: Sequence[str] = (),
        disconnect: Disconnect = errors.FORCED,
    ) -> None:
        """Close connections, but those of the clients in `whitelist`."""
        for one in self._meant(user, client, session):
            if one.id not in whitelist:
                one.close(disconnect)

    async def subscribe(self, *, user: str, channel: str, grant: Grant, client: str = "", session: str = "") -> None:
        """Make subscriptions; one that is there already stays as it is. Raises `ReplyError` 107, 102, 106."""
        self._node.namespace(channel)
        failure: ReplyError | None = None
        for one in self._meant(user, client, session):
            if channel in one.channels or one.state is not State.OPEN:
                continue
            try:
                await self.subscribe_session(one, channel, grant)
            except ReplyError as error:  # the others get theirs
                failure = failure or error
        if failure is not None:
            raise failure

    async def unsubscribe(self, *, user: str, channel: str, client: str = "", session: str = "") -> None:
        """End subscriptions; the clients are told (2000)."""
        self._node.namespace(channel)
        for one in self._meant(user, client, session):
            if one.state is State.OPEN:
                await self.unsubscribe_session(one, channel)

    async def subscribe_session(self, session: Session, channel: str, grant: Grant) -> None:
        """Raises `ReplyError` 107, 105, 106, 102."""
        await self._node.subscriptions.subscribe_by_server(session, channel, grant)

    async def unsubscribe_session(self, session: Session, channel: str) -> None:
        """Succeeds also where there is no subscription."""
        subscription = session.channels.get(channel)
        if subscription is not None:
            await self._node.subscriptions.end_and_tell(subscription, errors.UNSUBSCRIBED_BY_SERVER)

    async def refresh(
        self,
        *,
        user: str,
        client: str = "",
        session: str = "",
        expired: bool = False,
        expire_at: float | None = None,
        info: bytes | None = None,
    ) -> None:
        """Let connections last until `expire_at` (wall clock; None: for ever), or end them now as expired."""
        for one in self._meant(user, client, session):
            if expired:
                one.close(errors.EXPIRED)
            elif one.identity is not None:
                one.identity = replace(
                    one.identity, expires_at=expire_at, info=one.identity.info if info is None else info
                )
                if one.state is not State.AUTHENTICATING:  # its one timer is for the connect that has to come
                    one.watch_expiry()

    async def revoke(self, *, token_id: str = "", user: str = "", expires_at: float | None = None) -> None:
        """Refuse a token, or all tokens of a user issued until now, and end what they opened: connections (3500), and
        the subscriptions of a subscription token (2000).

        `expires_at`: when the revocation may be forgotten, because the tokens have run out then. Raises `ReplyError`
        107 where nothing is named, 106 where there is no room for more.
        """
        if bool(token_id) is bool(user):
            raise ReplyError(ErrorCode.BAD_REQUEST, "name a token_id or a user")
        revocations = self._node.revocations
        if token_id:
            revocations.revoke_token(token_id, expires_at)
            meant = [one for one in self._node.hub.sessions.values() if _speaks_by(one, token_id)]
        else:
            revocations.revoke_user(user, self._node.wall_clock(), expires_at)
            meant = self._node.sessions_of(user)
        for session in meant:
            session.close(errors.INVALID_TOKEN)
        if token_id:
            self._end_subscriptions(token_id)

    def _end_subscriptions(self, token_id: str) -> None:
        """Those that a subscription token has opened, or keeps open."""
        everybody = self._node.hub.sessions.values()
        for subscription in [one for session in everybody for one in session.channels.values()]:
            if subscription.token_id == token_id:
                self._node.subscriptions.end_by_server(subscription, errors.UNSUBSCRIBED_BY_SERVER, None)

    def channels(self, pattern: str = "") -> dict[str, int]:
        """Channels with subscribers on this node, and how many; those that match the glob `pattern` ("": all)."""
        if len(pattern) > MAX_PATTERN:
            raise ReplyError(ErrorCode.BAD_REQUEST, "the pattern is too long")
        matches = re.compile(fnmatch.translate(pattern)).match if pattern else None
        found = self._node.hub.channels
        return {name: len(one.subscriptions) for name, one in found.items() if matches is None or matches(name)}

    def info(self) -> NodeInfo:
        node = self._node
        return NodeInfo(
            uid=node.uid,
            name=node.name,
            version=node.version,
            num_clients=len(node.hub.sessions),
            num_users=node.hub.users,
            num_channels=len(node.hub.channels),
            num_subs=node.instruments.subscriptions,
            uptime=int(node.clock.seconds() - node.started),
        )


def _speaks_by(session: Session, token_id: str) -> bool:
    return session.identity is not None and session.identity.token_id == token_id
