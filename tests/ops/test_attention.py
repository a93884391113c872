"""Rules of softmax and attention: NaN where nothing is masked, finite changes where something is."""

import numpy as np
import pytest
import torch

from rfcalc.graph import TensorInfo
from rfcalc.ops import Arg, Call, lookup
from tests.ops._linear import changed, hold
from tests.ops.finite import check_changed, rule_on
from tests.ops.oracle import bind, check_op, support

aten = torch.ops.aten
SDPA = aten.scaled_dot_product_attention.default
MATH = aten._scaled_dot_product_attention_math.default
INF = float("inf")
#: below it even e^x is 0 in float32; from -88 on it is below the normal numbers
LOW = -110.0


def tensors(lead, length, source, size, value_size, kv_lead=None):
    kv_lead = lead if kv_lead is None else kv_lead
    return torch.rand(*lead, length, size), torch.rand(*kv_lead, source, size), torch.rand(*kv_lead, source, value_size)


# --- softmax ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "dim"), [((5,), 0), ((2, 3), -1), ((2, 3, 2), 1), ((), 0)])
def test_softmax_reads_its_row(shape, dim):
    x = torch.rand(shape)

    for op in (aten._softmax.default, aten._log_softmax.default):
        effect = check_op(op, x, dim, False)
        assert effect.inexact == ""
        assert effect.flops == {"softmax": 5 * x.numel()}
        assert not effect.masked
    for op in (aten.softmax.int, aten.log_softmax.int, aten._safe_softmax.default):
        assert check_op(op, x, dim).inexact == ""


MASK = np.array([[False, True, True, False], [False, False, False, False], [True, False, False, True]])


@pytest.mark.parametrize("mask", [MASK, MASK[0], MASK[:, None]])
def test_masked_softmax(mask):
    x = torch.rand(2, 3, 4) if mask.ndim < 3 else torch.rand(3, 2, 4)
    gone = torch.from_numpy(mask)

    ruled = rule_on(aten._softmax.default, x, -1, False, blocked=[(x, mask)])

    hold(ruled, [x], lambda: (torch.softmax(x.masked_fill(gone, -INF), -1),))
    assert ruled.effect.masked
    assert (ruled.effect.zero == mask).all()


def test_softmax_over_another_axis_than_the_last():
    x = torch.rand(2, 4, 3)
    mask = MASK.T
    ruled = rule_on(aten._softmax.default, x, 1, False, blocked=[(x, mask)])

    hold(ruled, [x], lambda: (torch.softmax(x.masked_fill(torch.from_numpy(mask), -INF), 1),))


def test_rows_masked_wholly_by_finite_values_are_not_masked():
    x = torch.rand(3, 4)
    mask = MASK.copy()
    mask[1] = True
    bias = torch.where(torch.from_numpy(mask), LOW, 0.0)

    ruled = rule_on(aten._softmax.default, x, 1, False, blocked=[(x, mask)])

    hold(ruled, [x], lambda: (torch.softmax(x + bias, 1),))
    assert not ruled.effect.zero[1].any()
    assert rule_on(aten._safe_softmax.default, x, 1, blocked=[(x, mask)]).effect.inexact
    assert not rule_on(aten._safe_softmax.default, x, 1, blocked=[(x, MASK)]).effect.inexact


def test_masks_of_extent_one_along_the_axis_mask_whole_rows_only():
    x = torch.rand(3, 4)
    ruled = rule_on(aten._softmax.default, x, 1, False, blocked=[(x, MASK[:, :1])])

    assert not ruled.effect.masked
    assert ruled.effect.zero is None


def test_masked_log_softmax_is_an_upper_bound():
    x = torch.rand(3, 4)
    ruled = rule_on(aten._log_softmax.default, x, 1, False, blocked=[(x, MASK)])

    hold(ruled, [x], lambda: (torch.log_softmax(x.masked_fill(torch.from_numpy(MASK), LOW), 1),))
    assert ruled.effect.inexact
    assert (ruled.effect.blocked == MASK).all()
    told = ruled.told(x, 0).reshape(3, 4, 3, 4)
    assert not told[0, 0, 0, 1]  # others do not read a masked element
    assert told[0, 1, 0, 1]


# --- attention without a mask -----------------------------------------------------------------------------------------


@pytest.fixture
def plain_kernel():
    """The CPU's fused kernel turns a row of NaN into 0: only the plain one shows what NaN reaches."""
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        yield


@pytest.mark.parametrize("lead", [(), (2,), (1, 2), (1, 2, 2)])
@pytest.mark.usefixtures("plain_kernel")
def test_attention_reads_its_query_and_all_keys(lead):
    query, key, value = tensors(lead, 3, 4, 2, 5)

    effect = check_op(SDPA, query, key, value)

    assert effect.inexact == ""
    assert effect.kind == "attention"
    assert effect.macs == query[..., 0].numel() * 4 * (2 + 5)
    assert not effect.masked


@pytest.mark.parametrize("kv_heads", [1, 2])
@pytest.mark.usefixtures("plain_kernel")
def test_grouped_queries_share_key_heads(kv_heads):
    query, key, value = tensors((1, 4), 2, 3, 2, 2, kv_lead=(1, kv_heads))

    effect = check_op(SDPA, query, key, value, enable_gqa=True)

    assert effect.inexact == ""
    assert effect.macs == 4 * 2 * 3 * 4
    assert effect.attrs["heads"] == 4
    assert effect.attrs["kv_heads"] == kv_heads


def test_further_outputs():
    query, key, value = tensors((2, 2), 3, 3, 2, 2)

    effect = check_changed(aten._scaled_dot_product_flash_attention_for_cpu.default, query, key, value, trials=1)
    assert effect.inexact == ""
    effect = check_op(aten._scaled_dot_product_attention_math.default, query, key, value)
    assert effect.inexact == ""
    assert effect.macs == 4 * 9 * 4


@pytest.mark.parametrize(
    ("op", "args"),
    [
        (aten._scaled_dot_product_efficient_attention.default, (None, True)),
        (aten._scaled_dot_product_flash_attention.default, ()),
        (aten._scaled_dot_product_cudnn_attention.default, (None, True)),
    ],
)
def test_device_kernels_are_recorded_alike(op, args):
    """Kernels of other devices: their outputs' shapes come from a meta call, the reads from the CPU's one."""
    query, key, value = (x.to("meta") for x in tensors((1, 2), 5, 5, 8, 8))
    outs = [out for out in op(query, key, value, *args) if isinstance(out, torch.Tensor)]
    named = {
        name: Arg(tuple(item.shape)) if isinstance(item, torch.Tensor) else item
        for name, item in bind(op, (query, key, value, *args), {}).items()
    }
    infos = [TensorInfo(tuple(out.shape)) for out in outs]
    name = "aten." + op._schema.name.removeprefix("aten::")

    effect = lookup(name)(Call(name, named, infos))

    assert effect.macs == 2 * 25 * 16
    for output, info in enumerate(infos):
        for arg, steps in effect.reads_of(output):
            sets = support(arg.shape, steps)
            np.broadcast_to(sets, (*info.shape, arg.numel))
    told = support(query.shape, effect.reads_of(0)[0][1])
    assert told[0, 1, 2].sum() == 8
    told = support(query.shape, effect.reads_of(1)[0][1]).reshape(2, -1, 80)
    assert told[1, 2].sum() == 8
    assert told[:, 5:].sum() == 0


def test_costs():
    query = torch.rand(1, 2, 8, 16)

    effect = rule_on(SDPA, query, torch.rand(1, 2, 8, 16), torch.rand(1, 2, 8, 16)).effect
    assert effect.macs == 2 * 2 * 8 * 8 * 16
    assert effect.flops == {"softmax": 5 * 128, "elementwise": 128}
    assert effect.formula == "(2x8x8) x (16+16)"
    assert effect.attrs == {"heads": 2, "kv_heads": 2, "queries": 8, "keys": 8, "head_dim": 16, "causal": False}

    effect = rule_on(SDPA, query, query, query, None, 0.1, True).effect
    assert effect.macs == 4096
    assert effect.flops == {"softmax": 5 * 128, "elementwise": 3 * 128}


# --- attention with a mask --------------------------------------------------------------------------------------------

#: every row leaves two keys or none: a softmax of one element is 1 whatever its score
TWO = np.array([[True, True, False, False], [False, True, True, True], [True, False, False, True]])
NONE = np.array([[True, True, False, False], [False, False, False, False], [True, False, False, True]])
HEADS = np.stack([TWO, TWO[::-1]])


@pytest.mark.parametrize("open_", [TWO, NONE, TWO[:1], HEADS, HEADS[None]])
def test_boolean_mask(open_):
    query, key, value = tensors((1, 2), 3, 4, 2, 2)
    mask = torch.from_numpy(open_.copy())

    effect = check_changed(SDPA, query, key, value, mask, const=[mask], trials=2)

    assert effect.masked
    assert effect.inexact == ""


@pytest.mark.parametrize("low", [-INF, LOW])
@pytest.mark.parametrize("op", [SDPA, MATH, aten._scaled_dot_product_flash_attention_for_cpu.default])
def test_additive_mask(low, op):
    query, key, value = tensors((1, 2), 3, 4, 2, 2)
    mask = torch.where(torch.from_numpy(TWO), 0.25, low)[None, None]
    effect = check_changed(op, query, key, value, attn_mask=mask, const=[mask], trials=2)

    assert effect.masked
    assert effect.inexact == ""


def test_row_masked_wholly_by_finite_values_sees_everything_but_minus_infinity():
    query, key, value = tensors((1,), 3, 4, 2, 2)
    mask = torch.where(torch.from_numpy(NONE), 0.0, LOW)
    effect = check_changed(SDPA, query, key, value, mask, const=[mask], trials=2)
    assert effect.masked

    mask[1, 0] = -INF
    check_changed(SDPA, query, key, value, mask, const=[mask], trials=2)

    mask = torch.full((3, 4), LOW)
    assert not check_changed(SDPA, query, key, value, mask, const=[mask], trials=2).masked


@pytest.mark.parametrize(("length", "source"), [(4, 4), (3, 5), (5, 3)])
def test_causal_mask_is_the_upper_left_triangle(length, source):
    query, key, value = tensors((1, 2), length, source, 2, 2)
    mask = torch.ones(length, source, dtype=torch.bool).tril()

    causal = rule_on(SDPA, query, key, value, None, 0.0, True)
    given = rule_on(SDPA, query, key, value, mask, const=[mask])

    assert causal.effect.masked
    for tensor in (query, key, value):
        told = causal.told(tensor, 0)
        np.testing.assert_array_equal(told, given.told(tensor, 0))
        seen = changed(tensor, lambda: (SDPA(query, key, value, None, 0.0, True),))[0]
        np.testing.assert_array_equal(told[:, :, 1:], seen[:, :, 1:])
        assert not (seen & ~told).any()


def test_masked_grouped_queries():
    query, key, value = tensors((1, 4), 3, 4, 2, 2, kv_lead=(1, 2))
    mask = torch.from_numpy(np.concatenate([HEADS, HEADS]))

    check_changed(SDPA, query, key, value, mask, const=[mask], enable_gqa=True, trials=2)


def test_masked_logsumexp():
    query, key, value = tensors((1, 2), 3, 4, 2, 2)
    mask = torch.where(torch.from_numpy(TWO), 0.0, -INF)[None, None]

    op = aten._scaled_dot_product_flash_attention_for_cpu.default
    check_changed(op, query, key, value, attn_mask=mask, const=[mask], trials=2)


@pytest.mark.usefixtures("plain_kernel")
def test_mask_computed_from_data_is_read_along_its_row():
    query, key, value = tensors((1, 2), 3, 4, 2, 2)

    for shape in [(3, 4), (1, 4), (2, 3, 4), (1, 1, 3, 4)]:
        effect = check_op(SDPA, query, key, value, torch.rand(shape))
        assert effect.inexact == ""
        assert not effect.masked


def test_boolean_mask_of_which_a_part_is_known():
    """What is known to be closed stays closed, whatever data says of the rest."""
    query, key, value = tensors((1, 1), 3, 4, 2, 2)
    seen = torch.from_numpy(TWO)
    ruled = rule_on(SDPA, query, key, value, seen, zero=[(seen, ~TWO)])

    hold(ruled, [query, key, value], lambda: (SDPA(query, key, value, seen),))
    assert ruled.effect.masked
    assert (ruled.told(seen, 0).any(axis=(0, 1, 3)).reshape(3, 3, 4).any(axis=1) == TWO).all()


def test_mask_computed_from_data_with_known_parts():
    query, key, value = tensors((1, 1), 3, 4, 2, 2)
    bias = torch.rand(3, 4)
    closed = torch.from_numpy(~TWO)
    ruled = rule_on(SDPA, query, key, value, bias, blocked=[(bias, ~TWO)])

    call = lambda: (SDPA(query, key, value, bias.masked_fill(closed, -INF)),)  # noqa: E731
    hold(ruled, [query, key, value, bias], call)
    assert ruled.effect.masked
