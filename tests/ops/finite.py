"""A second witness beside NaN, and rules on arguments about whose elements something is known.

NaN does not see everything: ``fmax`` skips it, a comparison's result cannot hold it, and 0 x NaN is NaN although a
factor of 0 hides every finite number. `check_changed` gives one element a few finite values and looks which outputs
differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rfcalc.graph import TensorInfo
from rfcalc.ops import Arg, Call, Effect, effect_of
from tests.ops.oracle import bind, support

Known = Sequence[tuple[torch.Tensor, np.ndarray]]


@dataclass
class Ruled:
    """The rule's effect on a real call, its masks, its arguments with their tensors, and the op's results."""

    effect: Effect
    masks: dict[int, np.ndarray]
    args: list[tuple[Arg, torch.Tensor]]
    outs: tuple[torch.Tensor, ...]

    def told(self, tensor: torch.Tensor, output: int) -> np.ndarray:
        """Which elements of the tensor the output reads, by the rule: the output's shape + (numel,)."""
        out = self.outs[output]
        read = np.zeros((*out.shape, tensor.numel()), dtype=bool)
        for arg, steps in self.effect.reads_of(output):
            if any(arg is known and tensor is own for known, own in self.args):
                reached = support(arg.shape, steps, self.masks)
                assert reached.ndim == read.ndim, "the steps must end at the result's rank"
                read |= np.broadcast_to(reached, read.shape)
        return read


def rule_on(
    op: Any,
    *args: Any,
    const: Sequence[torch.Tensor] = (),
    blocked: Known = (),
    zero: Known = (),
    true: Known = (),
    **kwargs: Any,
) -> Ruled:
    """The rule on a real call. ``blocked``, ``zero`` and ``true``: what is known of a tensor argument."""
    masks: dict[int, np.ndarray] = {}
    made: list[tuple[Arg, torch.Tensor]] = []

    def intern(mask: np.ndarray) -> int:
        masks[len(masks)] = mask
        return len(masks) - 1

    def convert(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return tuple(convert(item) for item in value)
        if not isinstance(value, torch.Tensor):
            return value
        for arg, tensor in made:
            if tensor is value:
                return arg
        fixed = any(value is item for item in const)
        arg = Arg(
            tuple(value.shape),
            str(value.dtype).removeprefix("torch."),
            "const" if fixed else "data",
            load=(lambda: value.numpy()) if fixed else None,
            blocked=next((mask for tensor, mask in blocked if tensor is value), None),
            zero=next((mask for tensor, mask in zero if tensor is value), None),
            true=next((mask for tensor, mask in true if tensor is value), None),
        )
        made.append((arg, value))
        return arg

    named = {key: convert(value) for key, value in bind(op, args, kwargs).items()}
    outs = results(op, args, kwargs)
    infos = [TensorInfo(tuple(out.shape), str(out.dtype).removeprefix("torch.")) for out in outs]
    name = "aten." + op._schema.name.removeprefix("aten::")
    effect = effect_of(Call(name, named, infos, intern))
    assert effect is not None, f"{name} has no rule"
    return Ruled(effect, masks, made, outs)


def check_changed(
    op: Any,
    *args: Any,
    const: Sequence[torch.Tensor] = (),
    zero: Known = (),
    draw: Callable[[torch.Size], torch.Tensor] = torch.randn,
    trials: int = 6,
    **kwargs: Any,
) -> Effect:
    """Hold a rule against finite changes of every element of the floating-point arguments that are not in ``const``.

    What changes an output in some trial (other random arguments each time) is read; the rule must say the same, or
    contain it where it is ``inexact``. Known zeros stay 0 in every trial.
    """
    torch.manual_seed(0)
    ruled = rule_on(op, *args, const=const, zero=zero, **kwargs)
    tensors = [x for _, x in ruled.args if x.is_floating_point() and not any(x is item for item in const)]
    seen = [[np.zeros((*out.shape, x.numel()), dtype=bool) for out in ruled.outs] for x in tensors]
    for _ in range(trials):
        for tensor in tensors:
            tensor.copy_(draw(tensor.shape))
            for _, mask in (item for item in zero if item[0] is tensor):
                tensor.masked_fill_(torch.from_numpy(np.array(mask)), 0.0)
        base = results(op, args, kwargs)
        for row, tensor in zip(seen, tensors, strict=True):
            flat = tensor.view(-1)
            for i in range(flat.numel()):
                kept = flat[i].item()
                for value in draw(torch.Size([3])).tolist():
                    flat[i] = value
                    for o, out in enumerate(results(op, args, kwargs)):
                        row[o][..., i] |= ~torch.isclose(out, base[o], rtol=0, atol=0, equal_nan=True).numpy()
                flat[i] = kept
    for row, tensor in zip(seen, tensors, strict=True):
        for o, found in enumerate(row):
            told = ruled.told(tensor, o)
            if ruled.effect.inexact:
                assert not (found & ~told).any(), f"output {o} reads more than the rule says"
            else:
                np.testing.assert_array_equal(told, found, err_msg=f"{op} output {o}")
    return ruled.effect


def results(op: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[torch.Tensor, ...]:
    """The op's results on copies of its arguments, so that an op in place changes nothing here."""
    with torch.no_grad():
        out = op(*(_copied(arg) for arg in args), **{key: _copied(value) for key, value in kwargs.items()})
    return tuple(part for part in (out if isinstance(out, list | tuple) else (out,)) if part is not None)


def _copied(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_copied(item) for item in value]
    return value.clone() if isinstance(value, torch.Tensor) else value


def held(op: Any, *args: Any, outputs: Sequence[int] = (0,), **kwargs: Any) -> Ruled:
    """The rule's reads of every double argument against small changes of each of its elements, to the element.

    A rule that is inexact may say more.
    """
    args = tuple(arg.contiguous() if isinstance(arg, torch.Tensor) else arg for arg in args)
    ruled = rule_on(op, *args, **kwargs)
    for _, tensor in ruled.args:
        if tensor.dtype != torch.float64:
            continue
        flat = tensor.view(-1)
        seen = {number: np.zeros((*ruled.outs[number].shape, flat.numel()), bool) for number in outputs}
        for at in range(flat.numel()):
            kept = flat[at].item()
            for step in (1e-3, -1.7e-3):
                flat[at] = kept + step
                made = op(*args, **kwargs)
                made = tuple(made) if isinstance(made, list | tuple) else (made,)
                made = tuple(out for out in made if out is not None)
                for number in outputs:
                    seen[number][..., at] |= ((made[number] - ruled.outs[number]).abs() > 1e-10).numpy()
            flat[at] = kept
        for number in outputs:
            told = ruled.told(tensor, number)
            if ruled.effect.inexact:
                assert not (seen[number] & ~told).any(), f"output {number} reads more than the rule says"
            else:
                np.testing.assert_array_equal(told, seen[number], err_msg=f"output {number}")
    return ruled
