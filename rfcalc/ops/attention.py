"""Softmax and scaled dot-product attention, with exact masks."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from rfcalc.ops._linear import either, except_at, formula, ranked, reshape
from rfcalc.ops._masks import LOWEST, leant_on
from rfcalc.ops.common import align
from rfcalc.ops.registry import Arg, ArgRead, Call, Effect, numel, rule
from rfcalc.reads import Contract, Group, Pad, Reduce, Steps

#: Maximum, subtraction, exponential, sum and division (log_softmax: subtraction) of one element.
SOFTMAX_OPS = 5


def _relative(blocked: np.ndarray, axis: int) -> np.ndarray:
    """The mask without the rows that are blocked wholly: a softmax does not see a shift of the whole row."""
    return blocked & ~blocked.all(axis=axis, keepdims=True)


# --- softmax ----------------------------------------------------------------------------------------------------------


def _softmax(call: Call) -> tuple[Arg, int, np.ndarray | None, bool]:
    """The input, the axis, the elements that their row blocks, and whether a row is blocked wholly."""
    x: Arg = either(call, "self", "input")
    axis = call["dim"] % max(1, x.ndim)
    if x.blocked is None or not x.ndim:
        return x, axis, None, False
    blocked = ranked(x.blocked, x.ndim)
    sizes = list(blocked.shape)
    sizes[axis] = x.shape[axis]
    blocked = np.broadcast_to(blocked, sizes)
    return x, axis, _relative(blocked, axis), bool(blocked.all(axis=axis).any())


def _softmax_effect(x: Arg, axis: int, **known: Any) -> Effect:
    return Effect("activation", flops={"softmax": SOFTMAX_OPS * x.numel}, attrs={"dim": axis}, **known)


@rule("aten._softmax", "aten.softmax", "aten._safe_softmax", "aten.special_softmax")
def softmax(call: Call) -> Effect:
    """Softmax: reads its row without the masked elements, which become 0; 5 operations an element."""
    x, axis, blocked, whole = _softmax(call)
    gone = except_at(call, blocked)
    row = (Reduce((axis,)),) if x.ndim else ()
    doubtful = whole and call.op == "aten._safe_softmax"
    return _softmax_effect(
        x,
        axis,
        reads=[(x, gone), (x, (*gone, *row, *(() if x.rows else gone)))],  # the row is NaN where data masks all of it
        zero=blocked if gone else None,
        masked=bool(gone),
        inexact="a row is masked wholly, by minus infinity or by finite values" if doubtful else "",
    )


@rule("aten._log_softmax", "aten.log_softmax", "aten.special_log_softmax")
def log_softmax(call: Call) -> Effect:
    """Logarithm of a softmax: reads its row without the masked elements, and itself; 5 operations an element."""
    x, axis, blocked, _ = _softmax(call)
    gone = except_at(call, blocked)
    row = (Reduce((axis,)),) if x.ndim else ()
    return _softmax_effect(
        x,
        axis,
        reads=[(x, ()), (x, (*gone, *row))],
        blocked=blocked if gone else None,
        masked=bool(gone),
        inexact="a masked element is taken to read its row, as it does unless it is minus infinity" if gone else "",
    )


# --- scaled dot-product attention -------------------------------------------------------------------------------------


class _Attention:
    """Shapes, mask and reads of one call; the axes before the last two are batch and heads."""

    def __init__(self, call: Call) -> None:
        self.query: Arg = call["query"]
        self.key: Arg = call["key"]
        self.value: Arg = call["value"]
        self.mask: Arg | None = either(call, "attn_mask", "attn_bias")
        self.rank = self.query.ndim
        if self.mask is not None and self.mask.ndim > self.rank:  # torch refuses it with data, not on meta tensors
            raise ValueError(f"a mask of {self.mask.ndim} axes for a query of {self.rank}")
        self.length, self.source = self.query.shape[-2], self.key.shape[-2]
        known = None if self.mask is None else self._known(self.mask)
        closed = self._closed(known, bool(call["is_causal"]))
        self.masked = bool(closed.any())
        #: the pairs of a query and a key that the mask closes, as a part of all
        self.closed = Fraction(int(np.count_nonzero(closed)), max(1, closed.size))
        self.closing = "" if self.mask is None else _closing(self.mask)
        lost = call.op == "torch.flex_attention" and known is None and self.mask is not None
        self.unknown = "a mask of so many elements is not evaluated" if lost and self.mask.role == "const" else ""
        #: the sum over the keys that a query sees, and the queries that see none: their output is 0 and reads nothing
        self.over_keys = Contract(call.mask(closed)) if self.masked else Reduce((self.rank - 2,))
        self.seeing = except_at(call, np.asarray(closed.all(axis=-1, keepdims=True)))
        self.open = except_at(call, closed)
        self.bias_open = except_at(call, known)

    def _closed(self, known: np.ndarray | None, causal: bool) -> np.ndarray:
        """Which scores are masked, (..., length, source)."""
        closed = ~np.tri(self.length, self.source, dtype=bool) if causal else np.zeros((self.length, self.source), bool)
        return closed if known is None else closed | known

    def _known(self, mask: Arg) -> np.ndarray | None:
        """What the mask is known to block; finite values that block a whole row block nothing."""
        value = mask.numbers()
        if value is None and mask.dtype == "bool":
            return None if mask.zero is None else self._wide(mask.zero)
        if value is None:
            return None if mask.blocked is None else _relative(self._wide(mask.blocked), -1)
        wide = self._wide(value)
        return ~wide if wide.dtype == bool else leant_on(mask, _relative(wide <= LOWEST, -1) | (wide == -np.inf))

    def _wide(self, known: np.ndarray) -> np.ndarray:
        """With two axes at least, and the last one as long as there are keys."""
        known = ranked(known, max(2, known.ndim))
        return np.broadcast_to(known, (*known.shape[:-1], self.source))

    def _heads(self, arg: Arg) -> Steps:
        """Grouped queries: several heads of the query share one head of the key."""
        steps = align(arg.shape, self.rank)
        if self.rank >= 3 and arg.ndim >= 3 and arg.shape[-3] not in (1, self.query.shape[-3]):
            return (*steps, Group(self.rank - 3, arg.shape[-3], self.query.shape[-3]))
        return steps

    def scores(self) -> list[ArgRead]:
        """The reads of something that each query has one of: (..., length, 1)."""
        last = Reduce((self.rank - 1,))
        reads: list[ArgRead] = [
            (self.query, (last, *self.seeing)),
            (self.key, (*self._heads(self.key), last, self.over_keys)),
        ]
        if self.mask is not None and self.mask.reads_data:
            reads.append((self.mask, (*align(self.mask.shape, self.rank), *self.bias_open, last, *self.seeing)))
        return reads

    def values(self) -> ArgRead:
        """The weighted sum of the values."""
        return self.value, (*self._heads(self.value), self.over_keys)

    def others(self, shape: tuple[int, ...]) -> list[ArgRead]:
        """The reads of a further output: the logarithm of the sums, or the weights; a random state reads nothing."""
        lead, length = self.query.shape[:-2], self.length
        if shape == (*lead, length, self.source):
            ending = self.open
        elif shape in ((*lead, length), (*lead, length, 1)):
            ending = reshape((*lead, length, 1), shape)
        elif shape[:-1] == lead and shape[-1] > length:
            pad = Pad(len(lead), length, 0, shape[-1] - length)
            ending = (*reshape((*lead, length, 1), (*lead, length)), pad)
        else:
            return []
        return [(arg, (*steps, *ending)) for arg, steps in self.scores()]


def _closing(mask: Arg) -> str:
    """Why a mask may close more pairs than are known; what is computed from parameters alone is no mask."""
    if mask.role == "param" or mask.numbers() is not None:
        return ""
    if mask.role == "const":
        return "large"
    return "data" if mask.dtype == "bool" else "added"


def _apart(call: Call) -> str:
    """Which kernels for attention take a call on a CPU, where it is not all of them.

    "" is all that take a query of so many axes, "one head" those that share one head of the keys among all queries,
    "none" means that torch runs it in parts (``sdp::use_flash_attention_cpp`` in ``sdp_utils_cpp.cpp``).
    """
    operands: list[Arg] = [call["query"], call["key"], call["value"]]
    mask: Arg | None = either(call, "attn_mask", "attn_bias")
    query, key, value = (operand.shape for operand in operands)
    rank = len(query)
    plain = (
        not call.get("dropout_p", 0.0)
        and len(key) == len(value) == rank >= 3
        and query[-1] == key[-1] == value[-1]
        and query[:-3] == key[:-3] == value[:-3]
        and key[-3] == value[-3]
        and all(operand.strides is None or operand.strides[-1] == 1 for operand in operands)
        and (mask is None or rank != 4 or mask.ndim in (2, 4))
    )
    if not plain:
        return "none"
    if query[-3] == key[-3] or (call["enable_gqa"] and query[-3] % key[-3] == 0):
        return ""
    return "one head" if key[-3] == 1 else "none"


@rule("torch.flex_attention_of_scores")
def attention_of_scores(call: Call) -> Effect:
    """Softmax of scores and the values so weighted: heads x L x S x Ev multiply-adds, masked scores read nothing."""
    scores: Arg = call["scores"]
    value: Arg = call["value"]
    lead = scores.shape[:-2]
    length, source = scores.shape[-2:]
    blocked = None
    if scores.blocked is not None:
        known = ranked(scores.blocked, 4)
        blocked = np.broadcast_to(known, (*known.shape[:-2], length, source))
    gone = except_at(call, blocked)
    row = (*gone, Reduce((3,)))
    over_keys = Contract(call.mask(blocked)) if blocked is not None and gone else Reduce((2,))
    macs = numel(scores.shape) * value.shape[-1]
    heads: Steps = () if value.shape[1] in (1, lead[1]) else (Group(1, value.shape[1], lead[1]),)
    own = reshape((*lead, length, 1), (*lead, length))
    seen = [(scores, (*row, *own))]
    return Effect(
        "attention",
        [[(scores, row), (value, (*heads, over_keys))], *[seen] * (len(call.outs) - 1)],
        each=True,
        macs=macs,
        flops={"softmax": SOFTMAX_OPS * numel(scores.shape)},
        formula=formula((*lead, length, source), value.shape[-1]),
        attrs={"heads": lead[1], "kv_heads": call["heads"], "queries": length, "keys": source},
        masked=bool(gone),
        closed=0 if blocked is None else int(np.count_nonzero(blocked)) * macs // blocked.size,
    )


@rule(
    "torch.scaled_dot_product_attention",
    "torch.flex_attention",
    "aten.scaled_dot_product_attention",
    "aten._scaled_dot_product_attention_math",
    "aten._scaled_dot_product_attention_math_for_mps",
    "aten._scaled_dot_product_flash_attention",
    "aten._scaled_dot_product_flash_attention_for_cpu",
    "aten._scaled_dot_product_efficient_attention",
    "aten._scaled_dot_product_cudnn_attention",
    "aten._scaled_dot_product_fused_attention_overrideable",
)
def scaled_dot_product_attention(call: Call) -> Effect:
    """Attention: reads its query and the keys and values left by the mask; heads x L x S x (E + Ev) multiply-adds."""
    attention = _Attention(call)
    query, value = attention.query, attention.value
    lead = call.out.shape[:-2]
    scores = numel(lead) * attention.length * attention.source
    extra = 1 + (attention.mask is not None or bool(call["is_causal"])) + (call.get("dropout_p", 0.0) > 0)
    heads = query.shape[-3] if query.ndim >= 4 else 1
    apart = _apart(call)
    macs = scores * (query.shape[-1] + value.shape[-1])
    return Effect(
        "attention",
        [[*attention.scores(), attention.values()], *(attention.others(out.shape) for out in call.outs[1:])],
        each=True,
        macs=macs,
        flops={"softmax": SOFTMAX_OPS * scores, "elementwise": extra * scores},
        formula=formula((*lead, attention.length, attention.source), f"{query.shape[-1]}+{value.shape[-1]}"),
        attrs={
            "heads": heads,
            "kv_heads": attention.key.shape[-3] if attention.key.ndim >= 4 else 1,
            "queries": attention.length,
            "keys": attention.source,
            "head_dim": query.shape[-1],
            "causal": bool(call["is_causal"]),
            **({"mask": attention.mask.role} if attention.mask is not None else {}),
            **({"kernels": apart} if apart else {}),
        },
        masked=attention.masked,
        inexact=attention.unknown,
        closed=int(macs * attention.closed),
        closing=attention.closing,
    )
