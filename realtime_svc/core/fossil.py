"""The difference of two payloads, in the delta format of the Fossil version control system.

    delta    = number LF *( copy / insert ) checksum        the first number is the length of the target
    copy     = number "@" number ","                        so many bytes of the source, from this offset on
    insert   = number ":" bytes                             so many bytes as they are here
    checksum = number ";"                                   sum of the target's big-endian 32-bit words, modulo 2**32
    number   = base 64, most significant digit first, digits 0-9 A-Z _ a-z ~

A delta travels as text where payloads are JSON. So a copy begins and ends between two characters of the target, and
what is inserted is UTF-8 where the target is.

Blocks of the source are looked up in a table whose keys are the blocks themselves, so nothing that is sent makes two of
them collide. What may be looked at is counted: the cost grows with the payloads by comparing and copying of bytes only.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_DIGITS = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~"
_LEAST_COPY = 8  # shorter ones do not pay at either end of the target
_LEAST_BLOCK = 16
_MOST_BLOCKS = 4096  # of the source in the table; a larger source has larger blocks
_PATIENCE = 512  # places of the target without a match, after which the steps get longer
_WORK = 16384  # units: one a lookup, `_TRY` for a match
_TRY = 16

Copy = tuple[int, int, int]  # start and end in the target, start in the source


def delta(source: bytes, target: bytes) -> bytes:
    """What makes `target` of `source`; at worst one insert of it all. UTF-8 where `target` is.

    A table of 4096 blocks and 16384 units of work at most, whatever the payloads are.
    """
    parts = [_number(len(target)), b"\n"]
    written = 0
    for start, end, place in _copies(source, target):
        parts.append(_insert(target[written:start]))
        parts += (_number(end - start), b"@", _number(place), b",")
        written = end
    parts.append(_insert(target[written:]))
    checksum = _number(_checksum(target)) + b";"
    whole = b"".join((*parts[:2], _insert(target), checksum))
    return min(b"".join((*parts, checksum)), whole, key=len)


def _copies(source: bytes, target: bytes) -> Iterator[Copy]:
    """What the target has of the source, in order and without overlap: its head, parts of the middle, its tail."""
    head = _back_to_character(target, _alike_after(source, 0, target, 0, len(target)))
    head = head if head >= _LEAST_COPY else 0
    tail = _alike_before(source, len(source), target, len(target), head)
    start = _on_to_character(target, len(target) - tail)
    start = start if len(target) - start >= _LEAST_COPY else len(target)
    if head:
        yield 0, head, 0
    yield from _middle(source, target, head, start)
    if start < len(target):
        yield start, len(target), len(source) - len(target) + start


def _middle(source: bytes, target: bytes, start: int, stop: int) -> Iterator[Copy]:
    """Greedy. What follows a change most often goes on in the source as if nothing had happened: looked at first."""
    size = _block_size(source)
    if stop - start < size:
        return
    table = _table(source, size)
    work, misses, at, shift = _WORK, 0, start, 0
    while at + size <= stop and work > 0:
        work -= 1
        block = target[at : at + size]
        place = at + shift if source[at + shift : at + shift + size] == block else table.get(block)
        if place is None:
            misses += 1
            at += 1 + misses // _PATIENCE * 2  # odd: after at most `size` steps one is at the beginning of a block
            continue
        work -= _TRY
        begin = at - _alike_before(source, place, target, at, start)
        end = at + size + _alike_after(source, place + size, target, at + size, stop)
        begin, end = _on_to_character(target, begin), _back_to_character(target, end)
        shift, misses = place - at, 0
        yield begin, end, begin + shift
        at = start = end


def _block_size(source: bytes) -> int:
    """A power of two."""
    return max(_LEAST_BLOCK, 1 << ((len(source) - 1) // _MOST_BLOCKS).bit_length())


def _table(source: bytes, size: int) -> dict[bytes, int]:
    """Where each block of the source is: the first place of those that are alike."""
    return {source[place : place + size]: place for place in range((len(source) // size - 1) * size, -1, -size)}


def _alike_after(a: bytes, i: int, b: bytes, j: int, stop: int) -> int:
    """How many bytes are the same from a[i] and b[j] on, up to b[stop]. Costs a multiple of the answer."""
    most = min(len(a) - i, stop - j)
    done, size = 0, 32
    while done < most:
        size = min(size, most - done)
        one, other = a[i + done : i + done + size], b[j + done : j + done + size]
        if one != other:
            differ = int.from_bytes(one, "big") ^ int.from_bytes(other, "big")
            return done + size - (differ.bit_length() + 7) // 8
        done += size
        size *= 2
    return done


def _alike_before(a: bytes, i: int, b: bytes, j: int, start: int) -> int:
    """How many bytes are the same before a[i] and b[j], down to b[start]. Costs a multiple of the answer."""
    most = min(i, j - start)
    done, size = 0, 32
    while done < most:
        size = min(size, most - done)
        one, other = a[i - done - size : i - done], b[j - done - size : j - done]
        if one != other:
            differ = int.from_bytes(one, "little") ^ int.from_bytes(other, "little")
            return done + size - (differ.bit_length() + 7) // 8
        done += size
        size *= 2
    return done


def _back_to_character(text: bytes, at: int) -> int:
    """The last place up to `at` where a character begins (RFC 3629 3: its other bytes are 10xxxxxx, three at most)."""
    return next((place for place in range(at, max(at - 4, -1), -1) if _begins(text, place)), at)


def _on_to_character(text: bytes, at: int) -> int:
    """The first place from `at` on where a character begins."""
    return next((place for place in range(at, at + 4) if _begins(text, place)), at)


def _begins(text: bytes, at: int) -> bool:
    return at >= len(text) or text[at] & 0xC0 != 0x80


def _insert(data: bytes) -> bytes:
    return _number(len(data)) + b":" + data if data else b""


def _number(value: int) -> bytes:
    digits = [_DIGITS[value & 63]]
    while value := value >> 6:
        digits.append(_DIGITS[value & 63])
    return bytes(reversed(digits))


def _checksum(data: bytes) -> int:
    """Missing bytes of the last word count as zero."""
    words, rest = divmod(len(data), 4)
    total: int = sum(struct.unpack_from(f">{words}I", data))
    return (total + int.from_bytes(data[len(data) - rest :].ljust(4, b"\0"), "big")) & 0xFFFFFFFF
