"""The model with real weights: as its own constructor draws them, or those of a file."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import nn

from rfcalc import sources
from rfcalc.checking.subject import Subject, resolve
from rfcalc.errors import LoadError, UsageError
from rfcalc.sources.given import from_object
from rfcalc.sources.loaded import Loaded
from rfcalc.tracing.doubles import Double

#: Where training scripts put the state dict among the other things that they save.
_INSIDE = ("state_dict", "model")
_EXPECTED = "; expected what torch.save(model.state_dict(), FILE) wrote"


def subject_of(model: Any, inputs: Any, *, axes: Any, training: bool, seed: int) -> tuple[Subject, str]:
    """The traced model, and where its weights come from.

    A model that rfcalc built without memory is built again, with the weights that its constructor draws from ``seed``.
    Raises `UsageError` for a saved graph, which has nothing to run.
    """
    nothing = "a saved graph has no weights and nothing to run: name the model it was traced from"
    loaded = sources.runnable(model, "verify", nothing)
    if loaded.constants is not None:
        subject = resolve(_built(loaded, seed), inputs, axes=axes, training=training)
        return subject, f"random, as the model's constructor draws them with seed {seed}"
    return resolve(loaded, inputs, axes=axes, training=training), "the model's own"


def _built(loaded: Loaded, seed: int) -> Loaded:
    assert loaded.constants is not None
    for plant in (torch.manual_seed, np.random.seed, random.seed):  # Keras draws its seeds from Python's
        plant(seed)
    with warnings.catch_warnings():  # the first time it was built they were shown, or known to be of no interest
        warnings.simplefilter("ignore")
        try:
            made = from_object(loaded.constants.factory(), loaded.name)
        except (RuntimeError, MemoryError) as error:
            text = (str(error).splitlines() or [type(error).__name__])[0]
            raise LoadError(f"{loaded.name} cannot be built with real weights: {text}") from error
    assert made is not None
    return replace(loaded, model=made.model, constants=None)


# --- given weights ----------------------------------------------------------------------------------------------------


def with_weights(subject: Subject, state: Mapping[str, torch.Tensor] | None) -> Subject:
    """The subject with a double of its model on the tensors of a state dict; None leaves the model's own.

    Raises `LoadError` for names or shapes that are not the model's.
    """
    if state is None:
        return subject
    misfits = list(_misfits(subject.model, state))
    if misfits:
        raise LoadError(f"the weights do not fit {subject.loaded.name}: {'; '.join(misfits)}")
    double = Double(subject.model, _exchange(state), subject.training)
    return replace(subject, loaded=replace(subject.loaded, model=double.model))


def _exchange(state: Mapping[str, torch.Tensor]) -> Callable[[str, torch.Tensor], torch.Tensor]:
    def exchange(name: str, tensor: torch.Tensor) -> torch.Tensor:
        if name not in state:  # a buffer that state dicts leave out
            return tensor
        made = state[name].detach().to(tensor.dtype)
        return nn.Parameter(made, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else made

    return exchange


def _misfits(model: nn.Module, state: Mapping[str, torch.Tensor]) -> Any:
    """What keeps a state dict from being the model's, in words."""
    own = {name: value for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)}
    for what, names in (
        ("missing", [name for name in own if name not in state]),
        ("not known", [name for name in state if name not in own]),
    ):
        if names:
            more = f" and {len(names) - 2} more" if len(names) > 2 else ""
            yield f"{what}: {', '.join(names[:2])}{more}"
    wrong = [name for name in own if name in state and own[name].shape != state[name].shape]
    if wrong:
        shapes = ["x".join(map(str, shape)) for shape in (state[wrong[0]].shape, own[wrong[0]].shape)]
        more = f", and {len(wrong) - 1} more of another shape" if len(wrong) > 1 else ""
        yield f"{wrong[0]} is {shapes[0] or 'a scalar'}, expected {shapes[1] or 'a scalar'}{more}"


def read(weights: str | Path | Mapping[str, Any] | None) -> dict[str, torch.Tensor] | None:
    """The tensors of a state dict, from a file that `torch.save` wrote or as they are.

    A file is loaded with ``weights_only=True``, so that none of its code runs; the state dict may lie under
    "state_dict" or "model" in it. Raises `UsageError` for a file that cannot be opened, `LoadError` for others.
    """
    if weights is None:
        return None
    held = weights if isinstance(weights, Mapping) else _loaded(Path(weights))
    for key in _INSIDE:
        if isinstance(held, Mapping) and isinstance(held.get(key), Mapping):
            held = held[key]
    tensors = {k: v for k, v in held.items() if isinstance(v, torch.Tensor)} if isinstance(held, Mapping) else {}
    if not tensors:
        raise LoadError(f"there is no state dict in {_called(weights)}{_EXPECTED}")
    return tensors


def _loaded(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UsageError(f"cannot read the weights {path}: {error.strerror or error}") from error
    except UnpicklingError as error:
        raise LoadError(
            f"cannot read the weights {path}: it holds more than tensors, or no weights{_EXPECTED}"
        ) from error
    except Exception as error:
        text = (str(error).splitlines() or [""])[0]
        raise LoadError(f"cannot read the weights {path}: {type(error).__name__}: {text}{_EXPECTED}") from error


def _called(weights: str | Path | Mapping[str, Any]) -> str:
    return "the given mapping" if isinstance(weights, Mapping) else str(weights)
