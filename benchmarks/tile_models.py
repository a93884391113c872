"""Dense networks in tiles: what `rfcalc tile` says of each, held against real passes in float64.

    python benchmarks/tile_models.py [--only PATTERN] [--seconds N] [--minutes N] [--again]

`tile_specs.py` and `tile_nets.py` make them. Where tiles are said to be exact, `rfcalc.tiling.proof` runs whole and
tiles, which have to be equal but for rounding, and shows of each side of each halo that one pixel less gives a real
difference. Where they are said to be impossible, a tile of a larger image, with much more than what is left of the
halo, has to differ from the whole, or not to run. Writes ``benchmarks/results/tile_models.jsonl``, row by row, and
``.md``; rows that are there are kept but for ``--again``, and so are those of packages that are not installed. Exits
with 1 where a verdict is wrong or rfcalc fails.
"""

from __future__ import annotations

import importlib.util
import json
import math
import sys
import time
import warnings
from collections import Counter
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from case_limit import limited  # noqa: E402  # beside this file
from tile_specs import Case, cases  # noqa: E402

from rfcalc.errors import RfcalcError  # noqa: E402
from rfcalc.tiling.making import verdict_at  # noqa: E402
from rfcalc.tiling.passes import Passes  # noqa: E402
from rfcalc.tiling.plan import Tiling  # noqa: E402
from rfcalc.tiling.proof import prove  # noqa: E402
from rfcalc.tiling.sizes import Sizes, sizes_of  # noqa: E402
from rfcalc.tiling.verdict import others_of  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
PATH = RESULTS / "tile_models.jsonl"
#: The package that makes the networks of a source, where it is not a paper.
PACKAGES = {name: name for name in ("torchvision", "timm", "monai", "diffusers", "transformers")}
PACKAGES["segmentation-models-pytorch"] = "segmentation_models_pytorch"


def examined(case: Case, seconds: int) -> dict[str, Any]:
    """One row: the verdict, and whether real numbers agree."""
    made_by = {name: version(name) for name in ("torch", case.source) if name == "torch" or name in PACKAGES}
    row: dict[str, Any] = {"name": case.name, "source": case.source, "input": list(case.shape), "versions": made_by}
    with limited(row, seconds):
        torch.manual_seed(0)
        sizes = sizes_of(case.make().eval(), case.shape, axes=case.axes, training=False)
        found = verdict_at(sizes)
        row |= {"exact": found.exact, "reasons": list(found.reasons), "outputs": len(found.outputs)}
        row["axes"] = {name: axis.to_dict() for name, axis in found.outputs[0].axes.items()}
        row |= _proved(found, sizes) if found.exact else _refuted(found, sizes)
    return row


def _proved(found: Tiling, sizes: Sizes) -> dict[str, Any]:
    proof = prove(found, sizes, device="cpu")
    equal = [item for trial in proof.trials for item in trial.outputs]
    return {
        "agree": proof.agree and not proof.not_shown,
        "difference": max(item.difference for item in equal),
        "bound": max(item.bound for item in equal),
        "sides": [[item.layer, item.axis, item.halo, item.calm, item.least, item.how] for item in proof.sides],
    }


def _refuted(found: Tiling, sizes: Sizes) -> dict[str, Any]:
    """Whether a tile of each output that is said to be impossible differs for real along some axis."""
    seen = [0.0] * len(found.outputs)
    stops = ""
    for axis in sizes.axes:
        try:
            gaps = _gaps(found, sizes, axis)
        except RfcalcError as error:
            stops = f"{axis}: {str(error).splitlines()[0][:200]}"
            gaps = [math.inf] * len(seen)
        seen = [max(pair) for pair in zip(seen, gaps, strict=True)]
    wanted = [gap for gap, output in zip(seen, found.outputs, strict=True) if not output.exact]
    least = min(wanted)
    return {"agree": least > 1e-11, "difference": None if math.isinf(least) else least, "stops": stops}


def _gaps(found: Tiling, sizes: Sizes, axis: str) -> list[float]:
    """The largest difference, relative to the largest value, of what the halves of an image give and the whole."""
    local = [side for output in found.outputs for side in output.axes[axis].local_halo or output.axes[axis].halo or ()]
    step = math.lcm(*[output.axes[axis].align or 1 for output in found.outputs])
    step = step * math.ceil(sizes.extents[axis] / step) if step > 1 else sizes.extents[axis]
    length = step * math.ceil(max([64, *(3 * side for side in local)]) / step)
    others = others_of(sizes, axis)
    passes = Passes(sizes, {**others, axis: 2 * length}, torch.device("cpu"), 0)
    sizes.at({**others, axis: length})
    whole = passes.outputs(passes.values)
    gaps = [0.0] * len(whole)
    for first in (True, False):
        values = []
        for name, value in zip(passes.names, passes.values, strict=True):
            if axis in sizes.ratios.get(name, {}):
                at = next(item for item in found.inputs if item.name == name).axes[axis]
                count = value.shape[at] // 2
                value = value.narrow(at, 0 if first else count, count)
            values.append(value)
        for number, (part, all_) in enumerate(zip(passes.outputs(values), whole, strict=True)):
            gaps[number] = max(gaps[number], _gap(part, all_, first))
    return gaps


def _gap(part: torch.Tensor, whole: torch.Tensor, first: bool) -> float:
    """How far the outer half of a tile is from what the whole has there."""
    moved = [axis for axis in range(whole.ndim) if part.ndim == whole.ndim and part.shape[axis] != whole.shape[axis]]
    if part.ndim != whole.ndim or len(moved) > 1 or not whole.numel():
        return math.inf
    if moved:
        count = part.shape[moved[0]] // 2
        pair = [one.narrow(moved[0], 0 if first else one.shape[moved[0]] - count, count) for one in (part, whole)]
    else:
        pair = [part, whole]
    part, whole = pair[0].double(), pair[1].double()
    return float((part - whole).abs().max()) / (float(whole.abs().max()) or 1.0) if whole.numel() else 0.0


def _line(row: dict[str, Any]) -> str:
    if "error" in row:
        return f"| {row['name']} | {row['source']} | {row['error']} | | | | |"
    said = "yes" if row["agree"] else "NO"
    axes = row["axes"]
    alike = len({json.dumps({**axis, "witness": None}) for axis in axes.values()}) == 1
    shown = list(axes.items())[:1] if alike else list(axes.items())

    def sides(key: str) -> str:
        return "; ".join("-" if axis[key] is None else ", ".join(map(str, axis[key])) for _, axis in shown)

    align = "; ".join("-" if axis["align"] is None else str(axis["align"]) for _, axis in shown)
    scale = "; ".join(axis["scale"] or "-" for _, axis in shown)
    if row["exact"]:
        how = Counter(side[5] or side[4] for side in row["sides"])
        seen = f"equal ({row['difference']:.1e} of {row['bound']:.1e}); " + ", ".join(f"{how[k]} {k}" for k in how)
        return f"| {row['name']} | {row['source']} | exact | {align} | {sides('halo')} | {scale} | {said}: {seen} |"
    why = row["reasons"][0] + (f" and {len(row['reasons']) - 1} more" if len(row["reasons"]) > 1 else "")
    why = why.replace("|", "/")
    seen = row["stops"].replace("|", "/") or f"differs by {row['difference']:.1e}"
    local = sides("local_halo")
    return f"| {row['name']} | {row['source']} | impossible: {why} | {align} | ({local}) | {scale} | {said}: {seen} |"


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table."""
    known = {f"{name} {one}" for row in rows for name, one in row["versions"].items()}
    versions = sorted(known, key=lambda one: (not one.startswith("torch "), one))
    right = [row for row in rows if row.get("agree")]
    exact = [row for row in right if row["exact"]]
    sides = sum(len(row["sides"]) for row in exact)
    head = (
        f"# Dense networks in tiles\n\n`benchmarks/tile_models.py`, {', '.join(versions)}. Of {len(rows)} networks"
        f" {len(right)} agree\nwith real passes in float64: {len(exact)} are exact, their tiles equal to the whole"
        " but for"
        f" rounding, and of all their {sides:,} halos\none pixel less makes a real difference; of"
        f" {len(right) - len(exact)} it is impossible, and a tile of an image differs for real, or does not run.\n\n"
        "Grid, halo and scale are those of the first output, along all axes, or along each where they differ; a halo\n"
        "in parentheses is what is left without the layers to blame.\n\n"
        "| network | source | tiles | grid | halo | scale | agrees |\n|---|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(map(_line, rows)) + "\n"


def stored() -> dict[str, dict[str, Any]]:
    """The rows that are there."""
    if not PATH.exists():
        return {}
    return {row["name"]: row for row in map(json.loads, PATH.read_text(encoding="utf-8").splitlines())}


def written(kept: dict[str, dict[str, Any]], every: list[Case]) -> None:
    """Both files."""
    rows = [kept[one.name] for one in every if one.name in kept]
    PATH.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    PATH.with_suffix(".md").write_text(markdown(rows), encoding="utf-8")


@click.command(help=__doc__)
@click.option("--only", multiple=True, help="Only networks whose names fit the pattern; may be repeated.")
@click.option("--seconds", default=60, show_default=True, help="Longest time of the processor for one network.")
@click.option("--minutes", default=1000.0, show_default=True, help="Begin no network after so many.")
@click.option("--again", is_flag=True, help="Also those that were examined before, and failed.")
def main(only: tuple[str, ...], seconds: int, minutes: float, again: bool) -> None:
    """Examine what is not yet, write the table of all that were."""
    warnings.simplefilter("ignore")
    every = list(cases())
    started = time.monotonic()
    there = stored()
    failed = {name for name, row in there.items() if not row.get("agree")}
    for case in sorted(every, key=lambda one: one.name in there):  # new ones first
        if only and not any(fnmatchcase(case.name, pattern) for pattern in only):
            continue
        if case.name in there and not (again and (only or case.name in failed)):
            continue
        if importlib.util.find_spec(PACKAGES.get(case.source, "torch")) is None:
            continue
        if time.monotonic() - started > 60 * minutes:
            break
        row = examined(case, seconds)
        print(_line(row), row["seconds"], flush=True)
        written({**stored(), case.name: row}, every)
    kept = stored()
    written(kept, every)
    raise SystemExit(any(not row.get("agree") for row in kept.values()))


if __name__ == "__main__":
    main()
