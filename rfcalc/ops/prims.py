"""Primitives of torch's own decompositions (forward-mode derivatives, exported programs), as ATen's ops.

Source: torch/_prims/__init__.py, of which these are the elementwise ones.
"""

from __future__ import annotations

from rfcalc.ops.registry import Call, Effect, find, rule

#: Those with the arguments of the op of ATen that has the name.
_ELEMENTWISE = """abs acos acosh add asin asinh atan atan2 atanh bitwise_and bitwise_not bitwise_or bitwise_xor ceil
    conj_physical cos cosh digamma div eq erf erfc exp exp2 expm1 floor fmax fmin fmod frexp gcd ge gt hypot igamma
    igammac isfinite le lgamma log log10 log1p log2 lt maximum minimum mul ne neg nextafter pow reciprocal remainder
    round rsqrt sign signbit sin sinh sqrt sub tan tanh trunc"""


@rule(*(f"prims.{name}" for name in _ELEMENTWISE.split()))
def elementwise(call: Call) -> Effect:
    """An elementwise primitive: reads and costs what the op of ATen of that name does."""
    return _as_aten(call, call.op.removeprefix("prims."))


@rule("prims.convert_element_type")
def cast(call: Call) -> Effect:
    """A cast: one position; free."""
    return _as_aten(call.like(call.op, {"self": call["a"]}), "_to_copy")


def _as_aten(call: Call, name: str) -> Effect:
    twin = find(f"aten.{name}")
    assert twin is not None
    return twin.rule(call.like(f"aten.{name}", call.args))
