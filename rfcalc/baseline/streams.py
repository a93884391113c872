"""Limits on streams and batches: how far outputs look ahead, causality, and whether examples are independent."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rfcalc.baseline.units import amount, duration
from rfcalc.errors import UsageError

if TYPE_CHECKING:
    from rfcalc.baseline.budgets import Watched
    from rfcalc.graph import LayerGraph
    from rfcalc.streaming.results import Stream, Streaming

UNBOUNDED = "unbounded"


def length(value: Any, where: str) -> int | Fraction:
    """A length: positions (an int), or seconds (a fraction) from ``"20ms"``."""
    is_time = isinstance(value, str) and value.strip()[-1:] == "s"
    return Fraction(duration(value, where)) if is_time else amount(value, where)


def causality(value: Any, where: str) -> bool | int:
    """True, or the chunk in which outputs have to be complete."""
    if value is True or (isinstance(value, int) and value is not False and value > 0):
        return value
    raise UsageError(
        f"{where}: cannot read {value!r}; write true, or a chunk of so many positions; leave it out for no limit"
    )


def independence(value: Any, where: str) -> bool:
    """True."""
    if value is True:
        return True
    raise UsageError(f"{where}: cannot read {value!r}; write true, or leave it out for no limit")


class Flow:
    """What limits on streams ask of one traced model; worked out when it is asked for, once."""

    def __init__(self, watched: Watched, graph: LayerGraph, trace: Callable[[Any], LayerGraph]) -> None:
        """``trace`` gives the graph for other inputs: a shape, or shapes by name."""
        self._watched = watched
        self._graph = graph
        self._trace = trace

    @cached_property
    def streaming(self) -> Streaming:
        """The model as a stream. Raises `UsageError` where it is not clear which axis is time."""
        from rfcalc.streaming.measure import stream

        of = self._watched
        return stream(self._graph, axis=of.time, source=of.stream, rate=of.rate, align=of.align)

    def held(self, key: str, limit: Any) -> tuple[Any, bool | None, str]:
        """What was found for a limit, whether it holds (None: not known well enough), and who is to blame."""
        if key == "independent":
            return self._independent()
        if key == "causal":
            return self._causal(limit)
        lengths = [
            one.worst_look_ahead if key == "max_lookahead" else one.worst_delay for one in self.streaming.outputs
        ]
        if any(one.causal is None for one in self.streaming.outputs):
            return None, None, ""
        if None in lengths:
            found: Any = UNBOUNDED
            ok = False
        else:
            found = max(length for length in lengths if length is not None)
            ok = found <= self._positions(key, limit)
        return found, self._known(ok), "" if ok else self._blamed()

    def _positions(self, key: str, limit: Any) -> int | Fraction:
        if isinstance(limit, int):
            return limit
        rate = self.streaming.rate
        if rate is None:
            raise UsageError(f'{self._watched.name}: {key} is a time, which needs the rate: add rate = 16000, or "16k"')
        return Fraction(limit * Fraction(rate))

    def _known(self, ok: bool) -> bool | None:
        """An upper bound of a look-ahead can hold a limit, and not break one."""
        bound = any(one.status == "upper_bound" for one in self.streaming.outputs)
        return None if bound and not ok else ok

    def _causal(self, limit: bool | int) -> tuple[Any, bool | None, str]:
        outputs = self.streaming.outputs
        if any(one.causal is None for one in outputs):
            return None, None, ""
        ok = all(one.causal or (limit is not True and _is_complete(one, int(limit))) for one in outputs)
        return ("yes" if ok else "no"), self._known(ok), "" if ok else self._blamed()

    def _blamed(self) -> str:
        """The layers that look ahead, how much each adds, and why."""
        found = {one: None for output in self.streaming.outputs for one in output.breaks}
        rows = [
            f"{one.layer} ({'everything' if one.amount is None else f'+{one.amount}'}: {one.reason})" for one in found
        ]
        return "; ".join(rows[:3]) + (f"; and {len(rows) - 3} more" if len(rows) > 3 else "")

    def _independent(self) -> tuple[Any, bool | None, str]:
        from rfcalc.streaming.batch import mixtures

        found = mixtures(self._of_several())
        if not found:
            return "yes", True, ""
        return "no", False, f"{found[0].layer} ({found[0].reason}): {found[0].witness}"

    def _of_several(self) -> LayerGraph:
        """The model on several examples: as it was traced if its inputs hold some, and traced again if not."""
        if all((item.batch or 0) > 1 for item in self._graph.inputs):
            return self._graph
        shapes = batch_shapes(self._graph, EXAMPLES)
        if shapes is None:
            raise UsageError(
                f"{self._watched.name}: independent needs inputs whose first axis holds examples: give several"
            )
        return self._trace(shapes if len(shapes) > 1 else next(iter(shapes.values())))


def _is_complete(one: Stream, chunk: int) -> bool:
    late = any(border.look_ahead for border in one.borders)
    return one.chunk is not None and chunk % one.chunk == 0 and not late


def batch_shapes(graph: LayerGraph, examples: int) -> dict[str, tuple[int, ...]] | None:
    """The inputs' shapes with so many examples; None where it is not known which axis holds them."""
    found = {}
    for item in graph.inputs:
        if item.batch is None:
            return None
        found[item.name] = (examples, *item.shape[1:])
    return found


#: How each limit is read.
LIMITS: dict[str, Callable[[Any, str], Any]] = {
    "max_lookahead": length,
    "max_latency": length,
    "causal": causality,
    "independent": independence,
}
#: Examples that a model is traced with to see whether they are independent: a number that axes seldom have by chance.
EXAMPLES = 5
