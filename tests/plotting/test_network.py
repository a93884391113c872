"""The diagram of a network: its boxes, its arrows, where they are put, and its texts."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import combinations, pairwise

import pytest

import rfcalc
from rfcalc.analyses.analysis import Analysis
from rfcalc.plotting import diagram, dot, mermaid
from rfcalc.plotting.markup import dot_string, mermaid_string
from rfcalc.plotting.network import Arrow, Diagram, fold, label, layout
from tests.plotting import nets

#: The boxes of an Inception module in execution order, and what each reads.
INCEPTION = {
    "input": [],
    "1x1": ["input"],
    "3x3_reduce": ["input"],
    "3x3": ["3x3_reduce"],
    "5x5_reduce": ["input"],
    "5x5": ["5x5_reduce"],
    "pool": ["input"],
    "pool_proj": ["pool"],
    "cat": ["1x1", "3x3", "5x5", "pool_proj"],
}


@pytest.fixture(scope="module")
def inception() -> Diagram:
    return diagram(rfcalc.analyze("inception-reduced"))


@pytest.fixture(scope="module")
def resnet() -> Analysis:
    return rfcalc.analyze("resnet50")


def reads(found: Diagram) -> dict[str, list[str]]:
    """What each box reads, by name."""
    names = [item.name for item in found.items]
    return {name: [names[a.tail] for a in found.arrows if a.head == at] for at, name in enumerate(names)}


def test_the_arrows_of_inception(inception: Diagram) -> None:
    assert reads(inception) == INCEPTION


def test_a_box_says_what_a_layer_sees_and_costs(inception: Diagram) -> None:
    assert label(inception.items[5]) == [
        "6 5x5",
        "field 5x5",
        "1x32x28x28",
        "12,832 params, 10.04 M multiply-adds",  # 25*16*32 + 32; 784*25*16*32 = 10,035,200
    ]
    assert label(inception.items[6]) == ["7 pool", "field 3x3", "1x192x28x28"]


def test_inception_in_rows(inception: Diagram) -> None:
    found = layout(inception)
    rows = {item.name: found.places[item.id][1] for item in inception.items}

    assert rows == {
        "input": 0,
        **dict.fromkeys(("1x1", "3x3_reduce", "5x5_reduce", "pool"), 1),
        **dict.fromkeys(("3x3", "5x5", "pool_proj"), 2),
        "cat": 3,
    }
    assert found.rows == 4
    assert [len(way) for way in found.bends.values()] == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]  # past row 2, 1x1 to cat


@pytest.mark.parametrize("model", ["inception-reduced", "resnet18", "googlenet", "unet"])
def test_no_boxes_overlap_and_no_arrows_cross(model: str) -> None:
    analysis = rfcalc.analyze(nets.UNet(), (3, 16, 16)) if model == "unet" else rfcalc.analyze(model)
    found = diagram(analysis)
    places = layout(found)

    for a, b in combinations(places.places.values(), 2):
        assert a[1] != b[1] or abs(a[0] - b[0]) >= 1
    for (_, ax0, ax1), (_, bx0, bx1) in _pairs_of_segments(found, places):
        assert (ax0 - bx0) * (ax1 - bx1) >= 0


def _pairs_of_segments(found: Diagram, places):
    """Pairs of pieces of arrows between the same two rows, (row, x above, x below)."""
    pieces = []
    for arrow in found.arrows:
        way = [places.places[arrow.tail], *places.bends[arrow.tail, arrow.head], places.places[arrow.head]]
        pieces += [(y0, x0, x1) for (x0, y0), (x1, _) in pairwise(way)]
    return [(a, b) for a, b in combinations(pieces, 2) if a[0] == b[0]]


@pytest.mark.parametrize(
    ("name", "depth", "folded"),
    [
        ("layer1.0.conv1", 1, "layer1"),
        ("layer1.0.conv1", 2, "layer1.0"),
        ("layer1.0.conv1", 3, "layer1.0.conv1"),
        ("layer1.0.conv1", None, "layer1.0.conv1"),
        ("layer1.0/add", 2, "layer1.0"),
        ("inception3a/3x3", 1, "inception3a"),
        ("fc", 1, "fc"),
        ("conv#2", 1, "conv#2"),
        ("...", 1, "..."),
    ],
)
def test_folding(name: str, depth: int | None, folded: str) -> None:
    assert fold(name, depth) == folded


def test_resnet_folds_to_its_blocks(resnet: Analysis) -> None:
    found = diagram(resnet, 1)

    # the input, conv1, pool1, 3 + 4 + 6 + 3 blocks, avgpool, fc
    assert len(found.items) == 21
    assert found.arrows == tuple(Arrow(at, at + 1) for at in range(20))
    assert sum(item.params for item in found.items) == 25_557_032
    assert sum(item.macs or 0 for item in found.items) == 4_089_184_256
    assert label(found.items[3])[:3] == ["conv2_1 (5 layers)", "field 19x19", "1x256x56x56"]
    assert label(found.items[18])[1] == "field 427x427"


def test_a_module_called_again_is_read_back() -> None:
    found = diagram(rfcalc.analyze(nets.Again(), (3, 8, 8)), 1)

    assert [item.name for item in found.items] == ["input", "a", "b.0"]
    assert found.arrows == (Arrow(0, 1), Arrow(1, 2), Arrow(2, 1, back=True))
    assert [y for _, y in layout(found).places.values()] == [0, 1, 2]


def test_an_input_is_not_folded_with_a_module_of_its_name() -> None:
    found = diagram(rfcalc.analyze(nets.Namesake(), {"x": (1, 8, 8)}), 1)

    assert [(item.name, item.layers) for item in found.items] == [("x", 1), ("x", 2)]


def test_several_inputs_are_named() -> None:
    found = diagram(rfcalc.analyze(nets.Two(), {"left": (1, 8, 8), "right": (1, 8, 8)}))

    assert label(found.items[-1])[1] == "field left 1x1; right 3x3"


def test_an_unknown_cost_is_a_question_mark(odd: str) -> None:
    found = diagram(rfcalc.analyze(odd))

    assert found.items[-1].macs is None
    assert label(found.items[-1])[-1] == "0 params, ? multiply-adds"


def test_an_op_that_belongs_to_no_layer_has_no_arrow(tiny: str) -> None:
    graph = rfcalc.analyze(tiny).layer_graph
    records = {
        ident: replace(record, owner=-1 if record.name == "relu" else record.owner)
        for ident, record in graph.records.items()
    }
    found = diagram(Analysis(replace(graph, records=records)))

    assert reads(found) == {"input": [], "conv1": ["input"], "conv2": ["conv1"]}


# --- texts ------------------------------------------------------------------------------------------------------------


def test_dot_of_a_stack() -> None:
    assert dot(diagram(rfcalc.analyze("3x3:1-1", (1, 4, 4)))) == (
        'digraph "3x3:1-1" {\n'
        '  node [shape=box, fontname="Helvetica"];\n'
        '  n0 [label="1 input\\nfield 1x1\\n1x1x4x4"];\n'
        '  n1 [label="2 conv1\\nfield 3x3\\n1x1x4x4\\n9 params, 144 multiply-adds"];\n'
        "  n0 -> n1;\n"
        "}\n"
    )


def test_mermaid_of_a_stack() -> None:
    assert mermaid(diagram(rfcalc.analyze("3x3:1-1", (1, 4, 4)))) == (
        "flowchart TB\n"
        '  n0["1 input<br/>field 1x1<br/>1x1x4x4"]\n'
        '  n1["2 conv1<br/>field 3x3<br/>1x1x4x4<br/>9 params, 144 multiply-adds"]\n'
        "  n0 --> n1\n"
    )


def test_arrows_back_are_dashed() -> None:
    found = diagram(rfcalc.analyze(nets.Again(), (3, 8, 8)), 1)

    assert "  n2 -> n1 [style=dashed, constraint=false];\n" in dot(found)
    assert "  n2 -.-> n1\n" in mermaid(found)


@pytest.mark.parametrize(
    ("name", "in_dot", "in_mermaid"),
    [
        ('a"b', '"a\\"b"', '"a#34;b"'),
        ("a\\", '"a\\\\"', '"a#92;"'),
        ("a\nb", '"a\\\\nb"', '"a#92;nb"'),
        ("<img onerror=x>", '"<img onerror=x>"', '"#60;img onerror#61;x#62;"'),
        ("&lt;", '"&amp;lt;"', '"#38;lt#59;"'),
        ("#35;", '"#35;"', '"#35;35#59;"'),
        ("`a` *b* [c] {d}", '"`a` *b* [c] {d}"', '"#96;a#96; #42;b#42; #91;c#93; #123;d#125;"'),
        ("é日", '"é日"', '"#233;#26085;"'),
    ],
)
def test_names_are_escaped(name: str, in_dot: str, in_mermaid: str) -> None:
    assert dot_string([name]) == in_dot
    assert mermaid_string([name]) == in_mermaid


def test_no_name_leaves_its_string() -> None:
    found = diagram(rfcalc.analyze(nets.Named(), (1, 8, 8)))

    lines = dot(found).splitlines()
    assert len(lines) == 3 + 2 * len(found.items) - 1
    assert all(re.fullmatch(r'  n\d+ \[label="([^"\\]|\\.)*"\];', line) for line in lines[2 : 2 + len(found.items)])
    boxes = mermaid(found).splitlines()[1 : 1 + len(found.items)]
    assert all(re.fullmatch(r'  n\d+\["([\w .,:/+()-]|#\d+;|<br/>)*"\]', line) for line in boxes)
