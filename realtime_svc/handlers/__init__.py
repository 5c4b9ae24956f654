"""User code in the server's process: an object whose methods are called when something happens.

    class Chat:
        def __init__(self, server): ...                          a class is called with the `Server`; an object is
                                                                 taken as it is
        def connect(self, client, request): ...                  after authentication, before the first command
        def subscribe(self, client, channel, request): ...       a client subscribes, and may
        def publish(self, client, message): ...                  a client publishes
        def rpc(self, client, method, data): ...                 a remote procedure call; what it returns is the answer
        def message(self, client, message): ...                  a client says something outside any channel
        def unsubscribe(self, client, channel, code, reason): ...  a subscription ended, its client stays
        def disconnect(self, client, code, reason): ...          the connection ended

Each may be left out, `request` may be left out of the parameters, and each may be an `async def` that awaits Deferreds;
while one waits, the next commands of that client wait, and no other's. One that takes longer than `handlers.timeout` is
cancelled.

* Where there is no `publish`, `message` is called for what clients publish, too (`message.channel` is "" for the rest).
* `close` is another name of `disconnect`.
* Raising `Denied`, `ReplyError` or `ApplicationError` refuses: the client gets the error; in `connect` it is closed
  with 3507 (3011, come back, for a temporary error). Any other exception is logged and answered as an internal error
  (100; in `connect`, close 3004); nobody else notices.
* `publish` returns False to keep the message from being passed on, or `message.replace(...)` to change it.

`docs/handlers.md` shows all of it. Everything here belongs to the thread of the event loop, but for
`Server.call_from_thread` and `Server.publish_from_thread`, which are for all other threads.
"""

from __future__ import annotations

from realtime_svc.errors import ApplicationError, ErrorCode, ReplyError
from realtime_svc.handlers.client import Client
from realtime_svc.handlers.grants import ConnectRequest, GrantOptions, SubscribeRequest
from realtime_svc.handlers.hooks import Denied, MethodNotFound, NoHandlers, UserHandlers
from realtime_svc.handlers.loading import load_target
from realtime_svc.handlers.message import History, Member, Message
from realtime_svc.handlers.server import Server
from realtime_svc.model import PresenceCounts, PublishResult, StreamPosition

__all__ = [
    "ApplicationError",
    "Client",
    "ConnectRequest",
    "Denied",
    "ErrorCode",
    "GrantOptions",
    "History",
    "Member",
    "Message",
    "MethodNotFound",
    "NoHandlers",
    "PresenceCounts",
    "PublishResult",
    "ReplyError",
    "Server",
    "StreamPosition",
    "SubscribeRequest",
    "UserHandlers",
    "load_target",
]
