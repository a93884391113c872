"""What is not worked out twice: source axes that are seen alike, and sights that come again."""

from __future__ import annotations

import gc
from collections.abc import Callable
from itertools import pairwise
from random import Random

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from rfcalc import reads
from rfcalc.analyses import receptive_field
from rfcalc.analyses.analysis import Analysis
from rfcalc.analyses.field import lines, walk
from rfcalc.analyses.field.folded import Folded
from rfcalc.analyses.field.intervals import Intervals
from rfcalc.analyses.field.masked import Masked, Shade, Shades
from rfcalc.analyses.field.merging import combined
from rfcalc.analyses.field.motion import Digit, Motion, even, is_known
from rfcalc.analyses.field.states import Sight, State, Turned, can_turn
from rfcalc.analyses.field.turns import Turns, exchange
from rfcalc.analyses.field.walk import trace_axes
from rfcalc.api import layer_graph
from rfcalc.graph import LayerGraph, Ref
from tests.randomnets.draw import draw


class Net(nn.Module):
    """A function of an image, in which a convolution runs first."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(4, 4, 3, padding=1)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.stem(x))


def graph_of(function: Callable[[Tensor], Tensor], height: int = 12, width: int = 12) -> LayerGraph:
    return layer_graph(Net(function).to("meta").eval(), torch.empty(1, 4, height, width, device="meta"))


def gated(x: Tensor) -> Tensor:
    return x * functional.avg_pool2d(x, 12).sigmoid()


def assigned(x: Tensor) -> Tensor:
    made = torch.zeros(1, 4, 15, 15, device=x.device)
    made[:, :, 2:14, 2:14] = x
    return functional.max_pool2d(made, 3)


def written(x: Tensor) -> Tensor:
    made = x.reshape(-1).clone()
    made[132:137].exp_()
    return made


def half_a_pixel_apart(x: Tensor) -> Tensor:
    return functional.max_pool2d(x, 3, 2, 1) + functional.max_pool2d(x, 2, 2)


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def image(x: Tensor, side: int) -> Tensor:
    return x.transpose(1, 2).reshape(1, -1, side, side)


def attention(x: Tensor, open_: Tensor | None = None) -> Tensor:
    scores = x @ x.transpose(1, 2)
    return (scores if open_ is None else scores.masked_fill(~open_, -torch.inf)).softmax(2) @ x


def windows(x: Tensor) -> Tensor:
    """Nine windows of 4 x 4 pixels: (windows, positions, channels)."""
    return x.reshape(1, 4, 3, 4, 3, 4).permute(0, 2, 4, 3, 5, 1).reshape(9, 16, 4)


def whole(x: Tensor) -> Tensor:
    return x.reshape(1, 3, 3, 4, 4, 4).permute(0, 5, 1, 3, 2, 4).reshape(1, 4, 12, 12)


def shifted(x: Tensor) -> Tensor:
    """Which pixels of a window were neighbours before rows and columns went round by two."""
    place = torch.arange(12, device=x.device)
    number = (place >= 8).long() + (place >= 10)
    part = (number[:, None] * 3 + number).expand(1, 4, 12, 12)
    flat = windows(part)[:, :, 0]
    return flat[:, :, None] == flat[:, None]


def earlier(x: Tensor) -> Tensor:
    return torch.ones(144, 144, device=x.device).tril().bool()


def merged(x: Tensor) -> Tensor:
    parts = [x[:, :, 0::2, 0::2], x[:, :, 1::2, 0::2], x[:, :, 0::2, 1::2], x[:, :, 1::2, 1::2]]
    return functional.conv2d(torch.cat(parts, 1), torch.ones(8, 16, 1, 1, device=x.device))


#: Networks, and whether their output sees the columns as it sees the rows.
NETS: dict[str, tuple[Callable[[Tensor], Tensor], bool]] = {
    "pooling": (lambda x: functional.max_pool2d(x, 3, 2, 1), True),
    "dilation": (lambda x: functional.max_pool2d(x, 3, 1, 1, 1) + x, True),
    "upsampling": (lambda x: functional.interpolate(x, scale_factor=2, mode="bilinear"), True),
    "padding": (lambda x: functional.pad(x, (2, 1, 2, 1), mode="reflect"), True),
    "channels side by side": (lambda x: torch.cat([functional.max_pool2d(x, 3, 1, 1), x], 1), True),
    "channels, then a window": (lambda x: functional.avg_pool2d(torch.cat([functional.relu(x), x], 1), 3), True),
    "branches that are not aligned": (half_a_pixel_apart, True),
    "a gate over all": (gated, True),
    "channels last": (lambda x: x.permute(0, 2, 3, 1).softmax(-1), True),
    "flipped both ways": (lambda x: x.flip(2, 3), True),
    "transposed": (lambda x: x.transpose(2, 3), True),
    "assigned, one axis after the other": (assigned, False),
    "one of both repeated": (lambda x: functional.max_pool2d(x, 12).expand(1, 4, 1, 5), False),
    "attention over tokens": (lambda x: attention(tokens(x)), True),
    "back to an image": (lambda x: functional.max_pool2d(image(attention(tokens(x)), 12), 3, 2, 1), True),
    "attention in windows": (lambda x: whole(attention(windows(x))), True),
    "attention in shifted windows": (lambda x: whole(attention(windows(x.roll((-2, -2), (2, 3))), shifted(x))), True),
    "windows, the columns shifted by less": (lambda x: attention(windows(x.roll((-2, -1), (2, 3))), shifted(x)), False),
    "windows, only the columns shifted": (lambda x: attention(windows(x.roll(-2, 3)), shifted(x)), False),
    "earlier tokens only": (lambda x: attention(tokens(x), earlier(x)), False),
    "a token more": (lambda x: attention(functional.pad(tokens(x), (0, 0, 1, 0))), False),
    "rows, then columns": (lambda x: functional.max_pool2d(functional.max_pool2d(x, (3, 1), 1), (1, 3), 1), True),
    "every other pixel": (lambda x: functional.max_pool2d(merged(x), 3), True),
    "a number of all": (lambda x: functional.pad(x, (2, 1, 1, 2)).sum(), True),
    "a number of elements in a row": (lambda x: written(x).sum(), True),
    "the largest of columns shifted": (lambda x: x.roll(-2, 3).flatten().max(), True),
    "rows only": (lambda x: functional.max_pool2d(x, (3, 1), 1), False),
    "another stride": (lambda x: functional.max_pool2d(x, 3, (1, 2)), False),
    "another padding": (lambda x: functional.pad(x, (2, 1, 1, 2)), False),
    "flipped": (lambda x: x.flip(3), False),
    "mean over columns": (lambda x: x.mean(3), False),
    "columns side by side": (lambda x: torch.cat([x, functional.relu(x)], 3), False),
    "with the transpose": (lambda x: x + x.transpose(2, 3), True),
    "columns in two places": (lambda x: x.unsqueeze(4) + x.unsqueeze(3), False),
    "prefix": (lambda x: x.cumsum(2), False),
}


@pytest.mark.parametrize("name", NETS)
def test_axes_gone_along_together_are_seen_as_each_by_itself(name: str) -> None:
    assert_together_as_alone(graph_of(NETS[name][0]), Ref(0))


def test_axes_of_random_networks() -> None:
    turned = 0
    for seed in range(60):
        net, inputs = draw(Random(seed))
        graph = layer_graph(net, tuple(inputs))
        for source in graph.inputs:
            turned += assert_together_as_alone(graph, Ref(source.node))

    assert turned > 50  # axes of one extent are seen alike by chance


def assert_together_as_alone(graph: LayerGraph, source: Ref) -> int:
    """All axes of the source gone along at once are seen as each by itself; how often one is a turned one."""
    axes = range(len(graph[source.node].outputs[source.output].shape))
    alone = [[(record, rows, dict(own)) for record, rows, (own,) in trace_axes(graph, source, (k,))] for k in axes]
    turned = 0
    for record, rows, clashes in trace_axes(graph, source, axes):
        own = [walk.pop(0) for walk in alone]
        assert list(clashes) == [found for _, _, found in own]
        for number, row in enumerate(rows):
            for state, (same, single, _) in zip(row, own, strict=True):
                assert same is record
                assert_same(state, single[number][0])
                turned += isinstance(state, Turned)
    return turned


def assert_same(one: State | None, other: State | None) -> None:
    """Both see the same, free and clipped, of the same axes, by the same layers."""
    if one is None or other is None:
        assert one is other
        return
    assert (one.context, one.inexact, one.misaligned, one.masked) == (
        other.context,
        other.inexact,
        other.misaligned,
        other.masked,
    )
    for parts, others in ((one.full, other.full), (one.local, other.local)):
        assert len(parts) == len(others)
        if parts:
            mine, its = combined(parts), combined(others)
            assert mine.shape == its.shape
            np.testing.assert_array_equal(mine.lo, its.lo)
            np.testing.assert_array_equal(mine.hi, its.hi)
            if parts is one.local and parts is not one.full:
                known = [{k: moved for k, moved in part.tags.items() if is_known(moved)} for part in (mine, its)]
                assert known[0] == known[1]
    assert receptive_field.summarise(one, 12) == receptive_field.summarise(other, 12)


@pytest.mark.parametrize("name", NETS)
def test_columns_are_not_worked_out_where_they_are_seen_as_rows(name: str) -> None:
    function, alike = NETS[name]
    graph = graph_of(function)
    last = [row[0] for _, row, _ in trace_axes(graph, Ref(0), (2, 3))][-1]

    assert (isinstance(last[1], Turned) and last[1].like is last[0]) is alike


def test_columns_of_another_extent_are_worked_out() -> None:
    for _, rows, _ in trace_axes(graph_of(torch.relu, 12, 10), Ref(0), (2, 3)):
        assert not isinstance(rows[0][1], Turned)


def test_clashes_are_known_of_both_axes() -> None:
    graph = graph_of(half_a_pixel_apart)
    *_, (_, rows, clashes) = trace_axes(graph, Ref(0), (2, 3))

    assert isinstance(rows[0][1], Turned)
    assert list(clashes[0]) == list(clashes[1])
    assert len(clashes[0]) == 1


def test_what_is_kept_as_a_table_is_not_turned() -> None:
    rows = State(Sight((lines.lined((1, 8, 8), 1, lines.source_line(8)),), ()))
    table = Folded((8, 8), Intervals((1, 1), np.zeros((1, 1)), np.zeros((1, 1)), {}), (None, None), {})

    assert can_turn(rows)
    assert not can_turn(State(Sight((table,), ())))
    assert not can_turn(State(Sight(rows.full, (table,))))
    below = Masked((8, 8), (table,), Shade(np.eye(8, dtype=bool)), {})
    assert not can_turn(State(Sight((below,), ())))


def test_lines_are_turned_to_lines() -> None:
    rows = State(Sight((lines.lined((1, 8, 8), 1, lines.source_line(8)),), ()))
    turned = Turned(rows, exchange((1, 8, 8), 1, 2))

    assert turned.shape == (1, 8, 8)
    assert isinstance(turned.full[0], lines.Lined)
    assert turned.full[0].lo.tolist() == [[[0, 1, 2, 3, 4, 5, 6, 7]]]


def turned_tokens(field: Intervals) -> Intervals:
    """A field of nine tokens, rows and columns exchanged."""
    turn = Turns(Shades({})).after((reads.Reshape((3, 3), (9,)),), exchange((3, 3), 0, 1), (9,))
    assert turn is not None
    return Turned(State(Sight((field,), ())), turn[0]).full[0]


@pytest.mark.parametrize(
    ("first", "inner"),
    [
        ([0, 0, 0, 4, 4, 4, 8, 8, 8], Digit(3, 1, 0, False)),  # the row; turned, the column
        ([0, 1, 0, 4, 5, 4, 8, 9, 8], Digit(3, 0, 0, False)),  # the column shows too
    ],
)
def test_patterns_of_tokens(first: list[int], inner: Digit) -> None:
    lo, outer = np.array(first), Digit(3, 1, 4)
    motion: Motion = (outer, inner)
    made = turned_tokens(Intervals((9,), lo, lo, {0: motion}))

    assert made.lo.tolist() == lo.reshape(3, 3).T.ravel().tolist()
    assert dict(made.tags) == {0: (inner, outer)}


def test_masks_are_turned_with_what_is_below() -> None:
    shade = np.tri(3, dtype=bool)
    lo = np.arange(3).reshape(3, 1)
    rows = Masked((3, 3), (Intervals((3, 3), lo, lo, {0: even(3, 1)}),), Shade(shade), {0: even(3, 1)})
    made = Turned(State(Sight((rows,), ())), exchange((3, 3), 0, 1)).full[0]

    assert isinstance(made, Masked)
    np.testing.assert_array_equal(made.lo, rows.lo.T)
    np.testing.assert_array_equal(made.hi, rows.hi.T)
    assert dict(made.tags) == {1: even(3, 1)}


# --- how much is worked out -------------------------------------------------------------------------------------------


def chain(depth: int) -> Callable[[Tensor], Tensor]:
    """Poolings of 3 x 3."""

    def forward(x: Tensor) -> Tensor:
        for _ in range(depth):
            x = functional.max_pool2d(x, 3, 1, 1)
        return x

    return forward


class Transformer(nn.Module):
    """Tokens of an image through blocks of attention."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.blocks = nn.ModuleList([nn.MultiheadAttention(16, 2, batch_first=True) for _ in range(depth)])
        self.mixers = nn.ModuleList([nn.Linear(16, 16) for _ in range(depth)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        for block, mixer in zip(self.blocks, self.mixers, strict=True):
            x = block(x, x, x)[0] + x
            x = x + mixer(x)
        return x


def worked_out(monkeypatch: pytest.MonkeyPatch, graph: LayerGraph) -> int:
    """How often an analysis works out what is seen after an op's steps."""
    calls, seen = [], walk._Axis._seen

    def counted(self: object, *args: object) -> object:
        calls.append(args)
        return seen(self, *args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(walk._Axis, "_seen", counted)
        assert len(Analysis(graph).layers) > 1
    return len(calls)


def test_both_axes_of_a_square_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert worked_out(monkeypatch, graph_of(chain(10))) == 11  # and the convolution before
    assert worked_out(monkeypatch, graph_of(chain(10), 12, 10)) == 22


def test_blocks_that_see_the_same_are_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    image = torch.empty(1, 3, 16, 16, device="meta")
    found = [worked_out(monkeypatch, layer_graph(Transformer(n).to("meta").eval(), image)) for n in (3, 4, 5, 9)]

    assert [later - earlier for earlier, later in pairwise(found)] == [0, 0, 0]


def test_equal_parts_of_a_tensor_are_gone_on_with_once(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graph_of(lambda x: torch.stack([functional.max_pool2d(part, 3) for part in x.chunk(4, 1)]))
    pools = {id(record.reads[0][0].steps) for record in graph if "pool" in record.op}

    assert worked_out(monkeypatch, graph) == 1 + 1 + len(pools) + 4  # convolution, a part, poolings, and their places


def test_parts_of_an_axis_that_matters_are_not_alike() -> None:
    graph = graph_of(lambda x: torch.stack([x[:, :, start : start + 4] for start in (0, 4, 8)]))
    found = [rows[0][0] for record, rows, _ in trace_axes(graph, Ref(0, 0), (2,)) if record.op == "aten.slice"]

    assert [int(state.full[0].lo.min()) for state in found if state is not None] == [0, 3, 7]


def test_samples_are_counted_once_for_axes_that_are_seen_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    axes: list[int] = []
    counted = receptive_field.sample_counts

    def noted(graph: LayerGraph, source: Ref, axis: int, *rest: object) -> dict[int, int]:
        axes.append(axis)
        return counted(graph, source, axis, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(receptive_field, "sample_counts", noted)
    for width, expected in ((12, [2]), (10, [2, 3])):
        axes.clear()
        assert Analysis(graph_of(chain(3), 12, width)).layers[-1].receptive_field.samples == (9, 9)
        assert axes == expected


def test_samples_of_axes_that_part() -> None:
    rows_only = Analysis(graph_of(lambda x: functional.max_pool2d(x, (3, 1), 1, (1, 0)))).layers[-1]

    assert rows_only.receptive_field.size == (5, 3)
    assert rows_only.receptive_field.samples == (5, 3)


def test_no_garbage_is_collected_while_layers_are_made() -> None:
    analysis, runs = Analysis(graph_of(chain(40))), []

    def noted(phase: str, info: dict[str, int]) -> None:
        runs.append(phase)

    before = gc.get_threshold()
    gc.callbacks.append(noted)
    gc.set_threshold(5)
    try:
        runs.clear()
        during = analysis.layers and list(runs)
    finally:
        gc.callbacks.remove(noted)
        gc.set_threshold(*before)

    assert during.count("start") < 10  # at the beginning and at the end; hundreds otherwise
    assert gc.isenabled()


class Windows(nn.Module):
    """Attention in windows, every other time in shifted ones, beside the image that it is added to."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.depth = depth

    def forward(self, x: Tensor) -> Tensor:
        for block in range(self.depth):
            if block % 2:
                x = x + whole(attention(windows(x.roll((-2, -2), (2, 3))), shifted(x))).roll((2, 2), (2, 3))
            else:
                x = x + whole(attention(windows(x)))
        return x


def test_windows_that_see_the_whole_image_are_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    image = torch.empty(1, 4, 12, 12, device="meta")
    found = [worked_out(monkeypatch, layer_graph(Windows(n).eval(), image)) for n in (4, 6, 8, 10)]

    assert found[3] - found[2] <= 6 < found[1] - found[0]  # free of borders, fields go on growing
