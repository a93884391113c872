"""XLA's own count: `cost_analysis` of a function that JAX lowered.

XLA (HloCostAnalysis) goes over the ops of a compiled program: 2 for each multiply-add, without those that meet padding,
1 for each element of arithmetic, none for functions such as exp and tanh, which it counts by themselves
("transcendentals"). The body of a loop counts once, however often it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from rfcalc.conventions import names
from rfcalc.conventions.facts import CallSite, OpSite
from rfcalc.conventions.rules import Convention, Miss, Pass, extra, products

#: A turn of a scan, and one after the first.
_SCAN, _AGAIN = "jax.lax.scan", "rfcalc.sources.parts.Again"
_CONVOLUTIONS = ("aten.convolution",)
_PRODUCTS = ("torch.linear", "torch.einsum", "aten.baddbmm", "torch.scaled_dot_product_attention", *names.PRODUCTS)
#: One operation for each element of the output.
_ONCE = (
    *("add", "sub", "rsub", "mul", "div", "maximum", "minimum", "neg", "abs", "sign", "sgn", "floor", "ceil", "round"),
    *("eq", "ne", "lt", "le", "gt", "ge", "where", "logical_and", "logical_or", "logical_not", "bitwise_and"),
    *("bitwise_or", "bitwise_xor", "bitwise_not", "remainder", "fmod", "relu", "square", "reciprocal", "_to_copy"),
)
_REDUCTIONS = ("sum", "amax", "amin", "prod", "mean")


def _again(site: OpSite) -> bool:
    return any(_AGAIN in call.types for call in site.enclosing)


def _once(count: Callable[[OpSite], int | None]) -> Callable[[OpSite], int | None]:
    """The rule for the first turn of a loop alone."""
    return lambda site: None if _again(site) else count(site)


def _left_out(site: OpSite) -> int | None:
    return 0 if site.macs and _again(site) else None


def _met(site: OpSite) -> int:
    """Multiply-adds of a convolution whose tap lies on an element, and not in the padding.

    Of a transposed one those whose result is not cut off, by itself or by the op after it.
    """
    attrs = site.node.attrs
    kernel = [int(n) for n in attrs.get("kernel", ())]
    rank, ones = len(kernel), [1] * len(kernel)
    strides, dilations = ([int(n) for n in attrs.get(name, ones)] for name in ("stride", "dilation"))
    turned = site.node.kind == "conv_transpose"
    before, extents = _cut(site, rank) if turned else _padding(site, rank)
    steps = list((site.in_shape if turned else site.out_shape)[-rank:])
    found = [
        sum(
            0 <= at * strides[axis] + tap * dilations[axis] - before[axis] < extents[axis]
            for at in range(steps[axis])
            for tap in range(kernel[axis])
        )
        for axis in range(rank)
    ]
    return site.macs // max(prod(steps) * prod(kernel), 1) * prod(found)


def _cut(site: OpSite, rank: int) -> tuple[list[int], list[int]]:
    """What is cut off before each axis of a transposed convolution, and the extents of what is left."""
    before = [int(n) for n in site.node.attrs.get("padding", [0] * rank)]
    readers = [site.facts.nodes[at] for at in site.facts.graph.readers[site.node.id]]
    if len(readers) == 1 and readers[0].op == "aten.constant_pad_nd":
        around = list(readers[0].attrs["padding"])[-rank:]
        if all(first <= 0 and last <= 0 for first, last in around):
            return [n - first for n, (first, _) in zip(before, around, strict=True)], list(readers[0].shape[-rank:])
    return before, list(site.out_shape[-rank:])


def _padding(site: OpSite, rank: int) -> tuple[list[int], list[int]]:
    """The padding before each axis, and the extents without it, also where an op of its own put zeros around."""
    before = [int(n) for n in site.node.attrs.get("padding", [0] * rank)]
    extents = list(site.in_shape[-rank:])
    around = site.facts.nodes[site.node.inputs[0].node] if site.node.inputs else None
    if around is not None and around.op == "aten.constant_pad_nd" and not around.attrs.get("value"):
        for at, (first, last) in enumerate(list(around.attrs["padding"])[-rank:]):
            before[at] += first
            extents[at] -= first + last
    return before, extents


def _product(site: OpSite) -> int:
    return _met(site) if site.node.op in _CONVOLUTIONS else site.macs


def _reduction(site: OpSite) -> int:
    """All elements but one of each sum, and for a mean one division."""
    return site.in_size - site.out_size + (site.out_size if site.node.op == "aten.mean" else 0)


def _softmax(site: OpSite) -> int:
    """The largest of each row, its difference from each element, the sum of a row and the quotients."""
    rows = site.in_size // max(site.in_shape[int(site.node.attrs["dim"])], 1)
    return 4 * site.in_size - rows


def _windows(site: OpSite) -> int:
    return site.out_size * (prod(map(int, site.node.attrs["kernel"])) - 1)


def _keys(*ops: str) -> tuple[str, ...]:
    return tuple(f"aten.{op}" for op in ops)


def _counter(call: CallSite) -> int | None:
    """A loop's own counter: one comparison and one addition."""
    inside = any(_AGAIN in around.types for around in call.facts.enclosing(call.call.number))
    return None if inside else 2


CONVENTION = Convention(
    name="xla",
    version="jax 0.10",
    call='jax.jit(f).lower(x).cost_analysis()["flops"]',
    passes=(
        Pass(
            "ops",
            (
                products(*_CONVOLUTIONS, *_PRODUCTS, count=_left_out, label="bodies of loops: the first turn alone"),
                products(*_CONVOLUTIONS, count=_met, label="taps of kernels that lie in the padding"),
                products(*_PRODUCTS),
            ),
        ),
        Pass("ops", (extra("2 operations for each multiply-add", *_CONVOLUTIONS, *_PRODUCTS, count=_once(_product)),)),
        Pass("ops", (extra("biases, 1 per element", *_CONVOLUTIONS, *_PRODUCTS, count=_once(lambda s: s.bias)),)),
        Pass(
            "ops",
            (
                extra("operations on elements, 1 each", *_keys(*_ONCE), count=_once(lambda site: site.out_size)),
                extra("reductions", *_keys(*_REDUCTIONS), count=_once(_reduction)),
                extra("softmax", *_keys("_softmax", "_safe_softmax"), count=_once(_softmax)),
                extra(
                    "pooling",
                    *_keys("max_pool2d_with_indices", "max_pool1d", "max_pool3d_with_indices"),
                    count=_once(_windows),
                ),
                extra("sigmoid, 3 per element", "aten.sigmoid", count=_once(lambda site: 3 * site.out_size)),
                extra("silu, 4 per element", "aten.silu", count=_once(lambda site: 4 * site.out_size)),
            ),
        ),
        Pass("classes", (extra("counters of loops, 2 each", _SCAN, count=_counter),)),
    ),
    misses={"": Miss("products of other functions missed", "")},
    prints="flops",
    caveat="powers, norms in one op, resizing and sorting, and what follows from weights alone, count in XLA alone",
)
