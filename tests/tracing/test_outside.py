"""Small networks in the style of other packages, each of which once came out wrong."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

import rfcalc
from rfcalc.api import layer_graph

ROOT = Path(__file__).parents[2]


# --- a mixture of experts ---------------------------------------------------------------------------------------------


class Experts(nn.Module):
    """Each token goes to two of four experts; tokens are sorted by expert, and every expert has its run of rows."""

    def __init__(self):
        super().__init__()
        self.route = nn.Linear(8, 4, bias=False)
        self.up = nn.Parameter(torch.rand(4, 8, 16))

    def forward(self, x):
        weight, chosen = self.route(x).softmax(-1).topk(2)
        order = chosen.reshape(-1).argsort()
        rows = torch.repeat_interleave(torch.arange(x.shape[0], device=x.device), 2)[order]
        count = torch.histc(chosen.reshape(-1).float(), 4, 0, 3)
        hidden = torch.ops.aten._grouped_mm(x[rows], self.up, count.cumsum(0).to(torch.int32))
        return hidden[order.argsort()].view(-1, 2, 16).mul(weight[..., None]).sum(1)


def test_experts_cost_what_their_tokens_cost():
    found = rfcalc.analyze(Experts(), torch.empty(10, 8), axes={"T": 0})

    assert found.totals.status == "complete"
    assert found.totals.macs == 10 * 8 * 4 + 10 * 2 * 8 * 16
    assert found.layers[-1].receptive_field.status == "upper_bound"  # the data decides which rows meet


# --- a module that changes itself in its first pass -------------------------------------------------------------------


class Capturing(nn.Module):
    """Registers a hook when it is first called, keeps what the hook sees, and says that it has done so."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(1, 1, 3)
        self.seen, self.shapes, self.sizes, self.names = [], {}, set(), ["kept"]

    def forward(self, x):
        if not getattr(self, "hooked", False):
            self.inner.register_forward_hook(lambda module, args, output: self.seen.append(output))
            self.hooked = True
        out = self.inner(x)
        self.shapes[len(self.shapes)] = x.shape
        self.sizes.add(x.shape[-1])
        self.names.append("added")
        (kept,) = self.seen
        return out + kept


def test_hooks_and_lists_of_a_first_pass_are_undone():
    model = Capturing()
    before = [dict(module.__dict__) for module in model.modules()]

    layer_graph(model, (1, 8, 8))
    layer_graph(model, (1, 8, 8))

    assert [dict(module.__dict__) for module in model.modules()] == before
    assert (model.seen, model.shapes, model.sizes, model.names) == ([], {}, set(), ["kept"])
    assert not model.inner._forward_hooks
    assert rfcalc.verify(model, (1, 8, 8), device="cpu", timing=False, probes=2).agree


# --- local fields -----------------------------------------------------------------------------------------------------


class Pyramid(nn.Module):
    """Two branches with statistics of the whole image, enlarged corner to corner, stacked and added up."""

    def __init__(self):
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(1, 4, 5, stride=2, padding=2)
        self.norm = nn.GroupNorm(2, 4)

    def forward(self, x):
        coarse = torch.relu(self.norm(self.coarse(x)))
        coarse = functional.interpolate(coarse, size=x.shape[-2:], mode="bilinear", align_corners=True)
        return torch.stack([torch.relu(self.norm(self.fine(x))), coarse]).sum(0)


def test_a_sum_over_branches_is_no_sum_over_positions():
    field = rfcalc.analyze(Pyramid(), (1, 32, 32))["sum"].receptive_field

    assert field.whole_input
    assert field.local_size == (7, 7)  # two neighbours of a 5x5 kernel with stride 2


class Attending(nn.Module):
    """Attention over the pixels of a map in one row, and a convolution of the values back in their places."""

    def __init__(self):
        super().__init__()
        self.stem, self.place = nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.Conv2d(4, 4, 13, padding=6)

    def forward(self, x):
        x = self.stem(x)
        rows = x.flatten(2)
        mixed = rows @ (rows.transpose(1, 2) @ rows).softmax(-1)
        return mixed.view(x.shape) + self.place(rows.view(x.shape))


def test_rows_of_pixels_are_pixels_again():
    field = rfcalc.analyze(Attending(), (1, 16, 20)).layers[-1].receptive_field

    assert (field.whole_input, field.local_size) == (True, (27, 27))  # more than there is, along both axes


class Tokens(nn.Module):
    """A wide convolution, and its pixels in one row."""

    def __init__(self):
        super().__init__()
        self.stem, self.dense = nn.Conv2d(1, 4, 21, padding=10), nn.Linear(4, 4)

    def forward(self, x):
        return self.dense(self.stem(x).flatten(2).transpose(1, 2))


def test_pixels_in_one_row_see_what_they_saw():
    """In one row they have no window, so what is said of them is the largest region, cut at the borders."""
    found = rfcalc.analyze(Tokens(), (1, 16, 20))

    assert found["stem"].receptive_field.local_size == (21, 21)
    assert found["dense"].receptive_field.local_size == (16, 20)
    wide = rfcalc.analyze(Tokens(), (1, 40, 50))
    assert wide["dense"].receptive_field.local_size == wide["stem"].receptive_field.local_size == (21, 21)


class Merging(nn.Module):
    """A product with a band of ones, as wide as nearly all rows; then two rows beside each other in the channels."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(2, 4)

    def forward(self, x):
        x = torch.ones(16, 16, device=x.device).tril(14).triu(-14) @ x
        return self.mix(torch.stack([x[:, 0, ::2], x[:, 0, 1::2]], -1))


def test_a_sum_over_channels_brings_no_context():
    """The first row and the last see one row less than there are, and two neighbours always all 16."""
    found = rfcalc.analyze(Merging(), torch.empty(1, 1, 16, 16), axes={"H": 2})
    field = found["mix"].receptive_field

    assert (field.whole_input, field.size, field.local_size, field.context) == (True, (16,), (16,), ())


class Masking(Attending):
    """A third of the keys is masked, another third for each query."""

    def forward(self, x):
        rows = self.stem(x).flatten(2).transpose(1, 2)
        at = torch.arange(rows.shape[1], device=x.device)
        scores = (rows @ rows.transpose(1, 2)).masked_fill((at[:, None] + at) % 3 == 0, -torch.inf)
        return scores.softmax(-1) @ rows


def test_a_masked_query_keeps_its_own_place():
    field = rfcalc.analyze(Masking(), (1, 16, 20)).layers[-1].receptive_field

    assert (field.whole_input, field.local_size) == (True, (3, 3))
    assert "matmul#2" in field.context


def test_two_cells_of_a_pooling_are_positions():
    """Each sees 3 of 5 rows, and both together are the whole image."""
    model = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4, 2))
    field = rfcalc.analyze(model, (1, 5, 5)).layers[-1].receptive_field

    assert (field.whole_input, field.local_size, field.context) == (True, (0, 0), ("2",))


# --- WaveNet ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cycles", "samples"), [(1, 1024), (3, 3070)])
def test_a_cycle_of_wavenet_sees_1024_samples(cycles, samples):
    """Section 2.1 of the paper: "each 1, 2, 4, ..., 512 block has receptive field of size 1024"."""
    found = rfcalc.analyze(f"{ROOT}/examples/wavenet.py:WaveNet(cycles={cycles})", (1, 4000))

    field = found.layers[-1].receptive_field
    assert (field.status, field.size, field.start) == ("exact", (samples,), (1 - samples,))
    assert found.receptive_field(found.layers[-1].name, at=(3999,)).region == ((4000 - samples, 3999),)
