"""The public client library: `connect` for one WebSocket connection, `Client` for one that stays.

client = Client(reactor, "wss://example.org/ws", token=token)
client.start()
client.subscribe("chat", lambda message: print(message.data), on_recovered=lambda whole: print("back", whole))
client.publish("chat", "hello")
"""

from realtime_svc.client.client import Client
from realtime_svc.client.connection import Connection, connect
from realtime_svc.client.errors import (
    ClientStopped,
    CommandError,
    CommandTimeout,
    ConnectionClosed,
    ConnectionFailed,
    HandshakeRefused,
    ProtocolViolation,
    SendBufferFull,
    SubscriptionLost,
    TooManyCommands,
)
from realtime_svc.client.plain import History, Message
from realtime_svc.client.tls import ClientTls, client_tls
from realtime_svc.model import PresenceCounts, StreamPosition

__all__ = [
    "Client",
    "ClientStopped",
    "ClientTls",
    "CommandError",
    "CommandTimeout",
    "Connection",
    "ConnectionClosed",
    "ConnectionFailed",
    "HandshakeRefused",
    "History",
    "Message",
    "PresenceCounts",
    "ProtocolViolation",
    "SendBufferFull",
    "StreamPosition",
    "SubscriptionLost",
    "TooManyCommands",
    "client_tls",
    "connect",
]
