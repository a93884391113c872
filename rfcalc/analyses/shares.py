"""What of a model's memory falls to a row of a table: `rfcalc.memory` tells it module by module."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from rfcalc.graph import LayerGraph


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


def first_of_modules(graph: LayerGraph) -> dict[str, int]:
    """The first op of each module."""
    found: dict[str, int] = {}
    for record in graph:
        if record.kind != "input":
            found.setdefault(record.scope, record.id)
    return found


def share(modules: Mapping[str, ModuleBytes], first: Mapping[str, int], own: Collection[int], name: str) -> int | None:
    """What falls to a row of these ops: that of the modules whose first op is among them, so that none counts twice.

    A sum; of what is alive, the most. None where the row begins no module, and where it is not known.
    """
    rows = [modules[scope] for scope, ident in first.items() if ident in own and scope in modules]
    values: list[int | None] = [getattr(row, QUANTITIES[name]) for row in rows]
    known = [value for value in values if value is not None]
    if not values or len(known) < len(values):
        return None
    return max(known) if name == "alive_bytes" else sum(known)


__all__ = ["QUANTITIES", "ModuleBytes", "first_of_modules", "share"]
