"""Autobahn on Twisted as it comes: /broadcast to all others (one prepared message), /echo to oneself."""

from __future__ import annotations

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept
from options import options
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString

clients: set[WebSocketServerProtocol] = set()


class Server(WebSocketServerProtocol):
    def onOpen(self) -> None:
        if self.http_request_path == "/broadcast":
            clients.add(self)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:  # noqa: N803 (Autobahn)
        clients.discard(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N803 (Autobahn)
        if self.http_request_path == "/echo":
            self.sendMessage(payload, isBinary)
            return
        prepared = self.factory.prepareMessage(payload, isBinary)
        for client in clients:
            if client is not self:
                client.sendPreparedMessage(prepared)


def accept(offers: list[object]) -> PerMessageDeflateOfferAccept | None:
    return next((PerMessageDeflateOfferAccept(o) for o in offers if isinstance(o, PerMessageDeflateOffer)), None)


given = options()
factory = WebSocketServerFactory()
factory.protocol = Server
if given.deflate:
    factory.setProtocolOptions(perMessageCompressionAccept=accept)
kind = f"ssl:privateKey={given.key}:certKey={given.certificate}:port=" if given.certificate else "tcp:"
serverFromString(reactor, f"{kind}{given.port}:interface=127.0.0.1:backlog=4096").listen(factory)
reactor.run()
