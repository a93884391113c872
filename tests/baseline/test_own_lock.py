"""rfcalc's own architectures are locked in its own repository, and every supported torch gives the same bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rfcalc.api import layer_graph
from rfcalc.baseline import budgets, lockfile
from rfcalc.baseline.record import entry_of
from rfcalc.zoo import CATALOG

ROOT = Path(__file__).parent.parent.parent


def test_the_whole_zoo_is_watched() -> None:
    watched = budgets.load(ROOT / "pyproject.toml").models

    assert [item.model for item in watched] == list(CATALOG)
    assert sorted(lockfile.read(ROOT / "rfcalc.lock.json").models) == sorted(CATALOG)


def test_the_lock_is_byte_for_byte_what_this_torch_gives() -> None:
    """CI runs this on the torch that it finds; the lock was written with another."""
    text = (ROOT / "rfcalc.lock.json").read_bytes().decode()
    lock = lockfile.loads(text, "rfcalc.lock.json")

    entries = {name: entry_of(layer_graph(name), name, name) for name in CATALOG}

    assert lockfile.dumps(replace(lock, models=entries)) == text
