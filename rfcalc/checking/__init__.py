"""The cross-check: what the analysis says, held against a real forward pass with storage on a device.

The witness counts multiply-adds with torch's own formulas, reads shapes and parameters off real tensors and finds what
a unit reads by poisoning the input. It uses the tracer to tell which real tensor belongs to which node of the graph,
and no rule and no formula of the analysis.
"""

from __future__ import annotations

from rfcalc.checking.crosscheck import verify
from rfcalc.checking.results import Check, Difference, Verification

__all__ = ["Check", "Difference", "Verification", "verify"]
