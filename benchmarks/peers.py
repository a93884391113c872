"""The conventions of `rfcalc explain` against the tools themselves, to the unit.

    python benchmarks/peers.py [--tool NAME]... [--model SPEC]... [--save]

runs every counter that is installed (extra ``peers``; thop and ultralytics-thop share a module, so they need an
environment each) on torchvision's models and on the small networks of ``tests/conventions/nets.py``, and compares its
number with that of the convention. ``--save`` merges what was run into ``benchmarks/results/peers.json``, rewrites
``peers.md`` beside it, and puts the tools' numbers into ``tests/data/peers.json``, where tests read them that have no
tools. Exits with 1 if a number differs that the convention does not except.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
import torchvision  # noqa: E402
from tabulate import tabulate  # noqa: E402
from torch import nn  # noqa: E402

from rfcalc.api import layer_graph  # noqa: E402
from rfcalc.conventions import CONVENTIONS, count  # noqa: E402
from tests.conventions.nets import EXCEPTED, NETS, net  # noqa: E402
from tests.conventions.tools import TOOLS, Tool, quiet  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "peers.json"
NUMBERS = ROOT / "tests" / "data" / "peers.json"

#: torchvision's models by the length of an image's side.
_BY_SIDE = {
    224: """alexnet vgg16 googlenet resnet50 densenet121 squeezenet1_1 mobilenet_v2 mobilenet_v3_large mnasnet1_0
        shufflenet_v2_x1_0 efficientnet_b0 regnet_y_400mf convnext_tiny swin_t maxvit_t vit_b_16""",
    256: "swin_v2_t",
    299: "inception_v3",
    520: "fcn_resnet50 deeplabv3_resnet50 lraspp_mobilenet_v3_large",
}
MODELS = {name: side for side, models in _BY_SIDE.items() for name in models.split()}
SPECS = (*(f"torchvision:{name}" for name in MODELS), *(f"net:{name}" for name in NETS))


def build(spec: str) -> tuple[nn.Module, torch.Tensor]:
    """A fresh model in inference mode, and an input."""
    kind, _, name = spec.partition(":")
    if kind == "net":
        return net(name)
    without: dict[str, Any] = {"weights": None}
    if MODELS[name] == 520:
        without["weights_backbone"] = None
    torch.manual_seed(0)
    return torchvision.models.get_model(name, **without).eval(), torch.rand(1, 3, MODELS[name], MODELS[name])


def measure(spec: str, tools: list[Tool]) -> dict[str, Any]:
    """What rfcalc counts for a model, what each tool printed, and what the conventions say that it prints."""
    with quiet():
        model, x = build(spec)
        graph = layer_graph(model, (x,))
    row: dict[str, Any] = {"input": list(x.shape), "rfcalc": 0, "printed": {}, "explained": {}}
    for tool in tools:
        tally = count(graph, tool.name)
        row["rfcalc"] = tally.base
        if tally.refused:
            continue
        with quiet():
            model, x = build(spec)
            row["printed"][tool.name] = tool.run(model, [x])
        row["explained"][tool.name] = tally.printed
    return row


def differing(spec: str, row: dict[str, Any]) -> list[tuple[str, str]]:
    """The tools whose number is not the one explained, and what is to be said of each."""
    found = []
    for tool, printed in row["printed"].items():
        if printed != row["explained"][tool]:
            why = f": {CONVENTIONS[tool].caveat}" if (spec, tool) in EXCEPTED else ""
            found.append((tool, f"{tool} prints {printed:,}, explained {row['explained'][tool]:,}{why}"))
    return found


def save(rows: dict[str, dict[str, Any]], tools: list[Tool]) -> None:
    """Merge the rows into the results, and write the table and the numbers for the tests."""
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"tools": {}, "models": {}}
    for spec, row in rows.items():
        before = known["models"].get(spec, {"printed": {}, "explained": {}})
        for part in ("printed", "explained"):
            row[part] = {
                name: {**before[part], **row[part]}.get(name) for name in TOOLS if name in {**before[part], **row[part]}
            }
        known["models"][spec] = row
    for tool in tools:
        known["tools"][tool.name] = {
            "version": tool.version,
            "call": CONVENTIONS[tool.name].call,
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
        }
    known = {
        "about": "what the tools printed (python benchmarks/peers.py --save), and what rfcalc's conventions say",
        "environment": {
            "python": platform.python_version(),
            "device": "CPU",
        },
        "tools": {name: known["tools"][name] for name in TOOLS if name in known["tools"]},
        "models": {spec: known["models"][spec] for spec in SPECS if spec in known["models"]},
    }
    RESULTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    RESULTS.with_suffix(".md").write_text(_markdown(known), encoding="utf-8")
    numbers = {
        **known,
        "about": "numbers that counters of multiply-adds printed on a CPU, each in its own unit",
        "source": "python benchmarks/peers.py --save, with the tools in the versions named",
        "models": {spec: {"input": row["input"], "printed": row["printed"]} for spec, row in known["models"].items()},
    }
    NUMBERS.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


def _markdown(known: dict[str, Any]) -> str:
    names = list(known["tools"])
    cells = []
    for spec, row in known["models"].items():
        line = [spec, f"{row['rfcalc']:,}"]
        for name in names:
            printed = row["printed"].get(name)
            same = printed == row["explained"].get(name)
            line.append("-" if printed is None else f"{printed:,}" + ("" if same else " (differs)"))
        cells.append(line)
    compared = sum(len(row["printed"]) for row in known["models"].values())
    equal = sum(
        printed == row["explained"][name]
        for row in known["models"].values()
        for name, printed in row["printed"].items()
    )
    versions = "\n".join(
        f"- {name} {tool['version']} on torch {tool['torch']}: `{tool['call']}`"
        for name, tool in known["tools"].items()
    )
    where = ", ".join(f"{name} {value}" for name, value in known["environment"].items())
    table = tabulate(cells, ["model", "rfcalc", *names], tablefmt="github", disable_numparse=True)
    return (
        "# What other counters print\n\n"
        f"{equal} of {compared} numbers are, to the unit, those that `rfcalc explain` derives. Written by\n"
        f"`python benchmarks/peers.py --save` ({where}).\n\n{versions}\n\n"
        "Each number is in its tool's own unit (FlopCounterMode prints 2 for each multiply-add); torchprofile's is\n"
        "without the products of sizes in Python code, which it counts too.\n\n" + table + "\n"
    )


@click.command()
@click.option("--tool", "names", multiple=True, type=click.Choice(list(TOOLS)), help="Only this tool.")
@click.option("--model", "specs", multiple=True, type=click.Choice(SPECS), help="Only this model.")
@click.option("--save", "keep", is_flag=True, help="Merge into the results.")
def main(names: tuple[str, ...], specs: tuple[str, ...], keep: bool) -> None:
    """Run the tools, compare, and exit with 1 if a number differs."""
    tools = [tool for tool in TOOLS.values() if tool.fits and (not names or tool.name in names)]
    for tool in TOOLS.values():
        if not tool.fits:
            print(f"{tool.name}: {tool.version or 'not'} installed, {' or '.join(tool.versions)} is described")
    rows = {}
    wrong = excepted = compared = 0
    for spec in specs or SPECS:
        rows[spec] = measure(spec, tools)
        found = differing(spec, rows[spec])
        compared += len(rows[spec]["printed"])
        excepted += sum((spec, tool) in EXCEPTED for tool, _ in found)
        wrong += sum((spec, tool) not in EXCEPTED for tool, _ in found)
        print(
            f"{spec}: {len(rows[spec]['printed']) - len(found)} of {len(rows[spec]['printed'])} equal",
            *(text for _, text in found),
            sep="\n  ",
        )
    print(f"{compared} numbers compared, {excepted} differ as their convention says, {wrong} differ")
    if keep:
        save(rows, tools)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
