"""``model.onnx``: a network in the ONNX format, converted to torch by onnx2pytorch; no code of the file's is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rfcalc.errors import LoadError
from rfcalc.sources import forms
from rfcalc.sources.loaded import Arguments, Expected, Loaded

_ELSE = "name the code that makes the model (file.py:attr), or export it with torch.export"


def load(spec: str) -> Loaded:
    """The network as a module, with layers called after the nodes of the file, and the inputs that it declares.

    Raises `LoadError` for a file that is no ONNX model, or has an op that cannot be converted.
    """
    path = Path(spec)
    if not path.is_file():
        raise LoadError(
            f"{spec} is a directory: name a file in it" if path.is_dir() else f"{spec}: there is no such file"
        )
    try:
        import onnx

        from rfcalc.sources.onnx import module as onnx_module
    except ImportError:
        raise forms.missing("onnx", spec) from None
    try:
        described = onnx.load(spec)
    except Exception as error:
        raise LoadError(f"{spec} is no ONNX model: {_line(error)}; save it again, or {_ELSE}") from error
    if not described.graph.node:
        raise LoadError(f"{spec} is no ONNX model: there is no node in it; save it again, or {_ELSE}")
    try:
        network = onnx_module.convert(described)
    except Exception as error:
        raise LoadError(f"{spec}: onnx2pytorch cannot convert it: {_line(error)}; {_ELSE}") from error
    inputs = tuple(_expected(value) for value in _inputs(described.graph))
    return Loaded(network, spec, inputs, example=_example(described.graph))


def _inputs(graph: Any) -> list[Any]:
    """What the graph takes; old files list their weights among it."""
    weights = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in weights]


def _dims(value: Any) -> list[int | None]:
    return [dim.dim_value or None for dim in value.type.tensor_type.shape.dim]


def _dtype(value: Any) -> str:
    import onnx

    return str(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))


def _expected(value: Any) -> Expected:
    return Expected(value.name, tuple(_dims(value)[1:]), _dtype(value))


def _example(graph: Any) -> Arguments | None:
    """A call with the sizes of the file, where all of them are fixed."""
    import torch

    tensors = []
    for value in _inputs(graph):
        fixed = [extent for extent in _dims(value) if extent is not None]
        if len(fixed) < len(_dims(value)):
            return None
        tensors.append(torch.empty(fixed, dtype=getattr(torch, _dtype(value)), device="meta"))
    return tuple(tensors), {}


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}".rstrip(" .:")
