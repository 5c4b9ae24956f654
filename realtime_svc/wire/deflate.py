"""permessage-deflate (RFC 7692): what a client offers, what is agreed to, and the messages themselves.

offers    = offer *( "," offer )                    the Sec-WebSocket-Extensions header, quotes taken off
offer     = name *( ";" parameter [ "=" value ] )   best first; one that can't be accepted is passed over (7.1)
message   = deflate blocks without the 00 00 FF FF that ends them (7.2.1)
"""

from __future__ import annotations

import re
import zlib
from typing import Any, NamedTuple

from realtime_svc.config import Deflate
from realtime_svc.wire.frames import OPCODE_BINARY, OPCODE_TEXT, Frame, websocket_frame

NAME = "permessage-deflate"

_TAIL = b"\x00\x00\xff\xff"
_FINAL_BLOCK = b"\x03\x00"
_MOST_FINAL_BLOCKS = 16  # in one message: each makes us start again
_WINDOW_BITS = re.compile(r"[89]|1[0-5]")
_NO_VALUE = re.compile("")
_VALUES = {
    "server_no_context_takeover": _NO_VALUE,
    "client_no_context_takeover": _NO_VALUE,
    "server_max_window_bits": _WINDOW_BITS,
    "client_max_window_bits": re.compile(f"|{_WINDOW_BITS.pattern}"),
}


class Corrupt(Exception):
    """What came is not a message that was compressed."""


class TooBig(Exception):
    """A message is longer than the limit, inflated."""


class Terms(NamedTuple):
    """What was agreed to. Window sizes are powers of two; `answer` is the header of the response."""

    server_no_context_takeover: bool
    client_no_context_takeover: bool
    server_max_window_bits: int
    client_max_window_bits: int
    answer: str


def agree(offers: str, settings: Deflate) -> Terms | None:
    """Accept the first offer that can be; None: speak without the extension."""
    if not settings.enabled:
        return None
    for offer in offers.split(","):
        name, *rest = (item.strip(" \t") for item in offer.split(";"))
        parameters = _parameters(rest)
        if name.lower() == NAME and parameters is not None and (terms := _accept(parameters, settings)) is not None:
            return terms
    return None


def _parameters(items: list[str]) -> dict[str, str] | None:
    """The parameters of an offer; None where one is unknown, repeated, or has a value that it can't have."""
    parameters: dict[str, str] = {}
    for item in items:
        name, equals, value = (part.strip(" \t") for part in item.lower().partition("="))
        values = _VALUES.get(name)
        if values is None or name in parameters or values.fullmatch(value) is None or (equals and not value):
            return None
        parameters[name] = value
    return parameters


def _accept(asked: dict[str, str], settings: Deflate) -> Terms | None:
    """RFC 7692 7.1.1 and 7.1.2. Where the client does not ask, only what it must support is asked of it."""
    answer = [NAME]
    no_takeover = []
    for name in ("server_no_context_takeover", "client_no_context_takeover"):
        no_takeover.append(name in asked or not settings.context_takeover)
        if no_takeover[-1]:
            answer.append(name)
    ours, theirs = settings.window_bits, 15
    if "server_max_window_bits" in asked:
        ours = min(ours, int(asked["server_max_window_bits"]))
        if ours == 8:  # zlib can't make a raw stream with so small a window
            return None
        answer.append(f"server_max_window_bits={ours}")
    if "client_max_window_bits" in asked:
        hint = int(asked["client_max_window_bits"] or 15)
        if hint > 8:  # a client that says 8 and has zlib means 9: it gets no answer, and all the room
            theirs = min(settings.window_bits, hint)
            answer.append(f"client_max_window_bits={theirs}")
    return Terms(no_takeover[0], no_takeover[1], ours, theirs, "; ".join(answer))


class SharedDeflate(NamedTuple):
    """Compression without a memory of earlier messages (`core.ports.Deflation`): made once, good for all."""

    window_bits: int
    memory_level: int

    def wire(self, frame: Frame) -> bytes:
        made = frame.deflated
        if made is None:
            made = frame.deflated = {}
        wire = made.get(self)
        if wire is None:
            wire = made[self] = _compressed(_compressor(self.window_bits, self.memory_level), frame)
        return wire


def _compressor(window_bits: int, memory_level: int) -> Any:
    return zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -window_bits, memory_level)


def _compressed(compressor: Any, frame: Frame) -> bytes:
    """The frame that carries one message (7.2.1)."""
    body: bytes = compressor.compress(frame.payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    opcode = OPCODE_BINARY if frame.binary else OPCODE_TEXT
    return websocket_frame(opcode, body.removesuffix(_TAIL), compressed=True)


class MessageDeflate:
    """The messages of one connection, both ways. `limit` is bytes of an inflated message; no more are ever held.

    `shared`: how messages to it are compressed, where the same bytes are good for every client with these terms.
    """

    def __init__(self, terms: Terms, memory_level: int, limit: int) -> None:
        self._terms = terms
        self._memory_level = memory_level
        self._limit = limit
        self._left = limit
        self._final_blocks = 0
        self._fresh = True
        self._compressor: Any = None
        self.shared: SharedDeflate | None = None
        if terms.server_no_context_takeover:
            self.shared = SharedDeflate(terms.server_max_window_bits, memory_level)
        self._inflater: Any = None

    def wire(self, frame: Frame) -> bytes:
        """The frame that carries one message."""
        if self.shared is not None:
            return self.shared.wire(frame)
        if self._compressor is None:
            self._compressor = _compressor(self._terms.server_max_window_bits, self._memory_level)
        return _compressed(self._compressor, frame)

    def begin(self) -> None:
        """A compressed message begins."""
        self._left = self._limit
        self._final_blocks = 0
        self._fresh = True
        if self._inflater is None or self._terms.client_no_context_takeover:
            self._restart()

    def inflate(self, data: bytes) -> bytes:
        """Some more of the message. Raises `TooBig`, `Corrupt`; the connection is to be failed then."""
        inflated = b""
        while data:
            self._fresh = False
            try:  # one byte more than may come, for zlib keeps back what does not fit and does not tell
                part = self._inflater.decompress(data, self._left + 1)
            except zlib.error:
                raise Corrupt from None
            self._left -= len(part)
            if self._left < 0:
                raise TooBig
            inflated += part
            data = self._inflater.unused_data
            if self._inflater.eof:  # a final block (7.2.3.4), behind which another stream may begin
                self._final_blocks += 1
                if self._final_blocks > _MOST_FINAL_BLOCKS:
                    raise Corrupt
                self._restart()
        return inflated

    def finish(self) -> None:
        """The message is complete. Raises `Corrupt` where it stops in the middle of a block."""
        if self._fresh:  # behind a final block; or there was nothing at all: some send an empty message so
            return
        if self.inflate(_TAIL):
            raise Corrupt
        probe = self._inflater if self._terms.client_no_context_takeover else self._inflater.copy()
        try:
            complete = not probe.decompress(_FINAL_BLOCK) and probe.eof
        except zlib.error:
            complete = False
        if not complete:
            raise Corrupt

    def _restart(self) -> None:
        self._inflater = zlib.decompressobj(-self._terms.client_max_window_bits)
        self._fresh = True
