"""The public functions. torch is imported when a model is traced, not before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rfcalc.analyses.analysis import Analysis

if TYPE_CHECKING:
    import networkx as nx

    from rfcalc.checking import Verification


def trace(
    model: Any,
    inputs: Any = None,
    *,
    axes: Mapping[str, int] | Mapping[str, Mapping[str, int]] | None = None,
    training: bool = False,
) -> nx.DiGraph[int]:
    """The layer graph of a model.

    ``model`` is a name or expression (``"vgg16"``, ``"torchvision:resnet50"``, ``"3x3 3x3"``), a ``torch.nn.Module``,
    or a graph. ``inputs`` is a shape without or with batch, ``(3, 224, 224)``; example tensors (one, a tuple, or a
    dict by name); a dict of shapes by input name; or None for the model's own default. ``axes`` names the axes of the
    inputs along which fields are measured, ``{"H": 2, "W": 3}``, by input name where there are several.

    Raises `rfcalc.errors.RfcalcError`: `UsageError` for a request that makes no sense, `LoadError` for a model that
    cannot be had, `TraceError` for a forward pass that fails.
    """
    from rfcalc.sources import resolve

    return resolve(model, inputs, axes=axes, training=training)


def analyze(
    model: Any,
    inputs: Any = None,
    *,
    of: str | int | None = None,
    axes: Mapping[str, int] | Mapping[str, Mapping[str, int]] | None = None,
    training: bool = False,
) -> Analysis:
    """Costs and receptive fields of every layer of a model; arguments as for `trace`.

    ``of`` measures fields in an earlier layer instead of the inputs.
    """
    found = Analysis(trace(model, inputs, axes=axes, training=training))
    return found if of is None else found.relative_to(str(of))


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


__all__: Sequence[str] = ["analyze", "trace", "verify"]
