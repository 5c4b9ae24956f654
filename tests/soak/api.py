"""The server API over one connection that stays open as long as the server keeps it open (asyncio)."""

from __future__ import annotations

import asyncio
import json
from typing import Any


class Api:
    """One call at a time."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._key = key
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, method: str, **command: Any) -> dict[str, Any]:
        """The result. Raises RuntimeError for an answer that is none."""
        if self._streams is None or self._streams[0].at_eof():
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        body = json.dumps(command).encode()
        head = (
            f"POST /api/{method} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"X-API-Key: {self._key}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        answer = json.loads(await _body(reader))
        if "result" not in answer:
            raise RuntimeError(f"{method}: {answer}")
        result: dict[str, Any] = answer["result"]
        return result

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


async def _body(reader: asyncio.StreamReader) -> bytes:
    """Of the next response."""
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers["content-length"]))
    if " 200 " not in f"{status} ":
        raise RuntimeError(f"{status}: {body.decode(errors='replace')}")
    return body
