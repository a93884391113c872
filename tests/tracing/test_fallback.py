"""Where tensors without storage cannot serve: one op is tried on real ones, or the whole pass runs on real ones."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

import rfcalc
from rfcalc.errors import TraceError
from rfcalc.tracing import fallback, trial


class Fn(nn.Module):
    """A function of a layer and a tensor."""

    def __init__(self, function: Callable[..., Any], device: str = "cpu") -> None:
        super().__init__()
        self.function = function
        self.lin = nn.Linear(8, 8, device=device)

    def forward(self, x: Any) -> Any:
        return self.function(self.lin, x)


def analyzed(function: Callable[..., Any], device: str = "cpu") -> Any:
    return rfcalc.analyze(Fn(function, device), torch.empty(2, 8, device="meta"))


@pytest.fixture(scope="module")
def ops() -> Iterator[Any]:
    """Ops that torch has no kernel for on the meta device."""
    library = torch.library.Library("rfcalc_fallback", "DEF")
    for schema in (
        "halved(Tensor x) -> Tensor",
        "turned(Tensor x) -> Tensor(a)",
        "pair(Tensor x, int n) -> (Tensor, Tensor)",
        "positive(Tensor x) -> Tensor",
        "picky(Tensor x) -> Tensor",
        "bump_(Tensor(a!) x) -> Tensor(a!)",
    ):
        library.define(schema)
    library.impl("halved", lambda x: x[:, ::2] * 2, "CPU")
    library.impl("turned", lambda x: (x + 1).t().contiguous().t(), "CPU")
    library.impl("pair", lambda x, n: (x.new_zeros(n), (x > 0).long()), "CPU")
    library.impl("positive", lambda x: x[x > 0.5], "CPU")
    library.impl("picky", _picky, "CPU")
    library.impl("bump_", lambda x: x.add_(1), "CPU")
    yield torch.ops.rfcalc_fallback
    library._destroy()


def _picky(x: torch.Tensor) -> torch.Tensor:
    if x.shape[-1] != 4:
        raise RuntimeError("picky takes 4 features")
    return x.clone()


# --- one op -----------------------------------------------------------------------------------------------------------


def test_an_op_without_a_kernel_for_meta_is_tried_on_stand_ins(ops: Any) -> None:
    def forward(lin: Any, x: Any) -> Any:
        y = ops.halved(lin(x))
        turned = ops.turned(y)
        assert turned.stride() == (1, 2)
        zeros, flags = ops.pair(turned, 3)
        return y @ y.new_ones(4, 5) + zeros.sum() + flags.sum(), ops.bump_(y)

    a = analyzed(forward, "meta")
    assert not any("real" in notice for notice in a.notices)
    assert a.totals.macs == 2 * 64 + 2 * 4 * 5
    assert set(a.totals.unknown_ops) == {f"rfcalc_fallback.{name}" for name in ("halved", "turned", "pair", "bump_")}


def test_an_op_whose_result_depends_on_numbers_needs_a_pass_on_real_ones(ops: Any) -> None:
    a = analyzed(lambda lin, x: lin(x) * ops.positive(x).sum())
    assert a.notices[0] == "traced on real CPU tensors, for rfcalc_fallback.positive needs data"


def test_an_op_that_refuses_real_tensors_too_is_the_models_fault(ops: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fallback, "real_twin", None)  # no pass on real numbers is begun
    with pytest.raises(TraceError, match="got 2x8: picky takes 4 features"):
        analyzed(lambda lin, x: ops.picky(lin(x)))
    with pytest.raises(TraceError, match=r"layer lin \(Linear\) got 2x3, needs 8 features"):
        analyzed(lambda lin, x: lin(x[:, :3]))
    assert analyzed(lambda lin, x: ops.picky(lin(x)[:, :4])).totals.macs == 128


def test_a_model_that_raises_for_a_shape_is_not_run_on_real_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    def asserts(lin: Any, x: Any) -> Any:
        torch._assert(x.shape[0] == 3, "three rows, please")
        return lin(x)

    def caught(lin: Any, x: Any) -> Any:
        try:
            return lin(x[:, :3])
        except RuntimeError as error:
            raise ValueError("of another error") from error

    def outside(lin: Any, x: Any) -> Any:
        return lin(x)[memoryview(x)]

    def guarded(lin: Any, x: Any) -> Any:
        if x.get_device() == -1 and x.cpu().shape[0] == 2:
            raise ValueError("not on this device")
        return lin(x)

    tried: list[str] = []
    monkeypatch.setattr("rfcalc.tracing.forward._Run.again", lambda run, why: tried.append(why) or 1 / 0)
    with pytest.raises(TraceError, match="got 2x8: AssertionError: three rows, please"):
        analyzed(asserts)
    assert not tried
    for other in (caught, outside, guarded):
        with pytest.raises(ZeroDivisionError):
            analyzed(other)
    assert len(tried) == 3


def test_stand_ins_have_a_limit(ops: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "MOST_BYTES", 10)
    a = analyzed(lambda lin, x: ops.halved(lin(x)))
    said = "traced on real CPU tensors, for rfcalc_fallback.halved does not run without numbers"
    assert a.notices[0].startswith(said)
    monkeypatch.setattr("rfcalc.tracing.forward.WORTH_A_TRY", 10)
    with pytest.raises(TraceError, match="not tried on real numbers: its weights take"):
        analyzed(lambda lin, x: ops.halved(lin(x)))


@pytest.mark.skipif(not hasattr(torch, "_grouped_mm"), reason="torch has no grouped products")
def test_grouped_products_of_float32() -> None:
    class Experts(nn.Module):
        def __init__(self, columns: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.empty(3, 8, columns, device="meta"))

        def forward(self, x: Any) -> Any:
            ends = torch.tensor([1, 4, 6], dtype=torch.int32, device=x.device)
            return torch._grouped_mm(x, self.weight, offs=ends)

    a = rfcalc.analyze(Experts(16), torch.empty(6, 8, device="meta"))
    assert a.totals.macs == 6 * 8 * 16
    assert not a.notices


# --- the whole pass ---------------------------------------------------------------------------------------------------


def test_a_model_that_refuses_the_meta_device_itself_runs_on_real_numbers() -> None:
    def forward(lin: Any, x: Any) -> Any:
        if x.is_meta:
            raise ValueError("this model wants a real device")
        return lin(x)

    a = analyzed(forward)
    assert a.totals.macs == 128
    assert a.notices == (
        "traced on real CPU tensors, for the model's own code does not run without numbers"
        " (this model wants a real device)",
    )


def test_what_fails_on_real_numbers_too_is_told_as_it_is() -> None:
    def forward(lin: Any, x: Any) -> Any:
        if x.is_meta:
            raise ValueError("this model wants a real device")
        raise ValueError("and fails there, too")

    with pytest.raises(TraceError, match="and fails there, too"):
        analyzed(forward)


def test_words_in_a_message_decide_nothing() -> None:
    def forward(lin: Any, x: Any) -> Any:
        raise ValueError("a meta tensor is data-dependent")

    with pytest.raises(TraceError, match="a meta tensor is data-dependent"):
        analyzed(forward)


def test_plain_attributes_without_storage_are_filled_for_a_pass_on_real_numbers() -> None:
    class Tables(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin, self.table = nn.Linear(8, 8), torch.zeros(2, 8)
            self.steps, self.named = [torch.zeros(8)], {"one": torch.zeros(8)}

        def forward(self, x: Any) -> Any:
            y = self.lin(x) + self.table + self.steps[0] + self.named["one"]
            return y if y.sum() > 1e9 else self.lin(y)

    with torch.device("meta"):
        model = Tables()
    a = rfcalc.analyze(model, torch.empty(2, 8, device="meta"))
    assert a.totals.macs == 2 * 128
    filled = "table, a tensor without a name, steps"
    assert a.notices[-1] == f"built without storage, and filled with made-up numbers: {filled}"
    assert model.table.is_meta
    assert model.steps[0].is_meta
    assert rfcalc.verify(model, torch.empty(2, 8, device="meta"), device="cpu", timing=False).agree


def test_zeros_that_stand_for_numbers_are_said() -> None:
    class Sized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin = nn.Linear(8, 8)

        def forward(self, x: Any, n: Any) -> Any:
            return self.lin(x[int(n) :])

    a = rfcalc.analyze(Sized(), {"x": torch.empty(2, 8), "n": torch.empty((), dtype=torch.int64, device="meta")})
    assert a.notices[-1] == "zeros stand for n, whose values decide what is computed: give them"
    assert a.totals.macs == 128


def test_a_pass_on_real_numbers_frees_what_nothing_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rfcalc.tracing.slots.SWEEP_BYTES", 1 << 16)
    held: list[int] = []

    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convs = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(40))

        def forward(self, x: Any) -> Any:
            for conv in self.convs:
                x = conv(x).relu().transpose(2, 3)
                x = x.flatten(2).view(x.shape)
            tensors = [one for one in gc.get_objects() if type(one) is torch.Tensor and id(one) not in others]
            held.append(sum({one.untyped_storage().data_ptr(): one.nbytes for one in tensors}.values()))
            return x if x.sum() > 0 else -x

    one = 4 * 32 * 32 * 4  #: bytes of an image
    others = {id(one) for one in gc.get_objects() if type(one) is torch.Tensor}  # of other tests
    a = rfcalc.analyze(Deep(), torch.zeros(1, 4, 32, 32))
    assert "real CPU tensors" in a.notices[0]
    assert held[-1] < 12 * one


class Strided(nn.Module):
    """A convolution whose padding follows from a buffer, as in codecs for sound."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 4, 5)
        self.register_buffer("kernel", torch.tensor(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(nn.functional.pad(x, (int(self.kernel) - 3, 2)))


def test_sizes_in_buffers_without_storage_are_what_is_missing() -> None:
    with torch.device("meta"):
        model = Strided()

    assert rfcalc.analyze(Strided(), (1, 8)).ops[-1].output_shape == (1, 4, 8)
    with pytest.raises(TraceError, match="zeros stood for kernel, which has no numbers on the meta device: build"):
        rfcalc.analyze(model, (1, 4))
    notices = rfcalc.analyze(model, (1, 12)).notices
    assert "built without storage, and filled with made-up numbers: kernel" in notices
