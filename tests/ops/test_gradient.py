"""The ops that torch runs to differentiate, each caught in the act: reads by small changes, counts by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

import rfcalc
from rfcalc.ops.registry import find
from tests.ops.finite import Ruled, held, rule_on


class Caught(TorchDispatchMode):
    """Every op that ran, with its arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Sequence[Any], Mapping[str, Any]]] = []
        self.results: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        self.calls.append((func, args, kwargs or {}))
        self.results.append(func(*args, **(kwargs or {})))
        return self.results[-1]


def backward(function: Callable[..., Tensor], *shapes: Sequence[int]) -> tuple[Any, Sequence[Any], Mapping[str, Any]]:
    """The op of differentiation that a function of tensors of these shapes needs; none may be without a rule."""
    torch.manual_seed(0)
    inputs = [torch.rand(*shape, dtype=torch.float64).add_(0.2).requires_grad_() for shape in shapes]
    out = function(*inputs)
    with Caught() as caught:
        torch.autograd.grad(out, inputs, torch.rand_like(out))
    names = [func._schema.name.replace("::", ".") for func, _, _ in caught.calls]
    assert not [name for name in names if find(name) is None]
    return next(call for call in caught.calls if "backward" in call[0]._schema.name)


def check(function: Callable[..., Tensor], *shapes: Sequence[int]) -> Ruled:
    op, args, kwargs = backward(function, *shapes)
    args = tuple(arg.detach().contiguous() if isinstance(arg, Tensor) else arg for arg in args)
    results = op(*args, **kwargs)
    results = results if isinstance(results, tuple) else (results,)
    return held(op, *args, outputs=range(sum(out is not None for out in results)), **kwargs)


ACTIVATIONS: dict[str, tuple[int, Callable[[Tensor], Tensor]]] = {
    "relu": (1, F.relu),
    "hardtanh": (2, F.hardtanh),
    "leaky_relu": (2, F.leaky_relu),
    "hardshrink": (2, F.hardshrink),
    "softshrink": (2, lambda x: F.softshrink(x, 0.1)),
    "rrelu": (2, lambda x: F.rrelu(x - 0.7, training=True)),
    "sigmoid": (3, torch.sigmoid),
    "tanh": (3, torch.tanh),
    "hardsigmoid": (3, F.hardsigmoid),
    "elu": (4, lambda x: F.elu(x - 2)),
    "hardswish": (5, F.hardswish),
    "softplus": (5, F.softplus),
    "log_sigmoid": (5, F.logsigmoid),
    "silu": (9, F.silu),
    "gelu": (11, F.gelu),
    "gelu, tanh": (18, lambda x: F.gelu(x, approximate="tanh")),
    "mish": (14, F.mish),
}


#: Their derivatives are steps, or know the sign alone, which small changes do not see.
STEPS = ("relu", "hardtanh", "leaky_relu", "hardshrink", "softshrink", "hardsigmoid", "rrelu", "log_sigmoid")


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str) -> None:
    each, function = ACTIVATIONS[name]
    op, args, kwargs = backward(function, (2, 3))
    ruled = held(op, *(arg.detach() if isinstance(arg, Tensor) else arg for arg in args), outputs=(), **kwargs)

    assert ruled.effect.flops == {"activation": each * 6}
    if name not in STEPS:
        check(function, (2, 3))


def test_activations_of_several_tensors() -> None:
    assert check(lambda x: F.glu(x, 1), (2, 6)).effect.flops == {"activation": 9 * 6}
    op, args, kwargs = backward(lambda x, w: F.prelu(x - 0.7, w), (2, 3), (1,))
    plain = [arg.detach() for arg in args]
    assert held(op, *plain, outputs=(), **kwargs).effect.flops == {"activation": 4 * 6}
    assert check(lambda x: torch.logit(x / 2), (2, 3)).effect.flops == {"elementwise": 3 * 6}


@pytest.mark.parametrize("function", [lambda x: x.softmax(1), lambda x: x.log_softmax(0)])
def test_softmax(function: Callable[[Tensor], Tensor]) -> None:
    assert check(function, (3, 4)).effect.flops == {"softmax": 4 * 12}


CONVOLUTIONS: dict[str, tuple[Callable[[Tensor], Tensor], Sequence[int]]] = {
    "plain": (nn.Conv1d(2, 4, 3, padding=1), (2, 2, 6)),
    "strided, grouped": (nn.Conv1d(4, 4, 3, stride=2, groups=2), (1, 4, 7)),
    "dilated": (nn.Conv2d(1, 2, 2, dilation=2, padding=1), (1, 1, 4, 4)),
    "transposed": (nn.ConvTranspose1d(2, 4, 3, stride=2, padding=1, output_padding=1), (1, 2, 4)),
    "transposed, grouped": (nn.ConvTranspose1d(4, 4, 3, groups=2), (1, 4, 4)),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution(name: str) -> None:
    """Of the input alone, as forces need it: what is read to the element, and FlopCounterMode's count."""
    layer, shape = CONVOLUTIONS[name]
    layer = layer.double().requires_grad_(False)  # type: ignore[attr-defined]
    op, args, kwargs = backward(layer, shape)
    grad = args[0].detach().contiguous()
    weight = args[2]
    assert list(args[-1])[:2] == [True, False]

    def through(gradient: Tensor) -> Tensor:
        found: Tensor = op(gradient, *args[1:], **kwargs)[0]
        return found

    ruled = rule_on(op, grad, *args[1:], const=[weight], **kwargs)
    with FlopCounterMode(display=False) as counter:
        op(grad, *args[1:], **kwargs)
    assert ruled.effect.macs == counter.get_total_flops() // 2 > 0
    assert not ruled.effect.inexact
    base, flat = through(grad), grad.view(-1)
    for at in range(flat.numel()):
        kept = flat[at].item()
        flat[at] = kept + 0.5
        changed = (through(grad) - base).abs() > 1e-12
        flat[at] = kept
        assert (torch.from_numpy(ruled.told(grad, 0)[..., at]) == changed).all()


def test_gradients_of_a_kernel_and_a_bias() -> None:
    layer = nn.Conv2d(2, 4, 3, padding=1).double()
    x = torch.rand(2, 2, 5, 5, dtype=torch.float64, requires_grad=True)
    out = layer(x)
    with Caught() as caught, FlopCounterMode(display=False) as counter:
        torch.autograd.grad(out.sum(), [x, *layer.parameters()])
    op, args, kwargs = next(call for call in caught.calls if "backward" in call[0]._schema.name)
    ruled = held(op, *(arg.detach() if isinstance(arg, Tensor) else arg for arg in args), outputs=(0, 1, 2), **kwargs)

    assert ruled.effect.macs == counter.get_total_flops() // 2
    assert ruled.effect.flops == {"bias": out.numel()}


NORMS: dict[str, tuple[Callable[..., Tensor], Sequence[Sequence[int]], int]] = {
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (3,), w, b), [(2, 3), (3,), (3,)], 6 * (10 + 2 + 1)),
    "layer_norm, bare": (lambda x: F.layer_norm(x, (2, 3)), [(2, 2, 3)], 12 * 9),
    "group_norm": (lambda x, w, b: F.group_norm(x, 2, w, b), [(2, 4, 3), (4,), (4,)], 24 * (10 + 2 + 1)),
    "batch_norm, training": (
        lambda x, w, b: F.batch_norm(x, None, None, w, b, True),
        [(2, 3, 2), (3,), (3,)],
        12 * (10 + 2 + 1),
    ),
    "batch_norm": (
        lambda x, w, b: F.batch_norm(x, torch.zeros(3).double(), torch.ones(3).double() * 2, w, b),
        [(2, 3, 2), (3,), (3,)],
        12 * (1 + 4 + 1),
    ),
    "weight_norm": (lambda v, g: torch._weight_norm_interface(v, g, 0)[0], [(3, 4), (3, 1)], 12 * 7),
}


@pytest.mark.parametrize("name", NORMS)
def test_norms(name: str) -> None:
    function, shapes, operations = NORMS[name]

    assert check(function, *shapes).effect.flops == {"norm": operations}


MOVES: dict[str, tuple[Callable[..., Tensor], Sequence[int], dict[str, int]]] = {
    "avg_pool2d": (lambda x: F.avg_pool2d(x, 3, 2, 1), (1, 1, 5, 5), {"pooling": 9 * 9}),
    "avg_pool3d": (lambda x: F.avg_pool3d(x, 2), (1, 1, 4, 4, 4), {"pooling": 64}),
    "adaptive_avg_pool2d": (lambda x: F.adaptive_avg_pool2d(x, (3, 2)), (1, 1, 5, 4), {"pooling": 7 * 4}),
    "max_pool2d": (lambda x: F.max_pool2d(x, 3, 2, 1), (1, 1, 5, 5), {"elementwise": 9}),
    "max_pool3d": (lambda x: F.max_pool3d(x, 2), (1, 1, 4, 4, 4), {"elementwise": 8}),
    "adaptive_max_pool2d": (lambda x: F.adaptive_max_pool2d(x, (3, 2)), (1, 1, 5, 4), {"elementwise": 6}),
    "fractional_max_pool2d": (lambda x: F.fractional_max_pool2d(x, 2, 3), (1, 1, 6, 6), {"elementwise": 9}),
    "nearest": (lambda x: F.interpolate(x, scale_factor=2), (1, 1, 3, 2), {"elementwise": 18}),
    "nearest, down": (lambda x: F.interpolate(x, size=2), (1, 1, 5), {}),
    "bilinear": (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), (1, 1, 3, 2), {"interpolation": 24 * 7}),
    "linear": (lambda x: F.interpolate(x, size=7, mode="linear", align_corners=True), (1, 1, 4), {"interpolation": 21}),
    "bicubic": (lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"), (1, 1, 3, 3), {"interpolation": 36 * 31}),
    "reflection": (lambda x: F.pad(x, (2, 1), mode="reflect"), (1, 2, 4), {"elementwise": 6}),
    "replication": (lambda x: F.pad(x, (2, 1, 0, 1), mode="replicate"), (1, 1, 3, 4), {"elementwise": 16}),
    "select": (lambda x: x[:, 1], (2, 3), {}),
    "slice": (lambda x: x[:, 1:6:2], (2, 7), {}),
    "diagonal": (lambda x: x.diagonal(1), (3, 4), {}),
    "unfold": (lambda x: x.unfold(1, 3, 2), (2, 7), {"elementwise": 2 * (9 - 7)}),
    "embedding": (lambda x: F.embedding(torch.tensor([[0, 2], [2, 1]]), x), (4, 3), {"elementwise": 12}),
    "pdist": (F.pdist, (3, 4), {"other": 3 * 13}),
    "masked_scatter": (
        lambda x: torch.zeros(2, 3).double().masked_scatter(torch.rand(2, 3) > 0.3, x),
        (6,),
        {},
    ),
}


@pytest.mark.parametrize("name", MOVES)
def test_moves(name: str) -> None:
    function, shape, flops = MOVES[name]

    assert check(function, shape).effect.flops == flops


def test_distances() -> None:
    ruled = check(torch.cdist, (3, 2), (4, 2))
    assert ruled.effect.flops == {"other": 12 * 7}


def test_sampling() -> None:
    function = lambda x, grid: F.grid_sample(x, grid - 0.7, align_corners=False)  # noqa: E731

    assert check(function, (1, 2, 4, 4), (1, 2, 2, 2)).effect.flops == {"interpolation": 2 * 7 * 8}


LOSSES: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "mse": (lambda x: F.mse_loss(x, Y), 6 * 4),
    "mse, none": (lambda x: F.mse_loss(x, Y, reduction="none"), 6 * 3),
    "smooth_l1": (lambda x: F.smooth_l1_loss(x, Y, reduction="sum"), 6 * 4),
    "huber": (lambda x: F.huber_loss(x, Y), 6 * 5),
    "soft_margin": (lambda x: F.soft_margin_loss(x, Y), 6 * 8),
    "binary_cross_entropy": (lambda x: F.binary_cross_entropy(x / 2, Y / 2), 6 * 6),
    "nll": (lambda x: F.nll_loss(x, torch.tensor([0, 2])), 2 * 2),
    "nll, none, weights": (lambda x: F.nll_loss(x, torch.tensor([0, 2]), Y[0], reduction="none"), 2 * 3),
    "nll of a map": (lambda x: F.nll_loss(x[..., None, None], torch.tensor([[[0]], [[2]]])), 2 * 2),
    "multi_margin": (lambda x: F.multi_margin_loss(x, torch.tensor([0, 2])), 4 * 6 + 2 * 2),
    "ctc": (
        lambda x: F.ctc_loss(x[:, None].log_softmax(-1), torch.tensor([[1]]), [2], [1], reduction="none"),
        13 * 6 + 9,
    ),
}
Y = torch.rand(2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.1


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name: str) -> None:
    function, operations = LOSSES[name]
    op, args, kwargs = backward(function, (2, 3))
    plain = [arg.detach().contiguous() if isinstance(arg, Tensor) else arg for arg in args]
    ruled = held(op, *plain, outputs=() if name.startswith(("huber", "smooth", "nll", "mult")) else (0,), **kwargs)

    assert ruled.effect.flops == {"loss": operations}


# --- models -----------------------------------------------------------------------------------------------------------


def multiply_adds(run: Callable[[], Any]) -> int:
    """By torch's own formulas, op by op: FlopCounterMode follows no model that differentiates."""
    with Caught() as caught:
        run()
    return sum(
        int(flop_registry[func._overloadpacket](*args, **kwargs, out_val=out)) // 2
        for (func, args, kwargs), out in zip(caught.calls, caught.results, strict=True)
        if func._overloadpacket in flop_registry
    )


class Energy(nn.Module):
    """Energy and forces, the gradient taken inside the forward pass."""

    def __init__(self, enable: bool = True) -> None:
        super().__init__()
        self.enable = enable
        self.net = nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.Linear(16, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad() if self.enable else nullcontext():
            x = x.requires_grad_(True)
            energy = self.net(x)
            force = -torch.autograd.grad(energy.sum(), x)[0]
        return energy, force


@pytest.mark.parametrize("enable", [True, False], ids=["enabled", "as a user runs it"])
def test_forces_of_a_potential(enable: bool) -> None:
    """Also where the model leaves it to its user to run it with gradients."""
    model, x = Energy(enable), torch.randn(5, 3)
    counted = multiply_adds(lambda: model(x.clone()))

    totals = rfcalc.analyze(model, x).totals

    assert (totals.params, totals.status) == (81, "complete")
    assert totals.macs == 2 * 5 * (3 * 16 + 16) == counted, "forward, and back to the positions"
    assert not x.requires_grad
    checks = {check.what: check for check in rfcalc.verify(model, x).checks}
    assert all(check.agree == check.compared for check in checks.values())
    assert checks["macs"].compared == 4


ATTENTION = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True).eval()


def test_what_functions_keep_for_a_gradient_is_known() -> None:
    """Attention, norms and views inside of functions: none is taken for a constant."""

    class Score(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = ATTENTION

        def forward(self, x: Tensor) -> Tensor:
            x = x.requires_grad_(True)
            return torch.autograd.grad(self.layer(x).square().sum(), x)[0]

    model, x = Score(), torch.randn(1, 6, 8)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        counted = multiply_adds(lambda: model(x.clone()))
    totals = rfcalc.analyze(model, x).totals

    assert totals.status == "complete", totals.unknown_ops
    assert totals.macs == counted


def test_a_force_between_neighbours_sees_as_far_as_the_energies_do() -> None:
    class Field(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(1, 4, 3, padding=1)
            self.out = nn.Conv1d(4, 1, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            with torch.enable_grad():
                x = x.requires_grad_(True)
                energy = self.out(torch.tanh(self.conv(x))).sum()
                return torch.autograd.grad(energy, x)[0]

    analysis = rfcalc.analyze(Field(), (1, 1, 32))

    last = analysis.layers[-1]
    assert last.receptive_field.size == (5,), "d/dx_i of tanh'(conv) at i-1 to i+1, each of which sees one more"
    assert last.receptive_field.status == "exact"
    assert analysis.totals.status == "complete"


#: For other devices, for quantized weights, or made of other ops before a recorder sees them.
ELSEWHERE = (
    *("cudnn", "miopen", "mkldnn", "mps", "_slow_conv2d", "_nested", "_sparse", "_segment", "_fake_quantize", "thnn"),
    *("_flash_attention", "_efficient_attention", "batch_norm_backward_", "linear_backward", "matmul_backward"),
    *("glu_backward_jvp", "_masked_softmax_backward", "mkldnn"),
)


def test_no_gradient_that_the_cpu_runs_is_without_a_rule() -> None:
    schemas = {schema.name.replace("::", ".") for schema in torch._C._jit_get_all_schemas()}
    names = {name for name in schemas if name.startswith("aten.") and "_backward" in name and "double" not in name}
    packets = {name: getattr(torch.ops.aten, name.removeprefix("aten."), None) for name in names}
    made = {name for name, packet in packets.items() if packet is None or _composite(packet)}

    missing = {name for name in names - made if find(name) is None}
    assert not {name for name in missing if not any(part in name for part in ELSEWHERE)}


def _composite(packet: Any) -> bool:
    """Whether torch makes it of other ops wherever it runs."""
    for overload in packet.overloads():
        name = f"{packet._qualified_op_name}" + ("" if overload == "default" else f".{overload}")
        try:
            if not torch._C._dispatch_has_kernel_for_dispatch_key(name, "CompositeImplicitAutograd"):
                return False
        except RuntimeError:  # an op of TorchScript alone
            continue
    return True
