"""`rfcalc.memory`: what a model takes, in inference and in training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch

from rfcalc.analyses import cost
from rfcalc.analyses.memory import activations
from rfcalc.checking.subject import Subject, map_tensors, resolve
from rfcalc.errors import RfcalcError, TraceError, UsageError
from rfcalc.footprint import optimizers, passes
from rfcalc.footprint.cache import rows
from rfcalc.footprint.calls import converted, with_batch
from rfcalc.footprint.fit import at_size, fitted, one_more, size_of
from rfcalc.footprint.hollow import Hollow, MayAskError, NeedsPlainError, has_numbers
from rfcalc.footprint.passes import Course
from rfcalc.footprint.results import ROLES, Cached, Decode, Fit, Held, Input, Memory, Peak, Row, Training
from rfcalc.footprint.settings import ATTENTIONS, AUTOCASTS, Setup, bytes_of, dtype_of
from rfcalc.footprint.watch import Block, Step
from rfcalc.footprint.weights import in_bits
from rfcalc.footprint.worlds import Fake, Real
from rfcalc.graph import ELEMENT_BYTES, LayerGraph
from rfcalc.sources import runnable, traced
from rfcalc.tracing.arguments import tensors_in
from rfcalc.tracing.failing import first_line
from rfcalc.tracing.fallback import free_memory, gibibytes, weight
from rfcalc.tracing.known import NeedsDataError

#: The largest of what is alive at the peak, and of what is saved, that are listed.
LISTED = 200


def memory(
    model: Any,
    inputs: Any = None,
    *,
    training: bool = False,
    optimizer: str | None = None,
    dtype: str | torch.dtype | None = None,
    autocast: str | torch.dtype | None = None,
    checkpoint: str | Sequence[str] = (),
    freeze: str | Sequence[str] = (),
    attention: str = "auto",
    batch: int | None = None,
    decode: bool = False,
    weights: str | None = None,
    fit: int | str | None = None,
    fit_what: str = "batch",
    verify: bool = False,
    axes: Any = None,
) -> Memory:
    """The bytes that a model takes: parameters, what is alive at the peak, and with ``training`` what a step needs.

    ``model``, ``inputs`` and ``axes`` are as for `rfcalc.trace`; a saved graph has nothing to run. ``batch`` is how
    many samples each input holds. ``dtype`` is what parameters, buffers and inputs of floating-point numbers are
    converted to, ``autocast`` the type of `torch.autocast`, under which parameters stay as they are. ``checkpoint``
    are patterns of modules that are run again on the way back, ``freeze`` of modules that are not trained.
    ``optimizer`` is adamw (if not told), adam, sgd, momentum (SGD with momentum), muon, adam8bit or none.
    ``attention`` is which kernels it takes: math, flash, or what torch chooses. ``fit`` is so many bytes, or a text
    like "24GiB": the largest ``fit_what`` (batch, side or length) whose peak is no more is found, and it is what is
    described then. ``decode`` follows one more token of each sequence, too, with the cache that the model gives
    back. ``weights`` is 8bit or 4bit: what the weights of linear layers would take in so many bits. ``verify`` runs
    it on real tensors, too, and counts by other means: ``agree`` says whether all is the same.

    Bytes are those of storages, at the end of each op, as eager torch on a CPU holds them; what a kernel takes for
    itself while it runs is not among them. Raises `UsageError`, `LoadError` or `TraceError`, in one line.
    """
    if optimizer is not None:
        optimizers.check(optimizer)
    for option, given in (("--checkpoint", checkpoint), ("--freeze", freeze), ("--optimizer", optimizer)):
        if given and not training:
            raise UsageError(f"{option} is about training: ask for it, too (--training)")
    if fit is None and fit_what != "batch":
        raise UsageError(f"--fit-what {fit_what} says what is to grow: say up to how much, too (--fit 24GiB)")
    if fit is not None and fit_what == "batch" and batch is not None:
        raise UsageError(f"--fit finds the largest batch: leave --batch {batch} out, or ask for another --fit-what")
    setup, subject = prepared(
        model,
        inputs,
        optimizer=optimizer or "adamw",
        dtype=dtype,
        autocast=autocast,
        checkpoint=checkpoint,
        freeze=freeze,
        attention=attention,
        batch=batch,
        axes=axes,
    )
    packed = None if weights is None else in_bits(setup.loaded.model, weights)
    notices: list[str] = []
    found_fit: Fit | None = None
    if fit is not None:
        setup, subject, found_fit = _fitted(setup, subject, fit, fit_what, training, axes)
    inference = course_of(setup, training=False, notices=notices)
    trained = course_of(setup, training=True, notices=notices) if training else None
    found = described(setup, subject.graph, inference, trained, notices, dtype)
    found = replace(found, fit=found_fit, kv_cache=_cached(setup, subject, inference), weights=packed)
    courses = [(setup, inference, False), *([] if trained is None else [(setup, trained, True)])]
    if decode:
        further = replace(setup, next_call=one_more(subject))
        decoded = course_of(further, training=False, notices=notices)
        courses.append((further, decoded, False))
        found = replace(found, decode=_decode(decoded), notices=tuple(dict.fromkeys([*found.notices, *notices])))
    if verify:
        from rfcalc.footprint.witness import verified

        found = replace(found, witness=verified(courses))
    return found


def few(model: Any, inputs: Any = None, *, axes: Any = None) -> dict[str, int | None]:
    """The bytes that tables of models have: None in training for a model that cannot be trained."""
    setup, _ = prepared(model, inputs, axes=axes)
    inference = course_of(setup, training=False, notices=[])
    trained: Training | None = None
    with suppress(RfcalcError):
        trained = _training(setup, course_of(setup, training=True, notices=[]))
    return {
        "peak_bytes": _inference_peak(inference).nbytes,
        "moved_bytes": sum(step.read + step.written for step in inference.steps),
        "saved_bytes": None if trained is None else trained.saved_bytes,
        "training_peak_bytes": None if trained is None else trained.peak_bytes,
    }


def prepared(
    model: Any,
    inputs: Any = None,
    *,
    optimizer: str = "adamw",
    dtype: str | torch.dtype | None = None,
    autocast: str | torch.dtype | None = None,
    checkpoint: str | Sequence[str] = (),
    freeze: str | Sequence[str] = (),
    attention: str = "auto",
    batch: int | None = None,
    axes: Any = None,
) -> tuple[Setup, Subject]:
    """What `memory` was asked, checked, with the call as it was traced."""
    optimizers.check(optimizer)
    if attention not in ATTENTIONS:
        raise UsageError(f"unknown attention {attention!r}: expected {', '.join(ATTENTIONS)}")
    wanted = dtype_of(dtype, "--dtype")
    casting = dtype_of(autocast, "--autocast", AUTOCASTS)
    subject = _subject(model, inputs, axes=axes, batch=batch, dtype=wanted)
    setup = Setup(
        subject.loaded,
        subject.args,
        subject.kwargs,
        autocast=casting,
        attention=attention,
        checkpoint=_patterns(checkpoint),
        freeze=_patterns(freeze),
        optimizer=optimizer,
    )
    return setup, subject


def _called(setup: Setup, subject: Subject) -> Setup:
    return replace(setup, args=subject.args, kwargs=subject.kwargs)


def _fitted(
    setup: Setup, subject: Subject, limit: int | str, what: str, training: bool, axes: Any
) -> tuple[Setup, Subject, Fit]:
    """The call at the largest size that fits."""
    size = size_of(subject, what)

    def peak(extent: int) -> int:
        course = course_of(_called(setup, at_size(subject, size, extent)), training=training, notices=[])
        return _training(setup, course).peak_bytes if training else _inference_peak(course).nbytes

    found = fitted(bytes_of(limit, "--fit"), size, peak)
    if found.largest and found.largest != size.now:
        subject = _again(at_size(subject, size, found.largest), axes)
    return _called(setup, subject), subject, found


def _cached(setup: Setup, subject: Subject, inference: Course) -> tuple[Cached, ...]:
    """The cache by layer, and what one more token adds to it, by a pass of that length."""
    if not inference.cache:
        return ()
    longer = None
    with suppress(RfcalcError):
        size = size_of(subject, "length")
        longer = course_of(_called(setup, at_size(subject, size, size.now + 1)), training=False, notices=[]).cache
    return rows(inference.cache, longer)


def _decode(course: Course) -> Decode:
    numbers = [number for number, step in enumerate(course.steps) if step.phase == "decode"]
    steps = [course.steps[number] for number in numbers]
    return Decode(_peak(course, numbers, course.steps), sum(step.read + step.written for step in steps))


def _inference_peak(course: Course) -> Peak:
    return _peak(course, range(len(course.steps)), course.steps)


def _patterns(value: str | Sequence[str]) -> tuple[str, ...]:
    return ((value,) if value else ()) if isinstance(value, str) else tuple(value)


def _subject(model: Any, inputs: Any, *, axes: Any, batch: int | None, dtype: torch.dtype | None) -> Subject:
    no_code = "a saved graph has no code that could run: name the model it was traced from"
    loaded = runnable(model, "verify", no_code)
    subject = resolve(loaded, inputs, axes=axes, training=False)
    if dtype is not None:
        loaded = converted(subject.loaded, dtype)
        args, kwargs = map_tensors((subject.args, dict(subject.kwargs)), lambda one: _as(one, dtype))
        subject = replace(subject, loaded=loaded, args=args, kwargs=kwargs)
    if batch is not None:
        subject = replace(subject, **with_batch(subject, batch))
    if dtype is not None or batch is not None:
        subject = _again(subject, axes)
    return subject


def _as(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _again(subject: Subject, axes: Any) -> Subject:
    fixed = replace(subject.loaded, example=(subject.args, dict(subject.kwargs)))
    graph, args, kwargs = traced(fixed, None, axes=axes, training=False)
    return replace(subject, args=args, kwargs=kwargs, graph=graph)


# --- passes -----------------------------------------------------------------------------------------------------------


def course_of(setup: Setup, *, training: bool, notices: list[str]) -> Course:
    """A pass without numbers, or with numbers on the CPU where the model asks for them.

    Where whole numbers are given or made, the model's code is to see ordinary tensors: some ask whether a tensor is a
    fake one, and then do not look at a mask.
    """
    name = setup.loaded.name
    numbered = any(map(has_numbers, tensors_in((setup.args, dict(setup.kwargs)))))
    try:
        return passes.followed(setup, Hollow() if numbered else Fake(), training=training)
    except RfcalcError:
        raise
    except NeedsPlainError as error:
        refused: Exception = error
        try:
            return passes.followed(setup, Hollow(), training=training)
        except NeedsDataError as asked:  # it does ask
            refused = asked
        except Exception:
            if isinstance(error, MayAskError):  # what cannot be followed on ordinary tensors may be on fake ones
                with suppress(Exception):
                    return passes.followed(setup, Fake(lenient=True), training=training)
    except Exception as error:
        refused = error
    room = weight(module for module in setup.loaded.model.modules())
    if room > free_memory() / 4:  # better than nothing: as it runs where no number is known
        with suppress(Exception):
            found = passes.followed(setup, Fake(lenient=True), training=training)
            notices.append(f"numbers that are given or made are not looked at: {first_line(refused)[:120]}")
            return found
        raise TraceError(
            f"{name} does not run without numbers ({first_line(refused)[:120]}), and its weights take"
            f" {gibibytes(room)}, too much to run it on real ones here"
        ) from refused
    try:
        found = passes.followed(setup, Real(setup.loaded.constants), training=training)
    except RfcalcError:
        raise
    except Exception as error:
        kind = "" if isinstance(error, RuntimeError | ValueError) else f"{type(error).__name__}: "
        how = "trained" if training else "run"
        raise TraceError(f"{name} cannot be {how}: {kind}{first_line(error)}") from error
    notices.append(f"run on real CPU tensors, for it does not run without numbers: {first_line(refused)[:120]}")
    return found


# --- what they tell ---------------------------------------------------------------------------------------------------


def described(
    setup: Setup,
    graph: LayerGraph,
    inference: Course,
    trained: Course | None,
    notices: Sequence[str],
    dtype: str | torch.dtype | None,
) -> Memory:
    """The passes as the records that are reported."""
    totals = cost.totals(graph)
    elements, nbytes = activations(graph)
    if setup.autocast is not None:
        nbytes = elements * ELEMENT_BYTES[_plain(setup.autocast)]
    return Memory(
        model=setup.loaded.name,
        inputs=tuple(Input(one.name, one.shape, one.dtype) for one in graph.inputs),
        params_bytes=inference.role_bytes("parameter"),
        buffers_bytes=inference.role_bytes("buffer"),
        inputs_bytes=inference.role_bytes("input"),
        activation_elements=elements,
        activation_bytes=nbytes,
        peak=_inference_peak(inference),
        moved_bytes=sum(step.read + step.written for step in inference.steps),
        operations=totals.flops if totals.status == "complete" else None,
        layers=tuple(_rows(graph, inference, trained)),
        settings={
            "dtype": None if dtype is None else str(dtype).removeprefix("torch."),
            "autocast": None if setup.autocast is None else _plain(setup.autocast),
            "attention": setup.attention,
            "checkpoint": list(setup.checkpoint),
            "freeze": list(setup.freeze),
            "device": "cpu",
            "torch": torch.__version__,
        },
        training=None if trained is None else _training(setup, trained),
        notices=tuple(dict.fromkeys([*graph.meta.get("notices", ()), *notices])),
    )


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _training(setup: Setup, course: Course) -> Training:
    """The peaks of a step. Where the optimizer has taken steps before, its states are there from the beginning."""
    ranges = phases(course)
    peaks = {phase: _peak(course, ranges[phase], course.steps, course) for phase in ranges if len(ranges[phase])}
    if "step" not in peaks:
        peaks["step"] = _resting(course, "step")
    highest = max(peaks.values(), key=lambda peak: peak.nbytes)
    return Training(
        saved_bytes=sum(block.nbytes for block in course.kept),
        gradients_bytes=course.gradients,
        optimizer=setup.optimizer,
        optimizer_bytes=course.states,
        peak=highest,
        phases={phase: peaks[phase].nbytes for phase in ("forward", "backward", "step") if phase in peaks},
        saved=_held(course.kept),
    )


def phases(course: Course) -> dict[str, range]:
    """Which ops belong to each part of a step; of the optimizer's steps the second."""
    names = [step.phase for step in course.steps]
    back = names.index("backward") if "backward" in names else len(names)
    ahead = names.index("step") if "step" in names else len(names)
    return {
        "forward": range(back),
        "backward": range(back, ahead),
        "step": range(course.steady, len(names)) if course.steady else range(0),
    }


def _peak(course: Course, numbers: Iterable[int], steps: Sequence[Step], trained: Course | None = None) -> Peak:
    """The op after which most is alive. ``trained`` has the states that lie beside until they are stepped."""
    numbers = list(numbers)
    if not numbers:
        return _resting(course, "forward")
    number = max(numbers, key=lambda at: steps[at].alive)
    step = steps[number]
    alive = course.alive_after(number)
    beside = 0
    if trained is not None:
        beside = trained.known_states if step.phase == "step" else trained.states
    return _peak_of(alive, beside, step.op, step.scope, step.phase)


def _resting(course: Course, phase: str) -> Peak:
    """What is alive when nothing runs: when the pass is over, or the way back, with the optimizer's states."""
    return _peak_of(course.resting, course.known_states, "", "", phase)


def _peak_of(alive: Sequence[Block], beside: int, op: str, layer: str, phase: str) -> Peak:
    roles = dict.fromkeys(ROLES, 0)
    for block in alive:
        roles[block.role] += block.nbytes
    roles["optimizer"] += beside
    others = [block for block in alive if block.role not in ("parameter", "buffer")]
    there = {role: size for role, size in roles.items() if size}
    return Peak(sum(roles.values()), op, layer, phase, there, _held(others))


def _held(blocks: Iterable[Block]) -> tuple[Held, ...]:
    largest = sorted(blocks, key=lambda block: (-block.nbytes, block.born))[:LISTED]
    return tuple(
        Held(block.role, block.name, block.op, block.scope, block.shape, block.dtype, block.nbytes) for block in largest
    )


def _rows(graph: LayerGraph, inference: Course, trained: Course | None) -> Iterable[Row]:
    """The modules in the order in which they first run."""
    operations: dict[str, int | None] = {}
    for record in graph:
        arithmetic = None if record.macs is None else 2 * record.macs + sum(record.flops.values())
        before = operations.get(record.scope, 0)
        operations[record.scope] = None if arithmetic is None or before is None else before + arithmetic
    by_scope: dict[str, list[int]] = {}
    for number, step in enumerate(inference.steps):
        by_scope.setdefault(step.scope, []).append(number)
    made = _sums((block.scope, block.nbytes) for block in inference.blocks if block.op)
    kept = trained.kept if trained is not None else []
    saved = _sums((_keeper(trained, block), block.nbytes) for block in kept) if trained is not None else {}
    for scope, numbers in by_scope.items():
        steps = [inference.steps[number] for number in numbers]
        yield Row(
            layer=scope,
            ops=len(steps),
            made=made.get(scope, 0),
            saved=saved.get(scope, 0) if trained is not None else None,
            moved=sum(step.read + step.written for step in steps),
            operations=operations.get(scope, 0),
            alive=max(step.alive for step in steps),
        )


def _keeper(course: Course | None, block: Block) -> str:
    """The module whose op a storage is first kept for; that which made it where no op asked for it."""
    if course is None or block.saved_at is None or block.saved_at >= len(course.steps):
        return block.scope
    return course.steps[block.saved_at].scope


def _sums(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, size in pairs:
        found[name] = found.get(name, 0) + size
    return found


__all__ = ["course_of", "described", "memory", "phases", "prepared"]
