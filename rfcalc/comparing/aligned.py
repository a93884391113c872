"""Two models layer by layer: which layer of one is which of the other, and what differs between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rfcalc.analyses.analysis import Analysis
from rfcalc.analyses.matching import How, item_of, match
from rfcalc.analyses.results import Layer, plain
from rfcalc.errors import UsageError


@dataclass(frozen=True)
class Difference:
    """A setting or a result that two matched layers do not share."""

    what: str
    old: Any
    new: Any

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON output."""
        return {"what": self.what, "old": plain(self.old), "new": plain(self.new)}


@dataclass(frozen=True)
class AlignedLayer:
    """A layer of the first model beside its counterpart in the second; None where there is none.

    ``how`` is "same", "renamed", "changed" (in kind, module, settings or parameters), "added" or "removed". A layer
    that is the same may still have ``differences``: what it makes and costs follows from the layers before it, too.
    """

    how: How
    moved: bool
    old: Layer | None
    new: Layer | None

    @property
    def differences(self) -> tuple[Difference, ...]:
        """What both layers have, differently: settings first, then results."""
        if self.old is None or self.new is None:
            return ()
        names = dict.fromkeys((*self.old.attrs, *self.new.attrs))
        settings = [(name, self.old.attrs.get(name), self.new.attrs.get(name)) for name in names]
        results = [
            (name, getattr(self.old, name), getattr(self.new, name))
            for name in ("kind", "module", "output_shape", "params", "macs")
        ]
        return tuple(Difference(*row) for row in (*settings, *results) if row[1] != row[2])

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON output."""
        return {
            "how": self.how,
            "moved": self.moved,
            "old": None if self.old is None else self.old.to_dict(),
            "new": None if self.new is None else self.new.to_dict(),
            "differences": [item.to_dict() for item in self.differences],
        }


@dataclass(frozen=True)
class Alignment:
    """The layers of two models, every layer once, in the second one's order."""

    models: tuple[str, str]
    layers: tuple[AlignedLayer, ...]

    @property
    def counts(self) -> dict[How, int]:
        """How many layers are the same, renamed, changed, added and removed."""
        return dict(Counter(layer.how for layer in self.layers))

    def to_dict(self) -> list[dict[str, Any]]:
        """As in the JSON output."""
        return [layer.to_dict() for layer in self.layers]


def align(models: Sequence[tuple[str, Analysis | None]]) -> Alignment:
    """The layers of two models side by side; a model with symbols has no analysis.

    Raises `UsageError` for another number of models, and for symbols.
    """
    if len(models) != 2:
        raise UsageError(f"--per-layer lays two models side by side, and {len(models)} are named: name two")
    (first, old), (second, new) = models
    if old is None or new is None:
        raise UsageError(
            f"--per-layer needs numbers, and {first if old is None else second} has symbols: give numbers for them"
        )
    pairs = match([item_of(layer) for layer in old.layers], [item_of(layer) for layer in new.layers])
    layers = [
        AlignedLayer(
            pair.how,
            pair.moved,
            None if pair.old is None else old.layers[pair.old],
            None if pair.new is None else new.layers[pair.new],
        )
        for pair in pairs
    ]
    return Alignment((first, second), tuple(layers))
