"""The check of parameters and buffers: as the modules themselves have them, and as quantised layers tell of theirs."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from typing import Any

import torch
from torch import nn

from rfcalc.analyses import cost
from rfcalc.checking.results import Check, Difference
from rfcalc.checking.subject import Subject

#: How layers call the features that they take and give.
_FEATURES = (("in_features", "out_features"), ("infeatures", "outfeatures"))
_SHOWN = 6


def check_params(subject: Subject) -> Check:
    """Elements of distinct parameter storages and of buffers, in total and by module, as the module itself has them.

    Of layers whose weights are packed, as many as they say that they have; those that say nothing are named.
    """
    totals, model = cost.totals(subject.graph), subject.model
    packed = _packed_homes(subject)
    modules = dict(model.named_modules())
    told = {home: _told(modules[home]) for home in packed}
    expected: dict[str, int] = {}
    for row in subject.graph.params:
        home = _home(row.name, packed)
        if home not in modules:
            home = _around(home, modules)
        expected[home] = expected.get(home, 0) + (0 if row.shared_with else row.numel)
    plain = [(name, tensor) for name, tensor in _params(model) if _home(name, packed) not in packed]
    seen = {**_by_module(model, packed), **{home: count for home, count in told.items() if count is not None}}
    silent = [home for home, count in told.items() if count is None]
    rows: list[tuple[str, int, int]] = []
    for home in dict.fromkeys((*expected, *seen)):
        if home not in silent:
            rows.append((subject.name_of(home) or subject.loaded.name, expected.get(home, 0), seen.get(home, 0)))
    inside = sum(expected[home] if count is None else count for home, count in told.items())
    rows.append(("(total)", totals.params, inside + distinct_elements(tensor for _, tensor in plain)))
    trainable = [tensor for name, tensor in _params(model) if tensor.requires_grad and _is_row(name, subject, packed)]
    rows.append(("(trainable)", totals.trainable_params, distinct_elements(trainable)))
    rows.append(("(buffers)", totals.buffers, _buffers(subject, packed)))
    differences = tuple(Difference(*row) for row in rows if row[1] != row[2])
    return Check("params", len(rows), len(rows) - len(differences), differences, tuple(_note(subject, silent)))


def _note(subject: Subject, silent: list[str]) -> Iterator[str]:
    if silent:
        names = [subject.name_of(home) or subject.loaded.name for home in silent]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        yield f"not checked, for the layers do not say what they hold packed: {', '.join(names[:_SHOWN])}{more}"


def _params(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    for prefix, module in model.named_modules():
        for key, tensor in module._parameters.items():
            if tensor is not None:
                yield f"{prefix}.{key}" if prefix else key, tensor


def _is_plain(tensor: torch.Tensor) -> bool:
    return (tensor.is_floating_point() or tensor.is_complex()) and tensor.element_size() > 1


def _packed_homes(subject: Subject) -> list[str]:
    """The modules with weights that are no parameters of floating-point numbers."""
    plain = {name for name, tensor in _params(subject.model) if _is_plain(tensor)}
    modules = dict(subject.model.named_modules())
    rows = [row for row in subject.graph.params if row.name not in plain and not row.shared_with]
    return list(dict.fromkeys(_around(row.name.rpartition(".")[0], modules) for row in rows))


def _around(name: str, modules: Container[str]) -> str:
    """The innermost module that a name is within: a frozen program keeps the names of modules that it has no more."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name


def _home(name: str, packed: Iterable[str]) -> str:
    """The module that a parameter belongs to, a layer with packed weights where it is inside of one."""
    home = name.rpartition(".")[0]
    while home and home not in packed and any(home.startswith(f"{one}.") for one in packed if one):
        home = home.rpartition(".")[0]
    return home


def _is_row(name: str, subject: Subject, packed: list[str]) -> bool:
    """Whether a parameter is one of the network: one beside packed weights may be a scale of theirs."""
    return _home(name, packed) not in packed or any(row.name == name for row in subject.graph.params)


def _buffers(subject: Subject, packed: list[str]) -> int:
    ours = {row.name for row in subject.graph.buffers}
    found: dict[int, int] = {}
    for prefix, module in subject.model.named_modules():
        for key, tensor in module._buffers.items():
            name = f"{prefix}.{key}" if prefix else key
            if tensor is not None and (name in ours or _home(name, packed) not in packed):
                found[id(tensor)] = tensor.numel()
    return sum(found.values())


# --- what packed layers say -------------------------------------------------------------------------------------------


def _told(module: nn.Module) -> int | None:
    """How many elements a layer says that it has: by its methods, or by its features and its bias; None of others."""
    for names in (("weight", "bias"), ("get_weight", "get_bias")):
        asked = [getattr(module, name, None) for name in names]
        if callable(asked[0]):
            return sum(_numel(one()) for one in asked if callable(one))
    for names in _FEATURES:
        inside, out = (getattr(module, name, None) for name in names)
        if isinstance(inside, int) and isinstance(out, int):
            bias = getattr(module, "bias", None)
            return inside * out + (bias.numel() if isinstance(bias, torch.Tensor) else 0)
    return None


def _numel(value: Any) -> int:
    """The elements of all tensors in a nested value."""
    if isinstance(value, torch.Tensor):
        return value.numel()
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return sum(map(_numel, inside))


# --- what modules hold ------------------------------------------------------------------------------------------------


def _by_module(model: nn.Module, packed: list[str]) -> dict[str, int]:
    """Elements that each module is the first to hold."""
    held: list[torch.Tensor] = []
    found: dict[str, int] = {}
    before = 0
    for name, module in model.named_modules():
        own = [tensor for tensor in module._parameters.values() if tensor is not None]
        if own and _home(f"{name}.weight" if name else "weight", packed) not in packed:
            held += own
            now = distinct_elements(held) if _shares(held, own) else before + sum(tensor.numel() for tensor in own)
            found[name] = now - before
            before = now
    return found


def _shares(held: list[torch.Tensor], own: list[torch.Tensor]) -> bool:
    stores = [_store(tensor) for tensor in held]
    return len(set(stores)) < len(stores) and any(stores.count(_store(tensor)) > 1 for tensor in own)


def distinct_elements(tensors: Iterable[torch.Tensor]) -> int:
    """How many different elements the tensors hold: the union of the stretches of storage that they lie on."""
    stretches: dict[Any, list[tuple[int, int]]] = {}
    for tensor in tensors:
        start = int(tensor.storage_offset())
        stretches.setdefault(_store(tensor), []).append((start, start + tensor.numel()))
    total = 0
    for spans in stretches.values():
        end = -1
        for first, last in sorted(spans):
            total += max(0, last - max(first, end))
            end = max(end, last)
    return total


def _store(tensor: torch.Tensor) -> Any:
    return tensor.untyped_storage()._cdata
