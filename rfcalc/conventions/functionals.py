"""calflops and DeepSpeed's flops profiler: functions of torch's exchanged for ones that count (MACs apart from FLOPs).

Both exchange functions of torch.nn.functional and some of torch and torch.Tensor (calflops/pytorch_ops.py,
deepspeed/profiling/flops_profiler/profiler.py). MACs, which are compared here, are those of products alone.
"""

from __future__ import annotations

from math import prod

from rfcalc.conventions import names
from rfcalc.conventions.facts import ATTENTION, LINEAR, Facts, OpSite
from rfcalc.conventions.rules import Convention, Pass, Rule, copies, counted, missing, products

CALFLOPS_VERSION, DEEPSPEED_VERSION = "0.3.2", "0.19.8"
CALFLOPS, DEEPSPEED = f"calflops {CALFLOPS_VERSION}", f"deepspeed {DEEPSPEED_VERSION}"


def _convolution(site: OpSite) -> int | None:
    """By the output that stride, padding and dilation give; with an odd total of padding="same" that is one short."""
    if site.node.op != "aten.convolution":
        return None
    sizes = site.facts.before_padding(site.node)
    if sizes is None:
        return site.macs
    settings = zip(sizes, site.node.attrs["kernel"], site.node.attrs["dilation"], strict=True)
    positions: int = prod(size + d * (k - 1) // 2 * 2 - d * (k - 1) for size, k, d in settings)
    return site.macs * positions // prod(site.out_shape[2:])


def _grouped_transposed(site: OpSite) -> int | None:
    """The groups divide twice: an axis of the weight is divided already."""
    if site.node.op != "aten.convolution":
        return None
    attrs = site.node.attrs
    filters: int = attrs["out_channels"] // attrs["groups"] // attrs["groups"]
    taps: int = prod(attrs["kernel"])
    return taps * filters * site.in_size


def _rules(tool: str, functions: tuple[str, ...], transposed: Rule) -> tuple[Rule, ...]:
    return (
        products(LINEAR, count=counted),
        products(
            *names.CONV_FUNCTIONS,
            count=_convolution,
            label='convolution with padding="same" and an even kernel: one position short',
            fault=f"{tool} halves an odd total of padding and drops the rest",
        ),
        transposed,
        *names.matmuls(tool, *functions),
        products("torch.addmm", "torch.Tensor.addmm", "torch.baddbmm", count=counted),
    )


HELD = "functions that the model's code took hold of before the tool exchanged them count 0"

_MATMULS = ("torch.matmul", "torch.Tensor.matmul")


def _calflops_refuses(facts: Facts) -> str:
    """What it raises at: no parameter to know the device by, and inputs without a batch where it looks at axis 1."""
    if not facts.graph.params:
        return f"{CALFLOPS} raises for a model without parameters"
    for site in facts.ops():
        alone = site.node.op == "aten.unsqueeze" and site.node.function in names.CONV_FUNCTIONS
        if alone and site.in_shape[1] != site.in_shape[0]:
            return f"{CALFLOPS} raises for a convolution of an input without a batch"
    for call in facts.module_calls():
        if call.types[:1] in _CELLS and len(call.in_shape) == 1:
            return f"{CALFLOPS} raises for a recurrent cell of an input without a batch"
    return ""


_CELLS = tuple((cell,) for kind in (names.RNN, names.GRU, names.LSTM) for cell in kind[1:])

CALFLOPS_CONVENTION = Convention(
    name="calflops",
    version=CALFLOPS_VERSION,
    call="calculate_flops(model, input_shape=shape, output_as_string=False)[1]",
    passes=(
        Pass(
            "functions",
            _rules(
                CALFLOPS,
                (*_MATMULS, "torch.Tensor.__rmatmul__"),
                products(
                    *names.CONV_TRANSPOSE_FUNCTIONS,
                    count=_grouped_transposed,
                    label="transposed convolution with groups: groups divided twice",
                    fault=f"{CALFLOPS} divides by the groups of a transposed convolution twice",
                ),
            ),
            per_place=1,
        ),
    ),
    copies=copies(CALFLOPS),
    misses=missing(CALFLOPS, matmul="bmm, einsum and the operator @"),
    prints="MACs",
    refuses=_calflops_refuses,
    caveat=HELD,
)

DEEPSPEED_CONVENTION = Convention(
    name="deepspeed",
    version=DEEPSPEED_VERSION,
    call="get_model_profile(model, args=[input], as_string=False)[1]",
    passes=(
        Pass(
            "functions",
            (
                products(ATTENTION, count=counted),
                *_rules(
                    DEEPSPEED,
                    (
                        *(*_MATMULS, "torch.Tensor.__matmul__", "torch.mm", "torch.Tensor.mm"),
                        *("torch.bmm", "torch.Tensor.bmm"),
                    ),
                    products(*names.CONV_TRANSPOSE_FUNCTIONS, count=counted),
                ),
            ),
        ),
    ),
    misses=missing(DEEPSPEED, matmul="einsum"),
    prints="MACs",
    caveat=HELD,
)
