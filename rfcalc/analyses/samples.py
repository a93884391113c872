"""How many indices inside a window are really read: dilation, and strides larger than kernels, leave holes.

Counted on the free pattern of one interior unit: the positions it uses are followed back through the ops, one set of
positions for each tensor on the way, along the one axis that moves with the source axis.
"""

from __future__ import annotations

import networkx as nx

from rfcalc.analyses.fields import Window
from rfcalc.graph import Ref


def samples_of(graph: nx.DiGraph, source: Ref, axis: int, ident: int, window: Window) -> int | None:
    """Number of distinct source indices one unit reads along the axis, None where the pattern cannot be followed."""
    return None
