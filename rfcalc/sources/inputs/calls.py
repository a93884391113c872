"""From the inputs a user gives (shapes, example tensors) to the arguments of the model's forward."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from rfcalc.errors import UsageError
from rfcalc.sources.inputs.values import with_tensors
from rfcalc.sources.loaded import Expected, Loaded


@dataclass(frozen=True)
class Candidate:
    """One way to call the model. ``names`` are those of its tensors in order; empty: those of forward's parameters."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    names: tuple[str, ...] = ()


def candidates(loaded: Loaded, inputs: Any) -> list[Candidate]:
    """The calls to try in turn.

    A shape of a model whose inputs are not known may or may not hold the batch, and a model with embeddings may want
    token ids where others want numbers.
    """
    inputs = with_tensors(inputs, _floats(loaded))
    if inputs is None and loaded.example is not None:
        return [Candidate(*loaded.example, tuple(expected.name for expected in loaded.inputs))]
    if isinstance(inputs, torch.Tensor):
        return [Candidate((inputs,), {}, _names_of(loaded, 1))]
    if isinstance(inputs, list | tuple) and not _is_shape(inputs) and all(map(_is_shape, inputs)):
        known = _names_of(loaded, len(inputs))
        inputs = dict(zip(known, inputs, strict=True)) if known else inputs
    if loaded.inputs and (inputs is None or _is_shape(inputs) or _names_expected(loaded, inputs)):
        return [_expected(loaded, inputs)]
    if inputs is None:
        raise UsageError(f"{loaded.name} has no default input: give its shape, --input 3x224x224")
    if isinstance(inputs, Mapping):
        return [_by_name(loaded, _assembled(values)) for values in _readings(loaded, _dotted(inputs))]
    if isinstance(inputs, list | tuple):
        several = [inputs] if _is_shape(inputs) else inputs
        names = [*_parameters(loaded), *(f"input{at}" for at in range(len(several)))]
        given = dict(zip(names, several, strict=False))
        known = _names_of(loaded, len(several))
        return [Candidate(tuple(values.values()), {}, known) for values in _readings(loaded, given)]
    raise UsageError(
        f"cannot use a {type(inputs).__name__} as input: expected a shape, tensors, or a dict by input name"
    )


# --- models that say what they take -----------------------------------------------------------------------------------


def _names_of(loaded: Loaded, count: int) -> tuple[str, ...]:
    """The names under which the source knows the inputs, where it knows so many; otherwise none."""
    return tuple(expected.name for expected in loaded.inputs) if len(loaded.inputs) == count else ()


def _names_expected(loaded: Loaded, inputs: Any) -> bool:
    """Whether these are shapes by the names under which the source knows the inputs."""
    names = {expected.name for expected in loaded.inputs}
    return isinstance(inputs, Mapping) and set(inputs) <= names and all(_is_shape(shape) for shape in inputs.values())


def _expected(loaded: Loaded, inputs: Any) -> Candidate:
    """The call with the usual inputs, or with other shapes for all of them or for those named."""
    floats = _floats(loaded)
    tensors: list[torch.Tensor] = []
    names: list[str] = []
    for expected in loaded.inputs:
        given = inputs.get(expected.name) if isinstance(inputs, Mapping) else inputs
        dtype = getattr(torch, expected.dtype) if expected.dtype else floats
        made = [_tensor(shape, dtype) for shape in _shapes(loaded, expected, given)]
        tensors += made
        names += [expected.name] if len(made) == 1 else [f"{expected.name}.{at}" for at in range(len(made))]
    args, kwargs = loaded.arrange(tensors)
    return Candidate(args, kwargs, tuple(names))


def _shapes(loaded: Loaded, expected: Expected, given: Sequence[int] | None) -> list[tuple[int, ...]]:
    """The shapes of the tensors that stand for one expected input: one, or one for each sample of a list."""
    if given is None:
        if any(extent is None for extent in expected.shape):
            which, option = ("", "") if expected.name == "input" else (f" {expected.name}", f"{expected.name}=")
            raise UsageError(
                f"{loaded.name} leaves the size of its input{which} open ({expected.text}): give it,"
                f" --input {option}{expected.text.replace('?', '224')}"
            )
        given = tuple(extent for extent in expected.shape if extent is not None)
    shape = _positive(given)
    rank = len(expected.shape)
    if len(shape) not in (rank, rank + 1):
        raise UsageError(
            f"{loaded.name} takes an input like {expected.text}, with or without batch before it;"
            f" {'x'.join(map(str, shape))} has {len(shape)} numbers"
        )
    samples, sample = (1, shape) if len(shape) == rank else (shape[0], shape[1:])
    return [(samples, *sample)] if expected.batched else [sample] * samples


# --- models of which nothing is known ---------------------------------------------------------------------------------


def _is_shape(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, int) for item in value)


def _positive(shape: Sequence[int]) -> tuple[int, ...]:
    if any(extent < 1 for extent in shape):
        raise UsageError(f"input {'x'.join(map(str, shape))} has an extent below 1")
    return tuple(shape)


def _shapes_meant(
    loaded: Loaded, given: Sequence[int], dtype: torch.dtype, rank: int | None
) -> tuple[tuple[int, ...], ...]:
    """The shapes that may be meant: the likeliest, as given, and with the batch added.

    A shape of more extents than a sample has is taken to hold the batch. Token ids are rows; of numbers, a sample has
    ``rank`` extents, three where that is not known.
    """
    shape = _positive(given)
    if {len(expected.shape) + expected.batched for expected in loaded.inputs} == {len(shape)}:
        return shape, shape, shape
    likely = (1, *shape) if len(shape) <= ((rank or 3) if dtype.is_floating_point else 1) else shape
    return likely, shape, (1, *shape) if len(shape) <= 4 else shape


def _sample_rank(model: nn.Module) -> int | None:
    """How many extents a sample of numbers has: channels and the axes of the first convolution; None without any."""
    convolutions = (module for module in model.modules() if isinstance(module, _CONVOLUTIONS))
    return next((1 + len(module.kernel_size) for module in convolutions), None)


def added_batch(loaded: Loaded, inputs: Any, call: Candidate) -> list[str]:
    """What is to be said of shapes that got a batch of 1 in front, where no convolution says what a sample is."""
    if loaded.inputs or _sample_rank(loaded.model) is not None:
        return []
    made = [*call.args, *call.kwargs.values()]
    given = [inputs] if _is_shape(inputs) else list(inputs.values()) if isinstance(inputs, Mapping) else []
    found = []
    for shape, tensor in zip(given, made, strict=False):
        if _is_shape(shape) and isinstance(tensor, torch.Tensor) and tuple(tensor.shape) == (1, *shape):
            read = "x".join(map(str, tensor.shape))
            one = "x".join(map(str, shape))
            found.append(f"input {one} was read as one sample, {read}: write the batch if it has one")
    return found


_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def _parameters(loaded: Loaded) -> Mapping[str, inspect.Parameter]:
    """The parameters of the model's forward by name; none where it does not tell them."""
    try:
        return inspect.signature(loaded.model.forward).parameters
    except (AttributeError, TypeError, ValueError):  # a scripted LSTM has several, and none that can be called
        return {}


def _floats(loaded: Loaded) -> torch.dtype:
    """The dtype of the model's weights."""
    return next((p.dtype for p in loaded.model.parameters() if p.is_floating_point()), torch.float32)


#: How a parameter of forward is called, or what its annotation says, where it takes token ids or marks them.
_CALLED_IDS = re.compile(r"(^|_)(ids?|idx|indices|tokens?|text|mask)$")
_TYPED_IDS = re.compile(r"(Long|Int)Tensor")


def _readings(loaded: Loaded, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The given values with tensors in the place of shapes, in the order to try.

    A shape may hold token ids or numbers, and the batch or not. The likeliest reading comes first; where one of several
    has more extents than a sample, and so seems to hold the batch, all do.
    """
    names = [name for name, value in given.items() if _is_shape(value)]
    if not names:
        return [dict(given)]
    rank = _sample_rank(loaded.model)
    found: dict[Any, dict[str, Any]] = {}
    for dtypes in _guesses(loaded, names):
        likely, as_given, batched = zip(
            *(_shapes_meant(loaded, given[name], dtypes[name], rank) for name in names), strict=True
        )
        one_has_it = len(names) > 1 and any(len(given[name]) > (rank or 3) for name in names)
        for shapes in (as_given, likely, batched) if one_has_it else (likely, as_given, batched):
            made = {name: _tensor(shape, dtypes[name]) for name, shape in zip(names, shapes, strict=True)}
            found.setdefault((shapes, *dtypes.values()), {**given, **made})
    return list(found.values())


def _guesses(loaded: Loaded, names: Sequence[str]) -> list[dict[str, torch.dtype]]:
    """What the inputs hold, by name: as they are declared and called, all of one kind, then one of them otherwise."""
    parameters, floats = _parameters(loaded), _floats(loaded)
    typed = {name for name in names if name in parameters and _TYPED_IDS.search(str(parameters[name].annotation))}
    embeds = loaded.ids or any(isinstance(m, nn.Embedding | nn.EmbeddingBag) for m in loaded.model.modules())
    if not typed and not embeds:
        return [dict.fromkeys(names, floats)]
    first = {name: torch.int64 if name in typed or _CALLED_IDS.search(name) else floats for name in names}
    other = {name: floats if dtype == torch.int64 else torch.int64 for name, dtype in first.items()}
    single = [{**first, name: other[name]} for name in names]
    return [first, dict.fromkeys(names, floats), dict.fromkeys(names, torch.int64), *single]


def _tensor(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """An example input without storage."""
    try:
        return torch.empty(tuple(shape), dtype=dtype, device="meta")
    except RuntimeError:  # more elements than a number of torch's can count
        raise UsageError(f"input {'x'.join(map(str, shape))} is too large for a tensor: give a smaller one") from None


def _dotted(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs by name, those inside a dictionary under its name, a dot and their own, as tables call them."""
    found: dict[str, Any] = {}
    for name, value in inputs.items():
        if isinstance(value, Mapping) and value and all(isinstance(key, str) for key in value):
            found.update({f"{name}.{inner}": item for inner, item in _dotted(value).items()})
        else:
            found[name] = value
    return found


def _assembled(values: Mapping[str, Any]) -> dict[str, Any]:
    """The opposite: dotted names become dictionaries, and lists where the names inside are numbers."""
    found: dict[str, Any] = {}
    inside: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        head, _, rest = name.partition(".")
        found[head] = value
        if rest:
            inside.setdefault(head, {})[rest] = value
    for head, parts in inside.items():
        made = _assembled(parts)
        listed = all(key.isdecimal() for key in made)
        found[head] = [made[key] for key in sorted(made, key=int)] if listed else made
    return found


def _by_name(loaded: Loaded, values: dict[str, Any]) -> Candidate:
    """Inputs by the names of forward's parameters; the only input may also be called ``input``, as in the tables."""
    parameters = _parameters(loaded)
    open_ended = not parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if set(values) == {"input"} and "input" not in parameters:
        return Candidate(tuple(values.values()), {})
    unknown = [name for name in values if name not in parameters]
    if unknown and not open_ended:
        known = [expected.name for expected in loaded.inputs] or list(parameters)
        raise UsageError(f"{loaded.name} has no input {unknown[0]!r}; it takes {', '.join(known) or 'no input'}")
    return Candidate((), values)
