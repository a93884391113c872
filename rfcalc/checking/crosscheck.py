"""`rfcalc.verify`: the numbers of the analysis, held against a real forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rfcalc.checking import device as devices
from rfcalc.checking.backward import check_backward
from rfcalc.checking.counts import check_macs, check_shapes
from rfcalc.checking.fields import check_fields
from rfcalc.checking.first_pass import first_pass
from rfcalc.checking.holdings import check_params
from rfcalc.checking.own import check_own
from rfcalc.checking.results import Verification
from rfcalc.checking.subject import Subject, failed, resolve
from rfcalc.checking.timing import measure
from rfcalc.errors import RfcalcError, UsageError
from rfcalc.progress import told


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
    """Run a model for real and compare shapes, parameters, multiply-adds and receptive fields with the analysis.

    ``model``, ``inputs`` and ``axes`` are as for `rfcalc.trace`; a saved graph cannot be verified. ``probes`` rows are
    poisoned along each axis of each input, at most ``batch`` at once. ``training`` runs the model in training mode, and
    its backward pass too. ``timing`` measures time and memory. The model, its tensors and all random states are as
    before afterwards, also after an exception.

    Raises `UsageError`, `LoadError` or `TraceError`, in one line. A disagreement is no exception: ``agree`` is False.
    """
    if probes < 1 or (batch is not None and batch < 1):
        raise UsageError(f"probes and batch are at least 1, got {probes} and {batch}")
    chosen, notices = devices.choose(device)
    with devices.random_state(chosen):
        with devices.honest():  # a model that is traced on real numbers meets the kernels that its check will have
            subject = resolve(model, inputs, axes=axes, training=training)
        if device == "auto" and chosen.type != "cpu" and _is_for_cpu(subject):
            chosen, notices = devices.choose("cpu")[0], ("checked on the CPU, for which its weights are packed",)
        try:
            return _verify(subject, chosen, notices, probes, seed, batch, timing)
        except RfcalcError:
            raise
        except Exception as error:
            if devices.is_out_of_memory(error):
                raise failed(subject, chosen, error) from error
            raise


def _is_for_cpu(subject: Subject) -> bool:
    """Whether weights are in objects of a CPU's kernels."""
    return any(param.dtype.startswith(("qint", "quint")) for param in subject.graph.params)


def _verify(
    subject: Subject, chosen: Any, notices: tuple[str, ...], probes: int, seed: int, batch: int | None, timing: bool
) -> Verification:
    told(f"running {subject.loaded.name} on {devices.describe(chosen)}")
    first = first_pass(subject, chosen, seed)
    checks = [check_shapes(first), check_params(subject), check_macs(first)]
    if subject.training:
        checks.append(check_backward(first))
    checks.append(check_fields(subject, first, probes, seed, batch))
    own = check_own(first, probes)
    if own is not None:
        checks.append(own)
    told("measuring time and memory" if timing else "done")
    return Verification(
        model=subject.loaded.name,
        inputs={item.name: item.shape for item in subject.graph.inputs},
        device=devices.describe(chosen),
        versions=devices.versions(chosen),
        seed=seed,
        probes=probes,
        training=subject.training,
        weights="random" if first.standins.random else "the model's own",
        checks=tuple(checks),
        timing=measure(first) if timing else None,
        notices=(*notices, *subject.graph.meta.get("notices", ())),
    )
