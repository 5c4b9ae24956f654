"""The PROXY protocol (HAProxy, proxy-protocol.txt): what a proxy sends first, to say whose connection it passes on.

    v1 = "PROXY" SP ( "TCP4" / "TCP6" ) SP source SP destination SP source-port SP destination-port CRLF
       / "PROXY UNKNOWN" [ SP anything ] CRLF                                           at most 107 bytes
    v2 = %x0D.0A.0D.0A.00.0D.0A.51.55.49.54.0A  version/command  family/transport  length(2)  addresses  TLVs
         version 2; command 0 LOCAL, 1 PROXY; family/transport 0x00 unspecified, 0x11 TCP4, 0x21 TCP6

Whoever sends such a header chooses an address: take it from trusted sources only, and never look for it where it is not
announced. TLVs are skipped.
"""

from __future__ import annotations

import ipaddress
import re

from realtime_svc.model import RemoteAddress
from realtime_svc.wire.forwarded import plain_address

MAX_V1_SIZE = 107
MAX_V2_LENGTH = 2048  # of what follows the 16 fixed bytes; the specification asks for 536 at least

_V1_START = b"PROXY "
_V2_START = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_FIXED_SIZE = 16
_UNSPECIFIED = 0x00
_ADDRESS_SIZES = {0x11: 4, 0x21: 16}
_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [ -~]*)?")
_PORT = re.compile(r"0|[1-9][0-9]{0,4}")


class ProxyHeaderError(ValueError):
    """What came is no PROXY header that is understood here. The text holds nothing of it."""


class ProxyHeaderParser:
    """Reads one header as its bytes arrive; the outcome does not depend on how they are split.

    Keeps at most one header and one read. Use it no more once it has returned a result or raised.
    """

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> tuple[RemoteAddress | None, bytes] | None:
        """Take what was read. None while there is more to come; then the client's address, and the bytes behind.

        The address is None where the proxy speaks for itself (LOCAL: a health check) or does not know (UNKNOWN,
        unspecified): the connection's own peer is the client then. Raises `ProxyHeaderError`.
        """
        self._buffer += data
        for start, read in ((_V1_START, _read_v1), (_V2_START, _read_v2)):
            if self._buffer.startswith(start):
                return read(self._buffer)
            if start.startswith(self._buffer):
                return None
        raise ProxyHeaderError("the connection does not start with a PROXY header")


def _read_v1(buffer: bytes) -> tuple[RemoteAddress | None, bytes] | None:
    end = buffer.find(b"\r\n", 0, MAX_V1_SIZE)
    if end < 0:
        if len(buffer) >= MAX_V1_SIZE:
            raise ProxyHeaderError("the PROXY header is longer than 107 bytes")
        return None
    line, rest = buffer[:end], buffer[end + 2 :]
    if _UNKNOWN.fullmatch(line) is not None:
        return None, rest
    parts = line.decode("latin-1").split(" ")
    if len(parts) != 6 or parts[1] not in ("TCP4", "TCP6"):
        raise ProxyHeaderError("the PROXY header is not: protocol, two addresses, two ports")
    source, _ = (_v1_address(parts[1], host, port) for host, port in ((parts[2], parts[4]), (parts[3], parts[5])))
    return source, rest


def _v1_address(protocol: str, host: str, port: str) -> RemoteAddress:
    if _PORT.fullmatch(port) is None or int(port) > 65535:
        raise ProxyHeaderError("the PROXY header holds an invalid port")
    kind = ipaddress.IPv4Address if protocol == "TCP4" else ipaddress.IPv6Address
    try:
        if "%" in host:
            raise ValueError("a zone means nothing on another machine")
        return RemoteAddress(plain_address(kind(host)), int(port))
    except ValueError:
        raise ProxyHeaderError("the PROXY header holds an invalid address") from None


def _read_v2(buffer: bytes) -> tuple[RemoteAddress | None, bytes] | None:
    if len(buffer) < _V2_FIXED_SIZE:
        return None
    command, family = buffer[12], buffer[13]
    end = _V2_FIXED_SIZE + int.from_bytes(buffer[14:16], "big")
    if command not in (0x20, 0x21):
        raise ProxyHeaderError("the PROXY header has an unknown version or command")
    if end > _V2_FIXED_SIZE + MAX_V2_LENGTH:
        raise ProxyHeaderError("the PROXY header is too long")
    speaks_for_client = command == 0x21 and family != _UNSPECIFIED  # LOCAL: the family is to be ignored
    size = _ADDRESS_SIZES.get(family) if speaks_for_client else 0
    if size is None:
        raise ProxyHeaderError("the PROXY header is not about a TCP connection over IPv4 or IPv6")
    ports = _V2_FIXED_SIZE + 2 * size
    if speaks_for_client and ports + 4 > end:
        raise ProxyHeaderError("the PROXY header is too short for its addresses")
    if len(buffer) < end:
        return None
    if not speaks_for_client:
        return None, buffer[end:]
    host = ipaddress.ip_address(buffer[_V2_FIXED_SIZE : _V2_FIXED_SIZE + size])
    return RemoteAddress(plain_address(host), int.from_bytes(buffer[ports : ports + 2], "big")), buffer[end:]
