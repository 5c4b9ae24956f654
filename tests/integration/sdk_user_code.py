"""User code for the tests with SDKs: answers calls, echoes what is said outside any channel, greets."""

from __future__ import annotations

from typing import Any

from realtime_svc.handlers import ApplicationError, Client, ConnectRequest, Denied, Message, SubscribeRequest


class UserCode:
    """What clients send along when they connect or subscribe comes back in the answer."""

    def connect(self, client: Client, request: ConnectRequest) -> None:
        if request.data is not None:
            request.answer({"you sent": request.data})

    def subscribe(self, client: Client, channel: str, request: SubscribeRequest) -> None:
        if request.data == "denied":
            raise Denied
        if request.data is not None:
            request.grant(data={"you sent": request.data})

    def rpc(self, client: Client, method: str, data: Any) -> Any:
        if method == "echo":
            return {"user": client.user, "data": data}
        if method == "refuse":
            raise ApplicationError(1000, "refused by the application")
        return NotImplemented

    def message(self, client: Client, message: Message) -> None:
        if not message.channel:
            client.reply({"you said": message.data})


handlers = UserCode()
