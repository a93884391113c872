"""What a free field says: windows of images that were tokens, patches or videos in between, and of branches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from rfcalc import analyze, reads
from rfcalc.analyses import receptive_field
from rfcalc.analyses.field import joins, lines
from rfcalc.analyses.field.intervals import Intervals
from rfcalc.analyses.field.merging import combined
from rfcalc.analyses.field.samples import Pattern
from rfcalc.analyses.field.walk import trace_axes
from rfcalc.analyses.field.windows import pace_of, window_of
from rfcalc.graph import Ref


class Net(nn.Module):
    """A convolution with stride 4, and a function of what it makes."""

    def __init__(self, function: Callable[[Tensor], Tensor], dimensions: int = 2) -> None:
        super().__init__()
        convolution: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
        self.stem = convolution(2, 4, 3, 4, 1)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.stem(x))


def last_field(function: Callable[[Tensor], Tensor], *size: int) -> Any:
    found = analyze(Net(function, len(size)).to("meta"), torch.empty(1, 2, *size, device="meta"))
    return found.layers[-1].receptive_field


def as_tokens(x: Tensor) -> Tensor:
    """Through a layer that sees tokens only, and back."""
    return functional.layer_norm(x.flatten(2).transpose(1, 2), (x.shape[1],)).transpose(1, 2).reshape(x.shape)


@pytest.mark.parametrize("size", [(48,), (48, 48), (48, 32), (16, 48, 32), (16, 32, 32)])
def test_a_window_over_what_were_tokens(size: tuple[int, ...]) -> None:
    pool = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[len(size) - 1]
    found = last_field(lambda x: pool(as_tokens(x), 2), *size)
    plain = last_field(lambda x: pool(x, 2), *size)

    assert replace(found, samples=None) == replace(plain, samples=None)  # what is read is not followed through tokens
    assert (found.size, found.stride, found.start) == ((7,) * len(size), (8,) * len(size), (-1,) * len(size))


@pytest.mark.parametrize("size", [(64, 64), (64, 32)])
def test_patches_that_lie_far_apart_have_no_window_together(size: tuple[int, int]) -> None:
    """Patches as a batch, as the inner transformer of TNT sees them: a position in a patch is one in every patch."""

    def inside(x: Tensor) -> Tensor:
        height, width = x.shape[2] // 4, x.shape[3] // 4
        patches = x.reshape(1, 4, height, 4, width, 4).permute(0, 2, 4, 1, 3, 5).reshape(height * width, 4, 4, 4)
        return functional.max_pool2d(patches, 2)

    found = last_field(inside, *size)

    assert (found.size, found.stride) == ((7, 7), None)


def test_a_clash_is_one_along_one_axis() -> None:
    """Queries and keys lie along different axes of their scores, which nothing aligns."""

    def scores(x: Tensor) -> Tensor:
        return x.transpose(1, 2) @ functional.max_pool1d(x, 3, 2)

    def branches(x: Tensor) -> Tensor:
        return functional.max_pool1d(x, 2, 2) + functional.max_pool1d(x, 3, 2, 1)

    assert last_field(scores, 48).misaligned == ()
    assert len(last_field(branches, 48).misaligned) == 1


def test_positions_that_are_read_are_counted_by_axis() -> None:
    """3 x 5 with dilation 2 x 1 sees as much of the rows as of the columns, but reads every other row."""
    with torch.device("meta"):
        net = nn.Sequential(nn.Conv2d(1, 1, (3, 5), dilation=(2, 1)), nn.ReLU(), nn.Conv2d(1, 1, 1))
        found = analyze(net, torch.empty(1, 1, 16, 16))

    for layer in found.layers[1:]:
        assert (layer.receptive_field.size, layer.receptive_field.samples) == ((5, 5), (3, 5))


@pytest.mark.parametrize("name", ["vgg16", "googlenet", "resnet18", "inception_v3"])
def test_windows_are_the_regions_of_inner_units(name: str) -> None:
    """Where a window lies inside the source, the unit sees just that of it."""
    found = analyze(name)
    axes = tuple(found.layer_graph.inputs[0].axes.values())
    fields_of = {layer.face: layer.receptive_field for layer in found.layers}
    inner = 0
    for node, rows, _ in trace_axes(found.layer_graph, Ref(found.layer_graph.inputs[0].node), axes):
        field = fields_of.get(node.id)
        if field is None or field.stride is None or field.context or not rows:
            continue
        for state, axis in zip(rows[0], axes, strict=True):
            assert state is not None
            window = receptive_field.summarise(state, extent := found.layer_graph.inputs[0].shape[axis]).window
            assert window is not None
            turns, phase = np.divmod(np.arange(node.shape[window.axis]), window.period)
            lo, hi = (np.asarray(ends)[phase] + turns * window.shift for ends in (window.lo, window.hi))
            inside = (lo >= 0) & (hi < extent) & (lo <= hi)
            seen = combined(state.full)
            others = tuple(k for k in range(len(node.shape)) if k != window.axis)
            first, last = seen.lo.min(others), seen.hi.max(others)
            np.testing.assert_array_equal(np.broadcast_to(first, lo.shape)[inside], lo[inside])
            np.testing.assert_array_equal(np.broadcast_to(last, hi.shape)[inside], hi[inside])
            inner += int(inside.sum())
    assert inner > 100


# --- runs of channels -------------------------------------------------------------------------------------------------


def test_channels_at_one_position_count_together() -> None:
    """However far they see from each other: they are no places."""
    near, far = (lines.Even(8, Pattern(1, ((first, 0b111),))) for first in (0, 4))
    runs = lines.Lined((4, 8), 1, 0, ((2, near), (2, far)))

    assert runs.motions.keys() == {1}
    assert window_of(runs) == window_of(Intervals((4, 8), runs.lo, runs.hi, runs.motions))
    assert pace_of(runs) == (1, (1, 3))


@pytest.mark.parametrize(("offset", "apart"), [(7, False), (8, True), (-8, True)])
def test_tensors_side_by_side_that_see_nothing_in_common_are_places(offset: int, apart: bool) -> None:
    """Of a source of 16 indices: patches that were cut out and stacked."""
    fields = [lines.lined((2, 8), 1, lines.Even(8, Pattern(1, ((first, 1),)))) for first in (8, 8 + offset)]
    places = [reads.Place(0, 2, 0, 4), reads.Place(0, 2, 2, 4)]

    made = joins.concatenate(list(zip(fields, places, strict=True)), (4, 8), 0)

    assert (0 in made.motions) is apart
    assert (window_of(made) is None) is apart
