"""Layers of two models paired: by what they are, by name, by order; nothing lost, and fast on long models."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rfcalc.analyses import matching
from rfcalc.analyses.matching import Item, common, increasing, match, shape_of_name


def items(*rows: tuple[str, object]) -> list[Item]:
    return [Item(name, "conv", what) for name, what in rows]


def listed(*signatures: object) -> list[Item]:
    """The layers of a Sequential."""
    return items(*((f"features.{place}", what) for place, what in enumerate(signatures)))


def told(old: Sequence[Item], new: Sequence[Item]) -> list[str]:
    """``how old>new``, with a star if it moved."""
    rows = []
    for pair in match(old, new):
        before = old[pair.old].name if pair.old is not None else ""
        after = new[pair.new].name if pair.new is not None else ""
        names = before if before == after else f"{before}>{after}"
        rows.append(f"{pair.how} {names}{' *' * pair.moved}".replace("features.", ""))
    return rows


CASES = {
    "nothing changed": (items(("a", 1), ("b", 2)), items(("a", 1), ("b", 2)), ["same a", "same b"]),
    "one changed": (items(("a", 1), ("b", 2)), items(("a", 1), ("b", 3)), ["same a", "changed b"]),
    "all changed": (items(("a", 1), ("b", 2)), items(("a", 3), ("b", 4)), ["changed a", "changed b"]),
    "renamed": (
        items(("a", 1), ("b", 2), ("c", 1)),
        items(("a", 1), ("stem", 2), ("c", 1)),
        ["same a", "renamed b>stem", "same c"],
    ),
    "a container renamed": (
        items(("body.a", 1), ("body.b", 2), ("head", 3)),
        items(("trunk.a", 1), ("trunk.b", 2), ("head", 3)),
        ["renamed body.a>trunk.a", "renamed body.b>trunk.b", "same head"],
    ),
    "a container renamed, a layer in it changed": (
        items(("body.a", 1), ("body.b", 2), ("head", 3)),
        items(("trunk.a", 1), ("trunk.b", 9), ("head", 3)),
        ["renamed body.a>trunk.a", "changed body.b>trunk.b", "same head"],
    ),
    "wrapped in a module": (
        items(("a", 1), ("b.0", 2)),
        items(("model.a", 1), ("model.b.0", 2)),
        ["renamed a>model.a", "renamed b.0>model.b.0"],
    ),
    "one of many equal ones removed": (
        items(("a", 1), ("b", 1), ("c", 1), ("d", 2)),
        items(("a", 1), ("c", 1), ("d", 2)),
        ["same a", "removed b>", "same c", "same d"],
    ),
    "put into a list": (
        listed(1, 2, 2, 3),
        listed(1, 9, 2, 2, 3),
        ["same 0", "added >1", "renamed 1>2", "renamed 2>3", "renamed 3>4"],
    ),
    "taken from a list": (listed(1, 9, 2, 3), listed(1, 2, 3), ["same 0", "removed 1>", "renamed 2>1", "renamed 3>2"]),
    "changed in a list": (listed(1, 2, 2, 3), listed(1, 5, 6, 3), ["same 0", "changed 1", "changed 2", "same 3"]),
    "put into a list that got wider": (
        [*listed(1, 2), Item("features.2", "pool", 0), Item("features.3", "conv", 3)],
        [*listed(11, 12, 19), Item("features.3", "pool", 0), Item("features.4", "conv", 13)],
        ["changed 0", "changed 1", "added >2", "renamed 2>3", "changed 3>4"],
    ),
    "another order": (
        items(("a", 1), ("b", 2), ("c", 3), ("d", 4)),
        items(("a", 1), ("c", 3), ("b", 2), ("d", 4)),
        ["same a", "same c", "same b *", "same d"],
    ),
    "another kind under the name": (
        [Item("a", "conv", 1), Item("b", "pool", 2)],
        [Item("a", "conv", 1), Item("b", "conv", 3)],
        ["same a", "changed b"],
    ),
    "nothing in common": (
        [Item("a", "conv", 1)],
        [Item("b", "pool", 2)],
        ["removed a>", "added >b"],
    ),
    "empty": ([], items(("a", 1)), ["added >a"]),
    "both empty": ([], [], []),
    "calls are counted": (
        items(("add", 1), ("add#2", 1), ("x", 2)),
        items(("add", 1), ("y", 3), ("add#2", 1), ("add#3", 1), ("x", 2)),
        ["same add", "added >y", "added >add#2", "renamed add#2>add#3", "same x"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_pairs(case: str) -> None:
    old, new, expected = CASES[case]

    assert told(old, new) == expected


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("features.3", "features.*"),
        ("layer1.0.conv1", "layer1.*.conv1"),
        ("0.weight2.1", "*.weight2.*"),
        ("conv3_1", "conv3_1"),
        ("inception3a/5x5", "inception3a/5x5"),
        ("layer1.0/add#2", "layer1.*/add"),
        ("add#12", "add"),
        ("block.1#2.conv", "block.*.conv"),
    ],
)
def test_places_in_lists(name: str, shape: str) -> None:
    assert shape_of_name(name) == shape


@pytest.mark.parametrize("value", [{"b": [1, {"c": 2}], "a": None}, [], "x", 1.5])
def test_json_data_as_something_hashable(value: object) -> None:
    hash(matching.frozen(value))
    assert matching.frozen({"a": 1, "b": [2]}) == matching.frozen({"b": [2], "a": 1}) != matching.frozen({"a": 1})


def longest(a: str, b: str) -> int:
    """The length of the longest common subsequence, by the table that every textbook has."""
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


@given(st.text("abc", max_size=12), st.text("abcd", max_size=12))
@settings(max_examples=300)
def test_the_common_subsequence_is_a_longest_one(a: str, b: str) -> None:
    pairs = common(a, b)

    assert len(pairs) == longest(a, b)
    assert all(a[x] == b[y] for x, y in pairs)
    assert all(p[0] < q[0] and p[1] < q[1] for p, q in pairwise(pairs))


@given(st.permutations(range(9)))
def test_the_part_in_order_is_a_longest_one(order: list[int]) -> None:
    found = increasing(list(enumerate(order)))

    assert all(p[0] < q[0] and p[1] < q[1] for p, q in pairwise(found))
    subsets = range(1 << len(order))
    rising = [
        kept
        for kept in ([value for place, value in enumerate(order) if subset >> place & 1] for subset in subsets)
        if kept == sorted(kept)
    ]
    assert len(found) == max(map(len, rising))


LAYERS = st.lists(
    st.builds(
        Item,
        st.sampled_from(["a", "b", "x.0", "x.1", "x.2", "y.0.c", "y.1.c", "c#2"]),
        st.sampled_from(["conv", "pool"]),
        st.integers(0, 2),
    ),
    max_size=8,
)


@given(LAYERS, LAYERS)
@settings(max_examples=300)
def test_every_layer_stands_in_one_pair_that_says_what_it_is(old: list[Item], new: list[Item]) -> None:
    pairs = match(old, new)

    assert sorted(pair.old for pair in pairs if pair.old is not None) == list(range(len(old)))
    assert [pair.new for pair in pairs if pair.new is not None] == list(range(len(new)))
    for pair in pairs:
        if pair.old is None or pair.new is None:
            assert pair.how == ("added" if pair.old is None else "removed")
        else:
            a, b = old[pair.old], new[pair.new]
            same = (a.kind, a.signature) == (b.kind, b.signature)
            assert pair.how == ("changed" if not same else "same" if a.name == b.name else "renamed")
    stay = [(pair.old, pair.new) for pair in pairs if pair.old is not None and pair.new is not None and not pair.moved]
    assert stay == sorted(stay)


@given(LAYERS)
def test_a_model_is_the_same_as_itself(layers: list[Item]) -> None:
    unique = list({item.name: item for item in layers}.values())

    assert {(pair.how, pair.moved) for pair in match(unique, unique)} <= {("same", False)}


N = 10_000
LONG = {
    "blocks": [Item(f"b.{n // 4}.c{n % 4}", "conv", n % 4) for n in range(N)],
    "wider blocks": [Item(f"b.{n // 4}.c{n % 4}", "conv", 9 + n % 4) for n in range(N)],
    "renamed blocks": [Item(f"z.{n // 4}.c{n % 4}", "conv", n % 4) for n in range(N)],
    "other blocks": [Item(f"q{n}", "conv", n * n % 53) for n in range(N)],
    "backwards": [Item(f"b.{n // 4}.c{n % 4}", "conv", n % 4) for n in reversed(range(N))],
}


@pytest.mark.parametrize("name", LONG)
def test_ten_thousand_layers(name: str) -> None:
    """Where everything changed, too: looking for a longest common part at any price would take minutes."""
    start = time.perf_counter()
    pairs = match(LONG["blocks"], LONG[name])

    assert time.perf_counter() - start < 30
    expected = {"blocks": {"same"}, "wider blocks": {"changed"}, "renamed blocks": {"renamed"}}
    if name in expected:
        assert {pair.how for pair in pairs} == expected[name]
