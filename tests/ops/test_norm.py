"""Rules of normalisation against poisoned calls."""

import pytest
import torch

from rfcalc.graph import TensorInfo
from rfcalc.ops import Arg, Call, lookup
from rfcalc.reads import Reduce
from tests.ops.finite import check_changed
from tests.ops.oracle import check_call, check_op

aten = torch.ops.aten
F = torch.nn.functional


# --- over the last axes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "normalized"), [((2, 3, 4), [4]), ((2, 3, 4), [3, 4]), ((3,), [3]), ((2, 3), [2, 3])]
)
@pytest.mark.parametrize("affine", [True, False])
def test_layer_norm(shape, normalized, affine):
    x = torch.rand(shape)
    weight, bias = (torch.rand(normalized), torch.rand(normalized)) if affine else (None, None)

    effect = check_op(aten.native_layer_norm.default, x, normalized, weight, bias, 1e-5)

    assert effect.inexact == ""
    assert effect.kind == "norm"
    assert effect.macs == 0
    assert effect.flops == {"norm": x.numel() * (8 if affine else 6)}
    assert effect.attrs == {"normalized_shape": normalized}
    assert check_op(aten.layer_norm.default, x, normalized, weight, bias).flops == effect.flops


@pytest.mark.parametrize(("shape", "normalized"), [((2, 3, 4), [4]), ((2, 3, 4), [3, 4])])
def test_rms_norm(shape, normalized):
    x, weight = torch.rand(shape), torch.rand(normalized)
    named = {"input": x, "normalized_shape": normalized, "weight": weight, "eps": None}
    call = lambda: (F.rms_norm(x, normalized, weight),)  # noqa: E731

    effect = check_call("torch.rms_norm", named, call(), call)
    assert effect.flops == {"norm": 4 * x.numel()}

    effect = check_op(aten._fused_rms_norm.default, x, normalized, None, 1e-5)
    assert effect.inexact == ""
    assert effect.flops == {"norm": 3 * x.numel()}


# --- over groups of channels ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "groups"), [((2, 4, 2, 2), 2), ((1, 4, 3), 1), ((2, 4), 4), ((1, 3, 2, 1, 2), 3)])
def test_group_norm(shape, groups):
    x, weight, bias = torch.rand(shape), torch.rand(shape[1]), torch.rand(shape[1])
    size = x[0, 0].numel()

    effect = check_op(aten.native_group_norm.default, x, weight, bias, shape[0], shape[1], size, groups, 1e-5)
    assert effect.inexact == ""
    assert effect.attrs == {"num_groups": groups, "num_channels": shape[1]}
    assert effect.flops == {"norm": 8 * x.numel()}

    assert check_op(aten.group_norm.default, x, groups, weight, bias).inexact == ""


@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 2, 2, 3)])
def test_instance_norm(shape):
    x, weight, bias = torch.rand(shape), torch.rand(shape[1]), torch.rand(shape[1])

    effect = check_op(aten.instance_norm.default, x, weight, bias, None, None, True, 0.1, 1e-5, False)
    assert effect.inexact == ""
    assert effect.flops == {"norm": 8 * x.numel()}

    mean, var = torch.rand(shape[1]), torch.rand(shape[1])
    effect = check_op(aten.instance_norm.default, x, weight, None, mean, var, False, 0.1, 1e-5, False)
    assert effect.flops == {"norm": 2 * x.numel()}
    assert effect.attrs == {"num_features": shape[1]}


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_local_response_norm(size):
    x = torch.rand(1, 4, 2, 2)
    call = lambda: (F.local_response_norm(x, size),)  # noqa: E731

    effect = check_call("torch.local_response_norm", {"input": x, "size": size}, call(), call)

    assert effect.inexact == ""
    assert effect.flops == {"norm": (size + 5) * x.numel()}


# --- batch norm -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 2), (2, 3, 4), (2, 2, 2, 3)])
def test_batch_norm_in_inference_reads_one_position(shape):
    x, *channels = torch.rand(shape), *(torch.rand(shape[1]) for _ in range(4))

    effect = check_op(aten.native_batch_norm.default, x, *channels, False, 0.1, 1e-5)
    assert effect.inexact == ""
    assert effect.flops == {"norm": 2 * x.numel()}
    assert effect.attrs == {"num_features": shape[1], "training": False, "foldable": True}

    check_op(aten._native_batch_norm_legit_no_training.default, x, *channels, 0.1, 1e-5)
    check_op(aten.batch_norm.default, x, *channels, False, 0.1, 1e-5, False)


@pytest.mark.parametrize("shape", [(3, 2), (2, 3, 4), (2, 2, 2, 2)])
def test_batch_norm_in_training_reads_the_batch(shape):
    x, weight, bias = torch.rand(shape), torch.rand(shape[1]), torch.rand(shape[1])

    effect = check_op(aten._native_batch_norm_legit.no_stats, x, weight, bias, True, 0.1, 1e-5)
    assert effect.inexact == ""
    assert effect.flops == {"norm": 8 * x.numel()}
    assert effect.attrs == {"num_features": shape[1], "training": True}

    mean, var = torch.rand(shape[1]), torch.rand(shape[1])
    # in place it updates the running statistics, which the output does not read
    check_op(aten.native_batch_norm.default, x, weight, None, mean, var, True, 0.1, 1e-5, const=[mean, var])


def test_updated_running_statistics_read_the_old_ones():
    x, *channels = torch.rand(2, 3, 4), *(torch.rand(3) for _ in range(4))
    effect = check_op(aten._native_batch_norm_legit_functional.default, x, *channels, True, 0.1, 1e-5)

    assert effect.inexact == ""


def test_batch_norm_as_the_tracer_records_it():
    x, mean, var = torch.rand(2, 3, 2), torch.rand(3), torch.rand(3)
    call = lambda: (F.batch_norm(x, mean, var, training=False),)  # noqa: E731
    named = {"input": x, "running_mean": mean, "running_var": var, "weight": None, "bias": None, "training": False}

    assert check_call("torch.batch_norm", named, call(), call).attrs["foldable"]


def test_statistics_are_listed_beside_the_position_itself():
    """Without the reads through whole axes, a norm still reads its position (the local field)."""
    x = Arg((1, 4, 5, 5))
    effect = lookup("torch.group_norm")(Call("torch.group_norm", {"input": x, "num_groups": 2}, [TensorInfo(x.shape)]))

    assert (x, ()) in effect.reads_of(0)
    assert effect.reads_of(0)[1][1][0] == Reduce((2, 3))


# --- weights and vectors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "dim", "scale"), [((3, 2, 2), 0, (3, 1, 1)), ((3, 2), 1, (1, 2)), ((3, 2), 0, (3, 1))]
)
def test_weight_norm(shape, dim, scale):
    v = torch.rand(shape)

    effect = check_op(aten._weight_norm_interface.default, v, torch.rand(scale), dim)

    assert effect.inexact == ""
    assert effect.flops == {"norm": 4 * v.numel()}


def test_weight_norm_over_everything():
    assert check_op(aten._weight_norm.default, torch.rand(3, 2), torch.rand(()), -1).inexact == ""


def test_renorm():
    x = torch.rand(2, 3, 2) + 1

    assert check_changed(aten.renorm.default, x, 2, 1, 1.0, draw=lambda shape: torch.rand(shape) + 1).inexact == ""


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1,), {}), ((2, [1]), {}), ((2, [0, 2]), {"keepdim": True}), ((float("inf"), [-1], True), {})],
)
def test_vector_norm(args, kwargs):
    x = torch.rand(2, 3, 2)

    effect = check_op(aten.linalg_vector_norm.default, x, *args, **kwargs)

    assert effect.inexact == ""
    assert effect.kind == "reduction"


def test_norm_in_all_its_overloads():
    x = torch.rand(2, 3)

    assert check_op(aten.norm.Scalar, x, 2).flops == {"reduction": 13}
    assert check_op(aten.norm.ScalarOpt_dim, x, None, [1]).flops == {"reduction": 14}
    assert check_op(aten.norm.ScalarOpt_dim, x, 2, [0], True).inexact == ""
    assert check_op(aten.norm.ScalarOpt_dtype, x, 2, dtype=torch.float64).inexact == ""
