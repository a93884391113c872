"""How many indices of a window are really read: stencil counts against explicit sets of interior units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import rfcalc
from rfcalc import reads
from rfcalc.analyses.field import lines, samples
from rfcalc.analyses.field.walk import trace_axes
from rfcalc.graph import Ref
from tests.ops.oracle import support


class Net(nn.Module):
    """A function of the input and of modules given by name."""

    def __init__(self, function: Callable[..., Any], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def sets_of(graph: Any) -> dict[int, np.ndarray]:
    """For every node's first output, which positions along the input's last axis each element reads."""
    sets: dict[int, np.ndarray] = {}
    for record in graph:
        if record.op == "input":
            extent = record.shape[-1]
            sets[record.id] = np.broadcast_to(np.eye(extent, dtype=bool), (*record.shape, extent)).reshape(-1, extent)
            continue
        found = np.zeros((*record.shape, extent), dtype=bool)
        for read in record.reads[0]:
            ref = record.inputs[read.input]
            elements = support(graph[ref.node].shape, read.steps, graph.masks)
            before = sets[ref.node]
            after = elements.reshape(-1, elements.shape[-1]).astype(np.float32) @ before.astype(np.float32)
            found |= (after > 0).reshape(*elements.shape[:-1], extent)
        sets[record.id] = found.reshape(-1, extent)
    return sets


def counts_of(graph: Any) -> dict[int, int]:
    """How many positions along the input's last axis the units of a node read at most, where that is known."""
    found = {}
    for record, ((state,), *_), _ in trace_axes(graph, Ref(0), (2,)):
        pattern = None if state is None else lines.pattern_of(state.local)
        if pattern is not None:
            found[record.id] = pattern.count
    return found


def check(model: nn.Module, extent: int = 96, channels: int = 1) -> int | None:
    """Compare every known count with the sets of units that keep clear of the borders; returns the last one."""
    a = rfcalc.analyze(model, torch.rand(1, channels, extent))
    counts = counts_of(a.layer_graph)
    sets = sets_of(a.layer_graph)
    compared = 0
    for record in a.layer_graph:
        if record.id not in counts or len(record.shape) != 3:
            continue
        by_position = sets[record.id].reshape(*record.shape, extent).any(axis=(0, 1))
        margin = extent // 4
        clear = ~(by_position[:, :margin].any(axis=1) | by_position[:, -margin:].any(axis=1))
        seen = by_position[clear].sum(axis=1)
        assert seen.max(initial=0) == counts[record.id], record.name
        compared += 1
    assert compared
    return counts.get(a.ops[-1].node)


def conv(kernel: int, *channels: int, **options: Any) -> nn.Conv1d:
    given, wanted = channels or (1, 1)
    return nn.Conv1d(given, wanted, kernel, **options)


# --- one op -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kernel", "dilation", "count"), [(3, 1, 3), (3, 2, 3), (2, 5, 2), (5, 3, 5)])
def test_dilation_leaves_holes(kernel, dilation, count):
    assert check(conv(kernel, dilation=dilation)) == count


def test_two_dilated_convolutions_span_9_and_read_5():
    model = nn.Sequential(conv(3, dilation=2, padding=2), conv(3, dilation=2, padding=2))

    assert check(model) == 5
    field = rfcalc.analyze(model, torch.rand(1, 1, 96)).layers[-1].receptive_field
    assert (field.size, field.samples) == ((9,), (5,))


def test_stride_larger_than_the_kernel_leaves_holes():
    assert check(nn.Sequential(conv(1, stride=3), conv(2))) == 2
    assert check(nn.Sequential(conv(2, stride=4), conv(3))) == 6


def test_transposed_convolution_counts_the_fullest_phase():
    assert check(nn.ConvTranspose1d(1, 1, 4, stride=2, padding=1)) == 2
    assert check(nn.ConvTranspose1d(1, 1, 3, stride=2)) == 2
    assert check(nn.ConvTranspose1d(1, 1, 2, stride=3)) == 1  # and one phase sees nothing
    assert check(nn.ConvTranspose1d(1, 1, 3, stride=2, dilation=2)) == 3


def test_upsampling_repeats_pixels():
    assert check(nn.Sequential(nn.Upsample(scale_factor=2), conv(3))) == 2
    assert check(nn.Sequential(nn.Upsample(scale_factor=2), conv(4))) == 3
    assert check(nn.Upsample(scale_factor=3, mode="linear")) == 2


def test_holes_fill_up_again():
    assert check(nn.Sequential(conv(3, dilation=2), conv(2))) == 6
    assert check(nn.Sequential(conv(3, dilation=2), conv(3))) == 7


# --- unions -----------------------------------------------------------------------------------------------------------


def test_parallel_branches_read_the_union():
    dilated = Net(lambda m, x: m.a(x) + m.b(x), a=conv(3, padding=1), b=conv(3, padding=3, dilation=3))
    assert check(dilated) == 5  # -3 -1 0 1 3

    pyramid = {f"d{d}": conv(3, padding=d, dilation=d) for d in (1, 2, 4)}
    joined = Net(lambda m, x: torch.cat([branch(x) for branch in m.children()], 1), **pyramid)
    assert check(joined) == 7


def test_branches_of_other_phases():
    model = Net(
        lambda m, x: m.up(x) + F.interpolate(x, scale_factor=2),
        up=nn.ConvTranspose1d(1, 1, 4, stride=2, padding=1),
    )

    assert check(model) == 2


def test_concatenated_channels_are_told_apart() -> None:
    """After a concatenation a unit of one half reads less than one of the other."""
    split = Net(lambda m, x: torch.cat([m.wide(x), x], 1)[:, 1:], wide=conv(5, padding=2))
    field = rfcalc.analyze(split, torch.rand(1, 1, 40)).ops[-1].receptive_field
    assert (field.size, field.samples) == ((1,), (1,))  # only the half that reads one position is left

    halves = Net(lambda m, x: m.pairs(torch.cat([m.far(x), m.near(x)], 1)[:, :1]))
    halves.far, halves.near, halves.pairs = conv(3, dilation=4, padding=4), conv(3, padding=1), conv(2)
    assert check(halves) == 6  # -4 0 4 and one further


def test_what_is_added_to_concatenated_channels_is_read_too() -> None:
    joined = Net(
        lambda m, x: m.last(torch.cat([m.near(x), m.far(x)], 1) + m.own(x)),
        near=conv(3, padding=1),
        far=conv(3, dilation=3, padding=3),
        own=conv(1, 1, 2),
        last=conv(1, 2, 1),
    )
    assert check(joined) == 5  # -3 -1 0 1 3


def test_channels_beside_others_that_see_nothing() -> None:
    up = nn.ConvTranspose1d(1, 1, 2, 2)
    beside = Net(lambda m, x: m.last(F.pad(m.up(x), (0, 0, 0, 1))), up=up, last=conv(3, 2, 1))
    assert check(beside) == 2
    joined = Net(lambda m, x: m.last(torch.cat([m.far(x), m.far.weight[:, :, :1].expand(1, 1, 88)], 1)))
    joined.far, joined.last = conv(3, dilation=4), conv(2, 2, 1)
    assert check(joined) == 6


# --- two axes ---------------------------------------------------------------------------------------------------------


def test_axes_are_counted_apart():
    model = nn.Conv2d(1, 1, (3, 2), dilation=(2, 1))

    field = rfcalc.analyze(model, (1, 20, 20)).layers[-1].receptive_field

    assert (field.size, field.samples) == ((5, 2), (3, 2))


def test_nothing_is_counted_where_there_is_no_window():
    field = rfcalc.analyze(nn.Sequential(conv(3), nn.Flatten(), nn.Linear(8, 2)), (1, 10)).layers[-1].receptive_field

    assert field.whole_input
    assert field.samples is None


# --- drawn chains -----------------------------------------------------------------------------------------------------


@st.composite
def layers(draw: Any) -> nn.Module:
    kernel, stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 3))
    padding = draw(st.integers(0, 2))
    kind = draw(st.sampled_from(["conv", "pool", "transposed", "nearest", "pad", "slice", "union"]))
    match kind:
        case "conv":
            return conv(kernel, stride=stride, dilation=dilation, padding=padding)
        case "pool":
            return nn.MaxPool1d(kernel, stride, kernel // 2)
        case "transposed":
            padding = min(padding, dilation * (kernel - 1))
            return nn.ConvTranspose1d(1, 1, kernel, stride=stride, dilation=dilation, padding=padding)
        case "nearest":
            return nn.Upsample(scale_factor=2)
        case "pad":
            return nn.ReflectionPad1d(padding)
        case "slice":
            return Net(lambda m, x: x[..., padding::stride])
    return Net(lambda m, x: m.a(x) + x, a=conv(3, padding=dilation, dilation=dilation))


@settings(max_examples=60, deadline=None)
@given(st.lists(layers(), min_size=1, max_size=3))
def test_chains_count_what_their_interior_units_read(chain):
    check(nn.Sequential(*chain), extent=160)


def test_branches_that_are_moved_differently_read_different_indices():
    assert check(Net(lambda net, x: F.pad(x, (1, 0)) + F.pad(x, (0, 1)))) == 2


# --- runs -------------------------------------------------------------------------------------------------------------


def drawn(rng: np.random.Generator, shift: int, period: int, *, holes: bool = False) -> samples.Pattern:
    """A pattern of several phases, some of which may read nothing."""
    rows = [(int(rng.integers(-5, 9)), -int(rng.integers(0, 5))) for _ in range(period)]
    rows = [row if row[1] else (0, 0) for row in rows]
    if holes:
        rows[0] = rows[0][0], 0b101
    return samples.Pattern(shift, tuple(rows))


def read_by(pattern: samples.Pattern, unit: int) -> set[int]:
    """The indices that a unit reads."""
    first, bits = pattern.at(unit)
    wide = (1 << -bits) - 1 if bits < 0 else bits
    return {first + k for k in range(wide.bit_length()) if wide >> k & 1}


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 1 << 30), st.booleans(), st.sampled_from([1, 256]), st.sampled_from([1, 2]))
def test_patterns_are_sets_of_what_units_read(seed: int, holes: bool, many: int, dilation: int) -> None:
    rng = np.random.default_rng(seed)
    shift, period = int(rng.choice([-3, -1, 1, 2, 5])), int(rng.integers(1, 5))
    pattern, other = drawn(rng, shift, period, holes=holes), drawn(rng, 2 * shift, 2 * period)
    stride, kernel = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    transposed = reads.Transposed(0, kernel + 1, stride, 1, 0, 50)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "MANY", many)
        window = samples.after(pattern, reads.Window(0, kernel, stride, dilation, 1, 50), alone=False)
        spread = samples.after(pattern, transposed, alone=False)
        both = samples.united([pattern, other])

    assert window is not None
    assert spread is not None
    assert both is not None
    for unit in range(-7, 12):
        assert window.indices(unit) == tuple(sorted(read_by(window, unit)))
        taps = [stride * unit + dilation * tap - 1 for tap in range(kernel)]
        assert read_by(window, unit) == set().union(*[read_by(pattern, tap) for tap in taps])
        taps = [(unit - tap) // stride for tap in range(kernel + 1) if (unit - tap) % stride == 0]
        assert read_by(spread, unit) == set().union(*[read_by(pattern, tap) for tap in taps])
        assert read_by(both, unit) == read_by(pattern, unit) | read_by(other, unit)
    assert all(bits < 0 or bits & (bits + 1) or not bits for _, bits in window.phases)


def test_phases_of_a_codec_are_put_together_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = (8, 5, 4, 2)
    down = [nn.Conv1d(1, 1, 2 * rate, rate, rate // 2) for rate in rates]
    up = [nn.ConvTranspose1d(1, 1, 2 * rate, rate, rate // 2) for rate in reversed(rates)]
    model = nn.Sequential(*down, *up, nn.Conv1d(1, 1, 7, padding=3)).to("meta")
    merged, merge = [], samples._merge
    monkeypatch.setattr(samples, "_merge", lambda sets: merged.append(sets) or merge(sets))

    found = rfcalc.analyze(model, torch.empty(1, 1, 6400, device="meta"))

    assert found.layers[-1].receptive_field.period == (320,)
    assert len(merged) < 320
