"""The public functions. torch is imported when a model is traced, not before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rfcalc.analyses.analysis import Analysis
from rfcalc.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    import networkx as nx

    from rfcalc.analyses.results import Number
    from rfcalc.checking import Verification
    from rfcalc.comparing.growth import Growth
    from rfcalc.comparing.rows import Comparison
    from rfcalc.effective import EffectiveField
    from rfcalc.footprint import Memory
    from rfcalc.footprint.growth import MemoryGrowth
    from rfcalc.graph import LayerGraph
    from rfcalc.report.model_summary import ModelSummary
    from rfcalc.streaming import Streaming
    from rfcalc.tiling.plan import Tiling


def trace(
    model: Any,
    inputs: Any = None,
    *,
    axes: Mapping[str, int] | Mapping[str, Mapping[str, int]] | None = None,
    training: bool = False,
    dtype: str | None = None,
) -> nx.DiGraph[int]:
    """The layer graph of a model.

    ``model`` is a name or expression (``"vgg16"``, ``"torchvision:resnet50"``, ``"3x3 3x3"``), a ``torch.nn.Module``,
    or a graph. ``inputs`` is a shape without or with batch, ``(3, 224, 224)``; example tensors (one, a tuple, or a
    dict by name); a dict of shapes by input name; or None for the model's own default. ``axes`` names the axes of the
    inputs along which fields are measured, ``{"H": 2, "W": 3}``, by input name where there are several. ``dtype``,
    "float16", "bfloat16", "float32" or "float64", is that of all floating-point tensors in the pass; None is their own.

    Raises `rfcalc.errors.RfcalcError`: `UsageError` for a request that makes no sense, `LoadError` for a model that
    cannot be had, `TraceError` for a forward pass that fails.
    """
    return layer_graph(model, inputs, axes=axes, training=training, dtype=dtype).digraph


def layer_graph(
    model: Any,
    inputs: Any = None,
    *,
    axes: Mapping[str, int] | Mapping[str, Mapping[str, int]] | None = None,
    training: bool = False,
    dtype: str | None = None,
) -> LayerGraph:
    """What `trace` gives, as the records that the rest of rfcalc reads; arguments and errors are the same."""
    from rfcalc.sources import resolve
    from rfcalc.sources.user_code import restoring

    with restoring(model):
        return resolve(model, inputs, axes=axes, training=training, dtype=_dtype(dtype))


def analyze(
    model: Any,
    inputs: Any = None,
    *,
    of: str | int | None = None,
    axes: Mapping[str, int] | Mapping[str, Mapping[str, int]] | None = None,
    training: bool = False,
    dtype: str | None = None,
) -> Analysis:
    """Costs and receptive fields of every layer of a model; arguments as for `trace`.

    ``of`` measures fields in an earlier layer instead of the inputs.
    """
    found = Analysis(layer_graph(model, inputs, axes=axes, training=training, dtype=dtype))
    return found if of is None else found.relative_to(of)


def summary(
    model: Any,
    input_size: Any = None,
    input_data: Any = None,
    *,
    batch_dim: int | None = None,
    col_names: Sequence[str] | None = None,
    depth: int | None = None,
    dtypes: Sequence[Any] | None = None,
    mode: str = "eval",
    verbose: int | None = None,
    cache_forward_pass: bool | None = None,
    col_width: int | None = None,
    device: Any = None,
    row_settings: Sequence[str] | None = None,
    **forward: Any,
) -> ModelSummary:
    """The table of a model, printed and given back; takes what ``torchinfo.summary`` takes.

    ``model`` is as for `trace`. ``input_size`` is a shape, or several, with the batch or without, or with a 1 put in at
    ``batch_dim``; ``input_data`` are example tensors instead, and ``dtypes`` those of the inputs. Other keyword
    arguments are inputs of forward by name. ``depth`` sums up modules below that depth in one row; None shows the
    layers. ``col_names`` are columns, by torchinfo's names or those of `rfcalc.report.columns`. ``mode`` is "eval",
    "train", or "same" for the mode that the model is in. ``verbose`` 0 prints nothing, which is also what notebooks do,
    where the result draws itself. Nothing runs on a device, nothing is cached and columns are as wide as they need to
    be, so ``device``, ``cache_forward_pass``, ``col_width`` and ``row_settings`` change nothing.

    Raises what `trace` raises, and `UsageError` for a column, a depth or a mode that there is not.
    """
    from rfcalc.report.model_summary import prints, summarised
    from rfcalc.sources.inputs.torchinfo import inputs_of, training_of

    inputs = inputs_of(input_size, input_data, batch_dim, dtypes, forward)
    found = summarised(analyze(model, inputs, training=training_of(model, mode)), col_names, depth)
    if prints(verbose):
        print(found)
    return found


def _dtype(name: Any) -> str | None:
    """The name of a floating-point type of torch's, without the prefix. Raises `UsageError` for another."""
    if name is None:
        return None
    found = {"half": "float16", "fp16": "float16", "bf16": "bfloat16", "float": "float32", "fp32": "float32"}
    plain = str(name).removeprefix("torch.")
    plain = found.get(plain, plain)
    if plain not in ("float16", "bfloat16", "float32", "float64"):
        raise UsageError(f"dtype {name}: one of float16, bfloat16, float32, float64")
    return plain


def compare(
    models: Sequence[Any] | Mapping[str, Any],
    inputs: Any = None,
    *,
    channels: int | str | None = None,
    relative_to: int | str | None = None,
    symbols: str | Iterable[str] | Mapping[str, int] = (),
    per_layer: bool = False,
    axes: Mapping[str, int] | Mapping[str, Mapping[str, int]] | None = None,
    training: bool = False,
    dtype: str | None = None,
    memory: bool = False,
) -> Comparison:
    """Models side by side, one row each, with ratios to the first one or to ``relative_to`` (a name, or its number).

    ``models`` are as for `trace`, or analyses; a mapping gives them names. Sizes may
    be symbols, and what costs then are formulas: among the
    channels of a stack, ``"3x3:C-2C"``, in ``inputs``, ``(3, "H", "W")``, and in arguments, ``"net.py:Net(width=C)"``;
    ``symbols`` names axes of all inputs, ``"H,W"``, and gives sizes to start from where a model has no usual one,
    ``"S=224"``. ``channels``, a number or a symbol, go into stacks that leave theirs out. ``per_layer`` lays two models
    side by side layer by layer. With ``memory`` rows have bytes too, as `rfcalc.memory` says them.

    Raises `rfcalc.errors.UsageError` for symbols where they make no sense, and what `trace` raises.
    """
    from rfcalc.comparing import rows

    found = rows.compare(
        models,
        inputs,
        channels=channels,
        relative_to=relative_to,
        symbols=symbols,
        per_layer=per_layer,
        axes=axes,
        training=training,
        dtype=_dtype(dtype),
    )
    if not memory:
        return found
    if dtype is not None:
        raise UsageError("--dtype and columns of bytes: these are of the model as it is; ask rfcalc memory --dtype")
    if any(row.ranges for row in found.rows):
        raise UsageError("bytes are of numbers, and a model here has symbols: write sizes, or ask about memory alone")
    asked = rows.calls(models, inputs, channels)
    return found.with_memory([few_bytes(model, given, axes) for model, given in asked])


def few_bytes(model: Any, inputs: Any, axes: Any = None) -> dict[str, int | None]:
    """What tables of models say of memory: peak, bytes moved, and of training what is saved and the peak."""
    from rfcalc import footprint
    from rfcalc.sources.user_code import restoring

    with restoring(model):
        return footprint.few(model, inputs, axes=axes)


def growth(
    model: Any,
    inputs: Any = None,
    *,
    symbols: str | Iterable[str] | Mapping[str, int],
    axes: Mapping[str, int] | Mapping[str, Mapping[str, int]] | None = None,
    training: bool = False,
) -> Growth:
    """Costs of a model as exact formulas in sizes: found by tracing it at several, and confirmed at others.

    ``symbols`` are names, ``"H,W,N"``: axes of the inputs, N for the batch, or symbols that stand in ``inputs`` or
    among the arguments of a text; ``"S=224"`` or ``{"S": 224}`` says where to start. All else is as for `trace`.

    Raises `rfcalc.errors.UsageError` for a size that the model does not have or that cannot change, and what `trace`
    raises.
    """
    from rfcalc.comparing import growth as growing

    return growing.growth(model, inputs, symbols=symbols, axes=axes, training=training)


def verify(
    model: Any,
    inputs: Any = None,
    *,
    device: str = "auto",
    probes: int = 16,
    seed: int = 0,
    training: bool = False,
    batch: int | None = None,
    timing: bool = True,
    axes: Mapping[str, int] | Mapping[str, Mapping[str, int]] | None = None,
) -> Verification:
    """Run a model for real and hold every number of the analysis against what happened; see `rfcalc.checking.verify`.

    ``device`` is auto, cuda, cuda:N, cpu or mps; ``probes`` rows are poisoned along each axis of each input.
    """
    from rfcalc import checking
    from rfcalc.sources.user_code import restoring

    with restoring(model):
        return checking.verify(
            model,
            inputs,
            device=device,
            probes=probes,
            seed=seed,
            training=training,
            batch=batch,
            timing=timing,
            axes=axes,
        )


def erf(
    model: Any,
    inputs: Any = None,
    *,
    layer: str | int | None = None,
    at: Sequence[int] | None = None,
    source: str | None = None,
    images: Any = None,
    gradient: str = "absolute",
    scale: str = "linear",
    weights: str | Path | Mapping[str, Any] | None = None,
    seed: int = 0,
    training: bool = False,
    device: str = "auto",
    axes: Mapping[str, int] | Mapping[str, Mapping[str, int]] | None = None,
) -> EffectiveField:
    """The effective receptive field of one unit of a layer, by its gradient; see `rfcalc.effective.measure.erf`.

    ``images`` is a number of random images, a tensor of images, or files; ``weights`` a state dict or a file with one.
    """
    from rfcalc.effective import measure
    from rfcalc.sources.user_code import restoring

    with restoring(model):
        return measure.erf(
            model,
            inputs,
            layer=layer,
            at=at,
            source=source,
            images=images,
            gradient=gradient,
            scale=scale,
            weights=weights,
            seed=seed,
            training=training,
            device=device,
            axes=axes,
        )


def stream(
    model: Any,
    inputs: Any = None,
    *,
    axis: str | None = None,
    source: str | None = None,
    rate: Number | None = None,
    chunk: int | None = None,
    layer: str | int | None = None,
    align: str = "start",
    verify: bool = False,
    seed: int = 0,
    axes: Mapping[str, int] | Mapping[str, Mapping[str, int]] | None = None,
    training: bool = False,
) -> Streaming:
    """How far outputs and layers look ahead and back along time, what breaks causality, what chunks have to carry.

    ``model``, ``inputs``, ``axes`` and ``training`` are as for `trace`. ``axis`` names the axis that is time and
    ``source`` the input that has it, where there are several. ``rate`` is in positions a second, for milliseconds;
    ``chunk`` is in positions; ``layer`` restricts the rows of layers to a number, a name or a pattern. ``align`` "end"
    gives units their hops from the last one on, which ends with the last position that is read: so it is meant where
    nothing is padded and the output is shorter. ``verify`` holds it all against real numbers drawn from ``seed``
    (`rfcalc.streaming.trial`), which a saved graph has none of.

    Raises `rfcalc.errors.UsageError` for names and numbers that make no sense, and what `trace` raises.
    """
    from rfcalc.sources.user_code import restoring
    from rfcalc.streaming import measure

    settings: dict[str, Any] = {
        "axis": axis,
        "source": source,
        "rate": rate,
        "chunk": chunk,
        "layer": layer,
        "align": align,
    }
    if not verify:
        return measure.stream(layer_graph(model, inputs, axes=axes, training=training), **settings)
    from rfcalc.streaming import trial

    with restoring(model):
        return trial.verified(model, inputs, axes=axes, training=training, seed=seed, **settings)


def memory(
    model: Any,
    inputs: Any = None,
    *,
    training: bool = False,
    optimizer: str | None = None,
    dtype: Any = None,
    autocast: Any = None,
    checkpoint: str | Sequence[str] = (),
    freeze: str | Sequence[str] = (),
    attention: str = "auto",
    batch: int | None = None,
    decode: bool = False,
    weights: str | None = None,
    fit: int | str | None = None,
    fit_what: str = "batch",
    verify: bool = False,
    axes: Mapping[str, int] | Mapping[str, Mapping[str, int]] | None = None,
) -> Memory:
    """The bytes that a model takes, in inference and with ``training`` in training; see `rfcalc.footprint.memory`.

    ``fit``, "24GiB", asks for the largest ``fit_what`` (batch, side, length) whose peak is no more than that,
    ``decode`` for one more token of each sequence, read with the cache of those before. ``verify`` runs it on real
    tensors too and counts by other means: ``agree`` says whether every number is the same.
    """
    from rfcalc import footprint
    from rfcalc.sources.user_code import restoring

    with restoring(model):
        return footprint.memory(
            model,
            inputs,
            training=training,
            optimizer=optimizer,
            dtype=dtype,
            autocast=autocast,
            checkpoint=checkpoint,
            freeze=freeze,
            attention=attention,
            batch=batch,
            decode=decode,
            weights=weights,
            fit=fit,
            fit_what=fit_what,
            verify=verify,
            axes=axes,
        )


def memory_growth(
    model: Any,
    inputs: Any = None,
    *,
    symbols: str | Iterable[str] | Mapping[str, int],
    axes: Mapping[str, int] | Mapping[str, Mapping[str, int]] | None = None,
    **asked: Any,
) -> MemoryGrowth:
    """Bytes of a model as exact formulas in sizes, found by passes at several and confirmed at others.

    ``symbols`` are as for `growth`, ``"N,H,W"``; all other options as for `memory`, but ``batch``, ``weights``,
    ``fit`` and ``verify``, which are about numbers. Raises what `memory` raises, and `UsageError` for a size that
    cannot change.
    """
    from rfcalc.footprint import growth as grown
    from rfcalc.sources.user_code import restoring

    numeric = [name for name in ("batch", "weights", "fit", "verify") if asked.get(name)]
    if numeric:
        raise UsageError(f"{' and '.join(numeric)} with symbols: these are about numbers; leave one of both out")
    with restoring(model):
        return grown.memory_growth(model, inputs, symbols=symbols, axes=axes, **asked)


def footprint(
    model: Any,
    inputs: Any,
    wanted: Sequence[str],
    *,
    axes: Mapping[str, int] | Mapping[str, Mapping[str, int]] | None = None,
    training: bool = False,
) -> dict[str, Any]:
    """What a budget's limits beyond the graph are held against, by the limit: memory, and tiles.

    ``max_memory`` is the peak of inference, or with ``training`` of a step with AdamW; ``max_saved`` is what autograd
    keeps for the way back. ``max_halo`` and ``tile_exact`` have what was found, and the first layer to blame or "".
    """
    tiles: dict[str, Any] = {}
    if {"max_halo", "tile_exact"} & set(wanted):
        plan = tile(model, inputs, axes=axes, training=training)
        reason = plan.reasons[0] if plan.reasons else ""
        verdict = "exact" if plan.exact else "impossible"
        tiles = {"tile_exact": (verdict, reason), "max_halo": (plan.max_halo if plan.exact else verdict, reason)}
    if not {"max_memory", "max_saved"} & set(wanted):
        return tiles
    found = memory(model, inputs, training=training or "max_saved" in wanted, axes=axes)
    step = found.training
    peak = step.peak_bytes if step is not None and training else found.peak_bytes
    return {**tiles, "max_memory": peak, **({} if step is None else {"max_saved": step.saved_bytes})}


def tile(
    model: Any,
    inputs: Any = None,
    *,
    tile: int | Sequence[int] | Mapping[str, int] | None = None,
    memory: int | None = None,
    image: Sequence[int] | Mapping[str, int] | None = None,
    layer: str | int | None = None,
    verify: bool = False,
    device: str = "auto",
    seed: int = 0,
    axes: Mapping[str, int] | Mapping[str, Mapping[str, int]] | None = None,
    training: bool = False,
) -> Tiling:
    """Whether a model can be run in tiles that give what the whole gives, and how; see `rfcalc.tiling.making.tile`.

    ``tile`` is the length of a tile in pixels, one for all axes or one for each, ``memory`` a limit in bytes that
    chooses it, ``image`` the size of the image. ``plan.run(model, x)`` runs the tiles, ``plan.slices()`` gives them.
    """
    from rfcalc.sources.user_code import restoring
    from rfcalc.tiling import making

    with restoring(model):
        return making.tile(
            model,
            inputs,
            tile=tile,
            memory=memory,
            image=image,
            layer=layer,
            verify=verify,
            device=device,
            seed=seed,
            axes=axes,
            training=training,
        )


__all__: Sequence[str] = ["analyze", "compare", "erf", "growth", "memory", "stream", "summary", "tile", "trace"]
__all__ = [*__all__, "verify"]
