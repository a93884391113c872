"""What a row shows where torch works in another layout than the module, and parts of a model recorded as one op."""

from __future__ import annotations

from collections import OrderedDict
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import rfcalc
from rfcalc import graph_json
from rfcalc.api import layer_graph
from rfcalc.errors import LoadError, TraceError
from rfcalc.tracing.composite import whole
from tests.poison import check


def within(module: nn.Module) -> nn.Module:
    return nn.Sequential(OrderedDict(last=module))


class ChannelsLast(nn.Module):
    """A convolution of tensors with their channels last."""

    def __init__(self, padding: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 3, 3, 3))
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x.permute(0, 3, 1, 2), self.weight, padding=self.padding).permute(0, 2, 3, 1).relu()


def test_a_row_has_the_shape_that_its_module_gives_back() -> None:
    a = check(within(ChannelsLast()), torch.randn(1, 6, 7, 3))
    b = rfcalc.analyze(within(ChannelsLast()), torch.randn(1, 6, 7, 3))

    assert a["last"].output_shape == b["last"].output_shape == (1, 6, 7, 5)
    assert [op.output_shape for op in b.ops if op.name == "last"] == [(1, 5, 6, 7)]  # as torch has it
    assert [first.shape for first, _ in b.regions("last")] == [(1, 6, 1, 1), (1, 1, 7, 1)]
    assert b.receptive_field("last", at=(0, 6)).region == ((0, 1), (5, 6))


def test_a_row_whose_module_cuts_its_result_has_the_field_of_what_is_left() -> None:
    class Cut(ChannelsLast):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)[:, 2:]

    a = rfcalc.analyze(within(Cut()), torch.randn(1, 6, 7, 3))

    assert a["last"].output_shape == (1, 4, 7, 5)
    assert a["last"].receptive_field.start == (1, -1)


def test_a_result_that_is_read_twice_is_the_row_s_own() -> None:
    class Twice(ChannelsLast):
        def forward(self, x: Tensor) -> Tensor:
            y = F.conv2d(x.permute(0, 3, 1, 2), self.weight)
            return y.flatten(1) + y.transpose(2, 3).flatten(1)

    a = rfcalc.analyze(within(Twice()), torch.randn(1, 6, 6, 3))

    assert a["last/conv"].output_shape == (1, 5, 4, 4)


def test_the_shape_is_saved_with_the_graph() -> None:
    graph = layer_graph(within(ChannelsLast()), torch.randn(1, 6, 7, 3))
    data = graph_json.to_json(graph)

    assert rfcalc.analyze(graph_json.from_json(data))["last"].output_shape == (1, 6, 7, 5)

    next(row for row in data["nodes"] if "face" in row)["face"] = 99
    with pytest.raises(LoadError, match="shows the result of node 99, which is not there"):
        graph_json.from_json(data)


def test_a_copy_in_memory_is_no_op() -> None:
    class Copies(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y = x.clone()
            y[:, 0] = x[:, 1]
            return x + 1, y.transpose(1, 2).contiguous() + 1

    a = check(Copies(), torch.randn(1, 3, 4))

    assert [op.op for op in a.ops if op.op in ("aten.clone", "aten.contiguous")] == []


class Repeats(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        def run() -> Tensor:
            return (x + x.flip(-1) * 0).repeat_interleave(3, -1)

        return whole("keras.up_sampling", {"input": x, "factors": (1, 1, 3)}, run)


def test_a_part_that_is_recorded_whole() -> None:
    x = torch.randn(1, 2, 4)

    a = rfcalc.analyze(within(Repeats()), x)

    assert [(op.name, op.op, op.kind, op.output_shape) for op in a.ops[1:]] == [
        ("last", "keras.up_sampling", "upsample", (1, 2, 12))
    ]
    assert a["last"].receptive_field.stride == (Fraction(1, 3),)
    torch.testing.assert_close(Repeats()(x), x.repeat_interleave(3, -1))  # without a tracer it only runs


def test_a_part_that_fails_is_named() -> None:
    class Fails(Repeats):
        def forward(self, x: Tensor) -> Tensor:
            return whole("keras.up_sampling", {"input": x, "factors": (1, 1, 3)}, lambda: x.reshape(7))

    with pytest.raises(TraceError, match=r"layer last \(Fails\) got 1x2x4: shape '\[7\]' is invalid"):
        rfcalc.analyze(within(Fails()), torch.randn(1, 2, 4))
