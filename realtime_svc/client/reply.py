"""The server's answer to the upgrade request, read within bounds before Autobahn sees a byte of it."""

from __future__ import annotations

import re

import msgspec

from realtime_svc.client.errors import ConnectionFailed, HandshakeRefused

MAX_HEAD = 16 * 1024
MAX_BODY = 16 * 1024

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?")
_PLAIN_HEAD = re.compile(rb"(?:[\t -~]*\r\n)*[\t -~]*")


class Reply:
    """Bytes in; out comes the head of a 101 with what follows it, or the refusal."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._status = 0
        self._retry_after: float | None = None
        self._body_size: int | None = None  # None: up to the end of the connection

    def feed(self, data: bytes) -> bytes:
        """Nothing while the head is incomplete; then, for a 101, everything up to now.

        Raises `HandshakeRefused` when a refusal is complete, `ConnectionFailed` when this is not HTTP.
        """
        self._data += data
        if not self._status and not self._read_head():
            return b""
        if self._status == 101:
            return bytes(self._data)
        if len(self._data) >= (MAX_BODY if self._body_size is None else min(self._body_size, MAX_BODY)):
            raise self.end()
        return b""

    def end(self) -> ConnectionFailed | HandshakeRefused:
        """What the answer was, if nothing more comes."""
        if self._status in (0, 101):
            return ConnectionFailed("the server closed the connection during the handshake")
        size = MAX_BODY if self._body_size is None else min(self._body_size, MAX_BODY)
        try:
            body = msgspec.json.decode(self._data[:size])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            body = None
        return HandshakeRefused(self._status, body, self._retry_after)

    @property
    def refused(self) -> bool:
        """Has a status come that is no 101?"""
        return self._status not in (0, 101)

    def _read_head(self) -> bool:
        end = self._data.find(b"\r\n\r\n", 0, MAX_HEAD + 4)
        if end < 0:
            if len(self._data) > MAX_HEAD:
                raise ConnectionFailed("the head of the server's answer is too long")
            return False
        status_line, *lines = bytes(self._data[:end]).split(b"\r\n")
        match = _STATUS_LINE.fullmatch(status_line)
        if match is None:
            raise ConnectionFailed("the server's answer is not HTTP")
        self._status = int(match[1])
        if self._status == 101:
            # Autobahn splits lines at more characters than CR LF, and can't read what is not ASCII.
            if not _PLAIN_HEAD.fullmatch(self._data, 0, end):
                raise ConnectionFailed("the server's answer holds characters that are not allowed there")
            return True
        del self._data[: end + 4]
        self._read_framing(lines)
        return True

    def _read_framing(self, lines: list[bytes]) -> None:
        for line in lines:
            name, _, value = line.partition(b":")
            match name.strip().lower(), value.strip():
                case b"content-length", size if size.isdigit() and len(size) < 10:
                    self._body_size = int(size)
                case b"transfer-encoding", _:
                    self._body_size = 0  # not worth decoding: what we refuse with has a length
                case b"retry-after", seconds if seconds.isdigit() and len(seconds) < 10:
                    self._retry_after = float(seconds)
