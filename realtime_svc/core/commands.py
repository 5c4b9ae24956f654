"""What each command of a client does: the table behind `Session`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from realtime_svc import errors
from realtime_svc.core import messages
from realtime_svc.errors import AuthenticationFailed, ConnectionClosing, ErrorCode, ReplyError
from realtime_svc.model import BearerCredential, CredentialSource

if TYPE_CHECKING:
    from realtime_svc.core.session import Session


async def authenticate(session: Session, command: messages.Authenticate) -> None:
    """Log in, or refresh: the same user with a newer token. A bad one ends the connection (3500)."""
    node = session.node
    try:
        identity = node.authenticator.authenticate(BearerCredential(command.token, CredentialSource.MESSAGE))
    except AuthenticationFailed as failure:
        node.count_authentication_failure(failure)
        session.say(messages.Failed(ReplyError(ErrorCode.UNAUTHORIZED), "auth", None, command.id))
        raise ConnectionClosing(errors.INVALID_TOKEN) from None
    if not identity.user and not node.limits.anonymous:
        raise ConnectionClosing(errors.PERMISSION_DENIED)
    if session.identity is not None and session.identity.user:
        if identity.user != session.identity.user:
            raise ConnectionClosing(errors.INVALID_TOKEN)
    elif not node.claim_user(identity.user):
        raise ConnectionClosing(errors.CONNECTION_LIMIT)
    await session.authenticated(identity, messages.Done("auth", None, command.id, identity.user))


async def subscribe(session: Session, command: messages.Subscribe) -> None:
    await session.node.subscribe(session, command.channel)
    session.say(messages.Done("subscribe", command.channel, command.id))


async def unsubscribe(session: Session, command: messages.Unsubscribe) -> None:
    session.node.unsubscribe(session, command.channel)
    session.say(messages.Done("unsubscribe", command.channel, command.id))


async def publish(session: Session, command: messages.Publish) -> None:
    await session.node.publish_from(session, command)
    session.say(messages.Done("publish", command.channel, command.id))


async def ping(session: Session, command: messages.Ping) -> None:
    session.say(messages.Done("ping", None, command.id))


async def show_help(session: Session, command: messages.Help) -> None:
    session.say(messages.HelpText(command.id))


COMMANDS: dict[type, tuple[str, Callable[[Session, Any], Awaitable[None]]]] = {
    messages.Authenticate: ("auth", authenticate),
    messages.Subscribe: ("subscribe", subscribe),
    messages.Unsubscribe: ("unsubscribe", unsubscribe),
    messages.Publish: ("publish", publish),
    messages.Ping: ("ping", ping),
    messages.Help: ("help", show_help),
}
"""Command type -> (its verb in answers, what it does)."""
