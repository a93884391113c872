"""``model.tflite``: a network in TensorFlow Lite's format, run op by op. No weight is read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rfcalc.errors import LoadError
from rfcalc.sources import forms
from rfcalc.sources.loaded import Arguments, Expected, Loaded

if TYPE_CHECKING:
    from rfcalc.sources.tflite.files import Tensor


def load(spec: str) -> Loaded:
    """The network as a module, with layers called after the tensors that its ops give, and the inputs that it declares.

    Raises `LoadError` for a file that is no TFLite model, or has an op that no rule follows.
    """
    forms.check_ready("tflite", spec)
    from rfcalc.sources.tflite.files import File
    from rfcalc.sources.tflite.graph import network_of

    file = File(Path(spec), spec)
    network = network_of(file)
    graph = file.subgraphs[0]
    takes = [graph.tensors[at] for at in graph.takes]
    inputs = tuple(_expected(name, held, spec) for name, held in zip(network.takes, takes, strict=True))
    return Loaded(network, spec, inputs, example=_example(takes))


def _expected(name: str, held: Tensor, spec: str) -> Expected:
    from rfcalc.sources.onnx.dtypes import TORCH

    if held.data_type not in TORCH:
        raise LoadError(f"{spec}: its input {name!r} holds no numbers, and a tensor of numbers is needed")
    shape = tuple(None if at in held.open else extent for at, extent in enumerate(held.dims))[1:]
    return Expected(name, shape, str(TORCH[held.data_type]).removeprefix("torch."))


def _example(takes: list[Tensor]) -> Arguments | None:
    """A call with the sizes of the file, where it leaves none but the batch open."""
    import torch

    from rfcalc.sources.onnx.dtypes import TORCH

    if any(set(held.open) - {0} for held in takes):
        return None
    return tuple(torch.empty(held.dims, dtype=TORCH[held.data_type], device="meta") for held in takes), {}
