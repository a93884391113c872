"""The modules around the ops of a network that is there as a list of ops: which calls of modules they are in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from torch import nn

from rfcalc.sources.parts import part


@dataclass(frozen=True)
class Place:
    """The modules around an op, from the outermost on: the full name of each, and the full name of its class.

    ``calls`` tell calls of the same module apart, where that is known.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    calls: tuple[int, ...] = ()


ROOT = Place((), ())


class Placed(Protocol):
    """An op: the names of the values that it needs and gives, and where it runs; None where nothing tells."""

    @property
    def needs(self) -> tuple[Any, ...]: ...

    @property
    def gives(self) -> tuple[Any, ...]: ...

    @property
    def place(self) -> Place | None: ...


S = TypeVar("S", bound=Placed)


@dataclass
class Call(Generic[S]):
    """The steps of one call of one module, and the calls inside it, in order."""

    name: str
    number: int | None = None
    steps: list[S | Call[S]] = field(default_factory=list)
    reads: tuple[Any, ...] = ()
    gives: tuple[Any, ...] = ()


def nested(
    steps: Sequence[S], wanted: Sequence[Hashable], held: Collection[Hashable], still: Callable[[S], bool]
) -> Call[S]:
    """The steps in the calls of the modules that they belong to, with what the calls read of each other, and give.

    ``wanted`` are the values that are asked for in the end, ``held`` those that are there before it all. A step of
    sizes and constants alone, as ``still`` may say too, runs in whichever module is under way.
    """
    root = _calls(steps, held, still)
    users: dict[Hashable, list[S]] = {}
    for step in steps_in(root):
        for name in step.needs:
            users.setdefault(name, []).append(step)
    _fill(root, users, frozenset(wanted), held)
    return root


def _calls(steps: Sequence[S], held: Collection[Hashable], still: Callable[[S], bool]) -> Call[S]:
    under_way: list[Call[S]] = [Call("")]
    fixed = set(held)  #: values that are constants or follow from sizes
    for step in steps:
        plain = still(step) or (bool(step.needs) and all(name in fixed for name in step.needs))
        if plain:
            fixed.update(step.gives)
        place = ROOT if step.place is None and len(under_way) == 1 else step.place
        if place is not None and not plain:
            depth = _common(place, under_way)
            if depth == len(place.names) and depth and not place.calls and _reads_again(under_way[depth], step, held):
                depth -= 1  # its weight again: the module is called once more
            del under_way[depth + 1 :]
            numbers = place.calls or (None,) * len(place.names)
            for name, number in list(zip(place.names, numbers, strict=True))[depth:]:
                call: Call[S] = Call(name, number)
                under_way[-1].steps.append(call)
                under_way.append(call)
        under_way[-1].steps.append(step)
    return under_way[0]


def _common(place: Place, under_way: Sequence[Call[Any]]) -> int:
    """How many of the modules around are under way, in the same call."""
    depth = 0
    while depth < min(len(place.names), len(under_way) - 1):
        call = under_way[depth + 1]
        if call.name != place.names[depth] or (place.calls and call.number != place.calls[depth]):
            break
        depth += 1
    return depth


def _reads_again(call: Call[S], step: S, held: Collection[Hashable]) -> bool:
    weights = [name for name in step.needs if name in held]
    return any(name in known.needs for known in call.steps if not isinstance(known, Call) for name in weights)


def _fill(
    call: Call[S], users: Mapping[Hashable, list[S]], wanted: Collection[Hashable], held: Collection[Hashable]
) -> None:
    inside = list(steps_in(call))
    own = {id(step) for step in inside}
    made = {name for step in inside for name in step.gives}
    reads = (name for step in inside for name in step.needs if name not in made and name not in held)
    call.reads = tuple(dict.fromkeys(reads))
    call.gives = tuple(
        name
        for name in dict.fromkeys(name for step in inside for name in step.gives if name)
        if name in wanted or any(id(user) not in own for user in users.get(name, ()))
    )
    for step in call.steps:
        if isinstance(step, Call):
            _fill(step, users, wanted, held)


def steps_in(call: Call[S]) -> Iterator[S]:
    """All steps of a call and of the calls inside it, in order."""
    for step in call.steps:
        if isinstance(step, Call):
            yield from steps_in(step)
        else:
            yield step


# --- modules ----------------------------------------------------------------------------------------------------------


def classes_of(places: Sequence[tuple[Place | None, str]]) -> dict[str, tuple[str, str]]:
    """For each module by its full name, its class's full name and the module around it.

    ``places`` are those of the ops, with what an op is called: a module without a class is called after its only op.
    """
    found: dict[str, tuple[str, str]] = {}
    ops: dict[str, list[str]] = {}
    for place, op in places:
        if place is not None:
            around = ""
            for name, kind in zip(place.names, place.classes, strict=True):
                found.setdefault(name, (kind, around))
                around = name
            ops.setdefault(around, []).append(op)
    inner = {around for _, around in found.values()}
    for name, (kind, around) in found.items():
        if not kind:
            only = set(ops.get(name, ())) if name not in inner else set()
            found[name] = (next(iter(only)) if len(only) == 1 else "Module", around)
    return found


def modules_of(root: nn.Module, classes: Mapping[str, tuple[str, str]]) -> dict[str, nn.Module]:
    """Modules for all of these, inside the root and inside each other, by their full names."""
    parts: dict[str, nn.Module] = {"": root}

    def made(name: str) -> nn.Module:
        if name not in parts:
            kind, around = classes[name]
            parts[name] = part(kind)
            key = name[len(around) + 1 :] if around else name
            made(around)._modules[key] = parts[name]
        return parts[name]

    for name in classes:
        made(name)
    return parts


def by_name(root: nn.Module) -> dict[str, nn.Module]:
    """The modules of a network by the names that its calls have for them."""
    found: dict[str, nn.Module] = {}
    left: list[tuple[str, nn.Module]] = [("", root)]
    while left:
        name, module = left.pop()
        found[name] = module
        left += [(f"{name}.{key}" if name else key, inner) for key, inner in module._modules.items() if inner]
    return found
