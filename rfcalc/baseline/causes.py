"""Why a layer's numbers changed: which of its own settings did, or which layer before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from rfcalc.analyses.matching import shape_of_name
from rfcalc.baseline.record import Op, Row

#: What a setting is called; others by their own names.
_TERMS = {
    **dict.fromkeys(("out_channels", "out_features", "hidden_size", "embedding_dim", "proj_size"), "width"),
    **dict.fromkeys(("in_channels", "in_features", "input_size"), "input width"),
    **dict.fromkeys(("scale", "mode", "align_corners", "antialias"), "upsampling"),
    **dict.fromkeys(("heads", "kv_heads"), "heads"),
    **dict.fromkeys(("queries", "keys", "m", "n", "k"), "extents"),
    "num_embeddings": "vocabulary",
    "num_layers": "depth",
    "output_size": "output size",
}
#: Settings that follow from what comes in, where that changed.
_DERIVED = frozenset(
    {"in_channels", "in_features", "input_size", "queries", "keys", "head_dim", "batch", "m", "n", "k"}
    | {"normalized_shape", "global", "size"}
)
#: A layer of this kind makes its output as large as it is asked to be, or a multiple of what comes in.
_RESIZES = frozenset({"upsample"})
_RENAMED = ("renamed", "renumbered")


@dataclass(frozen=True, slots=True)
class Cause:
    """What changed, in a word or two, and what it was and is; None where there was or is nothing to say."""

    what: str
    old: Any = None
    new: Any = None


@dataclass(frozen=True, slots=True)
class Own:
    """What changed of a layer itself. ``derived`` follows from what comes in, if anything there changed."""

    causes: tuple[Cause, ...] = ()
    derived: tuple[Cause, ...] = ()

    @property
    def acts(self) -> bool:
        """Whether layers behind it may have changed because of it."""
        return any(cause.what not in _RENAMED for cause in self.causes)


def own_causes(old: Row, new: Row, kept: Mapping[str, str]) -> Own:
    """What changed of a layer. ``kept`` has the new names of the old model's layers that are still there."""
    causes, derived = list(_names(old, new)), list[Cause]()
    if old.kind == "input" == new.kind:
        causes += _when("input", old.output, new.output) + _when("dtype", old.dtype, new.dtype)
        return Own(tuple(causes), ())
    if old.kind != new.kind:
        return Own((*causes, Cause("kind", old.kind, new.kind)), ())
    if old.module != new.module or (old.kind == "pool" and set(old.attrs) != set(new.attrs)):
        causes.append(Cause("pooling" if old.kind == "pool" else "module", _class(old), _class(new)))
    for cause, follows in _settings(old, new):
        (derived if follows else causes).append(cause)
    causes += [*_bias(old, new), *_folded(old.folded, new.folded), *_sharing(old, new), *_frozen(old, new)]
    causes += _inputs(old, new, kept)
    derived += _when("dtype", old.dtype, new.dtype)
    if not causes and not derived and (old.weights, old.attrs) != (new.weights, new.attrs):
        causes.append(Cause("settings"))
    return Own(tuple(dict.fromkeys(causes)), tuple(dict.fromkeys(derived)))


def _names(old: Row, new: Row) -> Iterator[Cause]:
    if old.name != new.name:
        only_number = shape_of_name(old.name) == shape_of_name(new.name)
        yield Cause("renumbered" if only_number else "renamed", old.name, new.name)


def _when(what: str, old: Any, new: Any) -> list[Cause]:
    return [] if old == new else [Cause(what, _hashable(old), _hashable(new))]


def _hashable(value: Any) -> Any:
    return tuple(_hashable(item) for item in value) if isinstance(value, list | tuple) else value


def _class(row: Row) -> str:
    """The module's class, or the function's name."""
    return row.module or row.name.rpartition("/")[2].partition("#")[0]


def _settings(old: Row, new: Row) -> Iterator[tuple[Cause, bool]]:
    """The settings of both that differ, and whether each may follow from what comes in."""
    heads = _resplit(old, new)
    if heads is not None:
        yield heads, False
    resized = old.attrs.get("scale") != new.attrs.get("scale")
    for key in (key for key in old.attrs if key in new.attrs):
        before, after = old.attrs[key], new.attrs[key]
        if before == after or (heads is not None and key in _DERIVED) or (resized and key == "output_size"):
            continue
        follows = key in _DERIVED or (key == "output_size" and old.kind in _RESIZES)
        follows = follows or (key == "groups" and _is_depthwise(old) and _is_depthwise(new))
        term = _TERMS.get(key, key.replace("_", " "))
        yield Cause(term, _hashable(before), _hashable(after)), follows


def _is_depthwise(row: Row) -> bool:
    return bool(row.attrs["groups"] == row.attrs.get("in_channels"))


def _resplit(old: Row, new: Row) -> Cause | None:
    """Attention as a product of matrices, split into another number of heads: more products, each so much thinner."""
    before, after = old.attrs.get("batch"), new.attrs.get("batch")
    if old.kind != "matmul" or before is None or after is None or before == after:
        return None
    if any(before * old.attrs.get(key, 0) == after * new.attrs.get(key, 0) != 0 for key in ("k", "n")):
        return Cause("heads", before, after)
    return None


def _bias(old: Row, new: Row) -> list[Cause]:
    before, after = ([name for name in row.weights if "bias" in name.rpartition(".")[2]] for row in (old, new))
    return _when("bias", bool(before), bool(after))


def _folded(old: Sequence[Op], new: Sequence[Op]) -> Iterator[Cause]:
    """Norms, activations and the like, kind by kind; that their weights are wider follows from the layer."""
    for kind in dict.fromkeys(op.kind for op in (*old, *new)):
        before, after = ([op for op in ops if op.kind == kind] for ops in (old, new))
        if [_identity(op) for op in before] != [_identity(op) for op in after]:
            yield Cause(kind, _listed(before, after), _listed(after, before))
        elif [op.name for op in before] != [op.name for op in after]:
            names = [(a.name, b.name) for a, b in zip(before, after, strict=True) if a.name != b.name]
            renamed = any(shape_of_name(a) != shape_of_name(b) for a, b in names)
            yield Cause("renamed" if renamed else "renumbered", *map(", ".join, zip(*names, strict=True)))


def _identity(op: Op) -> tuple[Any, ...]:
    return op.module, {key: value for key, value in op.attrs.items() if key not in _DERIVED}, sorted(op.weights)


def _listed(ops: Iterable[Op], others: Iterable[Op]) -> str | None:
    """The ops; with their settings if they are the same ops with others."""
    ops, others = list(ops), list(others)
    same = [op.module for op in ops] == [op.module for op in others]
    shown = [f"{op.module} {dict(op.attrs)}" if same and op.attrs else op.module for op in ops]
    return ", ".join(shown) or None


def _sharing(old: Row, new: Row) -> Iterator[Cause]:
    """Whether a layer has all of its weights for itself, or counts some where they were used before."""
    before, after = _shares(old), _shares(new)
    if before != after:
        yield Cause("weight tying", before, after)


def _shares(row: Row) -> bool:
    shapes = [*row.weights.values(), *(shape for op in row.folded for shape in op.weights.values())]
    return bool(row.tied) or sum(map(prod, shapes)) > row.params


def _frozen(old: Row, new: Row) -> Iterator[Cause]:
    before, after = (_share_frozen(row) for row in (old, new))
    if before != after:
        yield Cause("frozen", before, after)


def _share_frozen(row: Row) -> str:
    if not row.frozen_params:
        return "no"
    return "yes" if row.frozen_params == row.params else "partly"


def _inputs(old: Row, new: Row, kept: Mapping[str, str]) -> list[Cause]:
    """What it reads: another number of layers, or others that were there before. New layers in between are no cause."""
    expected = [kept.get(name) for name in old.inputs]
    if len(expected) != len(new.inputs):
        return [Cause("inputs", len(expected), len(new.inputs))]
    survivors, there = {name for name in expected if name}, set(kept.values())
    strangers = [name for name in new.inputs if name in there and name not in survivors]
    if strangers and None not in expected:
        return [Cause("inputs", ", ".join(old.inputs), ", ".join(new.inputs))]
    return []
