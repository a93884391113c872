"""Given weights: a state dict or a file with one, and what is said of others."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import rfcalc
from rfcalc.effective.weights import read
from rfcalc.errors import LoadError, UsageError


def state() -> dict[str, torch.Tensor]:
    """Weights for the stack 3x3."""
    return {"conv1.weight": torch.arange(9.0).reshape(1, 1, 3, 3)}


@pytest.mark.parametrize("wrap", [dict, lambda held: {"state_dict": held, "epoch": 3}, lambda held: {"model": held}])
def test_a_file(tmp_path: Path, wrap: Callable[[Any], Any]) -> None:
    path = tmp_path / "weights.pt"
    torch.save(wrap(state()), path)
    found = rfcalc.erf("3x3", weights=path, images=1)

    assert np.array_equal(found.map[15:18, 15:18], np.arange(9.0).reshape(3, 3))
    assert found.settings.weights == "weights.pt"


def test_a_mapping_for_a_module_that_stays_as_it_is() -> None:
    model = nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 1, 3), norm=nn.BatchNorm2d(1)))
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    given = {name: torch.full_like(value, 4) for name, value in kept.items()}
    found = rfcalc.erf(model, (1, 5, 5), layer="norm", weights=given, images=1)

    assert found.map.max() == pytest.approx(4 * 4 / (4 + 1e-5) ** 0.5)
    assert found.settings.weights == "given"
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())


def test_shared_weights_are_given_once() -> None:
    conv = nn.Conv2d(1, 1, 1, bias=False)
    model = nn.Sequential(conv, conv)
    given = {"0.weight": torch.full((1, 1, 1, 1), 3.0), "1.weight": torch.full((1, 1, 1, 1), 3.0)}

    assert rfcalc.erf(model, (1, 3, 3), weights=given, images=1).map.max() == 9


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"conv9.weight": torch.zeros(1)}, "do not fit 3x3: missing: conv1.weight; not known: conv9.weight"),
        ({**state(), "a": torch.zeros(1), "b": torch.zeros(1), "c": torch.zeros(1)}, "not known: a, b and 1 more"),
        ({"conv1.weight": torch.zeros(1, 1, 5, 5)}, "conv1.weight is 1x1x5x5, expected 1x1x3x3"),
        ({"epoch": 3}, "there is no state dict in the given mapping"),
    ],
)
def test_weights_that_do_not_fit(given: dict[str, Any], message: str) -> None:
    with pytest.raises(LoadError, match=message):
        rfcalc.erf("3x3", weights=given)


class Harmful:
    """Would run code when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("loaded",)


def test_files_that_hold_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "weights.pt"
    with pytest.raises(UsageError, match=r"cannot read the weights .*weights.pt: No such file or directory"):
        read(path)
    path.write_text("no weights")
    with pytest.raises(LoadError, match=r"cannot read the weights .*; expected what torch.save"):
        read(path)
    path.write_bytes(pickle.dumps(Harmful(), protocol=2))
    with pytest.raises(LoadError, match="it holds more than tensors"):
        read(path)
    torch.save([1, 2], path)
    with pytest.raises(LoadError, match=r"there is no state dict in .*weights.pt"):
        read(path)
    assert capsys.readouterr().out == ""


def test_a_module_on_meta_gets_numbers() -> None:
    with torch.device("meta"):
        model = nn.Conv2d(1, 1, 3)
    found = rfcalc.erf(model, (1, 5, 5), images=1)

    assert found.map.sum() > 0
    assert found.settings.weights == "random, made up by rfcalc with seed 0"


def test_a_model_that_cannot_be_built(monkeypatch: pytest.MonkeyPatch) -> None:
    from rfcalc.sources.stack import modules as stack_modules

    real = stack_modules.build

    def build(*args: Any) -> nn.Module:
        if torch.get_default_device().type == "meta":
            return real(*args)
        raise RuntimeError("[enforce fail] can't allocate memory\nand more")

    monkeypatch.setattr(stack_modules, "build", build)
    with pytest.raises(LoadError, match=r"3x3 cannot be built with real weights: .*can't allocate memory$"):
        rfcalc.erf("3x3")
