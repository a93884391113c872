"""What a change of the analyses changes: every number of saved graphs before and after, side by side.

    python benchmarks/compare_fields.py trace FOLDER MODEL...
    python benchmarks/compare_fields.py dump FOLDER NUMBERS
    python benchmarks/compare_fields.py layers NUMBERS MODEL...
    python benchmarks/compare_fields.py differ BEFORE AFTER [--only WORD]...

``trace`` saves the graph of each model in a folder, ``dump`` writes ``to_dict()`` of each graph of a folder, all ops
and the numbered layers, as this checkout analyses it: run it in both checkouts, on the same graphs. It needs no torch.
Where the other checkout reads no graphs of this one, ``layers`` traces models and writes their numbered layers, with
``PYTHONPATH`` at either checkout. ``differ`` lists what is said otherwise, of what both say at all: for each model and
each number of a field in how many layers it differs, and the first of them. Exit status 1 if anything does.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click


@click.group()
def main() -> None:
    """Every number of saved graphs, before and after a change."""


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("models", nargs=-1)
def trace(folder: Path, models: tuple[str, ...]) -> None:
    """Save the graphs of models; what cannot be traced is said and left out."""
    from rfcalc import graph_json

    _save(folder, models, graph_json.dumps)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.argument("numbers", type=click.Path(path_type=Path))
def dump(folder: Path, numbers: Path) -> None:
    """Analyse every graph of a folder."""
    from rfcalc import graph_json
    from rfcalc.analyses.analysis import Analysis

    numbers.mkdir(parents=True, exist_ok=True)
    for place in sorted(folder.glob("*.json")):
        start = time.process_time()
        analysis = Analysis(graph_json.from_json(json.loads(place.read_bytes()), trusted=True))
        found = {"layers": analysis.to_dict()["layers"], "ops": analysis.to_dict(analysis.ops)["layers"]}
        (numbers / place.name).write_text(json.dumps(found), encoding="utf-8")
        click.echo(f"{place.stem}: {len(found['ops'])} ops, {time.process_time() - start:.2f} s", err=True)


@main.command()
@click.argument("numbers", type=click.Path(path_type=Path))
@click.argument("models", nargs=-1)
def layers(numbers: Path, models: tuple[str, ...]) -> None:
    """Trace and analyse models; what cannot be traced is said and left out."""
    from rfcalc.analyses.analysis import Analysis

    _save(numbers, models, lambda graph: json.dumps({"layers": Analysis(graph).to_dict()["layers"], "ops": []}))


def _save(folder: Path, models: tuple[str, ...], text: Callable[[Any], str]) -> None:
    """Write what is said of each model's graph that the folder has no file of yet."""
    from rfcalc.api import layer_graph
    from rfcalc.errors import RfcalcError

    folder.mkdir(parents=True, exist_ok=True)
    for model in models:
        name, _, size = model.partition("@")
        place = folder / f"{model.replace(':', '-').replace('/', '-')}.json"
        if place.exists():
            continue
        try:
            told = text(layer_graph(name, [int(n) for n in size.split("x")] if size else None))
        except RfcalcError as error:
            click.echo(f"{model}: {error}", err=True)
            continue
        place.write_text(told, encoding="utf-8")


@main.command()
@click.argument("before", type=click.Path(path_type=Path, exists=True))
@click.argument("after", type=click.Path(path_type=Path, exists=True))
@click.option("--only", multiple=True, help="A number of a field, as it is called in JSON.")
def differ(before: Path, after: Path, only: tuple[str, ...]) -> None:
    """List what is said otherwise."""
    alike = 0
    told = False
    for place in sorted(before.glob("*.json")):
        other = after / place.name
        if not other.exists():
            click.echo(f"{place.stem}: only before")
            continue
        found: dict[str, list[str]] = defaultdict(list)
        for name, layer, old, new in changes(json.loads(place.read_bytes()), json.loads(other.read_bytes())):
            if not only or name in only:
                found[name].append(f"{layer}: {json.dumps(old)} -> {json.dumps(new)}")
        alike += not found
        for name, lines in found.items():
            told = True
            click.echo(f"{place.stem}: {name} differs in {len(lines)}, first {lines[0]}")
    click.echo(f"{alike} models alike")
    sys.exit(told)


def changes(old: Any, new: Any) -> Iterator[tuple[str, str, Any, Any]]:
    """(what, layer, before, after) for everything that differs; what only one of both says at all is left out."""
    for part in ("layers", "ops"):
        for one, other in zip(old[part], new[part], strict=True):
            for key in one.keys() & other.keys() - {"receptive_fields"}:
                if one[key] != other[key]:
                    yield key, one["name"], one[key], other[key]
            for source, field in one["receptive_fields"].items():
                after = other["receptive_fields"][source]
                for key in field.keys() & after.keys():
                    if field.get(key) != after.get(key):
                        yield key, f"{one['name']} {one['output_shape']}", field.get(key), after.get(key)


if __name__ == "__main__":
    main()
