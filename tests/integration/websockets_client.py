"""PyPI `websockets`, driven by a test: options in the first argument, texts to send on standard input (a JSON string a
line), what happens on standard output (a JSON object a line). The end of standard input closes the connection.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed


def tell(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


async def send_lines(connection: ClientConnection) -> None:
    """Read in a thread: standard input is whatever the parent made of it."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        await connection.send(json.loads(line))
    await connection.close()


async def talk(url: str, headers: dict[str, str], ca: str | None) -> None:
    trust = ssl.create_default_context(cafile=ca) if url.startswith("wss:") else None
    try:
        connection = await connect(url, additional_headers=headers, ssl=trust)
    except Exception as error:
        tell({"failed": f"{type(error).__name__}: {error}"})
        return
    tell({"open": {"protocol": connection.subprotocol}})
    sending = asyncio.create_task(send_lines(connection))
    try:
        while True:
            message = await connection.recv()
            tell({"message": message if isinstance(message, str) else repr(message)})
    except ConnectionClosed:
        tell({"closed": [connection.close_code, connection.close_reason]})
    sending.cancel()


if __name__ == "__main__":
    asyncio.run(talk(**json.loads(sys.argv[1])))
