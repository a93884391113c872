"""Complex numbers: what a rule counts on numbers, in real operations (docs/flops.md).

Rules count as if all numbers were real. `in_reals` is applied to what every rule says, and is the only place that
knows what an operation on complex numbers takes. A rule that counts real operations itself says ``real=True``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from rfcalc.ops.registry import Arg, Call, Effect, numel

#: Real multiply-adds in one of complex numbers: (a + bi)(c + di) has four real products, each added to a sum.
PRODUCT = 4

#: Real operations in one on complex numbers, where it is done on the real and on the imaginary part.
_PARTS = 2

_Each: TypeAlias = Callable[[Call], int]


def is_complex(value: Any) -> bool:
    """Whether an argument or a result is complex: a tensor, or a number."""
    return isinstance(value, complex) or str(getattr(value, "dtype", "")).startswith("complex")


def _product(call: Call) -> int:
    """(a + bi)(c + di): 4 products and 2 sums; 2 products where one of both is real."""
    return 6 if _both(call) else 2


def _quotient(call: Call) -> int:
    """A product by the conjugate (6), the square of the divisor (3), two divisions; 2 for a real divisor."""
    return 11 if is_complex(call["other"]) else 2


def _sum(call: Call) -> int:
    """Both parts, or one where the other number is real; a factor ``alpha`` is a product by a real number."""
    alpha = call.get("alpha", 1)
    scaled = call["self"] if call.op.startswith("aten.rsub") else call["other"]
    factor = 0 if alpha == 1 else (6 if isinstance(alpha, complex) else 2) if is_complex(scaled) else 1
    return (2 if _both(call) else 1) + factor


def _both(call: Call) -> bool:
    return is_complex(call["self"]) and is_complex(call["other"])


def _fused(operation: int) -> _Each:
    """A product (quotient) of two tensors added to a third, by a factor ``value`` that is real."""
    return lambda call: operation + 2 + (0 if call.get("value", 1) == 1 else 2)


def _lerp(call: Call) -> int:
    """Difference (2), product by the weight, sum (2)."""
    return 4 + (6 if is_complex(call["weight"]) else 2)


def _always(operations: int) -> _Each:
    return lambda call: operations


#: Real operations for each number of the result; of the argument where the op reduces it. In place: the same.
_EACH: dict[str, _Each] = {
    **dict.fromkeys(("add", "sub", "subtract", "rsub"), _sum),
    **dict.fromkeys(("mul", "multiply"), _product),
    **dict.fromkeys(("div", "divide", "true_divide"), _quotient),
    "square": _always(6),
    "reciprocal": _always(5),  # the square of its length (3), two divisions
    "abs": _always(4),  # two squares, their sum, a root
    "absolute": _always(4),
    "sgn": _always(6),  # its length, two divisions
    "angle": _always(1),  # atan2
    "eq": _always(3),  # two comparisons, and whether both hold
    "ne": _always(3),
    "not_equal": _always(3),
    "addcmul": _fused(6),
    "addcdiv": _fused(11),
    "lerp": _lerp,
    "prod": _always(6),
    "cumprod": _always(6),
}
_OF_ARGUMENT = frozenset({"prod", "cumprod"})


def in_reals(call: Call, effect: Effect) -> Effect:
    """What a rule says of a call, in real operations: changed where tensors of the call are complex."""
    if effect.real or not (effect.macs or effect.flops) or not _meets(call):
        return effect
    if effect.macs:
        effect.macs *= PRODUCT
        effect.closed *= PRODUCT
        effect.formula = effect.formula and f"{PRODUCT} x {_closed(effect.formula)}"
    name = call.op.removeprefix("aten.").removesuffix("_")
    each = _EACH.get(name) if call.op.startswith("aten.") else None
    if each is None:
        effect.flops = {category: _PARTS * count for category, count in effect.flops.items()}
    else:
        counted = call["self"].shape if name in _OF_ARGUMENT else call.out.shape
        (category,) = effect.flops
        effect.flops = {category: each(call) * numel(counted)}
    return effect


def _meets(call: Call) -> bool:
    """Whether complex numbers come in. What makes them of real ones (polar) counts real operations."""
    return any(isinstance(value, Arg) and is_complex(value) for value in call.tensors()) or any(
        isinstance(value, complex) for value in call.args.values()
    )


def _closed(formula: str) -> str:
    return f"({formula})" if " + " in formula else formula
