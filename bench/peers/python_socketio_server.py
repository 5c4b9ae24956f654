"""`python-socketio` on uvicorn: event `message` to all others, event `echo` to oneself."""

from __future__ import annotations

import socketio
import uvicorn
from options import options

sio = socketio.AsyncServer(async_mode="asgi", transports=["websocket"])


@sio.event
async def message(sid: str, data: str) -> None:
    await sio.emit("message", data, skip_sid=sid)


@sio.event
async def echo(sid: str, data: str) -> None:
    await sio.emit("echo", data, to=sid)


given = options()
uvicorn.run(
    socketio.ASGIApp(sio),
    host="127.0.0.1",
    port=given.port,
    log_level="warning",
    ws_per_message_deflate=given.deflate,
    ssl_certfile=given.certificate or None,
    ssl_keyfile=given.key or None,
)
