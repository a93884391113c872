"""How other tools count: each convention a set of rules over the same graph, so that the difference adds up.

`count(graph, "fvcore")` gives the tool's number as rfcalc's and the terms between the two. A new convention is one
file and one line in `CONVENTIONS`. No torch here: a saved graph is enough.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from rfcalc.conventions import dispatched, functionals, fvcore, keras, ptflops, thop, torchinfo, torchprofile
from rfcalc.conventions.facts import Facts
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
    )
}


def lookup(tool: str) -> Convention:
    """The convention of a tool. Raises `UsageError` with the nearest names for an unknown one."""
    if tool in CONVENTIONS:
        return CONVENTIONS[tool]
    near = difflib.get_close_matches(tool, CONVENTIONS, 3, 0.5)
    hint = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(CONVENTIONS)}"
    raise UsageError(f"unknown tool {tool!r}; {hint}")


def count(graph: Graph, tool: str) -> Tally:
    """What ``tool`` counts for a traced or loaded graph: ``.total``, and ``.terms`` that lead to it from ``.base``.

    Raises `UsageError` for an unknown tool, and for a `networkx.DiGraph` that rfcalc did not make.
    """
    return apply(lookup(tool), Facts(_records(graph)))


def explain(graph: Graph, tools: Sequence[str] = ()) -> Explanation:
    """The numbers of several tools, of all without ``tools``; errors are those of `count`."""
    chosen = [lookup(tool) for tool in tools] or list(CONVENTIONS.values())
    graph = _records(graph)
    facts = Facts(graph)
    return Explanation(
        model=facts.model,
        inputs={item.name: item.shape for item in graph.inputs},
        macs=sum(node.macs or 0 for node in graph),
        params=sum(param.numel for param in graph.params if not param.shared_with),
        tallies=tuple(apply(convention, facts) for convention in chosen),
        unknown_ops=tuple(dict.fromkeys(node.op for node in facts.nodes.values() if node.macs is None)),
        notices=_notices(graph.meta),
    )


def _records(graph: Graph) -> LayerGraph:
    found = layered(graph)
    if found is None:
        raise UsageError(f"cannot count a {type(graph).__name__}: expected a graph, rfcalc.trace(model)")
    return found


def _notices(meta: Mapping[str, Any]) -> tuple[str, ...]:
    found = tuple(meta.get("notices", ()))
    training = "this graph is of a pass in training; the tools run models in inference"
    return (*found, training) if meta.get("training") else found


__all__ = ["CONVENTIONS", "Convention", "Explanation", "Part", "Tally", "Term", "count", "explain", "lookup"]
