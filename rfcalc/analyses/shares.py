"""What of a model's memory falls to a row of a table: `rfcalc.memory` tells it module by module."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from rfcalc.graph import LayerGraph

if TYPE_CHECKING:
    from rfcalc.analyses.analysis import Analysis
    from rfcalc.analyses.results import Layer


class ModuleBytes(Protocol):
    """The bytes of one module, as `rfcalc.footprint.results.Row` has them."""

    @property
    def layer(self) -> str:
        """The module's name."""

    @property
    def made(self) -> int:
        """Bytes of the storages that its ops bring into being."""

    @property
    def saved(self) -> int | None:
        """Bytes that are kept for the way back."""

    @property
    def moved(self) -> int:
        """Bytes that its ops read and write."""

    @property
    def alive(self) -> int:
        """The most that is alive after one of its ops."""


#: What can be asked for, by the names of columns.
QUANTITIES = {"made_bytes": "made", "saved_bytes": "saved", "moved_bytes": "moved", "alive_bytes": "alive"}


class Shares:
    """The bytes of the modules of a graph, and which op of each is the first: the row that has it has the module's."""

    def __init__(self, graph: LayerGraph, modules: Iterable[ModuleBytes]) -> None:
        self.modules = {one.layer: one for one in modules}
        self._first: dict[str, int] = {}
        for record in graph:
            if record.kind != "input":
                self._first.setdefault(record.scope, record.id)

    def total(self, name: str) -> int:
        """One of `QUANTITIES` of all modules; of what is alive, the most."""
        values = [getattr(one, QUANTITIES[name]) or 0 for one in self.modules.values()]
        return max(values, default=0) if name == "alive_bytes" else sum(values)

    def of(self, ops: Iterable[int], name: str) -> int | None:
        """What falls to a row of these ops, so that nothing counts twice; None where the row begins no module."""
        own = set(ops)
        rows = [self.modules[scope] for scope, at in self._first.items() if at in own and scope in self.modules]
        values: list[int | None] = [getattr(row, QUANTITIES[name]) for row in rows]
        known = [value for value in values if value is not None]
        if not values or len(known) < len(values):
            return None
        return max(known) if name == "alive_bytes" else sum(known)


def bytes_of(analysis: Analysis | None, layer: Layer, name: str) -> int | None:
    """One of `QUANTITIES` of a row: that of the modules that begin in it.

    None where none does, and where it is not known, as before `Analysis.with_memory`.
    """
    if analysis is None or analysis.memory is None:
        return None
    return analysis.memory.of((record.id for record in analysis.records_of(layer)), name)


__all__ = ["QUANTITIES", "ModuleBytes", "Shares", "bytes_of"]
