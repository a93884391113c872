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

from rfcalc import recall
from rfcalc.analyses import receptive_field
from rfcalc.analyses.analysis import Analysis
from rfcalc.analyses.field import keeping, walk
from rfcalc.analyses.field.merging import combined
from rfcalc.analyses.field.motion import is_known
from rfcalc.analyses.field.states import State
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
    for seed in range(60):
        net, inputs = draw(Random(seed))
        graph = layer_graph(net, tuple(inputs))
        for source in graph.inputs:
            assert_together_as_alone(graph, Ref(source.node))


def assert_together_as_alone(graph: LayerGraph, source: Ref) -> None:
    """All axes of the source gone along at once are seen as each by itself."""
    axes = range(len(graph[source.node].outputs[source.output].shape))
    alone = [[(record, rows, dict(own)) for record, rows, (own,) in trace_axes(graph, source, (k,))] for k in axes]
    for record, rows, clashes in trace_axes(graph, source, axes):
        own = [walk.pop(0) for walk in alone]
        assert list(clashes) == [found for _, _, found in own]
        for number, row in enumerate(rows):
            for state, (same, single, _) in zip(row, own, strict=True):
                assert same is record
                assert_same(state, single[number][0])


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
                known = [{k: moved for k, moved in part.motions.items() if is_known(moved)} for part in (mine, its)]
                assert known[0] == known[1]
    assert receptive_field.summarise(one, 12) == receptive_field.summarise(other, 12)


@pytest.mark.parametrize("name", [name for name, (_, alike) in NETS.items() if alike])
def test_columns_are_seen_as_rows(name: str) -> None:
    """Rows and columns of a square image, which the network treats alike."""
    field = Analysis(graph_of(NETS[name][0])).ops[-1].receptive_field
    said = (field.size, field.size_min, field.local_size, field.period, field.stride, field.start, field.samples)

    assert [both and both[0] for both in said] == [both and both[1] for both in said]


def test_clashes_are_known_of_both_axes() -> None:
    graph = graph_of(half_a_pixel_apart)
    *_, (_, _, clashes) = trace_axes(graph, Ref(0), (2, 3))

    assert list(clashes[0]) == list(clashes[1])
    assert len(clashes[0]) == 1


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
    """How often an analysis that has seen nothing before works out what is seen after an op's steps."""
    recall.forget()
    calls, seen = [], walk._Axis._seen

    def counted(self: object, *args: object) -> object:
        calls.append(args)
        return seen(self, *args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(walk._Axis, "_seen", counted)
        assert len(Analysis(graph).layers) > 1
    return len(calls)


def test_blocks_that_see_the_same_are_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    image = torch.empty(1, 3, 16, 16, device="meta")
    found = [worked_out(monkeypatch, layer_graph(Transformer(n).to("meta").eval(), image)) for n in (3, 4, 5, 9)]

    assert [later - earlier for earlier, later in pairwise(found)] == [0, 0, 0]


class StateSpace(nn.Module):
    """Steps that read all before them, by decays of all pairs of steps of which the mask leaves those before."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.decays = nn.ModuleList([nn.Linear(4, 1) for _ in range(depth)])
        self.values = nn.ModuleList([nn.Linear(4, 4) for _ in range(depth)])

    def forward(self, x: Tensor) -> Tensor:
        for decay, value in zip(self.decays, self.values, strict=True):
            own = decay(x).squeeze(-1).unflatten(1, (2, -1))
            later = torch.ones(own.shape[-1], own.shape[-1], dtype=torch.bool).triu(1)
            pairs = (own[..., :, None] - own[..., None, :]).cumsum(-2).masked_fill(later, -torch.inf).exp()
            held = torch.einsum("bcts,bcsd->bctd", pairs, value(x).unflatten(1, (2, -1)))
            x = x + torch.cat([held, x.new_zeros(held[:, :1].shape)], 1)[:, :2].flatten(1, 2).cumsum(1)
        return x


@pytest.mark.parametrize("steps", [8, 128], ids=["short", "long"])
def test_layers_of_a_state_space_are_worked_out_once(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = torch.empty(1, steps, 4, device="meta")
    found = [worked_out(monkeypatch, layer_graph(StateSpace(n).to("meta").eval(), tokens)) for n in (4, 6, 9)]

    assert [later - earlier for earlier, later in pairwise(found)] == [0, 0]


def test_large_arrays_are_kept_for_the_next_layers_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = layer_graph(StateSpace(6).to("meta").eval(), torch.empty(1, 128, 4, device="meta"))
    kept = worked_out(monkeypatch, graph)
    expected = Analysis(graph).to_dict()
    monkeypatch.setattr(keeping, "MOST", 0)

    assert worked_out(monkeypatch, graph) > kept
    assert Analysis(graph).to_dict() == expected


def test_equal_parts_of_a_tensor_are_gone_on_with_once(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graph_of(lambda x: torch.stack([functional.max_pool2d(part, 3) for part in x.chunk(4, 1)]))
    pools = {id(record.reads[0][0].steps) for record in graph if "pool" in record.op}

    # both axes: convolution, a part, poolings, and the axis along which they are put
    assert worked_out(monkeypatch, graph) == 2 * (1 + 1 + len(pools) + 1)


def test_parts_of_an_axis_that_matters_are_not_alike() -> None:
    graph = graph_of(lambda x: torch.stack([x[:, :, start : start + 4] for start in (0, 4, 8)]))
    found = [rows[0][0] for record, rows, _ in trace_axes(graph, Ref(0, 0), (2,)) if record.op == "aten.slice"]

    assert [int(state.full[0].lo.min()) for state in found if state is not None] == [0, 3, 7]


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

    assert found[3] - found[2] <= 12 < found[1] - found[0]  # free of borders, fields go on growing
