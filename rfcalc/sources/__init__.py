"""From a name, a file, an expression or a module to a traced graph. Each kind of source has its own folder."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from typing import Any, cast

from rfcalc.errors import LoadError, RfcalcError, TraceError, UsageError
from rfcalc.graph import LayerGraph, layered
from rfcalc.sources import forms, stored
from rfcalc.sources.given import from_object
from rfcalc.sources.loaded import Loaded


def load(spec: str) -> Loaded | LayerGraph:
    """The model that a text names. Raises `UsageError` with the nearest names where nothing fits."""
    for form in forms.FORMS:
        if form.matches(spec):
            if form.runs_code:
                stored.ran_code()
            return cast("Loaded | LayerGraph", form.source.load(spec))
    others: Any = import_module(f"rfcalc.sources.{forms.OTHERS}")
    if others.matches(spec):
        return cast(Loaded, others.load(spec))
    from rfcalc.zoo import CATALOG

    if not spec.strip():
        raise UsageError("no model is named: see `rfcalc list` for names, and rfcalc --help for what else can be named")
    shown = spec if len(spec) < 80 else f"{spec[:60]}..."
    same = _called_so(shown, list(CATALOG))
    if same:
        raise UsageError(f"unknown model {shown!r}; did you mean {' or '.join(same)}?")
    near = difflib.get_close_matches(shown, list(CATALOG), 3, 0.5)
    hint = f"nearest: {', '.join(near)}" if near else "see `rfcalc list` for names"
    raise UsageError(f"unknown model {shown!r}; {hint} (or {forms.hint()})")


def _called_so(text: str, own: list[str]) -> list[str]:
    """What has this name but for capitals, dashes and dots: one of rfcalc's own, or one of an installed library."""
    plain = _plain(text)
    found = [name for name in own if _plain(name) == plain]
    if found or not plain or difflib.get_close_matches(text, own, 1, 0.8):
        return found
    for prefix, form in forms.listed().items():
        with suppress(LoadError):  # it is not installed
            names = form.names() if prefix and form.kept else []
            found += [f"{prefix}:{name}" for name in names if _plain(name) == plain]
        if found:
            break
    return found


def _plain(name: str) -> str:
    return "".join(char for char in name.lower() if char.isalnum())


def resolve(model: Any, inputs: Any, *, axes: Any, training: bool, dtype: str | None = None) -> LayerGraph:
    """The graph of whatever `rfcalc.trace` was given."""
    if not isinstance(model, str) or dtype is not None:
        return _graph(model, inputs, axes, training, dtype)
    wanted = stored.Wanted(model, inputs, axes, training)
    found = stored.find(wanted)
    if found is None:
        found = _graph(model, inputs, axes, training)
        stored.keep(wanted, found)
    return found


def ready(model: Any) -> Loaded | LayerGraph:
    """The model that a text names, or that an object is, to be traced any number of times; or a graph.

    Raises `UsageError` for an object that is no model, and what the source raises.
    """
    return _given(model, "analyse", "a torch.nn.Module, a Keras model or a graph")


def runnable(model: Any, verb: str, no_graph: str) -> Loaded:
    """As `ready`, for what a verb is about to be done to, which a saved graph is told that it cannot have."""
    found = _given(model, verb, "a torch.nn.Module or a Keras model")
    if isinstance(found, LayerGraph):
        raise UsageError(no_graph)
    return found


def _given(model: Any, verb: str, kinds: str) -> Loaded | LayerGraph:
    found = load(model) if isinstance(model, str) else model
    graph = layered(found)
    if graph is not None:
        return graph
    known = found if isinstance(found, Loaded) else from_object(found)
    if known is None:
        raise UsageError(f"cannot {verb} a {type(model).__name__}: expected a name, {kinds}")
    return known


def _graph(model: Any, inputs: Any, axes: Any, training: bool, dtype: str | None = None) -> LayerGraph:
    found = ready(model)
    if isinstance(found, LayerGraph):
        if dtype is not None:
            raise UsageError("a saved graph has its dtypes fixed: trace the model again with --dtype")
        if inputs is not None:
            raise UsageError("a saved graph has its input fixed: trace the model again for another input")
        return found
    graph, _, _ = traced(found, inputs, axes=axes, training=training, dtype=dtype)
    return graph


def _axes(axes: Any) -> Mapping[str, Mapping[str, int]]:
    """Axes by input name; those given for the only input stand under the empty name."""
    if axes is None:
        return {}
    nested = all(isinstance(value, Mapping) for value in axes.values())
    return axes if nested else {"": axes}


def traced(
    loaded: Loaded, inputs: Any, *, axes: Any, training: bool, dtype: str | None = None
) -> tuple[LayerGraph, tuple[Any, ...], dict[str, Any]]:
    """The graph of a loaded model, and the arguments of its forward that were meant by ``inputs``."""
    try:
        return _first_call(loaded, inputs, axes, training, dtype)
    except TraceError as refused:
        usual = ", ".join(expected.text for expected in loaded.inputs)
        if usual and inputs is not None and "?" not in usual:
            raise TraceError(f"{refused}; the usual input of {loaded.name} is {usual}") from refused
        if refused.__cause__ is None or isinstance(refused.__cause__, RfcalcError):
            raise  # refused by rfcalc, and not by the model on this input
        from rfcalc.sources.inputs.fitting import fitting

        fits = fitting(loaded.model, inputs, lambda shape: _first_call(loaded, shape, None, training, dtype))
        if fits:
            raise TraceError(f"{refused}{fits}") from refused
        raise


def _first_call(
    loaded: Loaded, inputs: Any, axes: Any, training: bool, dtype: str | None
) -> tuple[LayerGraph, tuple[Any, ...], dict[str, Any]]:
    """The graph of the first way to read the inputs that runs, and its arguments. Raises what the likeliest raises."""
    from rfcalc.sources.inputs.calls import added_batch, candidates
    from rfcalc.tracing.forward import trace_module

    refused: TraceError | None = None
    for call in candidates(loaded, inputs):
        try:
            graph = trace_module(
                loaded.model,
                call.args,
                call.kwargs,
                name=loaded.name,
                names=call.names,
                batched=all(expected.batched for expected in loaded.inputs),
                training=training,
                dtype=dtype,
                axes=_axes(axes),
                constants=loaded.constants,
                separator=loaded.separator,
            )
        except TraceError as error:
            refused = refused or error
            continue
        told = [*graph.meta["notices"], *added_batch(loaded, inputs, call)]
        return replace(graph, meta={**graph.meta, "notices": told}), call.args, call.kwargs
    assert refused is not None
    raise refused
