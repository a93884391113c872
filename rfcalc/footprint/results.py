"""What `rfcalc.memory` returns: frozen records of bytes, with `to_dict`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from rfcalc.analyses.results import plain

SCHEMA = "rfcalc-memory/1"

#: No size is asked for beyond.
LARGEST_SIZE = 1 << 24
#: What storages are: in this order in reports.
ROLES = ("parameter", "buffer", "input", "gradient", "optimizer", "saved", "other")


@dataclass(frozen=True, slots=True)
class Held:
    """A storage that is alive at the peak: what it is, the op and module that made it, its first tensor."""

    role: str
    name: str  #: of a parameter, buffer or input
    op: str
    layer: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int

    def to_dict(self) -> dict[str, Any]:
        found = {name: plain(getattr(self, name)) for name in ("role", "name", "op", "layer", "shape", "dtype")}
        return {**found, "bytes": self.nbytes}


@dataclass(frozen=True, slots=True)
class Peak:
    """The most bytes that are alive at once: after which op, in which part of the pass, and what they are.

    ``by_role`` adds up to ``nbytes``. ``held`` are the storages other than parameters and buffers, the largest first.
    """

    nbytes: int
    op: str
    layer: str
    phase: str
    by_role: Mapping[str, int]
    held: tuple[Held, ...] = ()

    @property
    def at(self) -> str:
        """The op and its layer: ``layer1.0/convolution``."""
        return f"{self.layer}/{self.op}" if self.layer else self.op

    def to_dict(self) -> dict[str, Any]:
        return {
            "bytes": self.nbytes,
            "at": self.at,
            "phase": self.phase,
            "by_role": dict(self.by_role),
            "held": [one.to_dict() for one in self.held],
        }


@dataclass(frozen=True, slots=True)
class Row:
    """What the ops of one module do in a forward pass, and what of it is kept for the way back.

    ``made`` are bytes of the storages that they bring into being, ``saved`` those of them, and of what they keep of
    others, that autograd keeps first for them. ``moved`` are bytes that they read and write, each tensor once for each
    op. ``operations`` are all arithmetic, two for a multiply-add; None where an op has no rule.
    """

    layer: str
    ops: int
    made: int
    saved: int | None
    moved: int
    operations: int | None
    alive: int  #: the most that is alive after one of its ops

    @property
    def intensity(self) -> Fraction | None:
        """Operations for each byte that is moved."""
        return Fraction(self.operations, self.moved) if self.moved and self.operations is not None else None

    def to_dict(self) -> dict[str, Any]:
        found = {name: getattr(self, name) for name in self.__slots__}
        return {**found, "intensity": None if self.intensity is None else float(self.intensity)}


@dataclass(frozen=True, slots=True)
class Cached:
    """What a language model keeps of what it has read, in one layer. One more token adds ``per_token``.

    ``held`` are bytes of its storages: a window that slides is a view, which holds all that it was cut from.
    """

    layer: int
    nbytes: int
    held: int
    per_token: int | None  #: None where it is not known
    shapes: tuple[tuple[int, ...], ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "layer": self.layer,
            "bytes": self.nbytes,
            "held_bytes": self.held,
            "bytes_per_token": self.per_token,
            "shapes": plain(self.shapes),
        }


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of linear layers in so many bits: how many, their elements, and bytes as they are and would be."""

    bits: int
    matrices: int
    elements: int
    plain: int
    nbytes: int

    def to_dict(self) -> dict[str, Any]:
        return {
            "bits": self.bits,
            "matrices": self.matrices,
            "elements": self.elements,
            "plain_bytes": self.plain,
            "bytes": self.nbytes,
        }


@dataclass(frozen=True, slots=True)
class Decode:
    """One more token of each sequence, read with the cache of those before. ``peak`` is the most that is alive then."""

    peak: Peak
    moved_bytes: int

    @property
    def peak_bytes(self) -> int:
        return self.peak.nbytes

    def to_dict(self) -> dict[str, Any]:
        return {
            "peak_bytes": self.peak_bytes,
            "peak_at": self.peak.at,
            "moved_bytes": self.moved_bytes,
            "peak": self.peak.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Training:
    """A step of training. ``phases`` are the peaks of forward, backward and step, ``peak`` is the largest of them."""

    saved_bytes: int
    gradients_bytes: int
    optimizer: str
    optimizer_bytes: int
    peak: Peak
    phases: Mapping[str, int]
    saved: tuple[Held, ...] = ()

    @property
    def peak_bytes(self) -> int:
        return self.peak.nbytes

    def to_dict(self) -> dict[str, Any]:
        return {
            "saved_bytes": self.saved_bytes,
            "gradients_bytes": self.gradients_bytes,
            "optimizer": self.optimizer,
            "optimizer_bytes": self.optimizer_bytes,
            "peak_bytes": self.peak_bytes,
            "peak_at": self.peak.at,
            "phases": dict(self.phases),
            "peak": self.peak.to_dict(),
            "saved": [one.to_dict() for one in self.saved],
        }


@dataclass(frozen=True, slots=True)
class Fit:
    """The largest extent of what was asked that fits: ``peak_bytes`` at it, and what the next takes (None: refused).

    ``step`` is by how much it grows: sides by 32 or another number of which the model takes multiples.
    """

    limit: int
    what: str  #: batch, side or length
    largest: int  #: 0 where nothing fits
    peak_bytes: int | None
    next_bytes: int | None
    step: int
    runs: int

    @property
    def endless(self) -> bool:
        """Whether no larger one was tried: the size is of no matter for the peak."""
        return self.largest + self.step >= LARGEST_SIZE

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Counted:
    """One count of the witness beside that of the analysis."""

    what: str
    expected: int
    seen: int
    compared: int
    differences: tuple[Mapping[str, Any], ...] = ()

    @property
    def agree(self) -> bool:
        return not self.differences and self.expected == self.seen

    def to_dict(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "expected": self.expected,
            "seen": self.seen,
            "compared": self.compared,
            "agree": self.agree,
            "differences": [dict(one) for one in self.differences],
        }


@dataclass(frozen=True, slots=True)
class Witnessed:
    """What a real run held and kept, op by op, beside what was said. ``allocator`` are facts that are only stated."""

    device: str
    versions: Mapping[str, str]
    checks: tuple[Counted, ...]
    allocator: Mapping[str, int]
    notes: tuple[str, ...] = ()

    @property
    def agree(self) -> bool:
        return all(one.agree for one in self.checks)

    def to_dict(self) -> dict[str, Any]:
        return {
            "device": self.device,
            "versions": dict(self.versions),
            "agree": self.agree,
            "checks": [one.to_dict() for one in self.checks],
            "allocator": dict(self.allocator),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Input:
    """An input as it was given."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "shape": list(self.shape), "dtype": self.dtype}


@dataclass(frozen=True, eq=False)
class Memory:
    """The memory that a model takes, in bytes of storages.

    ``params_bytes`` and ``buffers_bytes`` are those of the model, each storage once; ``activations`` are elements and
    bytes of the outputs of convolutions and matrix products. ``peak`` is the most that is alive at once in inference,
    parameters, buffers and inputs included; ``moved_bytes`` is what the ops of that pass read and write, each tensor
    once for each op. ``training`` is None unless it was asked for.
    """

    model: str
    inputs: tuple[Input, ...]
    params_bytes: int
    buffers_bytes: int
    inputs_bytes: int
    activation_elements: int
    activation_bytes: int | None
    peak: Peak
    moved_bytes: int
    operations: int | None
    layers: tuple[Row, ...]
    settings: Mapping[str, Any]
    training: Training | None = None
    kv_cache: tuple[Cached, ...] = ()
    decode: Decode | None = None
    weights: Weights | None = None
    fit: Fit | None = None
    witness: Witnessed | None = None
    notices: tuple[str, ...] = ()

    @property
    def peak_bytes(self) -> int:
        """The peak of inference."""
        return self.peak.nbytes

    @property
    def intensity(self) -> Fraction | None:
        """Operations of inference for each byte that is moved."""
        return Fraction(self.operations, self.moved_bytes) if self.moved_bytes and self.operations is not None else None

    @property
    def agree(self) -> bool:
        """Whether the witness, if one was asked, saw the same."""
        return self.witness is None or self.witness.agree

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON output."""
        found: dict[str, Any] = {
            "schema": SCHEMA,
            "model": self.model,
            "inputs": [one.to_dict() for one in self.inputs],
            "settings": dict(self.settings),
            "params_bytes": self.params_bytes,
            "buffers_bytes": self.buffers_bytes,
            "inputs_bytes": self.inputs_bytes,
            "activations": {"elements": self.activation_elements, "bytes": self.activation_bytes},
            "peak_bytes": self.peak_bytes,
            "peak_at": self.peak.at,
            "peak": self.peak.to_dict(),
            "moved_bytes": self.moved_bytes,
            "operations": self.operations,
            "intensity": None if self.intensity is None else float(self.intensity),
            "layers": [one.to_dict() for one in self.layers],
            "training": None if self.training is None else self.training.to_dict(),
            "kv_cache": [one.to_dict() for one in self.kv_cache],
            "notices": list(self.notices),
        }
        if self.decode is not None:
            found["decode"] = self.decode.to_dict()
        if self.weights is not None:
            found["weights"] = {
                **self.weights.to_dict(),
                "params_bytes": self.params_bytes - self.weights.plain + self.weights.nbytes,
            }
        if self.fit is not None:
            found["fit"] = self.fit.to_dict()
        if self.witness is not None:
            found["verify"] = self.witness.to_dict()
        return found

    def __repr__(self) -> str:
        more = "" if self.training is None else f", {self.training.peak_bytes:,} in training"
        return f"<Memory of {self.model}: {self.peak_bytes:,} bytes at the peak of inference, at {self.peak.at}{more}>"

    def _repr_html_(self) -> str:
        from rfcalc.report.memory import memory_html

        return memory_html(self)
