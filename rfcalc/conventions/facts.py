"""What counting rules may ask of a saved graph: its ops, module calls and buffers, each with shapes and parameters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from math import prod

from rfcalc.graph import LayerGraph, ModuleCall, Node, Param

Shape = tuple[int, ...]

#: What a function of torch's does to operands before the product that it runs.
_SHAPING = frozenset({"aten.view", "aten._unsafe_view", "aten.clone", "aten.expand", "aten.reshape"})
#: Only scaled_dot_product_attention, taken apart by the dispatcher, makes it.
_ATTENTION_SOFTMAX = "aten._safe_softmax"
_PRODUCTS = frozenset({"aten.bmm", "aten.mm", "aten.baddbmm"})

ATTENTION = "torch.nn.functional.scaled_dot_product_attention"
MULTIHEAD = "torch.nn.functional.multi_head_attention_forward"
LINEAR = "torch.nn.functional.linear"
SOFTMAX = "torch.nn.functional.softmax"
#: The functions that multi_head_attention_forward calls, by the op that the dispatcher makes of each.
_WITHIN_MULTIHEAD = {
    "aten.addmm": LINEAR,
    "aten.mm": LINEAR,
    "torch.linear": LINEAR,
    "aten.bmm": "torch.bmm",
    "aten.baddbmm": "torch.baddbmm",
    "aten._softmax": SOFTMAX,
}


class Site:
    """What a rule looks at: one op, one call of a module with all the ops in it, or one buffer."""

    def __init__(self, facts: Facts, name: str, ops: Sequence[Node], inputs: Sequence[Shape], outputs: Sequence[Shape]):
        self.facts = facts
        self.name = name
        self.nodes = tuple(ops)
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)

    @property
    def places(self) -> int:
        """How often the module that it belongs to stands in the tree of modules; 1 if it belongs to none."""
        return 1

    @property
    def macs(self) -> int:
        """Multiply-adds of its ops as rfcalc counts them."""
        return sum(node.macs or 0 for node in self.nodes)

    @property
    def in_shape(self) -> Shape:
        """Shape of the first input, of the output where nothing computed comes in."""
        return self.inputs[0] if self.inputs else self.out_shape

    @property
    def out_shape(self) -> Shape:
        """Shape of the first output."""
        return self.outputs[0] if self.outputs else ()

    @property
    def in_size(self) -> int:
        """Elements of the first input."""
        return prod(self.in_shape)

    @property
    def out_size(self) -> int:
        """Elements of the first output."""
        return prod(self.out_shape)


class OpSite(Site):
    """One op."""

    def __init__(self, facts: Facts, node: Node) -> None:
        inputs = [facts.shape(ref.node, ref.output) for ref in node.inputs]
        super().__init__(facts, node.name, (node,), inputs, [out.shape for out in node.outputs])
        self.node = node

    @property
    def affine(self) -> bool:
        """Whether a norm scales what it has normalised: it has a weight, its own or one that was computed."""
        own = self.node.params if self.inputs else self.node.params[1:]  # the first is what it normalises
        return len(self.inputs) > 1 or any(not name.endswith("bias") for name in own)

    @property
    def bias(self) -> int:
        """Additions of the op's bias."""
        return self.node.flops.get("bias", 0)

    @property
    def in_attention(self) -> bool:
        """Whether it is a part of scaled_dot_product_attention."""
        return self.node.id in self.facts.attention

    @property
    def function(self) -> str:
        """The innermost function of torch's that runs it, also where multi_head_attention_forward calls that one."""
        if self.in_attention:
            return ATTENTION
        if self.node.function == MULTIHEAD:
            return _WITHIN_MULTIHEAD.get(self.node.op, "")
        return self.node.function

    @property
    def enclosing(self) -> Iterator[CallSite]:
        """The module calls around it, from the innermost."""
        return self.facts.enclosing(self.node.call)

    @property
    def places(self) -> int:
        """How often the innermost module around it stands in the tree of modules."""
        return next((call.places for call in self.enclosing), 1)

    @property
    def left_shape(self) -> Shape | None:
        """Shape of a product's left operand as the function was given it, None where it is not known."""
        return self.facts.left_operand(self.node)


class CallSite(Site):
    """One call of a module."""

    def __init__(self, facts: Facts, call: ModuleCall) -> None:
        super().__init__(facts, call.module or facts.model, facts.inside(call.number), call.inputs, call.outputs)
        self.call = call
        self.types = call.types
        self.type = call.types[0] if call.types else ""  #: the full name of the module's class
        self.leaf = call.leaf

    @property
    def params(self) -> tuple[Param, ...]:
        """The parameters that the module itself holds, not those of its children."""
        return self.facts.params_of(self.call.module)

    @property
    def places(self) -> int:
        """How often the module stands in the tree of modules."""
        return self.call.places

    def within(self, classes: Sequence[str]) -> bool:
        """Whether the call directly around it is one of a module of these classes."""
        around = self.facts.calls.get(self.call.parent)
        return around is not None and not set(classes).isdisjoint(around.types[:1])

    def param(self, name: str) -> Param | None:
        """The module's own parameter of this name."""
        return next((param for param in self.params if param.name.rpartition(".")[2] == name), None)

    @property
    def affine(self) -> bool:
        """Whether the module has a weight."""
        return self.param("weight") is not None

    @property
    def children(self) -> Iterator[CallSite]:
        """The module calls directly within this one."""
        return (CallSite(self.facts, call) for call in self.facts.calls.values() if call.parent == self.call.number)

    @property
    def scores(self) -> Node | None:
        """The softmax of attention, whose output has the shape of the scores."""
        return next((node for node in self.nodes if node.flops.get("softmax")), None)

    def first(self, *kinds: str) -> Node | None:
        """The first of its ops that is of one of the kinds."""
        return next((node for node in self.nodes if node.kind in kinds), None)


class BufferSite(Site):
    """One buffer; its only output is its shape."""

    def __init__(self, facts: Facts, buffer: Param) -> None:
        super().__init__(facts, buffer.name.rpartition(".")[0] or facts.model, (), (), (buffer.shape,))
        self.buffer = buffer


class Facts:
    """A graph, looked up by op, by module call and by parameter."""

    def __init__(self, graph: LayerGraph) -> None:
        self.graph = graph
        self.model: str = graph.model
        #: Every op, its multiply-adds being those of its own numbers: no tool takes apart a product of complex ones.
        self.nodes = {node.id: _in_own_numbers(node) for node in graph}
        self.calls: dict[int, ModuleCall] = {call.number: call for call in graph.calls}

    def ops(self) -> Iterator[OpSite]:
        """Every op, in execution order."""
        return (OpSite(self, node) for node in self.nodes.values() if node.op != "input")

    def module_calls(self) -> Iterator[CallSite]:
        """Every module call, in the order in which calls began."""
        return (CallSite(self, call) for call in self.calls.values())

    def buffers(self) -> Iterator[BufferSite]:
        """Every buffer of the model."""
        return (BufferSite(self, buffer) for buffer in self.graph.buffers)

    def shape(self, ident: int, output: int = 0) -> Shape:
        """Shape of one output of a node."""
        return self.nodes[ident].outputs[output].shape

    def enclosing(self, number: int) -> Iterator[CallSite]:
        """The module calls around a place in the forward pass, from the innermost."""
        while number in self.calls:
            yield CallSite(self, self.calls[number])
            number = self.calls[number].parent

    def inside(self, number: int) -> tuple[Node, ...]:
        """The ops that ran in a module call, those of calls within it included."""
        return tuple(self._inside.get(number, ()))

    def params_of(self, module: str) -> tuple[Param, ...]:
        """The parameters that a module itself holds."""
        return tuple(self._params_of.get(module, ()))

    @cached_property
    def _inside(self) -> dict[int, list[Node]]:
        found: dict[int, list[Node]] = defaultdict(list)
        for node in self.nodes.values():
            number = node.call
            while number in self.calls:
                found[number].append(node)
                number = self.calls[number].parent
        return found

    @cached_property
    def _params_of(self) -> dict[str, list[Param]]:
        found: dict[str, list[Param]] = defaultdict(list)
        for param in self.graph.params:
            found[param.name.rpartition(".")[0]].append(param)
        return found

    @cached_property
    def live(self) -> frozenset[int]:
        """The ops that an output of the model depends on."""
        found: set[int] = set()
        front = [ref.node for ref in self.graph.outputs]
        while front:
            ident = front.pop()
            if ident not in found:
                found.add(ident)
                front += (ref.node for ref in self.nodes[ident].inputs)
        return frozenset(found)

    @cached_property
    def params(self) -> dict[str, Param]:
        """Every parameter by its name."""
        return {param.name: param for param in self.graph.params}

    def trainable(self, name: str) -> bool:
        """Whether the parameter of this name is one that training changes."""
        return name in self._trainable

    @cached_property
    def _trainable(self) -> frozenset[str]:
        return frozenset(param.name for param in self.graph.params if param.trainable)

    @cached_property
    def learning(self) -> frozenset[int]:
        """The ops whose result has a gradient for a parameter, in a pass with gradients."""
        found: set[int] = set()
        for node in self.nodes.values():
            depends = any(ref.node in found for ref in node.inputs) or not self._trainable.isdisjoint(node.params)
            if depends and any(out.dtype.startswith(("float", "bfloat")) for out in node.outputs):
                found.add(node.id)
        return frozenset(found)

    # --- what a function of torch's was taken apart into --------------------------------------------------------------

    @cached_property
    def attention(self) -> frozenset[int]:
        """The ops that are parts of scaled_dot_product_attention: the op itself, or what it was taken apart into."""
        found = {node.id for node in self.nodes.values() if "scaled_dot_product" in node.op}
        for node in self.nodes.values():
            if node.op == _ATTENTION_SOFTMAX:
                found |= self._around(node)
        return frozenset(found)

    def _around(self, softmax: Node) -> set[int]:
        """The softmax of attention, the product before it with its two scalings, and the product after it."""
        found = {softmax.id}
        scores = self._product(softmax, lambda ident: [ref.node for ref in self.graph[ident].inputs])
        if scores is not None:
            found.add(scores.id)
            operands = [self._given(ref.node, scores) for ref in scores.inputs]
            found |= {node.id for node in operands if node.op == "aten.mul" and _same_call(node, scores)}
        values = self._product(softmax, self.graph.readers.__getitem__)
        return found | ({values.id} if values is not None else set())

    def _product(self, start: Node, step: Callable[[int], Iterable[int]]) -> Node | None:
        """The nearest product on the way from a node in one direction, within the same call of the same function."""
        front, seen = [start], {start.id}
        while front:
            for ident in step(front.pop(0).id):
                other = self.nodes[ident]
                if ident in seen or not _same_call(other, start):
                    continue
                if other.op in _PRODUCTS:
                    return other
                seen.add(ident)
                front.append(other)
        return None

    def _given(self, ident: int, product: Node) -> Node:
        """The node that an operand comes from, before views and expansions of the function that runs the product."""
        node = self.nodes[ident]
        while node.op in _SHAPING and node.inputs and _same_call(node, product):
            node = self.nodes[node.inputs[0].node]
        return node

    def left_operand(self, product: Node) -> Shape | None:
        """Shape of the left operand of a matmul, before it was broadcast against the right one."""
        if len(product.inputs) != 2:
            return None
        ref = product.inputs[0]
        while True:
            node = self.nodes[ref.node]
            if node.op not in _SHAPING or not _same_call(node, product) or not node.inputs:
                return self.shape(ref.node, ref.output)
            if node.op == "aten.expand":
                return self.shape(node.inputs[0].node, node.inputs[0].output)
            ref = node.inputs[0]

    def turned_result(self, product: Node) -> Shape | None:
        """Shape of the result of a matmul that torch runs turned around, (x^T w^T)^T for w x; None for any other."""
        node = product
        while True:
            after = [self.nodes[ident] for ident in self.graph.readers[node.id]]
            after = [other for other in after if _same_call(other, product)]
            if len(after) != 1 or after[0].op not in (*_SHAPING, "aten.transpose"):
                return None
            node = after[0]
            if node.op == "aten.transpose":
                return node.shape

    def before_padding(self, product: Node) -> Shape | None:
        """Spatial extents of what a convolution was given before its own function padded it; None if it did not."""
        for ref in product.inputs[:1]:
            node = self.nodes[ref.node]
            if node.op == "aten.constant_pad_nd" and _same_call(node, product) and node.inputs:
                return self.shape(node.inputs[0].node, node.inputs[0].output)[2:]
        return None


def is_complex(node: Node) -> bool:
    """Whether an op multiplies complex numbers, with four real multiply-adds in each of its own."""
    return bool(node.macs) and node.outputs[0].dtype.startswith("complex")


def _in_own_numbers(node: Node) -> Node:
    return replace(node, macs=(node.macs or 0) // 4) if is_complex(node) else node


def _same_call(one: Node, other: Node) -> bool:
    return (one.call, one.function) == (other.call, other.function)
