"""The architectures of benchmarks/jax_zoo.py: Flax and Equinox say what PyTorch says."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jax")
pytest.importorskip("torchvision")

FOLDER = Path(__file__).parent.parent.parent / "benchmarks"


@pytest.mark.parametrize("library", ["flax", "equinox"])
@pytest.mark.parametrize("name", ["ResNet-18", "ViT", "Transformer", "U-Net", "LSTM by scan"])
def test_the_same_as_in_torch(name: str, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(library)
    monkeypatch.syspath_prepend(str(FOLDER))
    zoo: Any = import_module("jax_zoo")

    mine, theirs = zoo.both(next(case for case in zoo.cases() if (case.name, case.library) == (name, library)))

    assert mine["status"] == "complete"
    assert mine == theirs
