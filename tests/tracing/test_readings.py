"""What the shapes that a user gives mean: token ids beside numbers, with the batch or without."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import rfcalc
from rfcalc.api import layer_graph


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
