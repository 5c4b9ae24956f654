"""Which publications of a channel a subscriber wants, by their tags (Centrifugo client protocol, `tf`).

    node  = leaf / inner
    leaf  = key, cmp, val | vals        cmp: eq neq sw ew ct lt lte gt gte (val), in nin (vals), ex nex (neither)
    inner = op, nodes                   op: and, or (one node or more), not (exactly one)

A tag that a publication does not have: `neq`, `nin` and `nex` match, all others do not, as in the reference server.
`lt lte gt gte` compare decimal numbers exactly (`-1.50`, no exponent, 64 characters); what is none does not match.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from realtime_svc.errors import ErrorCode, ReplyError

MAX_DEPTH = 32
MAX_NODES = 64
MAX_NUMBER = 64
MAX_SIZE = 256 * 1024  # bytes that all filters of one client may take

_NODE_SIZE = 512  # bytes, about: closures, and what they hold
_VALUE_SIZE = 128

Tags = Mapping[str, str]
Match = Callable[[Tags], bool]

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)", re.ASCII)
_TEXT: dict[str, Callable[[str, str], bool]] = {
    "eq": operator.eq,
    "sw": str.startswith,
    "ew": str.endswith,
    "ct": operator.contains,
}
_NUMERIC: dict[str, Callable[[Decimal, Decimal], bool]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}
_TAKES = {"ex": "nothing else", "nex": "nothing else", "in": "vals", "nin": "vals"}


class FilterNode(NamedTuple):
    """As a client sent it. A leaf has `key`, `compare` and `value` or `values`; an inner node `op` and `nodes`."""

    op: str = ""
    key: str = ""
    compare: str = ""
    value: str = ""
    values: Sequence[str] = ()
    nodes: Sequence[FilterNode] = ()


def compile_filter(node: FilterNode) -> Match:
    """What answers "is a publication with these tags wanted?". Raises `ReplyError` 107 for a node that means nothing.

    At most 64 nodes, 32 deep: asking costs no more than that many comparisons.
    """
    return _Compiler().compile(node, MAX_DEPTH)


def size_of(node: FilterNode) -> int:
    """About how many bytes a compiled filter takes: a text of a few characters becomes an object of its own."""
    texts = sum(len(text) for text in (node.key, node.value, *node.values))
    return _NODE_SIZE + _VALUE_SIZE * len(node.values) + texts + sum(map(size_of, node.nodes))


class _Compiler:
    def __init__(self) -> None:
        self._left = MAX_NODES

    def compile(self, node: FilterNode, depth: int) -> Match:
        self._left -= 1
        if depth == 0 or self._left < 0:
            raise _bad(f"more than {MAX_NODES} nodes, or more than {MAX_DEPTH} levels of them")
        if not node.op:
            return _leaf(node)
        if node.op not in ("and", "or", "not"):
            raise _bad("an unknown op: and, or, not")
        if not node.nodes or (node.op == "not" and len(node.nodes) != 1):
            raise _bad(f"{node.op} with a wrong number of nodes")
        parts = tuple(self.compile(part, depth - 1) for part in node.nodes)
        if node.op == "not":
            (part,) = parts
            return lambda tags: not part(tags)
        every = all if node.op == "and" else any
        return lambda tags: every(part(tags) for part in parts)


def _leaf(node: FilterNode) -> Match:
    compare, key, value, values = node.compare, node.key, node.value, node.values
    if compare not in (*_TEXT, *_NUMERIC, "neq", "in", "nin", "ex", "nex"):
        raise _bad("an unknown cmp: eq, neq, in, nin, ex, nex, sw, ew, ct, lt, lte, gt, gte")
    takes = _TAKES.get(compare, "val")
    if not key or bool(value) != (takes == "val") or bool(values) != (takes == "vals"):
        raise _bad(f"{compare} takes key and {takes}")
    match compare:
        case "ex":
            return lambda tags: key in tags
        case "nex":
            return lambda tags: key not in tags
        case "neq":
            return lambda tags: tags.get(key) != value
        case "in" | "nin":
            return _member(key, frozenset(values), compare == "in")
    return _number(key, value, compare) if compare in _NUMERIC else _text(key, value, _TEXT[compare])


def _member(key: str, values: frozenset[str], inside: bool) -> Match:
    return lambda tags: (tags.get(key) in values) is inside


def _text(key: str, value: str, holds: Callable[[str, str], bool]) -> Match:
    def match(tags: Tags) -> bool:
        tag = tags.get(key)
        return tag is not None and holds(tag, value)

    return match


def _number(key: str, value: str, compare: str) -> Match:
    holds, bound = _NUMERIC[compare], _decimal(value)
    if bound is None:
        raise _bad(f"{compare} takes a decimal number of {MAX_NUMBER} characters at most")

    def match(tags: Tags) -> bool:
        number = _decimal(tags.get(key, ""))
        return number is not None and holds(number, bound)

    return match


def _decimal(text: str) -> Decimal | None:
    return Decimal(text) if len(text) <= MAX_NUMBER and _NUMBER.fullmatch(text) is not None else None


def _bad(detail: str) -> ReplyError:
    return ReplyError(ErrorCode.BAD_REQUEST, f"tags filter: {detail}")
