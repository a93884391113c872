"""Counters of what torch's dispatcher runs: FlopCounterMode, ptflops' second backend, torchvision's published numbers.

They see matrix products and convolutions after composite functions were taken apart, whatever module ran them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from rfcalc.conventions import names
from rfcalc.conventions.facts import CallSite, OpSite, is_complex
from rfcalc.conventions.ptflops import TOOL as PTFLOPS
from rfcalc.conventions.ptflops import VERSION as PTFLOPS_VERSION
from rfcalc.conventions.ptflops import refuses
from rfcalc.conventions.rules import Convention, Miss, Pass, extra, missing, products

_ATTENTION_OP = "torch.scaled_dot_product_attention"
_RECURRENT = tuple(f"torch.{kind}{end}" for kind in ("lstm", "gru", "rnn_tanh", "rnn_relu") for end in ("", "_cell"))


@dataclass(frozen=True)
class _Kernel:
    """torch's kernel for attention on a CPU, as it was over several releases: what it takes is dispatched whole.

    ``axes`` are those of the queries; ``one_head`` says whether keys of one head may serve queries of several.
    """

    axes: tuple[int, ...]
    one_head: bool

    def takes(self, site: OpSite) -> bool:
        """Whether an op is attention that runs within the kernel, as far as its shapes and strides say."""
        if site.node.op != _ATTENTION_OP:
            return site.in_attention
        apart = site.node.attrs.get("kernels", "")
        return len(site.out_shape) in self.axes and (not apart or (apart == "one head" and self.one_head))


_KERNEL, _KERNEL_BEFORE = _Kernel((3, 4), True), _Kernel((4,), False)


def _learned(site: OpSite) -> bool:
    """Whether the mask is a parameter in training, or a view of one: a gradient keeps it out of the kernel."""
    return site.node.attrs.get("mask") == "param" and any(site.facts.trainable(name) for name in site.node.params)


def _with_gradient(site: OpSite) -> int | None:
    """Products outside attention kernels, which do not take a mask that needs a gradient."""
    computed = site.node.attrs.get("mask") == "data" and site.node.inputs[-1].node in site.facts.learning
    return site.macs if computed or _learned(site) or not _KERNEL.takes(site) else None


def _convolution(site: OpSite) -> int:
    """torch runs a convolution of complex numbers as three of real ones."""
    return 3 * site.macs if is_complex(site.node) else site.macs


_CONVOLUTION = products(
    "aten.convolution", count=_convolution, label="convolutions of complex numbers: three of real ones"
)


def _einsum(site: OpSite) -> int:
    """Operand by operand from left to right: bmm where an index is summed, elementwise (not counted) where not."""
    inputs, _, output = str(site.node.attrs["equation"]).replace("...", "").partition("->")
    if "..." in str(site.node.attrs["equation"]):
        return site.macs
    terms = inputs.split(",")
    sizes: dict[str, int] = {}
    for labels, shape in zip(terms, site.node.attrs["operands"], strict=True):
        sizes.update(zip(labels, shape, strict=True))
    left, total = set(terms[0]), 0
    for place, term in enumerate(terms[1:], start=2):
        kept = set(output).union(*terms[place:])
        both = left | set(term)
        total += prod(sizes[label] for label in both) if both - kept else 0
        left = both & kept
    return total


_EINSUM = products("torch.einsum", count=_einsum, label="einsum: steps that sum over no index count 0")


def _recurrent(site: OpSite) -> int | None:
    """Matrix products for each step; on a CPU one op for a whole LSTM, unless its state is projected."""
    return None if site.node.op == "torch.lstm" and "proj_size" not in site.node.attrs else site.macs


def _recurrent_bias(site: OpSite) -> int | None:
    return None if _recurrent(site) is None else site.bias


def _bias(site: OpSite) -> int | None:
    return None if site.in_attention else site.bias


def _linear(site: OpSite) -> int | None:
    """A vector for a weight leaves no axis of outputs: torch runs it as aten.mv, for which no counter has a formula."""
    return None if len(site.out_shape) < len(site.in_shape) else site.macs


# --- torch.utils.flop_counter -----------------------------------------------------------------------------------------


def _fast_path(call: CallSite) -> int | None:
    """0 where torch runs the module as one op in inference: MultiheadAttention, or a whole TransformerEncoderLayer."""
    if call.types[:1] == names.ENCODER_LAYER:
        simple = any(
            node.call == call.call.number and node.op in ("aten.relu", "aten.gelu", "aten.relu_") for node in call.nodes
        )
        inner = (site for site in call.children if site.types[:1] == names.MULTIHEAD)
        return 0 if simple and any(_fused_attention(site) for site in inner) else None
    return 0 if _fused_attention(call) else None


def _fused_attention(call: CallSite) -> bool:
    """Self-attention with the batch first, an even number of heads, biases, and nothing added to keys and values."""
    moved = sum(node.function == "torch.Tensor.transpose" for node in call.nodes if node.call == call.call.number)
    same = len(set(call.inputs)) == 1 and len(call.inputs) == 3
    plain = call.param("in_proj_weight") is not None and call.param("in_proj_bias") is not None
    softmax = call.scores
    if moved != 2 or not same or not plain or call.param("bias_k") is not None or softmax is None:
        return False
    if softmax.shape[-1] != call.inputs[1][-2]:  # add_zero_attn: one key more
        return False
    heads = softmax.shape[1] if len(softmax.shape) == 4 else softmax.shape[0] // call.in_shape[0]
    return heads % 2 == 0


def _in_fast_path(site: OpSite) -> bool:
    return any(
        call.types[:1] in (names.MULTIHEAD, names.ENCODER_LAYER) and _fast_path(call) == 0 for call in site.enclosing
    )


def _flop_counter(name: str, version: str, uncounted: _Kernel | None) -> Convention:
    """FlopCounterMode in these releases of torch, which count 0 for a kernel."""
    tool = f"FlopCounterMode of torch {version}"

    def product(site: OpSite) -> int | None:
        within = uncounted is not None and uncounted.takes(site) and not _learned(site)
        return None if within or _in_fast_path(site) else site.macs

    def linear(site: OpSite) -> int | None:
        return product(site) and _linear(site)

    ops = (
        _CONVOLUTION,
        products("torch.linear", count=linear),
        _EINSUM,
        products(*_RECURRENT, count=_recurrent),
        products(*names.PRODUCTS, "aten.baddbmm", _ATTENTION_OP, count=product),
    )
    fast = products(
        *names.ENCODER_LAYER,
        *names.MULTIHEAD,
        count=_fast_path,
        label="MultiheadAttention and encoder layers as one op missed",
        fault=f"{tool} counts 0 for MultiheadAttention and encoder layers that torch runs as one op under no_grad",
    )
    return Convention(
        name=name,
        version=f"torch {version}",
        call="FlopCounterMode() on a CPU under torch.no_grad(): get_total_flops()",
        passes=(Pass("modules", (fast,)), Pass("ops", ops)),
        misses=missing(tool),
        prints="FLOPs, 2 for each multiply-add",
        factor=2,
    )


FLOP_COUNTERS = (
    _flop_counter("flopcounter", "2.15", None),
    _flop_counter("flopcounter-2.14", "2.14", _KERNEL),
    _flop_counter("flopcounter-2.13", "2.11 to 2.13", _KERNEL_BEFORE),
)

# --- ptflops, backend="aten" ------------------------------------------------------------------------------------------

PTFLOPS_ATEN = Convention(
    name="ptflops-aten",
    version=PTFLOPS_VERSION,
    call='get_model_complexity_info(model, shape, backend="aten", as_strings=False)[0]',
    passes=(
        Pass(
            "ops",
            (
                _CONVOLUTION,
                products("torch.linear", count=_linear),
                _EINSUM,
                products(*_RECURRENT, count=_recurrent),
                products(*names.PRODUCTS, _ATTENTION_OP, count=_with_gradient),
            ),
        ),
        Pass(
            "ops",
            (
                extra("bias of convolutions, 1 per output element", "aten.convolution", count=_bias),
                extra("bias of linear layers, 1 per output element", "torch.linear", "aten.addmm", count=_bias),
                extra("bias of recurrent layers, 1 per element and step", *_RECURRENT, count=_recurrent_bias),
            ),
        ),
    ),
    misses=missing(f"{PTFLOPS} (aten)"),
    caveat="the bias of a linear layer counts 0 where its input does not lie in one piece in memory; "
    "before torch 2.14 attention of three axes, or of one head of the keys for several, counts",
    prints="MACs",
    refuses=refuses,
)

# --- torchvision ------------------------------------------------------------------------------------------------------

TORCHVISION = Convention(
    name="torchvision",
    version="0.29",
    call="weights.meta['_ops']",
    passes=(
        Pass(
            "ops",
            (
                _CONVOLUTION,
                products("torch.linear", count=_linear),
                products(*names.PRODUCTS, _ATTENTION_OP),
                _EINSUM,
            ),
        ),
    ),
    misses={"": Miss("products by other ops than mm, addmm, bmm and convolution", "")},
    prints="GFLOPS, 10^9 of these in three decimals",
)
