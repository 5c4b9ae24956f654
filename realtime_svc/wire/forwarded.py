"""Who is behind the proxies: X-Forwarded-For, believed only as far as trusted hosts wrote it.

    X-Forwarded-For   = entry *( OWS "," OWS entry )        the client first, then each proxy but the last
    entry             = IPv4address [ ":" port ] / IPv6address / "[" IPv6address "]" [ ":" port ]

Each proxy appends on the right what it saw itself; what stands further left may be the client's invention.
An IPv4 address mapped into IPv6 (::ffff:192.0.2.1) is that IPv4 address everywhere.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator

MAX_PROXIES = 32

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_BYTE}\.{_BYTE}\.{_BYTE}\.{_BYTE}", re.ASCII)
_ENTRY = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}|([0-9A-Fa-f:.]+)")


class Networks:
    """A set of networks. Empty, it is false and contains nothing."""

    __slots__ = ("_networks",)

    def __init__(self, networks: Iterable[str] = ()) -> None:
        """Each is in CIDR notation, without host bits, or one address. `ValueError` tells which is not, by number."""
        self._networks = tuple(_network(text, number) for number, text in enumerate(networks, 1))

    def __bool__(self) -> bool:
        return bool(self._networks)

    def contains(self, host: str) -> bool:
        """Is `host`, an IP address, in one of them? False for what is no address, such as the path of a socket."""
        address = _address(host) if self._networks else None
        return address is not None and any(address in network for network in self._networks)


def client_address(peer: str, header_values: list[str], trusted: Networks) -> str | None:
    """The client's IP address according to X-Forwarded-For; None: nothing better than `peer` is known.

    `peer` is the address the connection comes from, `header_values` the fields in the order they came. Walks from the
    right over trusted proxies; the first address that is none of them is the client. An invalid entry ends the walk
    at the last good address, and so does the end of the list or of `MAX_PROXIES` entries.
    """
    if not trusted.contains(peer):
        return None
    last: str | None = None
    for entry in _from_the_right(header_values):
        match = _ENTRY.fullmatch(entry)
        address = _address(match[match.lastindex or 0]) if match is not None else None
        if address is None:
            break
        last = str(address)
        if not trusted.contains(last):
            break
    return last


def address_bucket(host: str) -> str:
    """What counts as one client address: an IPv4 address, or a /64 of IPv6; what is no address counts as it is."""
    if _IPV4.fullmatch(host) is not None:
        return host
    address = _address(host)
    if address is None:
        return host
    return str(address) if address.version == 4 else f"{ipaddress.IPv6Address(int(address) >> 64 << 64)}/64"


def plain_address(address: Address) -> str:
    """The text of an address, that of the IPv4 address where one is mapped into IPv6."""
    return str(_unmapped(address))


def _unmapped(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _address(text: str) -> Address | None:
    """An address, without the zone that link-local peers have (RFC 4007 11)."""
    try:
        return _unmapped(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return None


def _network(text: str, number: int) -> Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(f"entry {number} is not a network in CIDR notation, such as 10.0.0.0/8") from None
    start = _unmapped(network.network_address)
    if isinstance(start, ipaddress.IPv4Address) and network.version == 6 and network.prefixlen >= 96:
        return ipaddress.IPv4Network((int(start), network.prefixlen - 96))
    return network


def _from_the_right(header_values: list[str]) -> Iterator[str]:
    """The entries of a list that may be spread over several fields, the last one first; bounded."""
    left = MAX_PROXIES
    for value in reversed(header_values):
        entries = value.rsplit(",", left)
        for entry in reversed(entries[-left:]):
            yield entry.strip(" \t")
            left -= 1
        if left == 0:
            return
