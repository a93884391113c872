"""Packed sequences: what they cost, row by row, and what each row sees; lengths as lists and as tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence

import rfcalc
from rfcalc.errors import TraceError


class Net(nn.Module):
    """A recurrent layer on a packed sequence, laid out again."""

    def __init__(self, layer: nn.Module, lengths: Any = None, **options: Any) -> None:
        super().__init__()
        self.layer, self.lengths, self.options = layer, lengths, options

    def forward(self, x: Any, lengths: Any = None) -> Any:
        first = self.layer.batch_first
        given = self.lengths if lengths is None else lengths
        packed = pack_padded_sequence(x, given, batch_first=first, **self.options)
        return pad_packed_sequence(self.layer(packed)[0], batch_first=first)[0]


def lstm(**options: Any) -> nn.LSTM:
    return nn.LSTM(8, 16, batch_first=True, device="meta", **options)


X = torch.empty(2, 5, 8, device="meta")
CELL = 4 * 16 * (8 + 16)  #: products of one step


def regions(a: Any, batch: int) -> list[Any]:
    name = list(a.layer_graph)[-1].name
    return [a.receptive_field(name, of="x" if len(a.inputs) > 1 else "input", at=(t,)).region for t in range(batch)]


def test_steps_are_those_of_the_sequences() -> None:
    a = rfcalc.analyze(Net(lstm(), [5, 3]), X)
    assert (a.totals.params, a.totals.macs, a.totals.status) == (1664, 8 * CELL, "complete")
    assert not a.notices
    assert a["layer"].receptive_field.status == "exact"
    assert a["layer"].output_shape == (8, 16)


@pytest.mark.parametrize("lengths", [[5, 3], torch.tensor([5, 3]), [4, 4]])
@pytest.mark.parametrize(
    ("make", "products"),
    [
        (lstm, CELL),
        (lambda: nn.GRU(8, 16, batch_first=True), 3 * 16 * (8 + 16)),
        (lambda: nn.RNN(8, 16), 16 * (8 + 16)),
        (lambda: lstm(bidirectional=True), 2 * CELL),
        (lambda: lstm(num_layers=2), CELL + 4 * 16 * 32),
        (lambda: lstm(num_layers=2, bidirectional=True), 2 * CELL + 2 * 4 * 16 * (32 + 16)),
        (lambda: lstm(proj_size=4), 4 * 16 * (8 + 4) + 16 * 4),
    ],
)
def test_layers_agree_with_a_real_pass(make: Any, products: int, lengths: Any) -> None:
    layer = make()
    x = X if layer.batch_first else torch.empty(5, 2, 8, device="meta")
    found = rfcalc.verify(Net(layer, lengths), x, device="cpu", timing=False)
    assert found.agree, [check.differences for check in found.checks]
    assert rfcalc.analyze(Net(layer, lengths), x).totals.macs == 8 * products
    fields = found["receptive_fields"] if hasattr(found, "__getitem__") else found.checks[-1]
    assert fields.compared > 3


def test_lengths_in_any_order_given_as_an_input() -> None:
    inputs = {"x": X, "lengths": torch.tensor([3, 5])}
    model = Net(lstm(), enforce_sorted=False)
    a = rfcalc.analyze(model, inputs)
    assert (a.totals.macs, a.totals.status) == (8 * CELL, "complete")
    assert a.layer_graph.meta["given"] == ["lengths"]


def test_a_row_sees_its_own_sequence_up_to_its_time() -> None:
    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = lstm()

        def forward(self, x: Any) -> Any:  # (1, time, features), as two sequences in one
            return self.layer(pack_padded_sequence(x.view(2, 4, 8), [4, 2], batch_first=True))[0].data

    a = rfcalc.analyze(Rows(), torch.empty(1, 8, 8), axes={"T": 1})
    name = a.layers[-1].name
    found = [a.receptive_field(name, at=(row,)).region for row in range(6)]
    assert found == [((0, 0),), ((4, 4),), ((0, 1),), ((4, 5),), ((0, 2),), ((0, 3),)]


def test_a_packed_sequence_may_be_an_input() -> None:
    packed = pack_sequence([torch.ones(5, 8), torch.ones(3, 8)])

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.LSTM(8, 16)

        def forward(self, rows: Any) -> Any:
            return self.layer(rows)[1][0]

    a = rfcalc.analyze(Layer(), (packed,))
    assert a.totals.macs == 8 * CELL
    assert rfcalc.verify(Layer(), (packed,), device="cpu", timing=False).agree


def test_padding_to_a_longer_total() -> None:
    class Long(Net):
        def forward(self, x: Any, lengths: Any = None) -> Any:
            packed = pack_padded_sequence(x, [5, 3], batch_first=True)
            return pad_packed_sequence(packed, batch_first=True, total_length=7, padding_value=1.0)[0] * 2

    a = rfcalc.analyze(Long(lstm()), X)
    assert list(a.layer_graph)[-1].shape == (2, 7, 8)


def test_lengths_that_data_decides_need_real_numbers() -> None:
    class Decided(Net):
        def forward(self, x: Any, lengths: Any = None) -> Any:
            return super().forward(x, (x.sum((1, 2)) * 0).long() + 4)

    a = rfcalc.analyze(Decided(nn.LSTM(8, 16, batch_first=True)), X)
    assert a.notices[0] == "traced on real CPU tensors, for the lengths of a packed sequence needs data"
    assert a.totals.macs == 8 * CELL


@pytest.mark.parametrize(
    ("lengths", "said"),
    [([3, 5], "sorted in decreasing order"), ([5, 0], "greater than 0|<= 0"), ([5], "batch_size")],
)
def test_wrong_lengths_are_told_in_torchs_words(lengths: list[int], said: str) -> None:
    with pytest.raises(TraceError, match=said) as error:
        rfcalc.analyze(Net(lstm(), lengths), X)
    assert "\n" not in str(error.value)
