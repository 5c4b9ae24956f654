"""The compiled part (`_kernel.c`) once more, in Python: same classes, same behaviour; one test suite holds them both.

It serves where there is no compiled part, and says what that one does. Descriptors are of stream sockets that do not
block; they stay their owner's, and nothing here closes one.
"""

from __future__ import annotations

import errno
import os
import select
import time
from typing import Any, Final, final

CLOSED: Final = 1 << 30
"""In `Outlet.holds`: it is closed."""
SHORT: Final = 1 << 29
"""In `Outlet.holds`: `Group.send` sent a part, and the rest has to go before anything else."""

LOOK_AT_CLOCK: Final = 16
"""`Group.send` looks at the clock after so many outlets."""
MOST_READ: Final = 64 * 1024
"""Bytes `Poll.poll` reads from one descriptor at once."""
MOST_POLLED: Final = 1024
"""Descriptors `Poll.poll` tells of at once, whatever it is asked for."""

_READABLE = select.EPOLLIN | select.EPOLLRDHUP


@final
class Outlet:
    """Where the bytes of one connection go out. Not thread safe.

    `holds`: a mask of reasons why nothing may be sent straight now; 0: it may. `owner`: whose it is; anything.
    """

    __slots__ = ("fd", "holds", "owner")

    def __init__(self, fd: int = -1) -> None:
        """`fd` -1: nothing can be sent straight."""
        self.fd = fd
        self.holds = 0
        self.owner: Any = None

    def send(self, data: bytes, /) -> int:
        """Bytes of `data` the system took now; 0: it would block. Does not look at `holds`. Raises `OSError`.

        Over TLS an error is no exception but 0: the connection meets it again when it tries the same bytes its own way.
        """
        _check_bytes(data)
        if self.fd < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if not data:
            return 0
        try:
            return os.write(self.fd, data)
        except BlockingIOError:
            return 0

    def bind_tls(self, ssl: int, write: int, clear: int) -> None:
        """From now on send through OpenSSL: addresses of an `SSL`, of `SSL_write` and of `ERR_clear_error`.

        The `SSL` has to live until `close`. Its first bytes that were not taken must be the next it is given. Only the
        compiled part can do this: here it raises `NotImplementedError`.
        """
        raise NotImplementedError("only the compiled part sends through OpenSSL by itself")

    def close(self) -> None:
        """Send nothing from now on: `send` raises EBADF. Again: nothing happens."""
        self.fd = -1
        self.holds |= CLOSED


@final
class Group:
    """Outlets that get the same bytes, each at a place that stays its own until it leaves."""

    __slots__ = ("_free", "_places")

    def __init__(self) -> None:
        self._places: list[Outlet | None] = []
        self._free: list[int] = []

    def add(self, outlet: Outlet) -> int:
        """Its place. Places of those who left are used again, the last one first. Raises `TypeError`."""
        if not isinstance(outlet, Outlet):
            raise TypeError("an Outlet is needed")
        if self._free:
            place = self._free.pop()
            self._places[place] = outlet
        else:
            place = len(self._places)
            self._places.append(outlet)
        return place

    def remove(self, place: int) -> None:
        """Whoever has `place` leaves. Raises `LookupError`: nobody has it."""
        if not 0 <= place < len(self._places) or self._places[place] is None:
            raise LookupError("no outlet has this place")
        self._places[place] = None
        self._free.append(place)
        if len(self._free) == len(self._places):
            self._places.clear()
            self._free.clear()

    def __len__(self) -> int:
        return len(self._places) - len(self._free)

    def send(self, data: bytes, place: int = 0, nanoseconds: int = 0) -> tuple[int, int, list[tuple[Outlet, int]]]:
        """Send `data` to all from `place` on: where to go on (-1: all were served), how many took all of it, and the
        others with the bytes they took.

        `nanoseconds` above 0: stop after about that time, which is looked at after every 16th outlet. Among the others
        with 0 bytes are those that are held or closed, would block or failed in any way: an error is met again by the
        connection itself. One that took a part is held (`SHORT`). No Python code runs meanwhile.
        """
        _check_bytes(data)
        if place < 0:
            raise ValueError("a place is not negative")
        end = time.monotonic_ns() + nanoseconds if nanoseconds > 0 else None
        whole = 0
        others: list[tuple[Outlet, int]] = []
        for at in range(place, len(self._places)):
            outlet = self._places[at]
            if outlet is None:
                continue
            served = whole + len(others)
            if end is not None and served and served % LOOK_AT_CLOCK == 0 and time.monotonic_ns() >= end:
                return at, whole, others
            taken = _try(outlet, data)
            if taken == len(data):
                whole += 1
                continue
            if taken > 0:
                outlet.holds |= SHORT
            others.append((outlet, max(taken, 0)))
        return -1, whole, others


def _check_bytes(data: object) -> None:
    if not isinstance(data, bytes):
        raise TypeError("bytes are needed")


def _try(outlet: Outlet, data: bytes) -> int:
    """Bytes taken; -1: none, and none were to be."""
    if outlet.holds or outlet.fd < 0:
        return -1
    try:
        return outlet.send(data)
    except OSError:
        return -1


@final
class Poll:
    """An epoll set of its own: what can be read, level-triggered. Once closed, all but `close` and `remove` raises
    `ValueError`."""

    __slots__ = ("_epoll", "_readers")

    def __init__(self) -> None:
        """Raises `OSError`: the system has no descriptor left."""
        self._epoll = select.epoll()
        self._readers: dict[int, tuple[object, bool]] = {}

    def fileno(self) -> int:
        """Its own descriptor: readable while something is there."""
        return self._epoll.fileno()

    def close(self) -> None:
        """Give up the descriptor and the readers. Again: nothing happens."""
        self._epoll.close()
        self._readers.clear()

    def add(self, fd: int, reader: object, straight: bool) -> None:
        """Watch `fd`. `straight`: `poll` reads it; else `poll` only says that it can be read. Raises `OSError`:
        watched already, or no descriptor to watch."""
        if fd < 0:
            raise ValueError("a descriptor is not negative")
        self._epoll.register(fd, _READABLE)
        self._readers[fd] = reader, straight

    def remove(self, fd: int, /) -> None:
        """Watch `fd` no more. One that is not watched, or was closed meanwhile: nothing happens."""
        if self._readers.pop(fd, None) is not None:
            try:
                self._epoll.unregister(fd)
            except OSError:  # it was closed before, and left the set by that
                return

    def poll(self, most: int = 256) -> list[tuple[object, bytes | int | None]]:
        """What is there now, of `most` (at most 1024) descriptors, without waiting: the reader, and

        bytes: what was received, up to 64 KiB; b"": the peer sends no more. An int: the errno of recv(2). None: it can
        be read and was not (`straight` was false), or there is an error or hang-up and nothing to read. What turns out
        to have nothing (EAGAIN) is left out.
        """
        if most < 1:
            raise ValueError("at least one has to be asked for")
        found: list[tuple[object, bytes | int | None]] = []
        for fd, events in self._epoll.poll(0, min(most, MOST_POLLED)):
            reader, straight = self._readers.get(fd, (None, False))
            if not straight or not events & _READABLE:
                if fd in self._readers:
                    found.append((reader, None))
                continue
            try:
                found.append((reader, os.read(fd, MOST_READ)))
            except BlockingIOError:
                continue
            except OSError as error:
                found.append((reader, error.errno))
        return found


def parse_frames(data: bytes, limit: int, /) -> tuple[list[tuple[bytes, bool]], int]:
    """The whole plain messages that `data` begins with: ([(unmasked payload, is it binary)], bytes used).

    Plain (RFC 6455 5.2): FIN, no RSV bit, text or binary, masked, its length in the shortest form and at most `limit`
    bytes; a text is UTF-8 (RFC 3629). Ends before the first frame that is anything else, or not whole.
    """
    _check_bytes(data)
    found: list[tuple[bytes, bool]] = []
    used = 0
    while (frame := _plain_frame(data, used, limit)) is not None:
        payload, binary, used = frame
        found.append((payload, binary))
    return found, used


def _plain_frame(data: bytes, at: int, limit: int) -> tuple[bytes, bool, int] | None:
    """The plain message at `at`, and where it ends; None: there is none, or it is not whole."""
    if len(data) - at < 6 or data[at] not in (0x81, 0x82) or not data[at + 1] & 0x80:
        return None
    start, length = _length(data, at)
    end = start + 4 + length
    if length < 0 or length > limit or end > len(data):
        return None
    binary = data[at] == 0x82
    payload = _unmask(data[start : start + 4], data[start + 4 : end])
    if not binary:
        try:
            payload.decode()
        except UnicodeDecodeError:
            return None
    return payload, binary, end


def _length(data: bytes, at: int) -> tuple[int, int]:
    """(Where the mask begins, length of the payload). -1: not in its shortest form."""
    length, start = data[at + 1] & 0x7F, at + 2
    for marker, size, least in ((126, 2, 126), (127, 8, 65536)):
        if length == marker:
            start += size
            length = int.from_bytes(data[at + 2 : start])
            return start, length if length >= least else -1
    return start, length


def _unmask(mask: bytes, payload: bytes) -> bytes:
    """RFC 6455 5.3, all octets at once."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload) ^ int.from_bytes(key)).to_bytes(size)
