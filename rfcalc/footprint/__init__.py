"""Bytes: what a model takes, what is alive at once while it runs, and what training keeps.

A pass of the model's own code runs on tensors without storage, with torch's autograd and optimizers, and every storage
is followed from its birth to its death. `witness` runs it on real tensors and counts by other means.
"""

from __future__ import annotations

from rfcalc.footprint.measure import few, memory
from rfcalc.footprint.results import Memory

__all__ = ["Memory", "few", "memory"]
