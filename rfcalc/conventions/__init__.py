"""How other tools count: each convention a set of rules over the same graph, so that the difference adds up.

`count(graph, "fvcore")` gives the tool's number as rfcalc's and the terms between the two. A new convention is one
file and one line in `CONVENTIONS`. No torch here: a saved graph is enough.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from rfcalc.analyses.costs.parts import count_of_ids
from rfcalc.analyses.costs.unmasked import closed
from rfcalc.conventions import dispatched, functionals, fvcore, keras, ptflops, thop, torchinfo, torchprofile, xla
from rfcalc.conventions.facts import Facts
from rfcalc.conventions.formulas import FORMULAS, Formula, tally
from rfcalc.conventions.records import Explanation, Part, Tally, Term
from rfcalc.conventions.rules import Convention, apply
from rfcalc.errors import UsageError
from rfcalc.graph import Graph, LayerGraph, layered

CONVENTIONS: dict[str, Convention] = {
    convention.name: convention
    for convention in (
        fvcore.CONVENTION,
        fvcore.TIMM,
        torchinfo.CONVENTION,
        ptflops.CONVENTION,
        dispatched.PTFLOPS_ATEN,
        thop.CONVENTION,
        thop.ULTRALYTICS_CONVENTION,
        functionals.CALFLOPS_CONVENTION,
        functionals.DEEPSPEED_CONVENTION,
        torchprofile.CONVENTION,
        *dispatched.FLOP_COUNTERS,
        dispatched.TORCHVISION,
        keras.CONVENTION,
        xla.CONVENTION,
    )
}


#: Every tool and formula by its name.
KNOWN: dict[str, Convention | Formula] = {**CONVENTIONS, **FORMULAS}


def lookup(tool: str) -> Convention | Formula:
    """The convention of a tool, or a formula. Raises `UsageError` with the nearest names for an unknown one."""
    if tool in KNOWN:
        return KNOWN[tool]
    near = difflib.get_close_matches(tool, KNOWN, 3, 0.5)
    hint = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(KNOWN)}"
    raise UsageError(f"unknown tool {tool!r}; {hint}")


def count(graph: Graph, tool: str) -> Tally:
    """What ``tool`` counts for a traced or loaded graph: ``.total``, and ``.terms`` that lead to it from ``.base``.

    Raises `UsageError` for an unknown tool, and for a `networkx.DiGraph` that rfcalc did not make.
    """
    return _tally(lookup(tool), Facts(_records(graph)))


def _tally(chosen: Convention | Formula, facts: Facts) -> Tally:
    return tally(chosen, facts.graph) if isinstance(chosen, Formula) else apply(chosen, facts)


def explain(graph: Graph, tools: Sequence[str] = ()) -> Explanation:
    """The numbers of several tools, of all without ``tools``; errors are those of `count`.

    All are the tools, and the formulas for language models where token ids come in.
    """
    graph = _records(graph)
    chosen = [lookup(tool) for tool in tools] or list((KNOWN if count_of_ids(graph) else CONVENTIONS).values())
    facts = Facts(graph)
    return Explanation(
        model=facts.model,
        inputs={item.name: item.shape for item in graph.inputs},
        macs=sum(node.macs or 0 for node in graph),
        unmasked=_unmasked(graph),
        params=sum(param.numel for param in graph.params if not param.shared_with),
        tallies=tuple(_tally(convention, facts) for convention in chosen),
        unknown_ops=tuple(dict.fromkeys(node.op for node in facts.nodes.values() if node.macs is None)),
        notices=_notices(graph.meta),
    )


def _unmasked(graph: LayerGraph) -> int | None:
    found = closed(graph)
    left = [found.left(node) for node in graph if node.macs]
    return None if None in left else sum(count or 0 for count in left)


def _records(graph: Graph) -> LayerGraph:
    found = layered(graph)
    if found is None:
        raise UsageError(f"cannot count a {type(graph).__name__}: expected a graph, rfcalc.trace(model)")
    return found


def _notices(meta: Mapping[str, Any]) -> tuple[str, ...]:
    found = tuple(meta.get("notices", ()))
    training = "this graph is of a pass in training; the tools run models in inference"
    return (*found, training) if meta.get("training") else found


__all__ = ["CONVENTIONS", "FORMULAS", "KNOWN", "Convention", "Explanation", "Part", "Tally", "Term", "count", "explain"]
__all__ += ["lookup"]
