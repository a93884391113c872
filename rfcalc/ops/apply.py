"""What an op reads and costs: its rule's word on a call, in real operations; a user's rule is held to its form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rfcalc.errors import TraceError
from rfcalc.ops.complex_numbers import in_reals
from rfcalc.ops.registry import Arg, Call, Effect, Registered, find
from rfcalc.reads import shape_through


def effect_of(call: Call) -> Effect | None:
    """What the rule of the call's op says of it; None where there is none.

    Raises `TraceError` where a rule of the user's fails, or says what cannot be.
    """
    found = find(call.op)
    if found is None:
        return None
    return in_reals(call, found.rule(call) if found.own else _checked(found, call))


def _checked(found: Registered, call: Call) -> Effect:
    try:
        effect = found.rule(call)
    except Exception as error:
        text = " ".join(str(error).split())
        raise _wrong(found, call, f"failed: {type(error).__name__}{': ' if text else ''}{text}") from error
    if not isinstance(effect, Effect):
        raise _wrong(found, call, f"gave an object of type {type(effect).__name__}, not an Effect")
    problem = next(_problems(call, effect), None)
    if problem is not None:
        raise _wrong(found, call, problem)
    return effect


def _wrong(found: Registered, call: Call, what: str) -> TraceError:
    given = ", ".join(
        f"{name} {'x'.join(map(str, value.shape)) or 'a scalar'}" if isinstance(value, Arg) else f"{name}={value!r}"
        for name, value in call.args.items()
    )
    return TraceError(f"the rule of {call.op}, {found.name}, {what} (called with {given})")


def _problems(call: Call, effect: Effect) -> Iterator[str]:
    """What is wrong with an effect, for a user to mend."""
    if not isinstance(effect.flops, Mapping):
        yield f"gave flops {effect.flops!r}: expected operations by category, such as {{'elementwise': 12}}"
        return
    for name, count in (("macs", effect.macs), *effect.flops.items()):
        if type(count) is not int or count < 0:
            yield f"gave {name} {count!r}: expected a whole number"
    if effect.each and len(effect.reads) != len(call.outs):
        yield f"gave the reads of {len(effect.reads)} results: the op has {len(call.outs)}"
        return
    for number, out in enumerate(call.outs):
        for read in effect.reads_of(number):
            if not isinstance(read, Sequence) or len(read) != 2 or not isinstance(read[0], Arg):
                yield f"gave the read {read!r}: expected a tensor of the call and steps"
            else:
                yield from _unfit(call, read[0], read[1], out.shape)


def _unfit(call: Call, arg: Arg, steps: Any, wanted: tuple[int, ...]) -> Iterator[str]:
    """Steps that do not lead from an argument to a result."""
    name = next((name for name, value in call.args.items() if value is arg), "a tensor")
    if not any(arg is other for other in call.tensors()):
        yield "gave a read of what is no tensor of the call"
        return
    try:
        shape = shape_through(arg.shape, steps, call.masks)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        yield f"gave steps that cannot be made on {name}: {error}"
        return
    fits = len(shape) == len(wanted) and all(have in (1, want) for have, want in zip(shape, wanted, strict=False))
    if not fits:
        yield f"gave steps that lead from {name} {arg.shape} to {shape}: expected the result's shape {wanted}"
