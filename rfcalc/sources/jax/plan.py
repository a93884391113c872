"""The plan of a program of JAX's: its primitives as steps in calls of modules, functions that it calls unfolded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, TypeAlias

from rfcalc.sources.calling import ROOT, Call, Place, nested
from rfcalc.sources.jax.dtypes import same_array, shaped, unsigned_bits
from rfcalc.sources.jax.marks import marks, place_of
from rfcalc.sources.jax.rules import Shaped

#: The number of a value of a program.
Name: TypeAlias = int

#: Primitives that call a program, by the parameter that has it.
_CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "call": "call_jaxpr",
    "core_closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
    "custom_lin": "call_jaxpr",
    "custom_vmap_call": "call",
    "checkpoint": "jaxpr",
    "remat": "jaxpr",
    "remat2": "jaxpr",
    "run_state": "jaxpr",
}
#: Primitives that run programs again and again, or one of several.
LOOPS = frozenset({"scan", "while", "cond", "custom_linear_solve", "linear_solve"})
#: Primitives that move elements along, as a softmax's sums are brought back to the shape.
_MOVES = frozenset({"broadcast_in_dim", "reshape", "squeeze", "expand_dims", "stop_gradient", "copy"})


@dataclass(frozen=True)
class Literal:
    """A number in a program."""

    value: Any


Atom: TypeAlias = "Name | Literal"


@dataclass(frozen=True)
class Step:
    """One primitive. ``bodies`` are the programs that a loop or a branch runs."""

    primitive: str
    params: Mapping[str, Any]
    reads: tuple[Atom, ...]
    gives: tuple[Name, ...]
    takes_shapes: tuple[Shaped, ...]
    gives_shapes: tuple[Shaped, ...]
    place: Place | None
    bodies: tuple[Body, ...] = ()
    equation: Any = field(default=None, compare=False)

    @property
    def needs(self) -> tuple[Name, ...]:
        """The values that have to be there."""
        outer = (name for body in self.bodies for name in body.outer)
        return tuple(dict.fromkeys([*(atom for atom in self.reads if not isinstance(atom, Literal)), *outer]))


@dataclass(frozen=True)
class Body:
    """A program: what it takes and gives, its steps in calls of modules, and its constants as arrays."""

    takes: tuple[Name, ...]
    gives: tuple[Atom, ...]
    call: Call[Step]
    constants: Mapping[Name, Any]
    gives_shapes: tuple[Shaped, ...]
    outer: tuple[Name, ...] = ()


class Planner:
    """Plans one program. ``homes`` are the modules of its arrays; "" for the whole.

    Its first inputs are the arrays; those that are ``lifted`` stand before them, and for constants of the program.
    """

    def __init__(self, classes: Mapping[str, str], homes: Sequence[str], lifted: Sequence[Any] = ()) -> None:
        self._lifted = [(value, at) for at, value in enumerate(lifted)]
        self._lifted_names: list[Name] = []
        self._classes = dict(classes)
        self._first_homes = homes
        self._numbers = count(1)
        self._homes: dict[Name, str] = {}
        self._fixed: set[Name] = set()  #: values that follow from arrays and constants alone

    def plan(self, closed: Any) -> Body:
        """The whole program."""
        takes = [next(self._numbers) for _ in (*self._lifted, *closed.jaxpr.invars)]
        self._lifted_names = takes[: len(self._lifted)]
        for name, home in zip(takes, self._first_homes, strict=False):
            self._homes[name] = home
            self._fixed.add(name)
        return self._body(closed.jaxpr, closed.consts, takes, (), ROOT)

    def _constant(self, value: Any) -> Name | None:
        """The array that a constant is, None for one that is none."""
        for known, at in self._lifted:
            if same_array(known, value):
                return self._lifted_names[at]
        return None

    # --- programs -----------------------------------------------------------------------------------------------------

    def _body(
        self,
        jaxpr: Any,
        consts: Sequence[Any],
        takes: Sequence[Name],
        around: tuple[tuple[str, int], ...],
        outer: Place,
    ) -> Body:
        constants: dict[Name, Any] = {}
        steps: list[Step] = []
        gives = self._unfold(jaxpr, consts, list(takes), around, outer, steps, constants)
        steps = _alive(_softmaxes(steps, gives), gives)
        wanted = [atom for atom in gives if not isinstance(atom, Literal)]
        made = {*takes, *constants, *(name for step in steps for name in step.gives)}
        free = dict.fromkeys(name for name in (*(n for s in steps for n in s.needs), *wanted) if name not in made)
        held = {*constants, *(name for name in (*takes, *free) if name in self._fixed)}
        call = nested(steps, wanted, held, lambda step: not step.needs)
        shapes = tuple(shaped(variable.aval) for variable in jaxpr.outvars)
        return Body(tuple(takes), tuple(gives), call, constants, shapes, tuple(free))

    def _unfold(
        self,
        jaxpr: Any,
        consts: Sequence[Any],
        takes: Sequence[Atom],
        around: tuple[tuple[str, int], ...],
        outer: Place,
        steps: list[Step],
        constants: dict[Name, Any],
    ) -> list[Atom]:
        """Append the steps of a program, and of those that it calls; gives what it gives."""
        env: dict[Any, Atom] = dict(zip(jaxpr.invars, takes[len(takes) - len(jaxpr.invars) :], strict=True))
        for variable, value in zip(jaxpr.constvars, consts, strict=True):
            known = self._constant(value)
            name = next(self._numbers) if known is None else known
            if known is None:
                constants[name] = value
                self._fixed.add(name)
            env[variable] = name

        def atom(value: Any) -> Atom:
            return Literal(value.val) if hasattr(value, "val") else env[value]

        for equation in jaxpr.eqns:
            reads = [atom(value) for value in equation.invars]
            inner = (*around, *marks(equation))
            held = _CALLS.get(equation.primitive.name)
            program = equation.params.get(held) if held else None
            if program is not None:
                body, more = _opened(program)
                skipped = len(reads) - len(body.invars)
                found = self._unfold(body, more, reads[max(0, skipped) :], inner, outer, steps, constants)
                env.update(zip(equation.outvars, found, strict=False))
                continue
            step = self._step(equation, reads, inner, outer)
            env.update(zip(equation.outvars, step.gives, strict=True))
            steps.append(step)
        return [atom(value) for value in jaxpr.outvars]

    def _step(self, equation: Any, reads: list[Atom], around: tuple[tuple[str, int], ...], outer: Place) -> Step:
        gives = tuple(next(self._numbers) for _ in equation.outvars)
        names = [read for read in reads if not isinstance(read, Literal)]
        homes = [self._homes[name] for name in names if name in self._homes]
        fixed = bool(names) and all(name in self._fixed for name in names)
        if fixed:
            self._fixed.update(gives)
            if homes:
                self._homes.update(dict.fromkeys(gives, homes[0]))
        place = self._place(around, "" if fixed or not homes else homes[0], len(names), outer)
        params = dict(equation.params)
        bits = unsigned_bits(equation.outvars[0].aval.dtype) if equation.outvars and not _is_token(equation) else 0
        params |= {"unsigned": bits} if bits else {}
        bodies = self._bodies(equation, reads, around, place or outer)
        return Step(
            equation.primitive.name,
            params,
            tuple(reads),
            gives,
            tuple(shaped(value.aval) for value in equation.invars),
            tuple(shaped(value.aval) for value in equation.outvars),
            place,
            bodies,
            equation,
        )

    def _place(self, around: tuple[tuple[str, int], ...], home: str, operands: int, outer: Place) -> Place | None:
        """Where a primitive runs: in the innermost module that is marked, or in that of a parameter further inside.

        Where nothing is marked, a function of one tensor stays where the one before it was.
        """
        marked = around[-1][0] if around else ""
        calls = dict(around)
        inside = home and (not marked or home == marked or home.startswith(f"{marked}."))
        path = home if inside else marked
        if not around and not home:
            return None if operands == 1 else _below(ROOT, outer)
        return _below(place_of(path, self._classes, calls if around else None), outer)

    # --- loops and branches -------------------------------------------------------------------------------------------

    def _bodies(
        self, equation: Any, reads: list[Atom], around: tuple[tuple[str, int], ...], place: Place
    ) -> tuple[Body, ...]:
        name, params = equation.primitive.name, equation.params
        if name == "scan":
            return (self._inner(params["jaxpr"], reads, params["num_consts"], params["num_carry"], around, place),)
        if name == "while":
            first, second = params["cond_nconsts"], params["body_nconsts"]
            carried = reads[first + second :]
            return (
                self._inner(params["cond_jaxpr"], [*reads[:first], *carried], first, len(carried), around, place),
                self._inner(
                    params["body_jaxpr"],
                    [*reads[first : first + second], *carried],
                    second,
                    len(carried),
                    around,
                    place,
                ),
            )
        if name == "cond":
            return tuple(
                self._inner(branch, reads[1:], len(reads) - 1, 0, around, place) for branch in params["branches"]
            )
        return ()

    def _inner(
        self,
        closed: Any,
        reads: Sequence[Atom],
        same: int,
        carried: int,
        around: tuple[tuple[str, int], ...],
        place: Place,
    ) -> Body:
        """A program whose first inputs are those of the outer one as they are; the carried ones are data."""
        takes = [next(self._numbers) for _ in closed.jaxpr.invars]
        for at, (name, read) in enumerate(zip(takes, reads, strict=False)):
            if isinstance(read, Literal) or same <= at < same + carried:
                continue
            if read in self._homes:
                self._homes[name] = self._homes[read]
            if read in self._fixed:
                self._fixed.add(name)
        return self._body(closed.jaxpr, closed.consts, takes, around, place)


def _is_token(equation: Any) -> bool:
    return not hasattr(equation.outvars[0].aval, "dtype")


def _below(place: Place, outer: Place) -> Place:
    """A place as seen from one that is under way around it."""
    depth = len(outer.names)
    if depth and place.names[:depth] == outer.names:
        return Place(place.names[depth:], place.classes[depth:], place.calls[depth:])
    return place


def _opened(program: Any) -> tuple[Any, Sequence[Any]]:
    """A program and its constants, whether it is closed or not."""
    return (program.jaxpr, program.consts) if hasattr(program, "jaxpr") else (program, ())


# --- what a program says in a roundabout way --------------------------------------------------------------------------


def _alive(steps: Sequence[Step], gives: Sequence[Atom]) -> list[Step]:
    """The steps whose results somebody asks for."""
    wanted = {atom for atom in gives if not isinstance(atom, Literal)}
    found: list[Step] = []
    for step in reversed(steps):
        if any(name in wanted for name in step.gives):
            wanted.update(step.needs)
            found.append(step)
    return found[::-1]


def _softmaxes(steps: Sequence[Step], gives: Sequence[Atom]) -> list[Step]:
    """Exponentials over their sum along an axis as the softmax that they are.

    ``exp(x - c) / sum(exp(x - c))`` is the softmax of x whatever c is, as long as it is one number for the whole axis.
    """
    makers = {name: step for step in steps for name in step.gives}
    users: dict[Name, int] = {}
    for name in (*(n for s in steps for n in s.needs), *(a for a in gives if not isinstance(a, Literal))):
        users[name] = users.get(name, 0) + 1
    return [_as_softmax(step, makers, users) or step for step in steps]


def _as_softmax(step: Step, makers: Mapping[Name, Step], users: Mapping[Name, int]) -> Step | None:
    if step.primitive != "div" or any(isinstance(atom, Literal) for atom in step.reads):
        return None
    above, below = step.reads
    total = _behind(below, makers)
    exponential = makers.get(above) if isinstance(above, int) else None
    if total is None or total.primitive != "reduce_sum" or exponential is None or exponential.primitive != "exp":
        return None
    axes = [int(axis) for axis in total.params["axes"]]
    shape = step.gives_shapes[0].shape
    if len(axes) != 1 or total.reads[0] != above or users.get(exponential.gives[0]) != 2:
        return None
    (axis,) = axes
    kept = (*shape[:axis], 1, *shape[axis + 1 :])
    if step.takes_shapes[1].shape != kept or step.takes_shapes[0].shape != shape:
        return None
    scores = _shifted(exponential.reads[0], axis, makers)
    if isinstance(scores, Literal):
        return None
    return replace(
        step,
        primitive="softmax",
        params={"axis": axis},
        reads=(scores,),
        takes_shapes=step.takes_shapes[:1],
        equation=None,
    )


def _behind(atom: Atom, makers: Mapping[Name, Step]) -> Step | None:
    """The step that made a value, but for moves."""
    while not isinstance(atom, Literal):
        step = makers.get(atom)
        if step is None or step.primitive not in _MOVES:
            return step
        atom = step.reads[0]
    return None


def _shifted(atom: Atom, axis: int, makers: Mapping[Name, Step]) -> Atom:
    """What a number for the whole axis was taken from; the value itself where none was."""
    step = None if isinstance(atom, Literal) else makers.get(atom)
    if step is None or step.primitive != "sub" or isinstance(step.reads[0], Literal):
        return atom
    shift = step.takes_shapes[1].shape
    same = not shift or (len(shift) == len(step.gives_shapes[0].shape) and shift[axis] == 1)
    return step.reads[0] if same and step.takes_shapes[0].shape == step.gives_shapes[0].shape else atom
