"""How a client gets in, and stays in: authentication, the connect handler, the first subscriptions, refresh."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from realtime_svc import errors
from realtime_svc.core import messages
from realtime_svc.core.ports import Connecting
from realtime_svc.core.recovery import carried
from realtime_svc.core.state import State
from realtime_svc.errors import AuthenticationFailed, ConnectionClosing, ErrorCode, ReplyError
from realtime_svc.model import ANONYMOUS, BearerCredential, CredentialSource, Grant, Identity, Publication

if TYPE_CHECKING:
    from realtime_svc.core.session import Session
    from realtime_svc.core.subscriptions import Prepared

VERSION = "1.0"  # of the protocol as it is spoken here


# ---- protocols that open with `Hello`


async def authenticate(session: Session, command: messages.Authenticate) -> None:
    """Log in, or refresh: the same user with a newer token. A bad one ends the connection (3500)."""
    identity = _identify(session, command.token)
    if identity is None:
        session.say(messages.Failed(ReplyError(ErrorCode.UNAUTHORIZED), "auth", None, command.id))
        raise ConnectionClosing(errors.INVALID_TOKEN)
    before = session.identity
    _take(session, identity)
    session.say(messages.Done("auth", None, command.id, identity.user))
    if before is None or before.user != identity.user:  # user code has not been asked about this one
        await enter(session)
    else:
        session.watch_expiry()


async def enter(session: Session) -> None:
    """After authentication and before the first command: user code may deny, then the first subscriptions.

    Once more for an anonymous client that says who it is.
    """
    connecting = Connecting(None)
    if not await _let_in(session, connecting):
        return
    _open(session)
    if connecting.data is not None:
        session.say(messages.Message(Publication("", connecting.data)))
    for channel, grant in _granted(session, connecting).items():
        if channel not in session.channels:
            await _tolerant(session, channel, grant)
    first, session.first = session.first, ()
    if not session.home:
        session.line.begin_with(_still_wanted(session, first))
        return
    for command in _still_wanted(session, first):
        refused = await session.line.carry_out(command)
        if refused is not None:  # it would wait for nothing
            raise ConnectionClosing(errors.closing_for(refused))


def _still_wanted(session: Session, first: tuple[messages.Subscribe, ...]) -> Iterator[messages.Subscribe]:
    for command in first:
        if command.channel in session.channels:  # by user code
            session.say(messages.Done("subscribe", command.channel))
        else:
            yield command


async def _tolerant(session: Session, channel: str, grant: Grant) -> None:
    """One subscription that can't be made does not keep the client out."""
    try:
        await session.node.subscriptions.subscribe_by_server(session, channel, grant)
    except ReplyError as error:
        session.line.refuse(messages.Failed(error, "subscribe", channel))


# ---- protocols with a handshake


async def connect(session: Session, command: messages.Connect) -> None:
    """The first command. Raises `ReplyError` 109 where the token is good but has run out."""
    if session.identity is None or command.token:
        _take(session, _identity_of(session, command.token))
    connecting = Connecting(command.data)
    if not await _let_in(session, connecting):
        return
    prepared = await _first_subscriptions(session, command, connecting)
    if session.closing:
        return
    identity, node = session.identity, session.node
    assert identity is not None
    _open(session)
    reply = messages.Connected(
        client=session.id,
        version=VERSION,
        subscriptions={channel: one.result for channel, one in prepared.items() if not one.subscription.ended},
        data=connecting.data,
        expires_in=node.seconds_left(identity.expires_at),
        ping=node.limits.ping if session.has_own_pings else 0,
        session=session.key,
        node=node.uid if session.key else "",
        id=command.id,
    )
    session.say(reply)
    for publication in connecting.said:
        session.say(messages.Message(publication))
    for one in prepared.values():
        node.subscriptions.go_live(one)


async def _first_subscriptions(
    session: Session, command: messages.Connect, connecting: Connecting
) -> dict[str, Prepared]:
    """Those of the token and of user code; one that can't be made is reported and left out.

    All are in one answer, so what they recover is bounded together.
    """
    prepared: dict[str, Prepared] = {}
    room = session.node.limits.queue_size
    for channel, grant in _granted(session, connecting).items():
        recover = command.recover.get(channel)
        try:
            grant = grant._replace(recover=recover or grant.recover)
            one = await session.node.subscriptions.prepare_by_server(session, channel, grant, max(room, 0))
            prepared[channel] = one
            room -= sum(carried(message.publication) for message in one.result.messages)
        except ReplyError as error:
            session.node.count_error(error)
            session.node.note("subscription", f"a subscription of {session.remote} was not made: {error.number}")
    return prepared


def _identity_of(session: Session, token: str) -> Identity:
    if not token:
        if session.node.limits.anonymous:
            return ANONYMOUS
        raise ConnectionClosing(errors.BAD_REQUEST)
    identity = _identify(session, token, expired=ErrorCode.TOKEN_EXPIRED)
    if identity is None:
        raise ConnectionClosing(errors.INVALID_TOKEN)
    return identity


# ---- what both have in common


def _identify(session: Session, token: str, expired: ErrorCode | None = None) -> Identity | None:
    """None: the token is not good. Raises `ReplyError(expired)` for one that has run out, where it is given."""
    try:
        return session.node.authenticator.authenticate(BearerCredential(token, CredentialSource.MESSAGE))
    except AuthenticationFailed as failure:
        session.node.count_authentication_failure(failure)
        if expired is not None and failure.cause == "expired":
            raise ReplyError(expired) from None
        return None


def _take(session: Session, identity: Identity) -> None:
    """From here on the session speaks for `identity`. Raises `ConnectionClosing`."""
    node, before = session.node, session.identity
    if not identity.user and not node.limits.anonymous:
        raise ConnectionClosing(errors.PERMISSION_DENIED)
    if before is not None and before.user:
        if identity.user != before.user:
            raise ConnectionClosing(errors.INVALID_TOKEN)
    elif not node.claim_user(identity.user):
        raise ConnectionClosing(errors.CONNECTION_LIMIT)
    session.identity = identity
    node.hub.know(session)


async def _let_in(session: Session, connecting: Connecting) -> bool:
    """Ask user code. False: the client has gone meanwhile. Raises `ConnectionClosing` where it may not come in."""
    if session.state is State.AUTHENTICATING:
        session.become(State.CONNECTING)
    session.watch_expiry()
    if session.closing:
        return False
    await session.node.connect_hook(session, connecting)
    session.connected = True
    if session.state is State.CLOSED:  # it left while user code was thinking
        session.node.close_hook(session, session.end)
    return not session.closing


def _open(session: Session) -> None:
    session.become(State.OPEN)
    session.node.emit_connect(session)


def _granted(session: Session, connecting: Connecting) -> dict[str, Grant]:
    """The subscriptions that are made for a client: its personal channel, its token's, user code's."""
    identity = session.identity
    assert identity is not None
    personal: dict[str, Grant] = {}
    if not (session.node.limits.personal_channel or identity.subscriptions or connecting.subscriptions):
        return personal
    if session.node.limits.personal_channel and identity.user and "," not in identity.user:  # that would be several
        personal[f"#{identity.user}"] = Grant()
    return {**personal, **identity.subscriptions, **connecting.subscriptions}


async def refresh(session: Session, command: messages.Refresh) -> None:
    """A newer token of the same user. An expired one ends the connection with 3005, any other bad one with 3500."""
    if not command.token:
        raise ConnectionClosing(errors.BAD_REQUEST)
    try:
        identity = _identify(session, command.token, expired=ErrorCode.TOKEN_EXPIRED)
    except ReplyError:
        raise ConnectionClosing(errors.EXPIRED) from None
    before = session.identity
    if identity is None or before is None or identity.user != before.user:
        raise ConnectionClosing(errors.INVALID_TOKEN)
    session.identity = identity
    session.watch_expiry()
    session.say(messages.Refreshed(session.node.seconds_left(identity.expires_at), None, command.id))
