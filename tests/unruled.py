"""An op that rfcalc never has a rule for: whichever of torch's a test took, one day it would have one."""

from __future__ import annotations

import torch

_LIBRARY = torch.library.Library("rfcalc_tests", "DEF")
_LIBRARY.define("unruled(Tensor x) -> Tensor")
for _kind in ("CPU", "Meta"):
    _LIBRARY.impl("unruled", torch.clone, _kind)


def unruled(x: torch.Tensor) -> torch.Tensor:
    """The same numbers, by an op of which nothing is known."""
    found: torch.Tensor = torch.ops.rfcalc_tests.unruled(x)
    return found
