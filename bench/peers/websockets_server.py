"""`websockets`: /broadcast to all others, /echo to oneself."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from options import options
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosedError

clients: set[ServerConnection] = set()


async def handler(websocket: ServerConnection) -> None:
    with contextlib.suppress(ConnectionClosedError):
        if websocket.request is not None and websocket.request.path == "/echo":
            async for message in websocket:
                await websocket.send(message)
        else:
            await listener(websocket)


async def listener(websocket: ServerConnection) -> None:
    clients.add(websocket)
    try:
        async for message in websocket:
            broadcast(clients - {websocket}, message)
    finally:
        clients.remove(websocket)


async def main() -> None:
    given = options()
    context = None
    if given.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(given.certificate, given.key)
    compression = "deflate" if given.deflate else None
    async with serve(handler, "127.0.0.1", given.port, compression=compression, ssl=context, backlog=4096) as server:
        await server.serve_forever()


asyncio.run(main())
