"""What forward writes outside of the model, and into what it is given: undone, so that the next real pass is right."""

from __future__ import annotations

import sys
import threading
import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from rfcalc.api import analyze, layer_graph
from rfcalc.errors import TraceError

TABLES: dict[Any, Any] = {}
ROWS: list[Tensor] = []
NESTED: dict[str, Any] = {"inner": {"rows": []}}
TABLE = torch.arange(4.0)


class Store:
    """Keeps a table as an attribute."""

    def __init__(self) -> None:
        self.table: Tensor | None = None


STORE = Store()


@lru_cache
def cached(size: int) -> Tensor:
    return LIKE[0].new_ones(size)


LIKE: list[Tensor] = []


class Net(nn.Module):
    """A function of the module and its input, with things as attributes."""

    shared: Tensor | None = None
    known: ClassVar[dict[int, Tensor]] = {}

    def __init__(self, function: Callable[..., Any], **held: Any) -> None:
        super().__init__()
        self.function = function
        self.conv = nn.Conv2d(1, 1, 3, padding=1)
        for name, value in held.items():
            setattr(self, name, value)

    def forward(self, x: Tensor, *more: Any) -> Any:
        return self.function(self, self.conv(x), *more)

    @lru_cache  # noqa: B019
    def remembered(self, size: int) -> Tensor:
        return self.conv.weight.new_ones(size)


def table(x: Tensor) -> Tensor:
    return torch.arange(x.shape[-1], device=x.device, dtype=x.dtype)


def in_a_dict(m: Any, x: Tensor) -> Tensor:
    if x.shape[-1] not in TABLES:
        TABLES[x.shape[-1]] = table(x)
    return x + TABLES[x.shape[-1]]


def in_a_list(m: Any, x: Tensor) -> Tensor:
    if not ROWS:
        ROWS.append(table(x))
    return x + ROWS[0]


def nested(m: Any, x: Tensor) -> Tensor:
    rows = NESTED["inner"]["rows"]
    if not rows:
        rows.append({"table": (table(x),)})
    return x + rows[0]["table"][0]


def moved(m: Any, x: Tensor) -> Tensor:
    global TABLE
    TABLE = TABLE.to(x.device)
    return x + TABLE


def of_an_object(m: Any, x: Tensor) -> Tensor:
    if STORE.table is None:
        STORE.table = table(x)
    return x + STORE.table


def of_the_class(m: Any, x: Tensor) -> Tensor:
    if type(m).shared is None:
        type(m).shared = table(x)
    if 4 not in m.known:
        m.known[4] = table(x)
    return x + type(m).shared + m.known[4]


def by_a_cache(m: Any, x: Tensor) -> Tensor:
    LIKE[:] = [x]
    return x + cached(x.shape[-1])


def by_a_method(m: Any, x: Tensor) -> Tensor:
    return x + m.remembered(x.shape[-1])


def elsewhere(m: Any, x: Tensor) -> Tensor:
    tables = sys.modules["elsewhere"].tables
    if 4 not in tables:
        tables[4] = table(x)
    return x + tables[4]


def in_a_list_elsewhere(m: Any, x: Tensor) -> Tensor:
    sys.modules["elsewhere"].rows.append(table(x))
    return x


def inside(m: Any, x: Tensor) -> Tensor:
    deep = m.deep[0]["a"][1]
    if not deep:
        deep.append(table(x))
    m.plain.add(x.shape)
    m.by["x"].append(x)
    m.last.append(x)
    m.ordered.move_to_end("a")
    m.count += 1
    m.numbers += 1
    m.store.table = table(x)
    m.bump()
    return x + deep[0]


def counting() -> Callable[[], None]:
    count = 0

    def bump() -> None:
        nonlocal count
        count += 1

    bump.count = lambda: count  # type: ignore[attr-defined]
    return bump


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    sys.modules["elsewhere"] = made = types.ModuleType("elsewhere")
    made.tables, made.rows = {}, []  # type: ignore[attr-defined]
    yield
    TABLES.clear()
    ROWS.clear()
    NESTED["inner"]["rows"].clear()
    Net.shared = STORE.table = None
    Net.known.clear()
    cached.cache_clear()
    del sys.modules["elsewhere"]


FAILING = False  #: whether the pass under way is one that fails, on real numbers too

WAYS = [in_a_dict, in_a_list, nested, moved, of_an_object, of_the_class, by_a_cache, by_a_method, elsewhere]


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("way", WAYS, ids=[way.__name__ for way in WAYS])
def test_tables_outside_of_the_model_are_not_left_without_storage(
    way: Callable[..., Any], fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fails and way is elsewhere:
        pytest.skip("what holds a table of a module that the model's class is not from is looked for after success")

    def function(m: Any, x: Tensor) -> Tensor:
        y = way(m, x)
        if fails and FAILING:
            raise ValueError("on purpose")
        return y

    model = Net(function).eval()
    if fails:
        monkeypatch.setattr(sys.modules[__name__], "FAILING", True)
        with pytest.raises(TraceError, match="on purpose"):
            layer_graph(model, (1, 1, 4, 4))
        monkeypatch.undo()
    else:
        assert layer_graph(model, (1, 1, 4, 4)).meta["notices"] == []

    made = model(torch.ones(1, 1, 4, 4))
    assert not made.is_meta
    assert TABLE.tolist() == [0, 1, 2, 3]


def test_what_cannot_be_taken_out_is_said() -> None:
    graph = layer_graph(Net(in_a_list_elsewhere), (1, 1, 4, 4))

    assert graph.meta["notices"] == ["its code keeps tensors without storage, of this pass, in list"]


def test_what_was_there_stays_there() -> None:
    TABLES["mine"] = mine = torch.ones(3)
    NESTED["inner"]["rows"] = rows = []
    in_a_dict(None, torch.zeros(5))
    real = TABLES[5]
    layer_graph(Net(lambda m, x: in_a_dict(m, nested(m, x))), (1, 1, 4, 4))

    assert list(TABLES.items()) == [("mine", mine), (5, real)]
    assert NESTED["inner"]["rows"] is rows
    assert rows == []


class Made(OrderedDict[str, Any]):
    """A table that makes what it is asked for, as transformers' table of activations does; none of it is counted."""

    def __init__(self, **kinds: Any) -> None:
        super().__init__(**kinds)
        self.asked: list[str] = []

    def __getitem__(self, key: str) -> Any:
        self.asked.append(key)
        return super().__getitem__(key)()


MADE = Made(relu=nn.ReLU)


def test_a_table_of_a_class_of_its_own_is_not_asked() -> None:
    layer_graph(Net(lambda m, x: MADE["relu"](x)), (1, 1, 4, 4))

    assert MADE.asked == ["relu"]


def test_what_the_model_holds_is_as_before() -> None:
    deep: list[Any] = [{"a": ("x", [])}]
    held: dict[str, Any] = {"deep": deep, "plain": {1}, "by": defaultdict(list), "last": deque([1], maxlen=3)}
    held |= {"ordered": OrderedDict(a=1, b=2), "count": 3, "numbers": torch.zeros(2).numpy(), "store": Store()}
    model = Net(inside, **held, bump=counting())
    model.lock = threading.Lock()
    model.named = types.SimpleNamespace(parent=model)
    before, hooks = dict(vars(model)), dict(model._forward_hooks)
    with model.lock:
        layer_graph(model, (1, 1, 4, 4))

    assert dict(vars(model)) == before
    assert model._forward_hooks == hooks
    assert deep == [{"a": ("x", [])}]
    assert (held["plain"], dict(held["by"]), list(held["last"])) == ({1}, {}, [1])
    assert list(held["ordered"]) == ["a", "b"]
    assert held["numbers"].tolist() == [0, 0]
    assert held["store"].table is None
    assert model.bump.count() == 0
    assert model.named.parent is model


def patched(model: nn.Module) -> None:
    """forward exchanged as libraries for hooks, adapters and offloading do."""
    own = model.forward

    def forward(self: Any, x: Tensor) -> Any:
        self.ran = True
        return own(x) * 2

    model.forward = types.MethodType(forward, model)  # type: ignore[method-assign]


def partially(model: nn.Module) -> None:
    model.forward = partial(lambda module, old, x: module.conv(old(x)), model, model.forward)  # type: ignore[method-assign]


def hooked(model: Any) -> None:
    model.conv.register_forward_hook(lambda module, args, out: setattr(model, "seen", out))
    model.handle = model.conv.register_forward_pre_hook(lambda module, args: model.handle.remove())


@pytest.mark.parametrize("way", [patched, partially, hooked])
def test_functions_that_hold_the_model_hold_the_double_in_a_pass(way: Callable[[nn.Module], None]) -> None:
    model = Net(lambda m, x: x)
    way(model)
    before, hooks = dict(vars(model)), len(model.conv._forward_pre_hooks)
    found = analyze(model, (1, 1, 4, 4))

    assert dict(vars(model)) == before
    assert len(model.conv._forward_pre_hooks) == hooks
    assert found.totals.macs == 16 * 9 * (2 if way is partially else 1)
    assert [row.owner is not None for row in found.layer_graph.params] == [True, True]
    assert not model(torch.zeros(1, 1, 4, 4)).is_meta


class Cache:
    """Keys and values of earlier tokens, as transformers' DynamicCache keeps them."""

    def __init__(self) -> None:
        self.layers: list[Tensor] = [torch.zeros(1, 1, 2, 4)]

    def update(self, x: Tensor) -> Tensor:
        self.layers[0] = torch.cat([self.layers[0], x], 2)
        return self.layers[0]


def test_a_cache_that_is_given_is_not_written() -> None:
    cache = Cache()
    analyze(Net(lambda m, x, past: past.update(x)), (torch.zeros(1, 1, 4, 4), cache))

    assert cache.layers[0].shape == (1, 1, 2, 4)
    assert not cache.layers[0].is_meta
