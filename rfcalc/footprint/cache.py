"""What a language model keeps of the tokens that it has read: the cache that its own forward gives back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rfcalc.footprint.results import Cached
from rfcalc.tracing.arguments import tensors_in

#: Under which names models give their cache back.
_NAMES = ("past_key_values", "cache_params", "past_key_value", "past", "mems", "state")


@dataclass(frozen=True)
class Kept:
    """The tensors of one layer's cache: how many bytes their elements take, and their shapes."""

    nbytes: int
    shapes: tuple[tuple[int, ...], ...]


def caches_of(result: Any) -> list[Kept]:
    """The cache in what a model gives, by layer; nothing where there is none."""
    held = result if isinstance(result, Mapping) else getattr(result, "__dict__", {})
    for name in _NAMES:
        found = held.get(name)
        if found is not None:
            layers = [_kept(part) for part in _by_layer(found)]
            if any(layer.nbytes for layer in layers):
                return layers
    return []


def _by_layer(cache: Any) -> list[list[torch.Tensor]]:
    """The tensors of each layer: of a list of layers, or of lists and stacked tensors that have an entry for each."""
    layers = getattr(cache, "layers", cache if isinstance(cache, list | tuple) else None)
    if isinstance(layers, list | tuple):
        return [tensors_in(layer) for layer in layers]
    lists = [value for value in vars(cache).values() if _has_entries(value)]
    count = min((len(value) for value in lists), default=0)
    return [[tensor for value in lists for tensor in tensors_in(_entry(value, at))] for at in range(count)]


def _has_entries(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.ndim > 2
    return isinstance(value, list | tuple | Mapping) and len(value) > 0 and bool(tensors_in(value))


def _entry(value: Any, at: int) -> Any:
    return list(value.values())[at] if isinstance(value, Mapping) else value[at]


def _kept(tensors: Sequence[torch.Tensor]) -> Kept:
    found = list({id(one): one for one in tensors}.values())
    return Kept(sum(one.numel() * one.element_size() for one in found), tuple(tuple(one.shape) for one in found))


def rows(now: Iterable[Kept], longer: Sequence[Kept] | None) -> tuple[Cached, ...]:
    """The layers of a cache; ``longer`` is that of one more token of each sequence, None where it is not known."""
    found = []
    for number, kept in enumerate(now):
        more = None if longer is None or number >= len(longer) else longer[number].nbytes - kept.nbytes
        found.append(Cached(number, kept.nbytes, more, kept.shapes))
    return tuple(found)


__all__ = ["Kept", "caches_of", "rows"]
