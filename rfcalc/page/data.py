"""What the page shows, as JSON data: texts as in rfcalc's tables, exact numbers, and the regions of every unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rfcalc import __version__
from rfcalc.analyses.analysis import Analysis
from rfcalc.analyses.matching import item_of, match
from rfcalc.analyses.results import Layer, ReceptiveField, Totals, plain
from rfcalc.analyses.shares import bytes_of
from rfcalc.analyses.summary import Summary, summary
from rfcalc.page.packing import Pool
from rfcalc.page.regions import packed_regions
from rfcalc.report import text
from rfcalc.report.detail import block
from rfcalc.report.document import Fact
from rfcalc.report.layers import field_notes, title, totals_facts
from rfcalc.report.memory import size

SCHEMA = "rfcalc-page/1"

#: Of memory, what is shown layer by layer.
_BYTES = ("made_bytes", "saved_bytes", "moved_bytes")

_LARGEST = 2**53 - 1  #: the largest integer that JavaScript's numbers hold exactly, and all below it


def document(analyses: Sequence[Analysis], tiles: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """All of the page's data. Integers too large for JavaScript's numbers are strings.

    ``tiles`` has the document of ``rfcalc.tile`` for each analysis, with a plan for its input; () for none.
    """
    models = [_model(analysis) for analysis in analyses]
    for model, plan in zip(models, tiles, strict=bool(tiles)):
        model["tiles"] = _tiles(plan)
        model["facts"].append(list(_fact_of_tiles(plan)))
    if len(analyses) == 2:
        for number, (model, changes) in enumerate(zip(models, _against(*analyses), strict=True)):
            model["versus"] = {"model": 1 - number, "layers": changes}
    return {"schema": SCHEMA, "version": __version__, "models": models}


def _against(old: Analysis, new: Analysis) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """For each layer of either model how it is matched in the other, and ``at`` which place; None where it is not."""
    pairs = match([item_of(layer) for layer in old.layers], [item_of(layer) for layer in new.layers])
    before = sorted((pair.old, pair.how, pair.new) for pair in pairs if pair.old is not None)
    after = sorted((pair.new, pair.how, pair.old) for pair in pairs if pair.new is not None)
    return ([{"how": how, "at": at} for _, how, at in before], [{"how": how, "at": at} for _, how, at in after])


def _model(analysis: Analysis) -> dict[str, Any]:
    pool = Pool()
    regions = {item.name: packed_regions(analysis, item, pool) for item in analysis.inputs}
    numbers = {layer.name: at for at, layer in enumerate(analysis.layers)}
    return {
        "name": analysis.model,
        "title": title(text.titled(analysis.model), analysis.inputs),
        "inputs": [
            {"name": item.name, "shape": list(item.shape), "axes": list(item.axes), "places": list(item.axes.values())}
            for item in analysis.inputs
        ],
        "totals": {**_totals(analysis.totals), **_bytes_of_all(analysis)},
        "facts": [list(fact) for fact in (*totals_facts(analysis.totals), *_facts_of_bytes(analysis))],
        "summary": _summary(summary(analysis)),
        "notes": [*analysis.notices, *field_notes(analysis.layers)],
        "layers": [
            {
                **_layer(layer, numbers),
                **_bytes(analysis, layer),
                "group": list(group_of(layer, analysis.layer_graph[layer.node].scope)),
                "fields": _fields(layer, {name: rows.get(layer.face) for name, rows in regions.items()}),
            }
            for layer in analysis.layers
        ],
        "pool": pool.entries,
    }


def group_of(layer: Layer, scope: str) -> tuple[str, ...]:
    """The names of the modules around a layer, from the outermost; a layer that is a module is not around itself."""
    path = tuple(scope.split(".")) if scope else ()
    own = layer.name.partition("#")[0]
    return path[:-1] if scope in (own, own.replace("/", ".")) else path


def _layer(layer: Layer, numbers: Mapping[str, int]) -> dict[str, Any]:
    return {
        "index": layer.index,
        "name": layer.name,
        "kind": layer.kind,
        "module": layer.module,
        "inputs": [numbers[name] for name in layer.inputs if name in numbers],
        "shape": list(layer.output_shape),
        "params": _count(layer.params),
        "macs": _count(layer.macs),
        "flops": _count(layer.flops),
        "facts": [list(fact) for fact in block(layer).facts],
    }


def _bytes(analysis: Analysis, layer: Layer) -> dict[str, Any]:
    """What falls to the layer of the model's memory, where that was measured."""
    if analysis.memory is None:
        return {}
    return {name: _count(bytes_of(analysis, layer, name) or 0) for name in _BYTES}


def _bytes_of_all(analysis: Analysis) -> dict[str, Any]:
    if analysis.memory is None:
        return {}
    return {name: _count(analysis.memory.total(name)) for name in _BYTES}


def _facts_of_bytes(analysis: Analysis) -> list[Fact]:
    if analysis.memory is None:
        return []
    total = _bytes_of_all(analysis)
    return [
        ("peak of memory", size(analysis.memory.total("alive_bytes"))),
        ("bytes moved", size(int(total["moved_bytes"]))),
        ("kept for backward", size(int(total["saved_bytes"]))),
    ]


def _tiles(told: Mapping[str, Any]) -> dict[str, Any]:
    """What the page draws of tiles: of each axis of one input the halo, of all outputs together, and the pieces."""
    halos = {name: [output["axes"][name]["halo"] for output in told["outputs"]] for name in told["plan"]["axes"]}
    axes = {
        name: {"halo": [max(sides) for sides in zip(*halos[name], strict=True)], "pieces": pieces}
        for name, pieces in told["plan"]["axes"].items()
    }
    return {"input": told["input"], "axes": axes}


def _fact_of_tiles(told: Mapping[str, Any]) -> Fact:
    plan = told["plan"]
    sides = text.cross(plan["tile"].values())
    return "tiles", f"{text.plural(plan['tiles'], 'tile')} of {sides}, equal to the whole"


def _fields(layer: Layer, packed: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Any]:
    return {name: _field(field, packed[name]) for name, field in layer.receptive_fields.items() if name in packed}


def _field(field: ReceptiveField, packed: Mapping[str, Any] | None) -> dict[str, Any]:
    """One field; ``regions`` is missing where the layer sees nothing of the input."""
    return {
        "text": text.size(field),
        "size": list(field.size),
        "exact": field.status == "exact",
        "every": field.samples == field.size,
        "stride": plain(field.stride),
        "stride_text": text.stride(field),
        "start": plain(field.start),
        "start_text": text.start(field),
        "period": list(field.period),
        **(packed or {}),
    }


def _totals(totals: Totals) -> dict[str, Any]:
    return {
        "params": _count(totals.params),
        "macs": _count(totals.macs),
        "flops": _count(totals.flops),
        "complete": totals.status == "complete",
    }


def _summary(found: Summary) -> dict[str, Any]:
    fields = found.spatial.receptive_fields.values() if found.spatial else ()
    return {
        "layers": found.layers,
        "depth": found.depth,
        "field": ", ".join(text.size(field) for field in fields) or text.NOTHING,
        "at": found.spatial.name if found.spatial else "",
        "whole": found.whole.name if found.whole else "",
    }


def _count(value: int | None) -> int | str | None:
    return str(value) if value is not None and value > _LARGEST else value
