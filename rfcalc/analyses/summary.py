"""One model in a few numbers: what a comparison or a sweep prints of it in one row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rfcalc.analyses.analysis import Analysis
from rfcalc.analyses.results import Layer
from rfcalc.graph import LayerGraph, Node

#: The kinds of layer that hold a weight matrix, and those that hold one if they have parameters (a product may be of
#: two activations). An embedding looks up, it does not multiply.
_WEIGHTED = frozenset({"conv", "conv_transpose", "linear", "recurrent"})
_WEIGHTED_WITH_PARAMS = frozenset({"matmul", "attention"})


@dataclass(frozen=True)
class Summary:
    """One model on one input. Counts as in `Totals`; lengths in pixels of the source.

    ``layers`` counts the numbered layers, inputs included. ``depth`` is the number of weight layers (convolution,
    linear, recurrent, attention with weights of its own) on the longest path from an input to an output, as papers
    count: a projection beside a longer branch is not on it. ``spatial`` is the last spatial layer, see
    `last_spatial_layer`, ``whole`` the first layer other than an input of which every unit sees all of every input
    that it sees; None where there is none. ``bounds`` names the layers whose field is only an upper bound.
    """

    model: str
    inputs: Mapping[str, tuple[int, ...]]
    layers: int
    params: int
    trainable_params: int
    param_bytes: int
    buffers: int
    macs: int
    unmasked_macs: int | None
    flops: int
    status: str
    depth: int
    spatial: Layer | None
    whole: Layer | None
    bounds: tuple[str, ...]

    @property
    def exact(self) -> bool:
        """Whether every count is complete and every field exact."""
        return self.status == "complete" and not self.bounds


def summary(analysis: Analysis) -> Summary:
    """The few numbers of one analysis; fields are those of the analysis (in its inputs, or in the layer ``of``)."""
    totals = analysis.totals
    return Summary(
        model=analysis.model,
        inputs={item.name: item.shape for item in analysis.inputs},
        layers=len(analysis.layers),
        params=totals.params,
        trainable_params=totals.trainable_params,
        param_bytes=totals.param_bytes,
        buffers=totals.buffers,
        macs=totals.macs,
        unmasked_macs=totals.unmasked_macs,
        flops=totals.flops,
        status=totals.status,
        depth=depth(analysis.layer_graph),
        spatial=last_spatial_layer(analysis.layers),
        whole=first_whole_layer(analysis.layers),
        bounds=tuple(layer.name for layer in analysis.layers if _is_bound(layer)),
    )


def last_spatial_layer(layers: Iterable[Layer]) -> Layer | None:
    """The last layer whose units see different places of a source: the one whose field papers quote for a model.

    It may have a window or none, and layers before it may bring in the whole axis (squeeze-and-excite, attention).
    Inputs do not count. None for a model of which every layer sees everything at once.
    """
    found = None
    for layer in layers:
        if layer.kind != "input" and any(field.places for field in layer.receptive_fields.values()):
            found = layer
    return found


def first_whole_layer(layers: Iterable[Layer]) -> Layer | None:
    """The first layer other than an input that sees the whole of every source that it sees at all."""
    for layer in layers:
        seen = [field for field in layer.receptive_fields.values() if any(field.size)]
        if layer.kind != "input" and seen and all(field.whole_input for field in seen):
            return layer
    return None


def depth(graph: LayerGraph) -> int:
    """The number of weight layers on the longest path through the graph."""
    return max(depths(graph).values(), default=0)


def depths(graph: LayerGraph) -> dict[int, int]:
    """For each node the number of weight layers on the longest path to it, its own included."""
    longest: dict[int, int] = {}
    for record in graph:
        before = max((longest[ref.node] for ref in record.inputs), default=0)
        longest[record.id] = before + _weight_layers(record)
    return longest


def _weight_layers(record: Node) -> int:
    """How many layers with weights one op stands for; a recurrent op may stack several."""
    if not (record.kind in _WEIGHTED or (record.kind in _WEIGHTED_WITH_PARAMS and record.params)):
        return 0
    stacked = record.attrs.get("num_layers", 1)
    return stacked if isinstance(stacked, int) else 1


def _is_bound(layer: Layer) -> bool:
    return any(field.status != "exact" for field in layer.receptive_fields.values())


__all__ = ["Summary", "depth", "depths", "first_whole_layer", "last_spatial_layer", "summary"]
