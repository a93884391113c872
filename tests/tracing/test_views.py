"""In-place ops and views: what is read after a write, against poisoned forward passes of the same function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import rfcalc
from rfcalc.tracing.recorder import Recorder
from tests.poison import check, plain_kernels, poisoned

CASES: dict[str, Callable[[Any, Tensor], Tensor]] = {}


def case(function: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    """Register a function of a module and its input, 1x4x6."""
    CASES[function.__name__] = function
    return function


class Model(nn.Module):
    """A function of the input, with two convolutions, a parameter and a buffer to use."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.conv, self.pairs = nn.Conv1d(4, 4, 3), nn.Conv1d(4, 4, 2, stride=2)
        self.token = nn.Parameter(torch.rand(1, 1, 6))
        self.register_buffer("memory", torch.zeros(1, 4, 6))
        self.plain = torch.ones(1, 4, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


# --- in place ---------------------------------------------------------------------------------------------------------


@case
def activation(m, x):
    y = m.conv(x)
    y.relu_()
    return m.pairs(y)


@case
def functional_activation(m, x):
    return F.relu(m.conv(x), inplace=True) + x[..., 1:5]


@case
def constant_added_to_every_second(m, x):
    y = x.clone()
    y[..., ::2] += 1
    return y


@case
def data_added_to_every_second(m, x):
    y = x.clone()
    y[..., ::2] += x.flip(-1)[..., ::2]
    return y


@case
def broadcast_write(m, x):
    y = x.clone()
    y[:, 1:3] = x[:, :1].flip(-1)
    return y


@case
def fill_from_one_element(m, x):
    y = x.clone()
    y[..., 0].fill_(x[0, 0, 3])
    return y


@case
def constants_over_data(m, x):
    y = x.clone()
    y[..., 1:3] = 0
    y[:, 0] = 5
    return y


@case
def accumulation(m, x):
    total = torch.zeros(1, 4)
    for i in range(3):
        total += x[..., i]
    return total


@case
def recurrence(m, x):
    y = x.clone()
    for i in range(1, 6):
        y[..., i] = y[..., i] + y[..., i - 1]
    return y


@case
def exchange_through_a_copy(m, x):
    y = x.clone()
    kept = y[..., 0].clone()
    y[..., 0] = y[..., 5]
    y[..., 5] = kept
    return y


@case
def the_input_itself(m, x):
    x[..., 0] = x[..., 5]
    return x.mul_(2)[..., :4]


@case
def out_argument(m, x):
    out = torch.empty(1, 4, 6)
    torch.add(x, x.flip(-1), out=out)
    return out * 1


@case
def fused_update(m, x):
    y = x.clone()
    y[..., 1:].addcmul_(x[..., :-1], x[..., :-1])
    return y


@case
def known_mask(m, x):
    y = x.clone()
    y[..., torch.tensor([False, True, False, True, False, False])] = 0
    y.masked_fill_(torch.tensor([True, False, False, False, False, False]), 1.0)
    return y


@case
def known_indices(m, x):
    y = x.clone()
    y[:, [0, 2]] = x[:, [1, 3]].flip(-1)
    return y


# --- views ------------------------------------------------------------------------------------------------------------


@case
def half_of_the_channels(m, x):
    y = x.clone()
    y[:, :2, 1:5] = m.conv(x)[:, 2:]
    return y * 2


@case
def chunks(m, x):
    y = x.clone()
    a, b = y.chunk(2, 1)
    a.add_(b.flip(-1))
    b.zero_()
    return y


@case
def split_parts(m, x):
    y = x.clone()
    a, b, c = y.split([1, 2, 1], 1)
    b.mul_(c.flip(-1))
    return torch.cat([a, b], 1)


@case
def unbound_rows(m, x):
    y = x.clone()
    rows = y.unbind(1)
    rows[0].copy_(rows[3].flip(-1))
    return y * 1


@case
def through_a_transpose(m, x):
    y = x.clone()
    y.transpose(1, 2)[:, 1:3] = x.transpose(1, 2)[:, 3:5]
    return y.relu()


@case
def through_a_reshape(m, x):
    y = x.clone()
    y.view(4, 6)[1:3] = x.view(4, 6)[0:2].flip(1)
    return y * 1


@case
def through_two_views(m, x):
    y = x.clone()
    y[:, 1:][0][1:3, 2:4] = x[0, :2, :2]
    return y * 1


@case
def through_another_face_of_it(m, x):
    y = m.conv(x)
    y.data.add_(x[..., :4].flip(-1))
    z = y.detach()
    z[..., 0] = x[..., 5]
    return y * 1


@case
def expanded_and_added(m, x):
    return x[:, :1].expand(-1, 4, -1) + x.flip(-1)


@case
def stale_view(m, x):
    y = x.clone()
    view = y[..., 1:]
    y[..., 3] = x[..., 0]
    return view * 1


@case
def stale_view_of_a_view(m, x):
    y = x.clone()
    view = y[..., 1:][:, 1:]
    y.copy_(y.flip(-1) + 1)
    return view + 0


@case
def view_of_what_was_zeroed(m, x):
    y = x.clone()
    view = y[..., :2]
    y.zero_()
    return view + x[..., 2:4]


@case
def overlapping_views(m, x):
    y = x.clone()
    a, b = y[:, 1:], y[:, :3]
    a[..., 0] = x[:, 1:, 5]
    b[..., 1] = x[:, :3, 4]
    return a + b


@case
def siblings(m, x):
    y = x.clone()
    left, right = y[..., :4], y[..., 2:]
    left.copy_(x[..., 2:])
    return right * 1


@case
def layout_of_the_memory(m, x):
    return torch.as_strided(x.clone(), (3, 4), (6, 1), 6)


@case
def strides_of_single_positions_changed_in_place(m, x):
    y = x[..., :1].clone()
    early = y[:, 1:]
    y.as_strided_((1, 4, 1), (9, 1, 7))
    y[:, 2] = x[:, 2, 3:4]
    return early * 1


@case
def strides_exchanged_in_place(m, x):
    y = x[..., :4].clone()
    y.as_strided_((1, 4, 4), (16, 1, 4))
    return y * 1


@case
def shapes_changed_in_place(m, x):
    z = x.clone()
    early = z[..., 1:]
    y = z[..., :4]
    y.transpose_(1, 2)
    y[:, 0] = x[..., 5]
    z.unsqueeze_(0)
    z[..., 2] = x[..., 1]
    z.squeeze_(0)
    return z[..., 1:] + early.flip(-1)


# --- constants that data is written into ------------------------------------------------------------------------------


@case
def buffer_of_zeros(m, x):
    out = torch.zeros(1, 4, 6)
    out[:, 1:3] = x[:, :2]
    return out


@case
def padding_by_hand(m, x):
    out = x.new_zeros(1, 4, 8)
    out[..., 1:-1] = x
    return m.conv(out)


@case
def interleaved(m, x):
    out = torch.empty_like(x)
    out[..., 0::2] = x[..., 1::2]
    out[..., 1::2] = x[..., 0::2]
    return out


@case
def view_taken_while_it_was_constant(m, x):
    out = torch.zeros(1, 4, 6)
    view = out[..., 2:]
    out[..., 3] = x[..., 0]
    return view * 1


@case
def chain_of_views_of_a_constant(m, x):
    out = torch.zeros(1, 4, 6)
    out[0][1][2:4] = x[0, 0, :2]
    return out


@case
def constant_reshaped_in_place(m, x):
    out = torch.zeros(4, 6)
    out.unsqueeze_(0)
    out[:, :2] = x[:, 2:]
    return out.squeeze_(0) + out


@case
def copy_of_a_parameter(m, x):
    y = m.token.expand(1, 4, 6).clone()
    y[..., 2:4] = x[..., 2:4]
    return y


@case
def buffer_of_the_module(m, x):
    m.memory[..., 0] = x[..., 1]
    return m.memory + x


@case
def tensor_that_is_no_buffer(m, x):
    m.plain[..., 0] = x[..., 1]
    return m.plain


@case
def circular_padding(m, x):
    return m.conv(F.pad(x, (2, 1), mode="circular"))


# --- numbers that the model itself brings -----------------------------------------------------------------------------


@case
def lists_as_indices(m, x):
    return x[:, [2, 0]][..., [5, 1, 1]] + x[:, [0, 1], [4, 5]][..., None]


@case
def arrays_and_booleans_as_indices(m, x):
    return x[..., np.array([5, 1, 1])] + x[..., [True, False, True, False, True, False]]


@case
def tensors_made_on_the_inputs_device(m, x):
    picked = x[..., torch.tensor([3, 1, 0], device=x.device)] + x[..., torch.arange(5, -1, -2, device=x.device)]
    return picked + x.index_select(2, x.new_tensor([3, 1, 4]).long())


@case
def mask_made_on_the_inputs_device(m, x):
    return x.masked_fill(torch.as_tensor([0, 1, 0, 1, 0, 0], device=x.device).bool(), 0.0)


# --- the tests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_regions_after_writes(name):
    torch.manual_seed(0)

    check(Model(CASES[name]), torch.rand(1, 4, 6))


def test_circular_padding_is_one_op_with_a_window():
    a = rfcalc.analyze(Model(CASES["circular_padding"]), (4, 6))

    assert [op.name for op in a.ops] == ["input", "pad_circular", "conv"]
    field = a["conv"].receptive_field
    assert (field.size, field.stride, field.start) == ((3,), (1,), (-2,))
    assert a.receptive_field("conv", at=(0,)).region == ((0, 5),)


def diagonal(m: Any, x: Tensor) -> Tensor:
    y = x[0, :, :4].clone()
    y.diagonal().copy_(x[0, 0, 2:6])
    return y * 1


def windows(m: Any, x: Tensor) -> Tensor:
    y = x.clone()
    y.unfold(-1, 2, 2)[..., 0] = x.unfold(-1, 2, 2)[..., 1].flip(-1)
    return y * 1


def strided(m: Any, x: Tensor) -> Tensor:
    y = x.clone()
    torch.as_strided(y, (1, 6), (6, 1), 6).copy_(x[0, :1])
    return y * 1


@pytest.mark.parametrize("function", [diagonal, windows, strided])
def test_writing_through_a_view_that_is_no_box_is_an_upper_bound(function):
    model, x = Model(function).eval(), torch.rand(1, 4, 6)
    a = rfcalc.analyze(model, x, axes={"row": 1, "column": 2})

    field = a.ops[-1].receptive_field
    assert field.status == "upper_bound"
    assert "written through a view that is no box" in field.reasons[0]
    with plain_kernels():
        for axis, (lo, hi) in zip((1, 2), a.regions(a.ops[-1].name), strict=True):
            ((first, last),) = poisoned(model, (x,), 0, axis)
            seen = first <= last
            assert (np.broadcast_to(lo, first.shape) <= first)[seen].all()
            assert (np.broadcast_to(hi, first.shape) >= last)[seen].all()


def test_constants_stay_known_until_something_unknown_is_written_into_them():

    def masked(m: Any, x: Tensor) -> Tensor:
        mask = torch.zeros(6)
        mask[2:4] = 1
        return x.masked_fill(mask.bool(), 0.0)

    def forgotten(m: Any, x: Tensor) -> Tensor:
        mask = torch.ones(6)
        mask[2:4].uniform_()
        return x.masked_fill(mask.bool(), 0.0)

    known = rfcalc.analyze(Model(masked), torch.rand(1, 4, 6))
    unknown = rfcalc.analyze(Model(forgotten), torch.rand(1, 4, 6))

    assert known.ops[-1].receptive_field.size_min == (0,)
    assert unknown.ops[-1].receptive_field.size_min == (1,)  # not what is masked by the ones that were there


def filled(m: Any, x: Tensor) -> list[Tensor]:
    """Numbers are written into a constant before and after a view of it is taken."""
    mask = torch.zeros(6, 6, device=x.device)
    row = mask[2]
    mask[:3, 3:] = 1
    mask[..., 5] = 1.0
    row[4] = 0
    mask[-1][:2] = True
    return [x.masked_fill(mask[number] != 0, 0.0) for number in (0, 2, 4, 5)]


def test_numbers_written_into_a_constant_are_known(monkeypatch):
    seen: list[str] = []
    original = Recorder.__torch_dispatch__
    monkeypatch.setattr(
        Recorder, "__torch_dispatch__", lambda self, func, *rest: seen.append(str(func)) or original(self, func, *rest)
    )

    check(Model(filled), torch.rand(1, 4, 6))

    assert "aten.masked_fill.Scalar" in seen
    assert "aten.fill_.Scalar" not in seen


def test_numbers_written_into_a_tensor_of_the_users_stay_in_the_pass():
    own = torch.zeros(6)

    def writing(m: Any, x: Tensor) -> Tensor:
        own[1] = 7
        return x * own

    rfcalc.analyze(Model(writing), torch.rand(1, 4, 6))

    assert own.tolist() == [0] * 6
