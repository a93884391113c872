"""What onnx2pytorch makes of a file, put in order: layers by the names of nodes, weights as parameters, each once."""

from __future__ import annotations

import warnings
from typing import Any

from onnx2pytorch import ConvertModel
from onnx2pytorch.constants import COMPOSITE_LAYERS, STANDARD_LAYERS
from onnx2pytorch.convert.operations import get_buffer_name
from torch import nn

#: Ops whose floating-point numbers say what is to be done, as scales and limits do.
_SETTINGS = frozenset({"Resize", "Upsample", "Clip", "Pad", "OneHot"})
#: Numbers from here down, before a softmax, are a mask: exp of them is 0 in float32.
_MASKED = -88


class Network(ConvertModel):  # type: ignore[misc]
    """A converted file. What torch thinks of how onnx2pytorch calls it is not for who analyses the file."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the nodes in order."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return super().forward(*args, **kwargs)


def convert(described: Any) -> nn.Module:
    """The module of an ONNX model. Raises what onnx2pytorch raises for a model that it cannot convert."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = Network(described)
    _tidy(network, described.graph)
    return network


def _tidy(network: Any, graph: Any) -> None:
    """Rename the layers, and make the numbers of the file parameters or buffers, in place.

    A layer that holds weights of its own has copies of them: the originals go. What is left is a parameter if it is of
    floating point and more than one number, but for masks and settings, and a buffer otherwise.
    """
    names: dict[str, str] = {}
    read: set[str] = set()
    settings: set[str] = set()
    for node in graph.node:
        old = network.mapping[node.output[0]]
        layer = getattr(network, old)
        if node.name and isinstance(layer, nn.Module) and old not in names and node.name not in network._modules:
            names[old] = node.name
        if not _holds_weights(layer):
            read.update(node.input)
        if node.op_type in _SETTINGS:
            settings.update(node.input)
    for old, new in names.items():
        network._modules[new] = network._modules.pop(old)
    network.mapping = {output: names.get(old, old) for output, old in network.mapping.items()}
    for tensor in graph.initializer:
        name = get_buffer_name(tensor.name)
        kept = network._buffers.pop(name, None)
        if kept is None or tensor.name not in read | set(network.output_names):
            continue
        many = kept.is_floating_point() and kept.numel() > 1
        if many and tensor.name not in settings and bool((kept > _MASKED).all()):
            network._parameters[name] = nn.Parameter(kept)
        else:
            network._buffers[name] = kept


def _holds_weights(layer: Any) -> bool:
    """Whether a layer runs with copies of its weights instead of those of the file, as onnx2pytorch runs it."""
    return isinstance(layer, STANDARD_LAYERS) or (
        isinstance(layer, COMPOSITE_LAYERS) and any(isinstance(part, STANDARD_LAYERS) for part in layer.modules())
    )
