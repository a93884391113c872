"""The registry of ops, one file per family. Importing this package registers every rule; none of it imports torch.

Rules of the user's: docs/python.md.
"""

from __future__ import annotations

from rfcalc.ops import (
    attention,
    conv,
    gradient,
    gradient_moves,
    indexing,
    linalg,
    linear,
    loss,
    movement,
    norm,
    packed,
    pointwise,
    pool,
    prims,
    quantized,
    recurrent,
    reduction,
    resample,
    sparse,
    transforms,
)
from rfcalc.ops._masks import LOWEST
from rfcalc.ops.apply import effect_of
from rfcalc.ops.registry import (
    SIZED_BY_DATA,
    SPARSE,
    Arg,
    ArgRead,
    Call,
    Effect,
    Known,
    Packed,
    Registered,
    family_of,
    lookup,
    registered,
    rule,
)

__all__ = [
    "LOWEST",
    "SIZED_BY_DATA",
    "SPARSE",
    "Arg",
    "ArgRead",
    "Call",
    "Effect",
    "Known",
    "Packed",
    "Registered",
    "attention",
    "conv",
    "effect_of",
    "family_of",
    "gradient",
    "gradient_moves",
    "indexing",
    "linalg",
    "linear",
    "lookup",
    "loss",
    "movement",
    "norm",
    "packed",
    "pointwise",
    "pool",
    "prims",
    "quantized",
    "recurrent",
    "reduction",
    "registered",
    "resample",
    "rule",
    "sparse",
    "transforms",
]
