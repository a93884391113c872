"""The largest size that fits, and what a language model keeps of what it has read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import rfcalc
from rfcalc.errors import TraceError, UsageError
from rfcalc.footprint.fit import Size, fitted
from rfcalc.footprint.settings import bytes_of


def size(unit: int = 1) -> Size:
    return Size("batch", 1, unit, lambda n: lambda info: {})


@pytest.mark.parametrize(
    ("peak", "limit", "unit", "largest", "runs"),
    [
        (lambda n: 100 + 7 * n, 1000, 1, 128, 4),
        (lambda n: 100 + 7 * n, 996, 1, 128, 4),
        (lambda n: 100 + 7 * n, 995, 1, 127, 4),
        (lambda n: 100 + 7 * n, 24 << 20, 1, (24 * 2**20 - 100) // 7, 4),
        (lambda n: max(1000, 100 + 7 * n), 1000, 1, 128, 20),  # weights that are stepped, and then the batch
        (lambda n: n * n, 10**8, 32, 9984, 20),
        (lambda n: n**3, 10**9, 1, 1000, 25),
        (lambda n: 5, 5, 1, (1 << 24) - 1, 40),
    ],
)
def test_the_largest(peak: Callable[[int], int], limit: int, unit: int, largest: int, runs: int) -> None:
    found = fitted(limit, size(unit), peak)

    assert found.largest == largest
    assert found.peak_bytes == peak(largest)
    assert found.runs <= runs
    if largest < 1 << 20:
        assert found.next_bytes == peak(largest + unit) > limit


def test_nothing_fits() -> None:
    found = fitted(99, size(), lambda n: 100 * n)

    assert (found.largest, found.peak_bytes, found.next_bytes) == (0, None, 100)


def test_a_size_that_the_model_refuses_is_none_that_fits() -> None:
    def peak(n: int) -> int:
        if n > 10:
            raise TraceError("positions end here")
        return n

    found = fitted(100, size(), peak)

    assert (found.largest, found.next_bytes) == (10, None)


@pytest.mark.parametrize(
    ("now", "takes", "limit", "largest", "step", "following"),
    [
        (224, lambda side: side >= 96, 10**6, 992, 32, 1024**2),  # smaller ones are refused
        (256, lambda side: side % 64 == 0, 500**2, 448, 64, 512**2),
        (224, lambda side: side % 14 == 0, 500**2, 490, 14, 504**2),
        (224, lambda side: side == 224, 10**6, 224, 224, None),  # no other size is taken
        (224, lambda side: side >= 96, 97**2, 96, 32, 128**2),
        (224, lambda side: side >= 96, 90**2, 0, 32, 96**2),
        (100, lambda side: side <= 200, 10**6, 192, 32, None),
    ],
)
def test_sides_that_a_model_takes(
    now: int, takes: Callable[[int], bool], limit: int, largest: int, step: int, following: int | None
) -> None:
    def peak(side: int) -> int:
        if not takes(side):
            raise TraceError("not this one")
        return side * side

    found = fitted(limit, Size("side", now, 32, lambda n: lambda info: {}), peak)

    assert (found.largest, found.step, found.next_bytes) == (largest, step, following)
    assert found.peak_bytes == (largest * largest or None)


def test_a_batch() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    found = rfcalc.memory(model, (4,), fit=1000)

    assert found.fit is not None
    # 268 bytes of parameters; a sample takes 16 of input and 64 in tanh
    assert found.fit.largest == (1000 - 268) // 80 == 9
    assert (found.peak_bytes, found.fit.next_bytes) == (268 + 9 * 80, 268 + 10 * 80)
    assert found.inputs[0].shape == (9, 4)


def test_a_side() -> None:
    model = nn.Conv2d(1, 1, 1, bias=False)
    found = rfcalc.memory(model, (1, 64, 64), fit="1MiB", fit_what="side")

    assert found.fit is not None
    assert found.fit.largest == 352  # 2 planes of 4 bytes and a weight: 8 * 352 * 352 + 4 is below 2 ** 20, 384 is not
    assert found.inputs[0].shape == (1, 1, 352, 352)


class Fixed(nn.Module):
    """A network of one size."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.flatten(1))


def test_a_side_that_is_fixed(capfd: pytest.CaptureFixture[str]) -> None:
    found = rfcalc.memory(Fixed(), (1, 4, 4), axes={"H": 2, "W": 3}, fit="1MiB", fit_what="side")

    assert found.fit is not None
    assert (found.fit.largest, found.fit.step, found.fit.next_bytes) == (4, 4, None)
    assert "the model refuses it" in str(found._repr_html_())
    assert capfd.readouterr() == ("", "")  # torch logs what it refuses


@pytest.mark.parametrize(
    ("text", "count"),
    [("24GiB", 24 << 30), ("16GB", 16 * 10**9), ("1.5 k", 1500), (7, 7), ("2KiB", 2048), ("3MiB", 3 << 20)],
)
def test_so_many_bytes(text: Any, count: int) -> None:
    assert bytes_of(text, "--fit") == count


@pytest.mark.parametrize("text", ["", "24 gigs", "-1", "iB", "1e9", True, "24GiBs"])
def test_no_bytes(text: Any) -> None:
    with pytest.raises(UsageError, match="expected so many bytes, like 24GiB"):
        bytes_of(text, "--fit")


def test_sizes_that_there_are_none_of() -> None:
    model = nn.Linear(4, 4)
    with pytest.raises(UsageError, match="unknown size 'width': expected batch, side or length"):
        rfcalc.memory(model, (4,), fit=100, fit_what="width")
    with pytest.raises(UsageError, match="has no side that could grow: its inputs are 1x4"):
        rfcalc.memory(model, (4,), fit=100, fit_what="side")


# --- caches -----------------------------------------------------------------------------------------------------------


class Reader(nn.Module):
    """Attention that gives its keys and values back; of the second layer only the last 3 positions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.kv = nn.Embedding(10, 8), nn.ModuleList(nn.Linear(8, 4) for _ in range(2))

    def forward(self, ids: torch.Tensor) -> dict[str, Any]:
        x = self.embed(ids)
        kept = [layer(x).chunk(2, -1) for layer in self.kv]
        kept[1] = tuple(one[:, -3:] for one in kept[1])
        return {"logits": x, "past_key_values": tuple(kept)}


def test_what_is_kept_of_each_token() -> None:
    found = rfcalc.memory(Reader(), torch.zeros(2, 5, dtype=torch.int64))

    each = 2 * 2 * 2 * 4  # two sequences, keys and values, two numbers of four bytes
    assert [(one.layer, one.nbytes, one.per_token) for one in found.kv_cache] == [(0, 5 * each, each), (1, 3 * each, 0)]
    # keys and values are halves of one tensor, and so are the last positions of them
    assert [one.held for one in found.kv_cache] == [5 * each, 5 * each]
    assert found.kv_cache[1].shapes == ((2, 3, 2), (2, 3, 2))
    assert found.to_dict()["kv_cache"][0] == {
        "layer": 0, "bytes": 160, "held_bytes": 160, "bytes_per_token": 32, "shapes": [[2, 5, 2], [2, 5, 2]]
    }  # fmt: skip


def test_a_model_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=16, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2,
    )  # fmt: skip
    found = rfcalc.memory(transformers.LlamaForCausalLM(config), torch.zeros(1, 6, dtype=torch.int64))

    each = 2 * 2 * 8 * 4  # keys and values, of two heads of eight numbers
    assert [(one.nbytes, one.per_token) for one in found.kv_cache] == [(6 * each, each)] * 2


class Speaker(nn.Module):
    """Attention over all that was read, whose keys are given back and taken again."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.kv = nn.Embedding(10, 8), nn.Linear(8, 16)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor | None = None, past: Any = None) -> dict[str, Any]:
        x = self.embed(ids)
        kept = self.kv(x)
        if past is not None:
            kept = torch.cat([past[0], kept], 1)
        scores = x @ kept[..., :8].mT
        return {"logits": (scores if mask is None else scores * mask[:, None]) @ kept[..., 8:], "past": [kept]}


@pytest.mark.parametrize("masked", [False, True])
def test_one_more_token(masked: bool) -> None:
    given = {
        "ids": torch.zeros(2, 5, dtype=torch.int64),
        **({"mask": torch.ones(2, 5, dtype=torch.bool)} if masked else {}),
    }
    found = rfcalc.memory(Speaker(), given, decode=True, verify=True)

    assert found.decode is not None
    assert found.agree
    # 80 numbers to look up, 8 x 16 weights and 16 biases, ids, a mask of 6 positions, and what was looked up
    held = 4 * (80 + 8 * 16 + 16) + 2 * 8 + 2 * 6 * masked + 2 * 8 * 4
    kept = 2 * 16 * 4
    # keys of the new token, of those before, of all; or the latter two, scores without and with a mask, and a result
    most = (5 + 6) * kept + 2 * 2 * 6 * 4 + 2 * 8 * 4 if masked else (1 + 5 + 6) * kept
    assert (found.decode.peak_bytes, found.decode.peak.at) == (held + most, "bmm" if masked else "cat")
    assert found.to_dict()["decode"]["peak_bytes"] == found.decode.peak_bytes
    assert {one.nbytes for one in found.kv_cache} == {5 * kept}


@pytest.mark.parametrize(
    ("model", "given", "told"),
    [
        (nn.Embedding(10, 4), torch.zeros(1, 5, dtype=torch.int64), "gives no cache back"),
        (Reader(), torch.zeros(1, 5, dtype=torch.int64), "takes no past_key_values, which it gives back"),
        (nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 4, 4), "has no length that could grow"),
    ],
)
def test_nothing_that_could_go_on(model: nn.Module, given: torch.Tensor, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        rfcalc.memory(model, given, decode=True)


# --- weights in fewer bits --------------------------------------------------------------------------------------------


class Tied(nn.Module):
    """A head that shares its weight with an embedding, and two layers that share one."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight
        self.one, self.other = nn.Linear(3, 3), nn.Linear(3, 3)
        self.other.weight = self.one.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.other(self.one(self.embed(ids))))


@pytest.mark.parametrize(("name", "nbytes"), [("8bit", 9), ("4bit", 5)])
def test_weights_in_fewer_bits(name: str, nbytes: int) -> None:
    found = rfcalc.memory(Tied(), torch.zeros(1, 2, dtype=torch.int64), weights=name)

    assert found.weights is not None
    assert (found.weights.matrices, found.weights.elements, found.weights.plain) == (1, 9, 36)
    assert found.weights.nbytes == nbytes
    assert found.to_dict()["weights"]["params_bytes"] == found.params_bytes - 36 + nbytes == 4 * (15 + 6) + nbytes


def test_no_weights() -> None:
    with pytest.raises(UsageError, match="--weights is about linear layers, of which the model has none"):
        rfcalc.memory(nn.Conv2d(1, 1, 1), (1, 4, 4), weights="4bit")


def test_decoding_as_formulas() -> None:
    pytest.importorskip("sympy")
    found = rfcalc.memory_growth(Speaker(), {"ids": torch.zeros(2, 5, dtype=torch.int64)}, symbols="N", decode=True)

    assert str(found.formula["decode_peak_bytes"]) == "808*N + 896"
