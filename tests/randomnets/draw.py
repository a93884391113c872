"""Random networks: a few ops of the table in `kinds`, each on tensors drawn from those before it.

`draw` needs nothing but a `random.Random`, so that a seed and hypothesis (`st.randoms`) drive the same code.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from random import Random
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from tests.randomnets import kinds_buffers, kinds_mixing, kinds_movement, kinds_window  # noqa: F401  # the table
from tests.randomnets.kinds import KINDS, Kind
from tests.randomnets.plain import plain_kernels

#: A tensor is small enough to be compared everywhere.
LARGEST, LONGEST = 2500, 16

Probe = Callable[[int, torch.Tensor], torch.Tensor]


class Net(nn.Module):
    """A directed acyclic network that gives back every tensor it computes.

    Value k of the first ``inputs`` are the inputs, the later ones are made by ``layers`` in order, from the values that
    ``uses`` names. Every value is multiplied by 1 at the end, so that each has a node of its own in the graph, which
    says what the tensor holds once all writes in place are done.
    """

    def __init__(self, inputs: int = 1) -> None:
        super().__init__()
        self.inputs = inputs
        self.layers = nn.ModuleList()
        self.uses: list[tuple[int, ...]] = []
        self.kinds: list[Kind] = []
        self.finite = False  #: drawn for finite changes, see `tests.randomnets.brute`
        self.probe: Probe | None = None

    def add(self, layer: nn.Module, uses: Sequence[int], kind: Kind) -> None:
        self.layers.append(layer)
        self.uses.append(tuple(uses))
        self.kinds.append(kind)

    def forward(self, *inputs: torch.Tensor) -> list[torch.Tensor]:
        values = list(inputs)
        for layer, uses in zip(self.layers, self.uses, strict=True):
            made = layer(*(values[use] for use in uses))
            values.append(made if self.probe is None else self.probe(len(values), made))
        return [value * 1 for value in values]

    @property
    def rewrites(self) -> bool:
        """Whether an op writes into a tensor that others hold."""
        return any(
            kind.name == "in_place" or "inplace=True" in repr(layer)
            for kind, layer in zip(self.kinds, self.layers, strict=True)
        )

    def loose(self) -> set[int]:
        """The values that come from an op of which only containment can be compared."""
        found: set[int] = set()
        for at, (kind, uses) in enumerate(zip(self.kinds, self.uses, strict=True)):
            if kind.inexact or found & set(uses):
                found.add(self.inputs + at)
        return set(range(self.inputs + len(self.layers))) if found and self.rewrites else found

    def describe(self) -> str:
        """The network as text that can be typed in again."""
        rows = [
            f"  {self.inputs + at}: {kind.name} of {list(uses)}: {layer!r}"
            for at, (layer, uses, kind) in enumerate(zip(self.layers, self.uses, self.kinds, strict=True))
        ]
        return "\n".join([f"Net of {self.inputs} inputs, training={self.training}", *rows])


def draw(
    rng: Random, *, must: Sequence[str] = (), among: Sequence[str] | None = None, most: int = 6
) -> tuple[Net, list[torch.Tensor]]:
    """A network and its inputs. ``must``: kinds tried first; ``among``: the only kinds to draw from."""
    with plain_kernels(), torch.random.fork_rng(devices=()):
        torch.manual_seed(0)  # one seed, one network
        return _drawn(rng, must, among, most)


def _drawn(rng: Random, must: Sequence[str], among: Sequence[str] | None, most: int) -> tuple[Net, list[torch.Tensor]]:
    finite = _finite(rng, [KINDS[name] for name in must])
    usable = [kind for kind in KINDS.values() if not (kind.hides if finite else kind.misleads)]
    if among is not None:
        usable = [kind for kind in usable if kind.name in among]
    inputs = [_input(rng)]
    if rng.random() < 0.2:
        inputs.append(_another(rng, inputs[0]))
    net = Net(len(inputs)).double()
    net.finite = finite
    net.train(rng.random() < 0.15)
    values = [torch.rand(x.shape, dtype=x.dtype) for x in inputs]
    wanted = [KINDS[name] for name in must]
    for _ in range(3 * len(wanted)):
        if wanted and _try(rng, net, wanted[0], values):
            del wanted[0]
    count = rng.randint(1, most) if usable else 0
    for _ in range(3 * count):
        if len(net.layers) < count:
            _try(rng, net, rng.choice(usable), values)
    return net, inputs


def _finite(rng: Random, must: Sequence[Kind]) -> bool:
    """Whether the network is meant for finite changes; see `tests.randomnets.brute`."""
    if any(kind.misleads for kind in must):
        return True
    return not any(kind.hides for kind in must) and rng.random() < 0.4


def _input(rng: Random) -> torch.Tensor:
    axes = rng.choice([1, 1, 2, 2, 2, 3])
    longest = {1: 12, 2: 9, 3: 6}[axes]
    shape = [rng.choice([1, 1, 2]), rng.choice([2, 3, 4, 4, 6])]
    return torch.ones([*shape, *(rng.randint(4 if axes < 3 else 3, longest) for _ in range(axes))], dtype=torch.float64)


def _another(rng: Random, x: torch.Tensor) -> torch.Tensor:
    """A second input: of the same shape, or one that broadcasts to it."""
    shape = [1 if rng.random() < 0.3 else size for size in x.shape]
    return torch.ones(shape if rng.random() < 0.5 else list(x.shape), dtype=x.dtype)


def _blind(net: Net, kind: Kind, arguments: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> bool:
    """Whether the witness would not see what the op reads: behind a factor of 0, or from copies of one element."""
    if kind.product and any(earlier.zeros for earlier in net.kinds):
        return True
    if not net.finite:
        return False
    zeros = kind.product and any((value == 0).any() for value in values)
    return bool(zeros) or (kind.invariant and any(len(x.unique()) < x.numel() for x in arguments))


class _Sums(TorchDispatchMode):
    """Whether a sum within an op leaves nothing of what it reads, but for rounding: the mean of what was normalised."""

    cancelled = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func.overloadpacket in _SUMS:
            self.cancelled |= _cancels(made)
        return made


_SUMS = frozenset(getattr(torch.ops.aten, name) for name in ("mean", "sum", "add", "sub", "add_", "sub_"))


def _cancels(made: torch.Tensor) -> bool:
    size = made.abs()
    return bool(((size > 0) & (size < 1e-12)).any())


def _try(rng: Random, net: Net, kind: Kind, values: list[torch.Tensor]) -> bool:
    """Add one op of the kind, if it fits tensors that are there (the last one first of all)."""
    last = len(values) - 1
    uses = [last if rng.random() < 0.75 else rng.randrange(len(values))]
    uses += [rng.randrange(len(values)) for _ in range(kind.arity - 1)]
    arguments = [values[use] for use in uses]
    if arguments[0].ndim < 2 or _blind(net, kind, arguments, values):
        return False
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            layer = kind.draw(rng, *arguments)
            if layer is None:
                return False
            with _Sums() if net.finite else nullcontext() as sums:
                made = layer.double().train(net.training)(*arguments)
    except (RuntimeError, ValueError, IndexError):
        return False  # the op refuses these settings
    if not 2 <= made.ndim <= 5 or not 0 < made.numel() <= LARGEST or max(made.shape) > LONGEST:
        return False
    if not made.isfinite().all():  # a maximum over padding alone: what reads it gives NaN, whatever its input
        return False
    if sums is not None and (sums.cancelled or _cancels(made)):
        return False
    net.add(layer, uses, kind)
    values.append(made)
    return True
