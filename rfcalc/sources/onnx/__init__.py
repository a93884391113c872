"""``model.onnx``: a network in the ONNX format, run op by op. No code of the file's is run, and no weight is read."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

from rfcalc.errors import LoadError
from rfcalc.sources import forms
from rfcalc.sources.loaded import Arguments, Expected, Loaded


def load(spec: str) -> Loaded:
    """The network as a module, with layers called after the nodes of the file, and the inputs that it declares.

    Raises `LoadError` for a file that is no ONNX model, or has an op that no rule follows.
    """
    forms.check_ready("onnx", spec)
    from rfcalc.sources.onnx.files import File
    from rfcalc.sources.onnx.network import network_of

    file = File(Path(spec), spec)
    network = network_of(file)
    takes = [value for value in file.model.graph.input if value.name in network.takes]
    inputs = tuple(_expected(value, spec) for value in takes)
    return Loaded(network, spec, inputs, example=_example(takes, spec))


def _dims(value: Any) -> list[int | None] | None:
    """The extents of an input, None for those that are open; None for an input of which not even the rank is known."""
    held = value.type.tensor_type
    if not held.HasField("shape"):
        return None
    return [dim.dim_value or None for dim in held.shape.dim]


def _dtype(value: Any, spec: str) -> str:
    from rfcalc.sources.onnx.dtypes import STRING, TORCH

    kind = value.type.tensor_type.elem_type
    if kind not in TORCH:
        what = value.type.WhichOneof("value") or "nothing"
        named = "tensor of texts" if kind == STRING else what.removesuffix("_type")
        raise LoadError(f"{spec}: its input {value.name!r} is a {named}, and a tensor of numbers is needed")
    return str(TORCH[kind]).removeprefix("torch.")


def _expected(value: Any, spec: str) -> Expected:
    dims = _dims(value)
    return Expected(value.name, tuple((dims or [])[1:]), _dtype(value, spec))


def _example(takes: list[Any], spec: str) -> Arguments | None:
    """A call with the sizes of the file, where all of them are fixed."""
    import torch

    tensors = []
    for value in takes:
        dims = _dims(value)
        if dims is None or None in dims:
            return None
        fixed = [extent for extent in dims if extent is not None]
        if prod(fixed) >= 1 << 60 or min(fixed, default=1) < 0:
            raise LoadError(f"{spec} is damaged: its input {value.name!r} has the shape {'x'.join(map(str, fixed))}")
        tensors.append(torch.empty(fixed, dtype=getattr(torch, _dtype(value, spec)), device="meta"))
    return tuple(tensors), {}
