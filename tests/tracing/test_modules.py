"""Module calls: who was called with what and by whom, however torch calls it, and what a model holds afterwards."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules import module as global_hooks

from rfcalc.api import layer_graph
from rfcalc.errors import TraceError
from rfcalc.graph import ModuleCall, Node, Param, Ref
from rfcalc.graph_json import to_json
from rfcalc.tracing.doubles import doubled
from rfcalc.tracing.making import make_call, make_node, make_param
from rfcalc.tracing.modules import ModuleStack
from rfcalc.tracing.tree import distinct, tree
from rfcalc.tracing.values import Slot

X = (1, 2, 8, 8)


class Net(nn.Module):
    """A function of the module and its inputs, with modules by name."""

    def __init__(self, function: Callable[..., Any], **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(self, *args, **kwargs)


def conv(given: int = 2, wanted: int = 2) -> nn.Conv2d:
    return nn.Conv2d(given, wanted, 3, padding=1)


def calls(model: nn.Module) -> list[tuple[str, int, int]]:
    """Name, number of the call around it, and number of tensors given by position."""
    return [(call.module, call.parent, len(call.inputs)) for call in layer_graph(model, X).calls]


def block() -> nn.Module:
    return nn.Sequential(OrderedDict(conv=conv(), act=nn.ReLU()))


# --- calls ------------------------------------------------------------------------------------------------------------


def test_a_call_says_what_it_was_given_and_gave_back():
    split = Net(lambda m, x, n, y=None: (x, [x.sum((2, 3)), n]), inside=nn.Identity())
    model = Net(lambda m, x: m.split(m.conv(x), 3, y=x)[0], conv=nn.Conv2d(2, 4, 1), split=split)
    _, first, second = layer_graph(model, X).calls

    conv_types, net = ("torch.nn.modules.conv.Conv2d", "torch.nn.modules.conv._ConvNd"), (f"{__name__}.Net",)
    wide = (1, 4, 8, 8)
    assert first == ModuleCall(2, "conv", conv_types, True, 1, (X,), (wide,), 1)
    assert second == ModuleCall(3, "split", net, False, 1, (wide,), (wide, (1, 4)), 1)


def test_places_count_the_ways_that_lead_to_a_module():
    one = conv()
    pair = nn.Sequential(one, nn.ReLU())
    model = nn.Sequential(pair, pair, one)

    found = {call.module: call.places for call in layer_graph(model, X).calls}
    assert found == {"": 1, "0": 1, "0.0": 2, "0.1": 1}
    assert [name for name, _ in tree(model)] == ["", "0", "0.0", "0.1", "1", "1.0", "1.1", "2"]
    assert distinct(tree(model)) == list(model.named_modules())


def test_a_module_that_could_have_others_inside_is_a_leaf_without():
    model = Net(lambda m, x: m.conv(x), conv=conv())
    model.register_module("shortcut", None)
    model.conv.register_module("shortcut", None)

    assert {call.module: call.leaf for call in layer_graph(model, X).calls} == {"": False, "conv": True}


def recursive(m: Any, x: Tensor, depth: int = 0) -> Any:
    return x if depth == 2 else m(m.conv(x), depth + 1)


def caught(m: Any, x: Tensor) -> Any:
    try:
        m.bad(x)
    except RuntimeError:
        return m.conv(x)


def in_a_thread(m: Any, x: Tensor) -> Any:
    thread = threading.Thread(target=m.other, args=(torch.zeros(3),))
    thread.start()
    thread.join()
    return m.conv(x)


def hooked_for_a_while(m: Any, x: Tensor) -> Any:
    handle = m.conv.register_forward_hook(lambda module, args, out: out.flatten(1))
    flat = m.conv(x)
    handle.remove()
    return flat.sum() + m.conv(x)


class OwnCall(nn.Module):
    """Comes by torch's way of calling a module only in part."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv()

    def __call__(self, x: Tensor) -> Any:
        return super().__call__(x) + 1

    def forward(self, x: Tensor) -> Any:
        return self.conv(x)


MODELS: dict[str, tuple[Callable[[], nn.Module], list[tuple[str, int, int]]]] = {
    "nested": (lambda: nn.Sequential(block()), [("", 0, 1), ("0", 1, 1), ("0.conv", 2, 1), ("0.act", 2, 1)]),
    "recursive": (
        lambda: Net(recursive, conv=conv()),
        [("", 0, 1), ("conv", 1, 1), ("", 1, 1), ("conv", 3, 1), ("", 3, 1)],
    ),
    "by name": (
        lambda: Net(lambda m, x: m.inner(module=x), inner=Net(lambda m, module: m.conv(module), conv=conv())),
        [("", 0, 1), ("inner", 1, 0), ("inner.conv", 2, 1)],
    ),
    "made in forward": (
        lambda: Net(lambda m, x: nn.Sequential(nn.ReLU())(m.conv(x)), conv=conv()),
        [("", 0, 1), ("conv", 1, 1), ("Sequential", 1, 1), ("Sequential.ReLU", 3, 1)],
    ),
    "copied in forward": (
        lambda: Net(lambda m, x: copy.deepcopy(m.conv)(x), conv=conv()),
        [("", 0, 1), ("Conv2d", 1, 1)],
    ),
    "gives nothing": (
        lambda: Net(lambda m, x: (m.none(x), m.conv(x))[1], none=Net(lambda m, x: None), conv=conv()),
        [("", 0, 1), ("none", 1, 1), ("conv", 1, 1)],
    ),
    "failure caught": (
        lambda: Net(caught, bad=nn.Sequential(conv(5, 5)), conv=conv()),
        [("", 0, 1), ("bad", 1, 1), ("bad.0", 2, 1), ("conv", 1, 1)],
    ),
    "own call": (lambda: nn.Sequential(OwnCall()), [("", 0, 1), ("0", 1, 1), ("0.conv", 2, 1)]),
    "hooked for a while": (
        lambda: Net(hooked_for_a_while, conv=conv()),
        [("", 0, 1), ("conv", 1, 1), ("conv", 1, 1)],
    ),
    "another thread": (
        lambda: Net(in_a_thread, other=nn.Identity(), conv=conv()),
        [("", 0, 1), ("other", 1, 1), ("conv", 1, 1)],
    ),
    "scripted inside": (
        lambda: nn.Sequential(torch.jit.script(block()), conv()),
        [("", 0, 1), ("0", 1, 1), ("1", 1, 1)],
    ),
}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", MODELS)
def test_calls_are_the_same_past_torchs_hooks_and_through_them(name: str):
    build, expected = MODELS[name]
    torch.manual_seed(0)
    plain, hooked = build(), build()
    for module in hooked.modules():
        if not isinstance(module, torch.jit.ScriptModule):
            module.register_forward_hook(lambda *_: None)

    assert calls(plain) == calls(hooked) == expected
    assert to_json(layer_graph(plain, X)) == to_json(layer_graph(hooked, X))


@pytest.mark.parametrize("way", ["register_module_forward_hook", "register_module_forward_pre_hook"])
def test_a_users_hook_for_all_modules_hears_of_every_call(way: str):
    heard: list[str] = []
    handle = getattr(global_hooks, way)(lambda module, *_: heard.append(type(module).__name__))
    try:
        layer_graph(nn.Sequential(block()), X)
    finally:
        handle.remove()

    assert sorted(heard) == ["Conv2d", "ReLU", "Sequential", "Sequential"]


def test_a_hook_sees_and_changes_arguments_as_without_a_trace():
    model = nn.Sequential(conv(), nn.ReLU())
    model[0].register_forward_pre_hook(lambda module, args: (args[0][:, :, :4],))
    model[1].register_forward_hook(lambda module, args, out: (out, out.flatten(1)))
    model[1].register_forward_hook(lambda module, args, out: out[1])
    _, first, second = layer_graph(model, X).calls

    # A trace hears of a call before the model's own hooks, and of its result before them too.
    assert (first.inputs, first.outputs) == ((X,), ((1, 2, 4, 8),))
    assert second.outputs == ((1, 2, 4, 8),)
    *_, last = layer_graph(model, X)
    assert last.shape == (1, 64)


def test_a_trace_within_a_trace():
    def forward(m: Any, x: Tensor) -> Any:
        m.seen = calls(m.inner)
        return m.inner(x)

    model = Net(forward, inner=block())
    KEPT.clear()
    model.inner[0].register_forward_hook(lambda *_: KEPT.append(getattr(model, "seen", None)))

    assert calls(model)[-3:] == [("inner", 1, 1), ("inner.conv", 2, 1), ("inner.act", 2, 1)]
    assert KEPT == [None, [("", 0, 1), ("conv", 1, 1), ("act", 1, 1)]]
    assert not hasattr(model, "seen")


def compiled(module: nn.Module, ran: list[str]) -> Any:
    """The module as its ``compile()`` leaves it, without a compiler."""

    def call(*args: Any) -> Any:
        ran.append(type(module).__name__)
        return module._call_impl(*args)

    module._compiled_call_impl = call
    return call


@pytest.mark.parametrize("inside", [True, False])
def test_a_compiled_module_is_followed(inside: bool):
    ran: list[str] = []
    model = nn.Sequential(block(), conv())
    compiled(model[0] if inside else model, ran)

    assert calls(model) == [("", 0, 1), ("0", 1, 1), ("0.conv", 2, 1), ("0.act", 2, 1), ("1", 1, 1)]
    assert ran == []  # what was compiled is another way of doing the same


def test_the_innermost_failure_is_named():
    def forward(m: Any, x: Tensor) -> Any:
        try:
            m.bad(x)
        except RuntimeError:
            m.other(x)
        return m.last(x)

    model = Net(forward, bad=conv(7, 7), other=nn.ReLU(), last=nn.Sequential(nn.ReLU(), conv(4, 4)))
    with pytest.raises(TraceError, match=r"layer last\.1 \(Conv2d\) got 1x2x8x8, needs 4 channels"):
        layer_graph(model, X)


# --- what a model holds afterwards ------------------------------------------------------------------------------------


class Copies(nn.Module):
    """Copies a module with everything that it holds, as a class with its own ``__getstate__`` does."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = conv()

    def forward(self, x: Tensor) -> Any:
        made = nn.Conv2d.__new__(nn.Conv2d)
        made.__dict__.update(self.inner.__dict__)
        KEPT.append(made)
        return self.inner(x)


KEPT: list[Any] = []


@pytest.mark.parametrize("fails", [False, True])
def test_torchs_way_of_calling_is_back_afterwards(fails: bool):
    def forward(m: Any, x: Tensor) -> Any:
        x = m.inner(x)
        if fails:
            raise ValueError("on purpose")
        return x

    model = Net(forward, inner=block())
    own = compiled(model.inner[1], [])
    before = [dict(vars(module)) for module in model.modules()]
    if fails:
        with pytest.raises(TraceError, match="on purpose"):
            layer_graph(model, X)
    else:
        layer_graph(model, X)

    after = [vars(module) for module in model.modules()]
    assert [list(one) for one in before] == [list(one) for one in after]
    assert all(one[key] is other[key] for one, other in zip(before, after, strict=True) for key in one)
    assert [one["_compiled_call_impl"] for one in after if "_compiled_call_impl" in one] == [own]


def test_following_calls_is_a_matter_of_the_double():
    model = nn.Sequential(block(), nn.Sigmoid())
    own = compiled(model[1], [])
    model[0].register_forward_hook(lambda *_: None)
    stack = ModuleStack(model)
    with doubled(model, None, training=False) as double:
        stack.follow(double)
        model(torch.zeros(X))
        assert stack.calls == ()
        double.model(torch.zeros(X))
        assert not global_hooks._global_forward_hooks
        assert not global_hooks._global_forward_pre_hooks
        assert [len(module._forward_hooks) for module in model.modules()] == [0, 1, 0, 0, 0]

    assert [call.module for call in stack.calls] == ["", "0", "0.conv", "0.act", "1"]
    held = [vars(module).get("_compiled_call_impl") for module in model.modules()]
    assert held == [None, None, None, None, own]


def test_a_copy_that_outlives_the_pass_is_an_ordinary_module():
    KEPT.clear()
    layer_graph(nn.Sequential(Copies()), X)
    pickle.loads(pickle.dumps(KEPT[0]))

    heard = []
    KEPT[0].register_forward_hook(lambda *_: heard.append(True))
    assert KEPT[0](torch.zeros(X, device="meta")).shape == X
    assert heard == [True]


def test_shared_tensors_are_exchanged_once():
    first, second = conv(), conv()
    second.weight = first.weight
    model = nn.Sequential(first, second, nn.BatchNorm2d(2))
    before = [dict(vars(module)) for module in model.modules()]
    held = [dict(module._parameters) for module in model.modules()]
    asked: list[str] = []

    def exchange(name: str, tensor: Tensor) -> Tensor:
        asked.append(name)
        return tensor if name == "0.bias" else nn.Parameter(tensor.detach().double(), requires_grad=False)

    with doubled(model, exchange, training=False) as double:
        one, other, norm = double.model
        assert one.weight is other.weight
        assert one.weight.dtype == torch.float64
        assert one.bias is first.bias
        assert not norm.training
        assert model[2].training

    assert [dict(vars(module)) for module in model.modules()] == before
    assert [dict(module._parameters) for module in model.modules()] == held
    assert asked[:3] == ["0.weight", "0.bias", "1.bias"]
    assert len(asked) == 3 + 5


# --- records ----------------------------------------------------------------------------------------------------------

MADE = [
    (make_param, Param, ("a.weight", (2, 3), 6, True, "b.weight", 4, "int8", 20, "packed")),
    (make_call, ModuleCall, (1, "a", ("torch.nn.ReLU",), True, 1, ((1, 2),), (), 0, Ref(2))),
    (
        make_node,
        Node,
        (
            *(3, "aten.add", "add", "merge", 2, "a", "", (), (), ((),), ("w",), 5, {"sum": 1}, "1", {"k": 2}, "bound"),
            *(True, ("note",), 3, 7, 4, "torch.add", ("mask",), None, 2, "data", True, 1, (0,)),
        ),
    ),
]


@pytest.mark.parametrize(("make", "record", "values"), MADE, ids=["param", "call", "node"])
def test_records_made_fast_are_like_others(make: Any, record: Any, values: tuple[Any, ...]):
    fast, usual = make(*values), record(*values)

    assert type(fast) is record
    assert fast == usual
    assert repr(fast) == repr(usual)
    assert pickle.loads(pickle.dumps(fast)) == copy.deepcopy(fast) == usual
    field = "name" if record is Param else "module"
    assert replace(fast, **{field: "other"}) != usual
    with pytest.raises(FrozenInstanceError):
        setattr(fast, field, "other")
    with pytest.raises(TypeError):
        make(*values[:-1])


# --- counts of work ---------------------------------------------------------------------------------------------------


def test_torchs_slow_way_of_calling_is_for_modules_with_hooks(monkeypatch: pytest.MonkeyPatch):
    slow = Counter[str]()
    original = nn.Module._call_impl

    def counting(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        slow[type(self).__name__] += 1
        return original(self, *args, **kwargs)

    monkeypatch.setattr(nn.Module, "_call_impl", counting)
    model = nn.Sequential(block(), block(), nn.Sigmoid())
    layer_graph(model, X)
    assert slow == Counter()

    model[2].register_forward_hook(lambda *_: None)
    layer_graph(model, X)
    assert slow == Counter({"Sigmoid": 1})


def chain(layers: int) -> nn.Module:
    with torch.device("meta"):
        return nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1) for _ in range(layers)))


def objects_of(layers: int) -> int:
    """How many objects the collector has to go through for the graph of a chain."""
    model, x = chain(layers), torch.empty(1, 4, 8, 8, device="meta")
    layer_graph(model, x)
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        graph = layer_graph(model, x)
        assert gc.collect() == 0  # nothing of the pass waits for the collector
        return len(gc.get_objects()) - before if len(graph) else 0
    finally:
        gc.enable()


def test_a_layer_is_few_objects():
    # A node, a reference to what it reads, a record for each of its two parameters, one for the call, and a name.
    assert objects_of(200) - objects_of(100) <= 7 * 100


def test_the_collector_does_not_go_through_what_a_pass_needed(monkeypatch: pytest.MonkeyPatch):
    met: list[int] = []
    enable = gc.enable

    def slots() -> list[Slot]:
        return [held for held in gc.get_objects() if type(held) is Slot]

    def counting() -> None:
        met.append(sum(id(slot) not in others for slot in slots()))
        enable()

    gc.collect()  # of what tests before held in cycles
    before = slots()  # of what others hold still, such as a thread's last pass
    others = {id(slot) for slot in before}
    monkeypatch.setattr(gc, "enable", counting)
    layer_graph(chain(10), (4, 8, 8))

    assert met == [0]


def test_like_layers_share_what_they_have_in_common():
    _, *nodes = layer_graph(chain(3), (4, 8, 8))

    for name in ("attrs", "flops", "outputs", "reads"):
        assert getattr(nodes[1], name) == getattr(nodes[2], name)
        assert getattr(nodes[1], name) is getattr(nodes[2], name), name
