"""What each command of a client does: the table behind `Session`.

Each is done when its method returns None; else when what it returned has been awaited.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from realtime_svc import errors
from realtime_svc.core import login, messages
from realtime_svc.errors import ConnectionClosing, ErrorCode, ReplyError
from realtime_svc.model import PublishResult

if TYPE_CHECKING:
    from realtime_svc.core.session import Session

Work = Coroutine[Any, Any, None]


async def subscribe(session: Session, command: messages.Subscribe) -> None:
    await session.node.subscriptions.subscribe(session, command)


async def unsubscribe(session: Session, command: messages.Unsubscribe) -> None:
    await session.node.subscriptions.unsubscribe(session, command.channel, errors.UNSUBSCRIBED_BY_CLIENT)
    session.say(messages.Done("unsubscribe", command.channel, command.id))


def publish(session: Session, command: messages.Publish) -> Work | None:
    result = session.node.publishing.publish_at_once(session, command)
    if result is None:
        return _publish(session, command)
    _published(session, command, result)
    return None


async def _publish(session: Session, command: messages.Publish) -> None:
    _published(session, command, await session.node.publishing.publish_from(session, command))


def _published(session: Session, command: messages.Publish, result: PublishResult) -> None:
    if session.dialect.traits.acknowledges:
        session.say(messages.Published(command.channel, result.position, command.id))


async def history(session: Session, command: messages.History) -> None:
    page = await session.node.publishing.history_for(session, command)
    session.say(messages.HistoryResult(command.channel, page.publications, page.position, command.id))


async def presence(session: Session, command: messages.Presence) -> None:
    members = await session.node.publishing.presence_for(session, command.channel)
    session.say(messages.PresenceResult(command.channel, members, command.id))


async def presence_stats(session: Session, command: messages.PresenceStats) -> None:
    session.node.publishing.check_presence(session, command.channel)
    clients, users = await session.node.publishing.presence_counts(command.channel)
    session.say(messages.PresenceStatsResult(command.channel, clients, users, command.id))


async def call(session: Session, command: messages.Call) -> None:
    hooks = session.node.hooks
    if not hooks.handles_calls:
        raise ReplyError(ErrorCode.NOT_AVAILABLE, "no handler answers calls")
    data = await hooks.call(session, command.method, command.data)
    session.say(messages.CallResult(command.method, data, command.id))


async def send(session: Session, command: messages.Send) -> None:
    hooks = session.node.hooks
    if not hooks.handles_messages:
        raise ConnectionClosing(errors.NOT_AVAILABLE)
    await hooks.message(session, command.data)


def refresh_subscription(session: Session, command: messages.SubscriptionRefresh) -> None:
    expires_in = session.node.subscriptions.refresh(session, command.channel, command.token)
    session.say(messages.Refreshed(expires_in, command.channel, command.id))


def ping(session: Session, command: messages.Ping) -> None:
    session.say(messages.Done("ping", None, command.id))


def pong(session: Session, command: messages.Pong) -> None:
    session.answer_ping()


def show_help(session: Session, command: messages.Help) -> None:
    session.say(messages.HelpText(command.id))


def unreadable(session: Session, failed: messages.Failed) -> None:
    session.line.refuse(failed)


COMMANDS: dict[type, tuple[str, Callable[[Session, Any], Work | None]]] = {
    messages.Authenticate: ("auth", login.authenticate),
    messages.Connect: ("connect", login.connect),
    messages.Subscribe: ("subscribe", subscribe),
    messages.Unsubscribe: ("unsubscribe", unsubscribe),
    messages.Publish: ("publish", publish),
    messages.History: ("history", history),
    messages.Presence: ("presence", presence),
    messages.PresenceStats: ("presence", presence_stats),
    messages.Call: ("call", call),
    messages.Send: ("send", send),
    messages.Refresh: ("refresh", login.refresh),
    messages.SubscriptionRefresh: ("sub_refresh", refresh_subscription),
    messages.Ping: ("ping", ping),
    messages.Pong: ("pong", pong),
    messages.Help: ("help", show_help),
    messages.Failed: ("", unreadable),
}
"""Command type -> (its verb in answers, what it does); and what stands for a command that could not be read."""
