"""What a language model keeps of the tokens that it has read: the cache that its own forward gives back."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from rfcalc.footprint.results import Cached
from rfcalc.tracing.arguments import tensors_in

#: Under which names models give their cache back.
CACHES = ("cache", "past_key_values", "cache_params", "past_key_value", "past", "mems", "state")


@dataclass(frozen=True)
class Kept:
    """The tensors of one layer's cache: how many bytes their elements take, their storages, and their shapes."""

    nbytes: int
    held: int  #: a window that slides is a view, which holds all that it was cut from
    shapes: tuple[tuple[int, ...], ...]


def cache_in(result: Any) -> tuple[str, Any] | None:
    """The cache in what a model gives, and the name under which it does; None where there is none."""
    held = result if isinstance(result, Mapping) else getattr(result, "__dict__", {})
    for name in CACHES:
        found = held.get(name)
        if found is not None and any(map(_tensors, _by_layer(found))):
            return name, found
    return None


def caches_of(result: Any) -> list[Kept]:
    """The cache in what a model gives, by layer; nothing where there is none."""
    found = cache_in(result)
    met: set[int] = set()
    return [] if found is None else [_kept(part, met) for part in _by_layer(found[1])]


def takes(model: nn.Module, name: str) -> bool:
    """Whether a model's forward takes an argument of that name."""
    return name in inspect.signature(model.forward).parameters


def _by_layer(cache: Any) -> list[list[torch.Tensor]]:
    """The tensors of each layer: of a list of layers, or of lists and stacked tensors that have an entry for each."""
    layers = _layers(cache)
    if layers is not None:
        return [tensors_in(layer) for layer in layers]
    inside = [found for found in map(_layers, getattr(cache, "__dict__", {}).values()) if found]
    if inside:  # a decoder's cache and its encoder's
        return [tensors_in(layer) for layer in itertools.zip_longest(*inside)]
    lists = [value for value in vars(cache).values() if _has_entries(value)]
    count = min((len(value) for value in lists), default=0)
    return [[tensor for value in lists for tensor in tensors_in(_entry(value, at))] for at in range(count)]


def _layers(cache: Any) -> Sequence[Any] | None:
    layers = getattr(cache, "layers", cache if isinstance(cache, list | tuple) else None)
    return layers if isinstance(layers, list | tuple) else None


def _has_entries(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.ndim > 2
    return isinstance(value, list | tuple | Mapping) and len(value) > 0 and bool(tensors_in(value))


def _entry(value: Any, at: int) -> Any:
    return list(value.values())[at] if isinstance(value, Mapping) else value[at]


def _kept(tensors: Sequence[torch.Tensor], met: set[int]) -> Kept:
    """``met`` are the storages of the layers before."""
    found = _tensors(tensors)
    stores = {one.untyped_storage()._cdata: one.untyped_storage() for one in found}
    held = sum(store.nbytes() for key, store in stores.items() if key not in met)
    met.update(stores)
    return Kept(sum(one.numel() * one.element_size() for one in found), held, tuple(tuple(one.shape) for one in found))


def _tensors(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """What has an axis: single numbers say how a cache is used, and hold nothing of what was read."""
    return list({id(one): one for one in tensors if one.ndim and one.numel()}.values())


def rows(now: Iterable[Kept], longer: Sequence[Kept] | None) -> tuple[Cached, ...]:
    """The layers of a cache; ``longer`` is that of one more token of each sequence, None where it is not known."""
    found = []
    for number, kept in enumerate(now):
        more = None if longer is None or number >= len(longer) else longer[number].nbytes - kept.nbytes
        found.append(Cached(number, kept.nbytes, kept.held, more, kept.shapes))
    return tuple(found)


__all__ = ["CACHES", "Kept", "cache_in", "caches_of", "rows", "takes"]
