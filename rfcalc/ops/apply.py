"""What an op reads and costs: its rule's word on a call, in real operations."""

from __future__ import annotations

from rfcalc.ops.complex_numbers import in_reals
from rfcalc.ops.registry import Call, Effect, lookup


def effect_of(call: Call) -> Effect | None:
    """What the rule of the call's op says of it; None where there is none. An op in place has that of the other."""
    rule = lookup(call.op) or lookup(call.op.removesuffix("_"))
    return None if rule is None else in_reals(call, rule(call))
