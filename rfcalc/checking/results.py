"""What `rfcalc.verify` returns: frozen records with `to_dict` (DESIGN section 7, ``rfcalc-verify/1``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rfcalc.analyses.results import plain

SCHEMA = "rfcalc-verify/1"


@dataclass(frozen=True, slots=True)
class Difference:
    """One disagreement: the layer, what the analysis says (``expected``), what the real pass showed (``seen``)."""

    layer: str
    expected: Any
    seen: Any

    def to_dict(self) -> dict[str, Any]:
        return {"layer": self.layer, "expected": plain(self.expected), "seen": plain(self.seen)}


@dataclass(frozen=True, slots=True)
class Check:
    """One kind of number: how many were compared, how many agree, and every difference in execution order."""

    what: str
    compared: int
    agree: int
    differences: tuple[Difference, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "compared": self.compared,
            "agree": self.agree,
            "differences": [item.to_dict() for item in self.differences],
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Timing:
    """Measured time and memory. Times are medians in milliseconds; None where the device cannot tell.

    ``layers`` are the modules without children, in the order of their first call, with all their calls added up.
    ``tflops_per_s`` counts two operations for each multiply-add.
    """

    forward_ms: float
    runs: int
    layers: tuple[tuple[str, float], ...]
    tflops_per_s: float
    peak_tflops_per_s: float | None
    precision: str
    peak_memory_bytes: int | None

    def to_dict(self) -> dict[str, Any]:
        return {
            "forward_ms": round(self.forward_ms, 4),
            "runs": self.runs,
            "tflops_per_s": round(self.tflops_per_s, 4),
            "peak_tflops_per_s": self.peak_tflops_per_s,
            "precision": self.precision,
            "peak_memory_bytes": self.peak_memory_bytes,
            "layers": [{"layer": name, "ms": round(ms, 4)} for name, ms in self.layers],
        }


@dataclass(frozen=True)
class Verification:
    """The verdict on one model: every check, with what is needed to repeat it."""

    model: str
    inputs: Mapping[str, tuple[int, ...]]
    device: str
    versions: Mapping[str, str]
    seed: int
    probes: int
    training: bool
    weights: str
    checks: tuple[Check, ...]
    timing: Timing | None = None
    notices: tuple[str, ...] = field(default=())

    @property
    def agree(self) -> bool:
        """Whether no check found a difference."""
        return not any(check.differences for check in self.checks)

    def check(self, what: str) -> Check:
        """The check of one kind of number. Raises KeyError where it was not made."""
        for item in self.checks:
            if item.what == what:
                return item
        raise KeyError(f"there is no check {what!r}, only {', '.join(item.what for item in self.checks)}")

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON output."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "inputs": [{"name": name, "shape": list(shape)} for name, shape in self.inputs.items()],
            "device": self.device,
            "versions": dict(self.versions),
            "seed": self.seed,
            "probes": self.probes,
            "training": self.training,
            "weights": self.weights,
            "agree": self.agree,
            "checks": [check.to_dict() for check in self.checks],
            "timing": self.timing.to_dict() if self.timing is not None else None,
            "notices": list(self.notices),
        }

    def __repr__(self) -> str:
        parts = ", ".join(f"{check.what} {check.agree}/{check.compared}" for check in self.checks)
        return f"<Verification of {self.model} on {self.device}: {'agree' if self.agree else 'DISAGREE'}; {parts}>"

    def _repr_html_(self) -> str:
        from rfcalc.report.formats import html
        from rfcalc.report.verification import verification_report

        return html.fragment(verification_report(self))
