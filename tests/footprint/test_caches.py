"""Caches of small language models of transformers, to the byte, beside those of real runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def caches() -> Iterator[Any]:
    """The models that benchmarks/footprint.py holds against transformers, and how real caches are read."""
    pytest.importorskip("transformers")
    sys.path.insert(0, str(FOLDER))
    try:
        import footprint_caches

        yield footprint_caches
    finally:
        sys.path.remove(str(FOLDER))


@pytest.mark.parametrize(
    "name",
    [
        "a window in every second layer: Gemma 2",
        "latent attention: DeepSeek V3",
        "a state-space state: Mamba",
        "an encoder's keys, too: T5",
    ],
)
def test_as_a_real_run_has_it(caches: Any, name: str) -> None:
    found = caches.row(name)

    assert found["real"]
    assert (found["bytes"], found["held_bytes"]) == (found["real"], found["real_held"])
    assert found["differences"] == []
    assert found["agree"]
