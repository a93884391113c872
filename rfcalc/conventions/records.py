"""What `rfcalc.conventions.count` returns: frozen records of integers and names, with `to_dict` for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SCHEMA = "rfcalc-explain/1"


@dataclass(frozen=True, slots=True)
class Part:
    """What one layer adds to a term; ``layer`` is a node's name, or a module's where the tool counts modules."""

    layer: str
    amount: int


@dataclass(frozen=True, slots=True)
class Term:
    """One reason why a tool's number differs from rfcalc's: what it counts besides, otherwise, or not at all.

    ``amount`` is signed, in the unit of the tally, and the sum of the parts. ``fault`` says what is wrong with the tool
    and for which version, and is empty where two readings of the same thing are both right.
    """

    label: str
    amount: int
    parts: tuple[Part, ...]
    fault: str = ""

    @property
    def layers(self) -> int:
        """How many layers are concerned."""
        return len({part.layer for part in self.parts})

    def to_dict(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "amount": self.amount,
            "layers": self.layers,
            "fault": self.fault or None,
            "parts": [{"layer": part.layer, "amount": part.amount} for part in self.parts],
        }


@dataclass(frozen=True)
class Tally:
    """The number that a tool gives for a model, and how it comes from rfcalc's. ``call`` is what its user runs.

    ``base`` is rfcalc's number, ``total`` the tool's in the same unit (``unit``: "multiply-adds" or "parameters"): the
    sum of what its rules count. ``base + sum of the terms' amounts == total``. The tool prints ``printed``, in
    ``prints``: twice ``total`` where it prints two operations for each multiply-add. ``refused`` says why the tool has
    no number for this model, or is "". ``caveat`` names what the tool counts by facts that no graph has, so that its
    number can differ.
    """

    tool: str
    version: str
    call: str
    unit: str
    prints: str
    factor: int
    base: int
    total: int
    terms: tuple[Term, ...]
    refused: str = ""
    caveat: str = ""

    @property
    def printed(self) -> int:
        """The number that the tool prints."""
        return self.total * self.factor

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with the tool's number, by version."""
        return tuple(dict.fromkeys(term.fault for term in self.terms if term.fault))

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON output."""
        return {
            "tool": self.tool,
            "version": self.version,
            "call": self.call,
            "unit": self.unit,
            "base": self.base,
            "terms": [term.to_dict() for term in self.terms],
            "total": None if self.refused else self.total,
            "printed": None if self.refused else self.printed,
            "prints": self.prints,
            "refused": self.refused or None,
            "caveat": self.caveat or None,
        }


@dataclass(frozen=True)
class Explanation:
    """Why other counters print other numbers for one model: one tally a tool, and rfcalc's own numbers.

    ``unmasked`` are the multiply-adds that no mask closes, None where data decides which these are. Where
    ``unknown_ops`` is not empty, rfcalc has no rule for these and ``macs`` is a lower bound.
    """

    model: str
    inputs: Mapping[str, tuple[int, ...]]
    macs: int
    unmasked: int | None
    params: int
    tallies: tuple[Tally, ...]
    unknown_ops: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON output."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "inputs": [{"name": name, "shape": list(shape)} for name, shape in self.inputs.items()],
            "macs": self.macs,
            "unmasked_macs": self.unmasked,
            "params": self.params,
            "tools": [tally.to_dict() for tally in self.tallies],
            "unknown_ops": list(self.unknown_ops),
            "notices": list(self.notices),
        }
