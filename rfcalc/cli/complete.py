"""Shell completion of models, layers and files. No torch, and no code of the user's runs.

Names of a library's models need the library once, and are kept beside the graphs after that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from rfcalc.errors import RfcalcError


def complete_model(ctx: click.Context, param: click.Parameter | None, incomplete: str) -> list[CompletionItem]:
    """Names that go on from what is typed: rfcalc's own, those of a library, the classes of a file, else files."""
    from rfcalc.sources import forms
    from rfcalc.zoo import CATALOG

    prefix, colon, begun = incomplete.rpartition(":")
    if colon and prefix in forms.listed():
        return [CompletionItem(f"{prefix}:{name}") for name in library_names(prefix) if name.startswith(begun)]
    if colon and prefix.endswith(".py"):
        return _classes(prefix, begun)
    found = [CompletionItem(name, help=entry.title) for name, entry in CATALOG.items() if name.startswith(incomplete)]
    others = [form for form in forms.FORMS if form.prefix and form.prefix.startswith(incomplete) and incomplete]
    found += [CompletionItem(form.prefix, help=form.what) for form in others]
    return found or [CompletionItem(incomplete, type="file")]


def complete_layer(ctx: click.Context, param: click.Parameter | None, incomplete: str) -> list[CompletionItem]:
    """Names of the layers of the model on the command line, where its graph is known without running code."""
    before, comma, begun = incomplete.rpartition(",")
    typed = [ctx.params.get("model"), *(ctx.params.get("models") or ()), *ctx.args]  # click leaves it in the last
    names = _layers(next((word for word in typed if word and not word.startswith("-")), ""))
    return [CompletionItem(f"{before}{comma}{name}") for name in names if name.startswith(begun)]


def _classes(path: str, begun: str) -> list[CompletionItem]:
    from rfcalc.sources.files.code import models_of

    return [CompletionItem(f"{path}:{name}") for name in models_of(Path(path)) if name.startswith(begun)]


def _layers(spec: str) -> Iterable[str]:
    """The names of the ops of a graph that is stored: the zoo's, one that was kept, or a file of one."""
    from rfcalc.sources import stored
    from rfcalc.sources.files import saved

    with suppress(RfcalcError, OSError), stored.using("kept"):
        graph = stored.find(stored.Wanted(spec, None, None, False)) if spec else None
        if graph is None and spec.endswith(".json"):
            graph = saved.load(spec)
        if graph is not None:
            return [record.name for record in graph]
    return ()


def library_names(prefix: str) -> list[str]:
    """The names of a library's models, from the last time where they were asked for with this release."""
    from rfcalc.sources import forms, stored

    key = stored.release(prefix) if prefix else None
    home = stored.folder() if key is not None else None
    place = None if home is None else home / "names" / f"{prefix}.json"
    if place is not None:
        with suppress(OSError, ValueError, KeyError, TypeError):
            known = json.loads(place.read_text("utf-8"))
            if known["release"] == key:
                return [str(name) for name in known["names"]]
    try:
        names = forms.listed()[prefix].names()
    except RfcalcError:
        return []
    if place is not None:
        from rfcalc.writing import write_whole

        with suppress(OSError, RfcalcError):
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(place, json.dumps({"release": key, "names": names}))
    return names
