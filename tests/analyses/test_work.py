"""How much work an analysis does: steps made and bytes held, counted, never seconds."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from rfcalc import recall
from rfcalc.analyses.analysis import Analysis
from rfcalc.analyses.field import arrays, intervals, merging, stepping
from rfcalc.api import layer_graph
from rfcalc.graph import LayerGraph


def chain(depth: int) -> nn.Module:
    """Convolutions of 3 x 3 with padding, each with a norm and an activation."""
    block = [layer for _ in range(depth) for layer in (nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())]
    return nn.Sequential(*block)


class Dense(nn.Module):
    """Each layer reads all before it side by side, as in DenseNet."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(4 * (k + 1), 4, 3, padding=1) for k in range(depth)])

    def forward(self, x: Tensor) -> Tensor:
        found = [x]
        for conv in self.convs:
            found.append(conv(torch.cat(found, 1)))
        return found[-1]


def graph_of(model: nn.Module, height: int, width: int) -> LayerGraph:
    return layer_graph(model.to("meta").eval(), torch.empty(1, 4, height, width, device="meta"))


def counted(monkeypatch: pytest.MonkeyPatch, model: nn.Module, height: int = 400, width: int = 400) -> tuple[int, int]:
    """How many steps were made on lines, and how many on arrays of several axes, where nothing was kept."""
    recall.forget()
    graph, calls = graph_of(model, height, width), {"line": 0, "array": 0}
    made, applied = stepping._made, arrays.apply

    def on_line(*args: object) -> object:
        calls["line"] += 1
        return made(*args)  # type: ignore[arg-type]

    def on_array(field: intervals.Intervals, *args: object, **options: bool) -> intervals.Intervals:
        calls["array"] += field.rank > 1
        return applied(field, *args, **options)  # type: ignore[arg-type]

    stepping._reached.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(stepping, "_made", on_line)
        patch.setattr(arrays, "apply", on_array)
        assert len(Analysis(graph).layers) > 1
    return calls["line"], calls["array"]


@pytest.mark.parametrize("build", [chain, Dense], ids=["chain", "dense"])
def test_a_layer_costs_one_clipped_and_one_free_step_for_both_axes(monkeypatch, build: Callable[[int], nn.Module]):
    few, many = (counted(monkeypatch, build(depth)) for depth in (10, 30))

    assert few == (21, 0)  # one more where it is found that the other axis does not matter
    assert many == (61, 0)


def test_axes_of_different_extents_cost_twice_as_much(monkeypatch):
    assert counted(monkeypatch, chain(10), 400, 300) == (42, 0)


def peak(graph: LayerGraph) -> int:
    """The most bytes that an analysis holds at once."""
    assert len(Analysis(graph).layers) > 1  # what is loaded and kept by the first is not counted
    tracemalloc.start()
    try:
        assert len(Analysis(graph).layers) > 1
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_grows_with_the_sides_of_the_input_and_not_with_its_area():
    small, large = (peak(graph_of(chain(8), side, side)) for side in (1000, 4000))

    assert large - small < 16 * 3000 * 8  # bytes of the pixels between: 8 times 15 million


def test_what_no_layer_reads_any_more_is_forgotten():
    side = 4000
    few, many = (peak(graph_of(chain(depth), side, side)) for depth in (5, 45))

    assert many - few < 20 * side * 8  # of forty layers, each with two arrays of that length


class Windows(nn.Module):
    """Attention within windows of the positions of a volume."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side
        self.stem = nn.Conv3d(4, 4, 3, padding=1)
        self.attention = nn.MultiheadAttention(4, 1, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x, side = self.stem(x), self.side
        windows = x.unflatten(2, (-1, side)).unflatten(4, (-1, side)).unflatten(6, (-1, side))
        tokens = windows.permute(0, 2, 4, 6, 3, 5, 7, 1).flatten(4, 6).flatten(0, 3)
        return self.attention(tokens, tokens, tokens, need_weights=True)[0]


def test_scores_of_windows_take_no_arrays_of_all_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    side, windows = 6, 2
    graph = layer_graph(Windows(side).to("meta").eval(), torch.empty(1, 4, *[side * windows] * 3, device="meta"))
    made, union = [], merging._of_arrays

    def noted(fields: Sequence[intervals.Intervals]) -> intervals.Intervals:
        found = union(fields)
        made.append(found.lo.size)
        return found

    monkeypatch.setattr(merging, "_of_arrays", noted)

    assert len(Analysis(graph).ops) > 5
    assert max(made, default=0) < windows * (side**3) ** 2  # one source axis tells so many windows apart, not scores
