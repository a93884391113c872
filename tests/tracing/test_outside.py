"""Small networks in the style of other packages, each of which once came out wrong."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

import rfcalc
from rfcalc.api import layer_graph

ROOT = Path(__file__).parents[2]


# --- inputs: token ids beside numbers, with the batch or without ------------------------------------------------------


class Words(nn.Module):
    """Accepts ids of any rank: only the right one gives one unit a token."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 8)
        self.dense = nn.Linear(8, 8)

    def forward(self, input_ids):
        return self.dense(self.embed(input_ids))


class Declared(nn.Module):
    """Says that it takes ids; as a table of its own it looks like any other module."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.rand(50, 8))

    def forward(self, batch: torch.LongTensor | None = None):
        return self.table[batch]


class Padded(Words):
    """Some tokens do not count."""

    def forward(self, input_ids, attention_mask=None):
        x = super().forward(input_ids)
        scores = x @ x.transpose(1, 2)
        return scores.masked_fill(attention_mask[:, None] == 0, -torch.inf).softmax(-1) @ x


class Captions(Words):
    """Pictures and words, in two towers."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 4, stride=4)

    def forward(self, pixel_values, text):
        return self.conv(pixel_values).flatten(2).mean(-1), super().forward(text)


class Volumes(nn.Module):
    """Would take a volume without batch as well."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(2, 4, 3)

    def forward(self, scan):
        return self.conv(scan)


class Speech(Words):
    """Features of a spectrum and the words so far."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(20, 8, 3, padding=1)

    def forward(self, input_features, decoder_input_ids):
        return self.conv(input_features).transpose(1, 2), super().forward(decoder_input_ids)


class Denoiser(nn.Module):
    """A picture, a number a picture, and a text that is embedded already."""

    def __init__(self):
        super().__init__()
        self.conv, self.time, self.text = nn.Conv2d(4, 8, 3, padding=1), nn.Linear(1, 8), nn.Linear(16, 8)

    def forward(self, sample, timestep, states):
        assert timestep.ndim == 1
        joined = self.time(timestep[:, None]) + self.text(states).mean(1)
        return self.conv(sample) + joined[:, :, None, None]


class Batches(Words):
    """Takes a dictionary, and a list of pictures."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 4, stride=4)

    def forward(self, batch, pictures):
        seen = sum(self.conv(picture).sum() for picture in pictures)
        return super().forward(batch["ids"]).sum() + batch["extra"]["scale"].sum() + seen


BATCHES = {
    "batch.ids": ((1, 5), "int64"),
    "batch.extra.scale": ((1, 4), "float32"),
    "pictures.0": ((1, 3, 8, 8), "float32"),
    "pictures.1": ((1, 3, 4, 8), "float32"),
}

READINGS = [
    (Volumes, (2, 8, 8, 8), {"input": ((1, 2, 8, 8, 8), "float32")}),
    (Volumes, (3, 2, 8, 8, 8), {"input": ((3, 2, 8, 8, 8), "float32")}),
    (Batches, {name: shape for name, (shape, _) in BATCHES.items()}, BATCHES),
    (
        Batches,
        {"batch": {"ids": (5,), "extra": {"scale": (4,)}}, "pictures.1": (3, 4, 8), "pictures.0": (3, 8, 8)},
        BATCHES,
    ),
    (Words, (7,), {"input": ((1, 7), "int64")}),
    (Words, (2, 7), {"input": ((2, 7), "int64")}),
    (Words, {"input_ids": (1, 7)}, {"input_ids": ((1, 7), "int64")}),
    (Declared, {"batch": (7,)}, {"batch": ((1, 7), "int64")}),
    (Declared, {"batch": (1, 7)}, {"batch": ((1, 7), "int64")}),
    (
        Captions,
        {"pixel_values": (3, 8, 8), "text": (5,)},
        {"pixel_values": ((1, 3, 8, 8), "float32"), "text": ((1, 5), "int64")},
    ),
    (
        Captions,
        {"text": (2, 5), "pixel_values": (2, 3, 8, 8)},
        {"pixel_values": ((2, 3, 8, 8), "float32"), "text": ((2, 5), "int64")},
    ),
    (
        Speech,
        {"input_features": (1, 20, 100), "decoder_input_ids": (1, 6)},
        {"input_features": ((1, 20, 100), "float32"), "decoder_input_ids": ((1, 6), "int64")},
    ),
    (
        Speech,
        ((20, 100), (6,)),
        {"input_features": ((1, 20, 100), "float32"), "decoder_input_ids": ((1, 6), "int64")},
    ),
    (
        Denoiser,
        {"sample": (1, 4, 8, 8), "timestep": (1,), "states": (1, 7, 16)},
        {
            "sample": ((1, 4, 8, 8), "float32"),
            "timestep": ((1,), "float32"),
            "states": ((1, 7, 16), "float32"),
        },
    ),
]


@pytest.mark.parametrize(("make", "given", "expected"), READINGS)
def test_what_a_shape_means(make, given, expected):
    inputs = rfcalc.analyze(make(), given).inputs

    assert {item.name: (item.shape, item.dtype) for item in inputs} == expected


def test_an_error_is_about_the_likeliest_reading():
    class Narrow(Words):
        def forward(self, input_ids):
            return self.embed(input_ids) @ torch.zeros(9, 9, device=input_ids.device)

    with pytest.raises(rfcalc.errors.TraceError, match="cannot run on input_ids 1x7:"):
        layer_graph(Narrow(), {"input_ids": (1, 7)})


def test_a_mask_with_more_axes_than_the_query_is_refused():
    """torch refuses it with data, and on meta tensors gives a result of the mask's axes."""

    class Masked(nn.Module):
        def forward(self, x, bias):
            return functional.scaled_dot_product_attention(x, x, x, bias)

    with pytest.raises(rfcalc.errors.TraceError, match="a mask of 4 axes for a query of 3"):
        rfcalc.trace(Masked(), {"x": torch.empty(1, 5, 4), "bias": torch.empty(1, 1, 5, 5)})


def test_a_mask_of_tokens_has_a_field():
    fields = rfcalc.analyze(Padded(), {"input_ids": (1, 7), "attention_mask": (1, 7)})["matmul#2"].receptive_fields

    assert {name: (field.status, field.size, field.whole_input) for name, field in fields.items()} == {
        "input_ids": ("exact", (7,), True),
        "attention_mask": ("exact", (7,), True),
    }


# --- a causal language model ------------------------------------------------------------------------------------------


class Norm(nn.Module):
    """A root mean square norm, written by hand."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


def rotated(x, cos, sin):
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-right, left], dim=-1) * sin


class Decoder(nn.Module):
    """One layer with rotary positions, half as many keys as queries, and a mask in one of several styles."""

    def __init__(self, style, window=0):
        super().__init__()
        self.style, self.window = style, window
        self.embed, self.norm = nn.Embedding(40, 16), Norm(16)
        self.q, self.k, self.v = nn.Linear(16, 16), nn.Linear(16, 8), nn.Linear(16, 8)
        self.head = nn.Linear(16, 40, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("rates", 1 / 100 ** (torch.arange(0, 4, 2) / 4), persistent=False)

    def forward(self, input_ids: torch.LongTensor):
        x = self.norm(self.embed(input_ids))
        batch, length, _ = x.shape
        q, k, v = (part(x).view(batch, length, -1, 4).transpose(1, 2) for part in (self.q, self.k, self.v))
        angles = torch.arange(length, device=x.device)[:, None] * self.rates
        cos, sin = (torch.cat([wave, wave], dim=-1) for wave in (angles.cos(), angles.sin()))
        q, k = rotated(q, cos, sin), rotated(k, cos, sin)
        y = self.attend(q, k, v).transpose(1, 2).reshape(batch, length, -1)
        return {"logits": self.head(x + y), "cache": (k, v)}

    def attend(self, q, k, v):
        at = torch.arange(q.shape[-2], device=q.device)
        seen = at[:, None] >= at[None]
        if self.window:
            seen = seen & (at[:, None] - at[None] < self.window)
        if self.style == "causal":
            return functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        if self.style == "bool":
            return functional.scaled_dot_product_attention(q, k, v, seen[None, None], enable_gqa=True)
        low = torch.finfo(q.dtype).min
        scores = q @ k.repeat_interleave(2, dim=1).transpose(-1, -2) / math.sqrt(q.shape[-1])
        if self.style == "added":
            scores = scores + torch.full_like(scores, low).masked_fill(seen, 0)
        else:
            scores = torch.where(seen, scores, low)
        return scores.softmax(-1) @ v.repeat_interleave(2, dim=1)


@pytest.mark.parametrize("style", ["causal", "bool", "added", "where"])
def test_a_token_of_a_causal_model_sees_those_before_it(style):
    found = rfcalc.analyze(Decoder(style), {"input_ids": (1, 9)})

    ((first, last),) = found.regions("head")
    field = found["head"].receptive_field
    assert field.status == "exact"
    assert [int(row) for row in first.reshape(-1)] == [0] * (9 if first.size > 1 else 1)
    assert [int(row) for row in last.reshape(-1)] == list(range(9))
    assert found.totals.params == 40 * 16 + 16 + (16 * 16 + 16) + 2 * (16 * 8 + 8)


@pytest.mark.parametrize("style", ["bool", "added", "where"])
def test_a_sliding_window_of_tokens(style):
    found = rfcalc.analyze(Decoder(style, window=3), {"input_ids": (1, 9)})

    ((first, last),) = found.regions("head")
    assert [int(row) for row in first.reshape(-1)] == [0, 0, 0, 1, 2, 3, 4, 5, 6]
    assert [int(row) for row in last.reshape(-1)] == list(range(9))


class PaddedDecoder(Words):
    """A causal mask, and one that comes with the tokens."""

    def __init__(self, low):
        super().__init__()
        self.low = low

    def forward(self, input_ids, attention_mask):
        x = super().forward(input_ids)[:, None]
        at = torch.arange(x.shape[2], device=x.device)
        seen = (at[:, None] >= at) & attention_mask[:, None, None].bool()
        if self.low is None:
            return functional.scaled_dot_product_attention(x, x, x, seen)
        return (x @ x.transpose(2, 3) + torch.where(seen, 0.0, self.low)).softmax(-1) @ x


class PaddedScores(Words):
    """What is masked rather than what is seen, in three styles."""

    def __init__(self, style):
        super().__init__()
        self.style = style

    def forward(self, input_ids, attention_mask):
        x = super().forward(input_ids)
        later = torch.ones(5, 5, dtype=torch.bool, device=x.device).triu(1)
        padding = (attention_mask == 0)[:, None]
        if self.style == "or":
            gone = later | padding
        elif self.style == "not":
            gone = ~(~later & ~padding)
        else:
            gone = (~later & ~padding) == 0
        return (x @ x.transpose(1, 2)).masked_fill(gone, -torch.inf).softmax(-1) @ x


@pytest.mark.parametrize("style", ["or", "not", "equal"])
def test_padding_beside_a_causal_mask(style):
    inputs = {"input_ids": (1, 5), "attention_mask": (1, 5)}
    found = rfcalc.analyze(PaddedScores(style), inputs)

    ((_, seen),) = found.regions(found.layers[-1].name, source="input_ids")
    assert [int(row) for row in seen.reshape(-1)] == [0, 1, 2, 3, 4]
    assert rfcalc.verify(PaddedScores(style), inputs, device="cpu", timing=False, probes=5).agree


LOW = torch.finfo(torch.float32).min
MASKS = [(None, [0, 1, 2, 3, 4]), (-torch.inf, [0, 1, 2, 3, 4]), (LOW, [4])]


@pytest.mark.parametrize(("low", "last"), MASKS)
def test_padding_does_not_open_a_causal_mask(low, last):
    """Only where all that a token may see is padding, and the mask finite, a softmax spreads over the tokens after."""
    inputs = {"input_ids": (1, 5), "attention_mask": (1, 5)}
    found = rfcalc.analyze(PaddedDecoder(low), inputs)

    ((_, seen),) = found.regions(found.layers[-1].name, source="input_ids")
    assert [int(row) for row in seen.reshape(-1)] == last
    assert found.layers[-1].receptive_fields["input_ids"].status == "exact"
    assert rfcalc.verify(PaddedDecoder(low), inputs, device="cpu", timing=False, probes=5).agree


def test_rotary_positions_leave_a_token_where_it_is():
    found = rfcalc.analyze(Decoder("causal"), {"input_ids": (1, 9)})

    field = found["add"].receptive_field  # the sine of position 0 is exactly 0, and hides nothing of the other term
    assert (field.size, field.stride, field.start) == ((1,), (1,), (0,))


def test_a_norm_written_by_hand_is_no_merge():
    found = rfcalc.analyze(Decoder("causal"), {"input_ids": (1, 9)})

    assert "norm" not in {layer.name.partition("/")[0] for layer in found.layers}
    assert found["embed"].params == 40 * 16 + 16


def test_the_mean_over_the_tokens_is_a_merge():
    class Mixer(nn.Module):
        def forward(self, x):
            return x * torch.sigmoid(x.sum(1, keepdim=True))

    assert [layer.kind for layer in rfcalc.analyze(Mixer(), torch.empty(1, 5, 4)).layers] == ["input", "merge"]


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
    rows, table = torch.empty(2, 8, device="meta"), torch.empty(1, 8, 8, device="meta")
    try:
        torch.ops.aten._grouped_mm(rows, table, torch.empty(1, dtype=torch.int32, device="meta"))
    except RuntimeError:
        pytest.skip("this torch multiplies groups in bfloat16 only")

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
    found = rfcalc.analyze(Tokens(), (1, 16, 20))

    assert found["stem"].receptive_field.local_size == (21, 21)
    assert found["dense"].receptive_field.local_size == (21, 21)


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
