"""Tag filters: every comparison, what an absent tag means, and trees against a reference of a few lines."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.core.tagsfilter import MAX_DEPTH, MAX_NODES, FilterNode, compile_filter
from realtime_svc.errors import ErrorCode, ReplyError


def leaf(compare: str, value: str = "", *values: str, key: str = "k") -> FilterNode:
    return FilterNode("", key, compare, value, values)


def inner(op: str, *nodes: FilterNode) -> FilterNode:
    return FilterNode(op, nodes=nodes)


# A comparison, the values of tag "k" that match it (None: there is no such tag), and those that do not.
LEAVES: tuple[tuple[FilterNode, tuple[str | None, ...], tuple[str | None, ...]], ...] = (
    (leaf("eq", "a"), ("a",), ("A", "aa", "", None)),
    (leaf("neq", "a"), ("A", "aa", "", None), ("a",)),
    (leaf("in", "", "a", "b"), ("a", "b"), ("c", "", "ab", None)),
    (leaf("in", "", "a", ""), ("a", ""), ("b", None)),
    (leaf("nin", "", "a", "b"), ("c", "", None), ("a", "b")),
    (leaf("ex"), ("a", ""), (None,)),
    (leaf("nex"), (None,), ("a", "")),
    (leaf("sw", "ab"), ("ab", "abc"), ("a", "cab", "", "AB", None)),
    (leaf("ew", "ab"), ("ab", "cab"), ("b", "abc", "", None)),
    (leaf("ct", "ab"), ("ab", "cabc"), ("a", "ba", "", None)),
    (leaf("lt", "10"), ("9", "9.999999999999999999999", "-1", "09", "-10.5"), ("10", "10.0", "11", "", "x", None)),
    (leaf("lte", "10"), ("10", "10.000", "+10", "9", "010"), ("10.00000000000000000000001", "x9", "9x", None)),
    (leaf("gt", "0.1"), ("0.10000000000000000000000001", ".2", "1.", "100"), ("0.1", "0.10", "-1", "1e5", None)),
    (leaf("gte", "9007199254740993"), ("9007199254740993", "9007199254740994"), ("9007199254740992", None)),
    (leaf("gte", "-1"), ("-1.0", "-0", "0"), ("-1.1", "NaN", "Infinity", "1_0", "٣", " 1", "1 ", "--1", "+", ".", "")),
    (leaf("lt", "1" * 64), ("1" * 63, "0" * 64), ("0" * 65, "1" * 64)),
)

TREES: tuple[tuple[FilterNode, dict[str, str], bool], ...] = (
    (inner("and", leaf("eq", "1", key="a"), leaf("eq", "2", key="b")), {"a": "1", "b": "2"}, True),
    (inner("and", leaf("eq", "1", key="a"), leaf("eq", "2", key="b")), {"a": "1", "b": "3"}, False),
    (inner("or", leaf("eq", "1", key="a"), leaf("eq", "2", key="b")), {"a": "0", "b": "2"}, True),
    (inner("or", leaf("eq", "1", key="a"), leaf("eq", "2", key="b")), {}, False),
    (inner("not", leaf("eq", "1", key="a")), {"a": "1"}, False),
    (inner("not", leaf("eq", "1", key="a")), {}, True),
    (inner("and", inner("not", inner("or", leaf("ex", key="a"), leaf("ex", key="b")))), {"c": ""}, True),
)

REFUSED: tuple[tuple[FilterNode, str], ...] = (
    (FilterNode(), "an unknown cmp"),
    (leaf("EQ", "a"), "an unknown cmp"),
    (leaf("regex", "a"), "an unknown cmp"),
    (inner("xor", leaf("ex"), leaf("ex")), "an unknown op"),
    (inner("and"), "and with a wrong number of nodes"),
    (inner("or"), "or with a wrong number of nodes"),
    (inner("not"), "not with a wrong number of nodes"),
    (inner("not", leaf("ex"), leaf("ex")), "not with a wrong number of nodes"),
    (inner("and", leaf("ex"), inner("or", FilterNode())), "an unknown cmp"),
    (leaf("eq"), "eq takes key and val"),
    (leaf("eq", "", "a"), "eq takes key and val"),
    (leaf("eq", "a", "b"), "eq takes key and val"),
    (leaf("eq", "a", key=""), "eq takes key and val"),
    (leaf("in"), "in takes key and vals"),
    (leaf("nin", "a"), "nin takes key and vals"),
    (leaf("in", "a", "b"), "in takes key and vals"),
    (leaf("ex", "a"), "ex takes key and nothing else"),
    (leaf("nex", key=""), "nex takes key and nothing else"),
    (leaf("gt", "ten"), "gt takes a decimal number"),
    (leaf("lte", "1e3"), "lte takes a decimal number"),
    (leaf("lt", "1" * 65), "lt takes a decimal number"),
)


def chain(depth: int) -> FilterNode:
    node = leaf("ex")
    for _ in range(depth - 1):
        node = inner("not", node)
    return node


class TableTests(SynchronousTestCase):
    def test_comparisons(self) -> None:
        for node, matching, others in LEAVES:
            match = compile_filter(node)
            for value in (*matching, *others):
                tags = {"other": "a"} if value is None else {"k": value, "other": "a"}
                self.assertIs(value in matching, match(tags), (node, value))

    def test_trees(self) -> None:
        for node, tags, wanted in TREES:
            self.assertIs(wanted, compile_filter(node)(tags), (node, tags))

    def test_refused(self) -> None:
        """With what is wrong; never with a value."""
        for node, detail in REFUSED:
            error: ReplyError = self.assertRaises(ReplyError, compile_filter, node)
            self.assertEqual(ErrorCode.BAD_REQUEST, error.code)
            self.assertTrue(error.message.startswith(f"tags filter: {detail}"), (node, error.message))
            self.assertNotIn("ten", error.message)

    def test_bounds(self) -> None:
        for node, good in (
            (chain(MAX_DEPTH), True),
            (chain(MAX_DEPTH + 1), False),
            (chain(5000), False),
            (inner("or", *[leaf("ex")] * (MAX_NODES - 1)), True),
            (inner("or", *[leaf("ex")] * MAX_NODES), False),
            (inner("or", *[inner("or", *[leaf("ex")] * 20)] * 20), False),
            (leaf("in", "", *map(str, range(10_000))), True),
        ):
            if good:
                self.assertIsInstance(compile_filter(node)({"k": "5"}), bool)
            else:
                self.assertRaises(ReplyError, compile_filter, node)


def reference(node: FilterNode, tags: Mapping[str, str]) -> bool:
    """What a node means, said another way."""
    if node.op:
        answers = [reference(part, tags) for part in node.nodes]
        return {"and": min(answers), "or": max(answers), "not": not answers[0]}[node.op]
    if node.compare in ("neq", "nin", "nex"):
        return not reference(node._replace(compare=node.compare[1:] if node.compare != "neq" else "eq"), tags)
    if node.key not in tags or node.compare == "ex":
        return node.key in tags
    tag, value = tags[node.key], node.value
    match node.compare:
        case "eq":
            return tag == value
        case "in":
            return tag in node.values
        case "sw":
            return tag[: len(value)] == value
        case "ew":
            return tag[::-1][: len(value)] == value[::-1]
        case "ct":
            return tag.find(value) >= 0
    try:
        difference = Fraction(tag) - Fraction(value)
    except ValueError:
        return False
    return {"lt": difference < 0, "lte": difference <= 0, "gt": difference > 0, "gte": difference >= 0}[node.compare]


KEYS = st.sampled_from("ab")
NUMBERS = st.sampled_from(("0", "-0", "1", "1.0", "01", "-1", "0.1", "10", "2.5", "-2.50"))
WORDS = st.sampled_from(("a", "b", "ab", "aba", "x", "A"))
VALUES = st.one_of(NUMBERS, WORDS)
LEAF = st.one_of(
    st.tuples(st.sampled_from(("eq", "neq", "sw", "ew", "ct")), VALUES),
    st.tuples(st.sampled_from(("lt", "lte", "gt", "gte")), NUMBERS),
    st.tuples(st.sampled_from(("in", "nin")), st.just(""), VALUES, VALUES),
    st.tuples(st.sampled_from(("ex", "nex"))),
).flatmap(lambda words: KEYS.map(lambda key: leaf(*words, key=key)))
NODES = st.recursive(
    LEAF,
    lambda nodes: st.one_of(
        st.tuples(st.sampled_from(("and", "or")), nodes, nodes).map(lambda parts: inner(*parts)),
        nodes.map(lambda part: inner("not", part)),
    ),
    max_leaves=12,
)


class ReferenceTests(SynchronousTestCase):
    @given(NODES, st.lists(st.dictionaries(KEYS, VALUES), min_size=1, max_size=5))
    def test_any_tree(self, node: FilterNode, publications: list[dict[str, str]]) -> None:
        match = compile_filter(node)
        for tags in publications:
            self.assertIs(reference(node, tags), match(tags), (node, tags))
