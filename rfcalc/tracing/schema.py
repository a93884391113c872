"""What the dispatcher's schema says of an op: name, arguments, what it writes, what its results are views of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

#: Ops that turn a tensor into a Python number.
_SCALAR = frozenset(
    {"aten._local_scalar_dense", "aten.item", "aten.equal", "aten.is_nonzero", "aten.allclose"}
    | {"aten.q_scale", "aten.q_zero_point", "aten.qscheme", "aten.q_per_channel_axis"}
    | {"aten._choose_qparams_per_tensor"}
)

#: Ops that take a tensor only for its shape: what they make is a constant.
_LIKE = frozenset(
    {"aten.new_zeros", "aten.new_ones", "aten.new_full", "aten.new_empty", "aten.new_empty_strided"}
    | {"aten.zeros_like", "aten.ones_like", "aten.full_like", "aten.empty_like"}
    | {"aten._new_zeros_with_same_feature_meta"}
)

#: Ops that change the shape of a tensor in place: no value is written.
_RESHAPES = frozenset(
    {"aten.squeeze_", "aten.unsqueeze_", "aten.t_", "aten.transpose_", "aten.swapaxes_", "aten.swapdims_"}
    | {"aten.resize_", "aten.resize_as_"}
)


#: Ops that only note that numbers are conjugated or negated.
_LAZY = frozenset(
    {"aten._conj", "aten._neg_view", "aten.conj", "aten.adjoint", "aten.mH", "aten.matrix_H", "aten.imag"}
)

#: Stands for a default that there is not: None is one.
_NONE: Any = object()


@dataclass(frozen=True)
class Schema:
    """The facts of one overload that the tracer needs."""

    name: str  #: ``aten.convolution``
    names: tuple[str, ...]  #: of the arguments
    defaults: tuple[tuple[str, Any], ...]  #: (name, default or `_NONE`) of each argument
    writes: tuple[str, ...]  #: arguments written in place
    views: bool  #: whether a result is a view of ``base``
    base: str
    fresh: bool  #: no result can be an argument itself
    random: bool
    scalar: bool
    like: bool  #: reads only the shape of its tensors
    reshapes: bool  #: changes the shape of its first argument in place
    lazy: bool  #: gives a view whose numbers are changed when they are read
    sized: bool = False  #: numbers decide how large a result is
    objects: bool = False  #: takes objects of a kernel's, in which weights are packed
    laid: bool = False  #: the layouts of its results follow from those of its tensors

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by name, defaults filled in."""
        named = dict(zip(self.names, args, strict=False))
        named.update(kwargs)
        for name, default in self.defaults[len(args) :]:
            if default is not _NONE and name not in named:
                named[name] = default
        return named

    def written_named(self, named: Mapping[str, Any]) -> tuple[Any, ...]:
        """The arguments written in place."""
        return tuple(named.get(name) for name in self.writes)

    def written(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """As `written_named`, from the arguments as they came."""
        return self.written_named(self.bind(args, kwargs)) if self.writes else ()


@cache
def schema_of(func: Any) -> Schema:
    """The facts of an ``OpOverload``."""
    schema = func._schema
    names = tuple(a.name for a in schema.arguments)
    defaults = tuple((a.name, a.default_value if a.has_default_value() else _NONE) for a in schema.arguments)
    writes = tuple(a.name for a in schema.arguments if a.alias_info is not None and a.alias_info.is_write)
    aliased = [a.name for a in schema.arguments if a.alias_info is not None and not a.alias_info.is_write]
    viewing = any(r.alias_info is not None and not r.alias_info.is_write for r in schema.returns)
    namespace, _, name = schema.name.partition("::")
    full = f"{namespace}.{name}"
    random = torch.Tag.nondeterministic_seeded in func.tags
    sized = torch.Tag.dynamic_output_shape in func.tags or torch.Tag.data_dependent_output in func.tags
    objects = any("torch.classes." in str(a.type) for a in schema.arguments)
    pure = not (viewing or writes or random or sized or objects or full in _SCALAR)
    return Schema(
        full,
        names,
        defaults,
        writes,
        viewing and bool(aliased),
        aliased[0] if aliased else "",
        not viewing and not writes,
        random,
        full in _SCALAR,
        full in _LIKE,
        full in _RESHAPES,
        full in _LAZY,
        sized,
        objects,
        pure and namespace == "aten",
    )
