"""Multiply-adds of the backward pass, op by op: each product is done once more for each factor that needs a gradient.

The pass starts at everything that the model returns. A factor needs a gradient if a trainable parameter went into it,
on a way that keeps what the gradient takes: nothing is kept under ``torch.no_grad``, and nothing passes a ``detach``,
or numbers that are not floating. What ran within ``torch.utils.checkpoint`` is run once more, whole.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from rfcalc.analyses.costs.einsums import contractions
from rfcalc.graph import LayerGraph, Node, Param, Ref

#: Outputs of ops.
Refs: TypeAlias = Collection[Ref]


class _Facts(NamedTuple):
    """The model's parameters by name, the outputs that hold numbers which may have a gradient, and that need one."""

    params: Mapping[str, Param]
    numbers: Refs
    needs: Refs


@dataclass(frozen=True, slots=True)
class Backward:
    """Multiply-adds of the backward pass of one op, or of several.

    ``inputs`` are those of the gradients of what was computed before, ``weights`` of those of parameters, ``again`` of
    forward products that a checkpointed part runs once more.
    """

    inputs: int = 0
    weights: int = 0
    again: int = 0

    @property
    def macs(self) -> int:
        """All of them."""
        return self.inputs + self.weights + self.again

    def __add__(self, other: Backward) -> Backward:
        return Backward(self.inputs + other.inputs, self.weights + other.weights, self.again + other.again)

    def to_dict(self) -> dict[str, int]:
        """As in the JSON output."""
        return {"macs": self.macs, "inputs": self.inputs, "weights": self.weights, "recomputed": self.again}


#: What takes nothing.
NOTHING = Backward()


def backward(graph: LayerGraph) -> Mapping[int, Backward | None]:
    """What each op with multiply-adds takes in the backward pass; None for an op without a rule for it."""
    numbers = {
        Ref(record.id, at) for record in graph for at, out in enumerate(record.outputs) if _differentiable(out.dtype)
    }
    needs = _needs(graph, numbers)
    facts = _Facts({param.name: param for param in graph.params}, numbers, needs)
    wanted = _wanted(graph, needs)
    again = {record.again for record in graph if record.again and record.id in wanted}
    found: dict[int, Backward | None] = {}
    for record in graph:
        if record.macs is None:
            if record.id in wanted:
                found[record.id] = None
        elif record.macs:
            own = _gradients(record, facts) if record.id in wanted else Backward()
            twice = record.macs if record.again in again else 0
            found[record.id] = None if own is None else own + Backward(again=twice)
    return found


def total(parts: Collection[Backward | None]) -> Backward | None:
    """The sum; None where a part is not known."""
    known = [part for part in parts if part is not None]
    return sum(known, Backward()) if len(known) == len(parts) else None


# --- what needs a gradient --------------------------------------------------------------------------------------------

_CUTS = frozenset({"aten.detach", "aten.detach_", "aten.detach_copy"})


def _differentiable(dtype: str) -> bool:
    return dtype.startswith(("float", "bfloat", "complex"))


def _needs(graph: LayerGraph, numbers: Refs) -> Refs:
    """The outputs that depend on a trainable parameter by a way on which gradients come back."""
    trainable = {param.name for param in graph.params if param.trainable}
    found: set[Ref] = set()
    for record in graph:
        if record.frozen or record.op in _CUTS:
            continue
        if any(ref in found for ref in record.inputs) or not trainable.isdisjoint(record.params):
            found |= {ref for at in range(len(record.outputs)) if (ref := Ref(record.id, at)) in numbers}
    return found


def _wanted(graph: LayerGraph, needs: Refs) -> set[int]:
    """The ops whose results the gradient comes back through."""
    found = {ref.node for ref in graph.outputs if ref in needs}
    for record in reversed(list(graph)):
        if record.id in found:
            found |= {ref.node for ref in record.inputs if ref in needs}
    return found


# --- the products of each op ------------------------------------------------------------------------------------------

#: Products of two factors, to which a bias may be added that is a parameter of one axis, or comes last.
_BIASED = frozenset({"torch.linear", "aten.linear", "aten.convolution", "torchvision.deform_conv2d"})
#: To which a tensor is added that comes first.
_ADDED = frozenset(
    f"aten.{name}{end}" for name in ("addmm", "baddbmm", "addmv", "addbmm", "addr") for end in ("", "_")
) | {"aten._addmm_activation"}
_PRODUCTS = frozenset(
    {f"aten.{name}" for name in ("mm", "bmm", "mv", "dot", "vdot", "matmul", "outer", "ger", "_grouped_mm")}
    | {"torch.matmul", "torch.outer", "torch.einsum", "aten.einsum"}
)
_RECURRENT = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def _gradients(record: Node, facts: _Facts) -> Backward | None:
    """The gradients of the factors of one op."""
    if record.kind == "attention":
        return None if "backward" in record.op else _of_attention(record, facts.needs)
    if record.kind == "recurrent":
        return _of_recurrence(record, facts)
    if record.op == "torch.einsum" and len(record.attrs.get("operands", ())) > 2:
        return _of_many(record, facts)
    if record.op in _BIASED | _ADDED | _PRODUCTS:
        inputs, weights = _factors(record, facts)
        macs = record.macs or 0
        return Backward(macs * inputs, macs * weights)
    return None


def _factors(record: Node, facts: _Facts) -> tuple[int, int]:
    """How many of the two factors need a gradient, of those that were computed and of those that are parameters."""
    biased = record.op in _BIASED | _ADDED
    held = [facts.params[name] for name in record.params if name in facts.params]
    own = [param for param in held if not (biased and len(param.shape) < 2)]
    refs = [ref for ref in record.inputs if ref in facts.numbers]
    if biased and len(refs) + len(own) > 2:
        refs = refs[1:] if record.op in _ADDED else refs[:-1]
    weights = sum(param.trainable for param in own[: max(0, 2 - len(refs))])
    return sum(ref in facts.needs for ref in refs[:2]), weights


def _of_many(record: Node, facts: _Facts) -> Backward | None:
    """An einsum of more operands: of each pair from left to right, the gradients of what came before and of the next.

    None where the graph does not say which operand is which: some are parameters or constants, and not all are trained.
    """
    steps = contractions(record.attrs["equation"], record.attrs["operands"])
    count = len(record.attrs["operands"])
    if steps is None or sum(steps) != record.macs:
        return None
    needed = [ref in facts.needs for ref in record.inputs]
    if len(needed) != count:
        needed += [facts.params[name].trainable for name in record.params if name in facts.params]
        if len(needed) != count or not all(needed):
            return None
    found = sum(macs * (any(needed[:at]) + needed[at]) for at, macs in enumerate(steps, start=1))
    return Backward(found)


def _of_attention(record: Node, needs: Refs) -> Backward:
    """Of weights P = softmax(Q K') and a result P V: V from P, P from V, then Q from K and K from Q.

    A kernel that keeps no scores works them out once more, which no gradient asks for.
    """
    width = record.outputs[0].shape[-1]
    macs = record.macs or 0
    if "head_dim" not in record.attrs:  # the scores come in, as a product of their own
        return Backward(macs * sum(ref in needs for ref in record.inputs[:2]))
    scores = macs // (record.attrs["head_dim"] + width)
    query, key, value, *added = (_needs_at(record, at, needs) for at in range(max(3, len(record.inputs))))
    if len(record.inputs) < 3:  # some are parameters or constants: which of them the graph does not say
        return Backward(2 * macs if any((query, key, value)) or record.params else 0)
    inner = query or key or any(added)
    parts = (width * value, width * inner, record.attrs["head_dim"] * query, record.attrs["head_dim"] * key)
    return Backward(scores * sum(parts))


def _needs_at(record: Node, at: int, needs: Refs) -> bool:
    return at < len(record.inputs) and record.inputs[at] in needs


def _of_recurrence(record: Node, facts: _Facts) -> Backward | None:
    """Every matrix's gradient, and what goes back through each: to the first layer's input and state if they need it.

    None for packed sequences, projected states, and layers of Keras's.
    """
    name = record.op.partition(".")[2]
    gates = _RECURRENT.get(name.removesuffix("_cell"))
    attrs, macs = record.attrs, record.macs or 0
    if gates is None or "proj_size" in attrs or not record.inputs:
        return None
    learns = any(facts.params[name].trainable for name in record.params if name in facts.params)
    features, hidden = attrs["input_size"], attrs["hidden_size"]
    x, *states = (ref in facts.needs for ref in record.inputs)
    started = any(states)
    if name.endswith("_cell"):
        rows = macs // (gates * hidden * (features + hidden))
        return Backward(rows * gates * hidden * (features * x + hidden * started), macs * learns)
    if len(record.outputs[0].shape) != 3 or "num_layers" not in attrs:
        return None
    layers, ways = attrs["num_layers"], 2 if attrs["bidirectional"] else 1
    steps = record.outputs[0].shape[1 if attrs["batch_first"] else 0]
    matrices = ways * gates * hidden * (features + hidden + (layers - 1) * (ways + 1) * hidden)
    each = ways * gates * hidden * (macs // matrices)
    below = x or learns or started
    inputs = each * features * x + each * ways * hidden * (layers - 1) * below
    states_before = each * hidden * layers // steps * (steps - 1 + started)
    return Backward(inputs + states_before, macs * learns)


__all__ = ["NOTHING", "Backward", "backward", "total"]
