"""The work on one model, in whatever process it is done."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any

from rfcalc.sweeping.patterns import Item
from rfcalc.sweeping.row import Row, asked, examine, survey


def fill(item: Item, inputs: Any) -> Row:
    """The row of one model, filled here and now; ``inputs`` are those of all models, as for `rfcalc.analyze`."""
    if item.error is not None:
        return Row(item.name, asked(inputs), error=item.error)
    return examine(item.name, lambda: _found(item, inputs), asked(inputs), memory=item.memory)


def _found(item: Item, inputs: Any) -> tuple[Any, Any]:
    if item.file is None:
        return item.name, inputs
    from rfcalc.sweeping import userfile

    model, own = userfile.model_at(item.file, item.position, item.name)
    return model, inputs if own is None else own


def prepare(item: Item) -> None:
    """Import what models share, so that the first one of a process does not pay for it with its time."""
    _warm_up()
    package = item.name.partition(":")[0]
    if package in ("timm", "torchvision"):
        with suppress(ImportError):  # loading the model says what is missing
            import_module(package)


@cache
def _warm_up() -> None:
    """Trace a network with a bit of everything: torch itself imports much of what it needs when it needs it first."""
    survey("resnet18")
