"""The walk back from a layer, against fields that are carried forward from each earlier layer by itself."""

from __future__ import annotations

from random import Random

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import rfcalc
from rfcalc.analyses.analysis import Analysis
from rfcalc.analyses.needs import masks
from rfcalc.analyses.needs import walk as walking
from rfcalc.analyses.needs.asked import wanted
from rfcalc.analyses.needs.extents import patches
from rfcalc.analyses.needs.walk import each_unit
from rfcalc.api import layer_graph
from rfcalc.errors import UsageError
from tests.randomnets.draw import draw


def forward(a: Analysis, layer: str, of: str) -> tuple[int, ...]:
    """The size of a layer's field in an earlier one, carried forward from there."""
    return a.receptive_field(layer, of=of).size


@pytest.mark.parametrize(
    ("model", "layers"),
    [
        ("googlenet", ["inception4c/5x5", "inception5b/cat"]),
        ("resnet50", ["conv4_3/conv2", "fc"]),
        ("inception_v3", ["fc"]),
    ],
)
def test_patches_are_the_fields_in_earlier_layers(model, layers):
    a = rfcalc.analyze(model)

    for layer in layers:
        found = a.needs(layer)

        assert [patch.index for patch in found] == sorted([patch.index for patch in found], reverse=True)
        for patch in found[:: max(1, len(found) // 5)]:
            assert patch.size == forward(a, layer, patch.name)


def test_every_earlier_layer_has_a_patch():
    a = rfcalc.analyze("googlenet")

    before = a.layer_graph.ancestors([a["inception4c/5x5"].node])
    assert {patch.name for patch in a.needs("inception4c/5x5")} == {
        item.name for item in a.layers if item.node in before
    }


def test_random_networks():
    alike, more = 0, []
    for seed in range(40):
        net, inputs = draw(Random(seed))
        a = Analysis(layer_graph(net, tuple(inputs), training=net.training))
        layer = a.layers[-1]
        shape = a.layer_graph[layer.node].shape
        for patch in patches(
            a.layer_graph, layer.node, each_unit(shape, range(len(shape))), wanted(a.layer_graph, a._axes_of)
        ):
            size = forward(a, layer.name, patch.name)
            assert all(own >= least for own, least in zip(patch.size, size, strict=True)), (seed, patch)
            alike += patch.size == size
            more += [(seed, patch.name)] * (patch.size != size)
    assert alike > 60
    assert {seed for seed, _ in more} <= {6, 21, 26, 38}  # writes by an index, one after the other; a diagonal


class Upsampled(nn.Module):
    """3x3 convolutions around an upsampling by 4, and a gate for all channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.last(F.interpolate(x, scale_factor=4))


def test_the_phases_that_use_most():
    a = rfcalc.analyze(Upsampled(), (1, 8, 8))

    rows = a.needs("last")[-1].extents[0]

    field = a.receptive_field("last")
    assert (rows.size, rows.period) == (field.size[0], field.period[0]) == (4, 4)
    assert rows.phases == (0, 3)
    ((axis, unit),) = rows.unit
    first, last = a.receptive_field("last", at=(unit, unit)).region[0]
    assert axis == 2
    assert last - first + 1 == 4


@pytest.mark.parametrize("at", [(0, 0), (3, 6), (13, 13)])
def test_a_unit_uses_its_region(at):
    a = rfcalc.analyze("resnet18")

    found = {patch.name: patch.region for patch in a.needs("conv4_2/conv2", at)}

    for of in ("input", "conv2_1/conv1", "conv3_2/conv1"):
        assert found[of] == a.receptive_field("conv4_2/conv2", of=of, at=at).region


def test_a_box_uses_what_its_units_use():
    a = rfcalc.analyze("resnet18")

    found = a.needs("conv3_1/conv2", [(2, 5), 27])[-1]

    lo, hi = a.regions("conv3_1/conv2")[0]
    assert found.region[0] == (int(lo.ravel()[2]), int(hi.ravel()[5]))
    assert found.size[0] == found.region[0][1] - found.region[0][0] + 1


class Rolled(nn.Module):
    """Means over windows of rows that were rolled."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rolled = x.roll(-3, 2)
        n, c, h, w = x.shape
        cut = rolled.reshape(n, c, h // 4, 4, w)
        rolled = (cut + cut.mean(3, keepdim=True)).reshape(x.shape)
        return F.max_pool2d(rolled.roll(3, 2), (2, 1))


def test_what_goes_round_is_used_on_both_sides():
    a = rfcalc.analyze(Rolled(), (1, 16, 4))
    (layer,) = [item for item in a.layers if item.kind == "pool"]
    shape = a.layer_graph[layer.node].shape

    (patch,) = patches(a.layer_graph, layer.node, each_unit(shape, range(4)), wanted(a.layer_graph, a._axes_of))[-1:]

    lo, hi = a.regions(layer.name)[0]
    assert patch.extents[0].size == int((hi - lo + 1).max())


class Causal(nn.Module):
    """Attention of each token to those up to it, and a convolution before."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv1d(4, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.mix(x.transpose(1, 2)).transpose(1, 2)
        scores = x @ x.transpose(1, 2)
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        return scores.masked_fill(later, float("-inf")).softmax(-1) @ x


def test_what_a_mask_blocks_is_not_used():
    a = rfcalc.analyze(Causal(), (9, 4), axes={"L": 1})

    layer = a.layers[-1].name
    for at in (0, 4, 8):
        found = {patch.name: patch.region for patch in a.needs(layer, [at])}
        assert found["input"] == a.receptive_field(layer, at=(at,)).region == ((0, min(8, at + 1)),)


class Dense(nn.Module):
    """Each layer reads all before it, side by side."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(2 * at + 2, 2, 3, padding=1) for at in range(depth)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = [x]
        for layer in self.layers:
            found.append(layer(torch.cat(found, 1)))
        return found[-1]


def test_each_read_is_gone_back_once(monkeypatch):
    a = rfcalc.analyze(Dense(12), (2, 32, 32))
    reads = sum(len(told) for record in a.layer_graph for told in record.reads)
    calls = []
    one = walking.read_by
    monkeypatch.setattr(walking, "read_by", lambda *args: calls.append(args) or one(*args))

    found = a.needs("layers.11")

    assert len(calls) == reads
    assert found[-1].size == forward(a, "layers.11", "input") == (25, 25)


def test_a_box_outside_is_refused():
    a = rfcalc.analyze("resnet18")

    with pytest.raises(UsageError, match="0 to 55"):
        a.needs("conv2_1/conv1", [(0, 56), 3])
    with pytest.raises(UsageError, match="has 2 axes, got 1"):
        a.needs("conv2_1/conv1", [3])


def test_sizes_where_a_unit_stands_alone():
    a = rfcalc.analyze(nn.Sequential(nn.Conv2d(1, 1, 5, padding=2), nn.Conv2d(1, 1, 3, padding=1)), (1, 1, 1))

    assert a.needs(3)[-1].size == forward(a, "3", "input") == (7, 7)
    assert a.needs(3)[0].size == (3, 3)


def test_what_a_mask_leaves_is_worked_out_once_for_windows_that_it_cuts_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    swin = pytest.importorskip("torchvision.models.swin_transformer")
    seen, hull = [], masks._hull
    monkeypatch.setattr(masks, "_hull", lambda *args: seen.append(args) or hull(*args))

    def looked_at(side: int) -> int:
        blocks = [swin.SwinTransformerBlock(4, 1, [4, 4], shift) for shift in ([2, 2], [0, 0], [2, 2])]
        with torch.device("meta"):
            found = rfcalc.analyze(nn.Sequential(*blocks).to("meta").eval(), torch.empty(1, side, side, 4))
        assert not [notice for notice in found.notices if "real" in notice]
        seen.clear()
        assert found.needs(len(found.layers))
        return len(seen)

    few, many = looked_at(16), looked_at(32)

    assert few > 0
    assert many < 2.5 * few  # of windows there are four times as many
