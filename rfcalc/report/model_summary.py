"""`rfcalc.summary`: the table of a model with the arguments that torchinfo takes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rfcalc.analyses.results import Layer
from rfcalc.report.columns import named
from rfcalc.report.document import Report
from rfcalc.report.formats import html, render
from rfcalc.report.layers import overview

if TYPE_CHECKING:
    from rfcalc.analyses.analysis import Analysis

#: Columns that a table of chosen ones has in any case, as torchinfo's has.
_ALWAYS = ("index", "name", "kind")


@dataclass(frozen=True, eq=False, repr=False)
class ModelSummary:
    """A table of ``rows`` with ``columns`` (None: the usual ones) of one analysis; it prints and draws itself."""

    analysis: Analysis
    rows: tuple[Layer, ...]
    columns: tuple[str, ...] | None = None

    @property
    def total_params(self) -> int:
        """Elements of distinct parameters."""
        return self.analysis.totals.params

    @property
    def trainable_params(self) -> int:
        """Of those, the ones that a gradient is taken of."""
        return self.analysis.totals.trainable_params

    @property
    def total_mult_adds(self) -> int:
        """Multiply-adds of one pass, for the batch that was given."""
        return self.analysis.totals.macs

    @property
    def total_param_bytes(self) -> int:
        """Bytes of the parameters as stored."""
        return self.analysis.totals.param_bytes

    def report(self) -> Report:
        """The table as data."""
        return overview(self.analysis, self.rows, self.columns)

    def __str__(self) -> str:
        return render(self.report()).strip("\n")

    def __repr__(self) -> str:
        return f"<Summary of {self.analysis!r}>"

    def _repr_html_(self) -> str:
        return html.fragment(self.report())


def summarised(analysis: Analysis, col_names: Sequence[str] | None, depth: int | None) -> ModelSummary:
    """The table asked for. Raises `UsageError` for a column or a depth that there is not."""
    rows = analysis.layers if depth is None else analysis.modules(depth)
    if col_names is None:
        return ModelSummary(analysis, rows)
    asked = [col_names] if isinstance(col_names, str) else col_names
    names = dict.fromkeys([*_ALWAYS, *(named(str(getattr(name, "value", name))).name for name in asked)])
    return ModelSummary(analysis, rows, tuple(names))


def prints(verbose: int | None) -> bool:
    """Whether to print: unless told otherwise, where no notebook shows the result."""
    if verbose is not None:
        return verbose > 0
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ != "ZMQInteractiveShell"
