"""Importing is free: what needs no model needs no torch."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from rfcalc import graph_json
from rfcalc.api import layer_graph
from rfcalc.cli import cli

ROOT = Path(__file__).parent.parent

#: Packages of which every module can be had without torch, and single modules besides.
WITHOUT_TORCH = (
    *("rfcalc.analyses", "rfcalc.baseline", "rfcalc.cli", "rfcalc.comparing", "rfcalc.conventions", "rfcalc.ops"),
    *("rfcalc.page", "rfcalc.plotting", "rfcalc.report", "rfcalc.sweeping"),
)
MODULES = (
    "rfcalc",
    "rfcalc.api",
    "rfcalc.errors",
    "rfcalc.graph",
    "rfcalc.pytest_plugin",
    "rfcalc.reads",
    "rfcalc.sources",
    "rfcalc.zoo",
)


def run(code: str, **environment: str) -> str:
    """What a fresh process prints that runs the code and then finds no torch among its modules."""
    code = f"import sys\n{code}\nassert 'torch' not in sys.modules, 'torch was imported'"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("_RFCALC")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**kept, **environment},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def modules_of(package: str) -> list[str]:
    """The package and every module in it."""
    path = ROOT.joinpath(*package.split("."))
    return [package, *(item.name for item in pkgutil.walk_packages([str(path)], f"{package}."))]


def called(*args: str) -> str:
    """Code that runs the command line and comes back."""
    call = f"cli.main({list(args)!r}, prog_name='rfcalc')"
    return f"from rfcalc.cli import cli\ntry:\n    {call}\nexcept SystemExit as end:\n    assert not end.code, end.code"


def test_import_rfcalc_brings_in_nothing() -> None:
    heavy = "{'click', 'networkx', 'numpy', 'tabulate', 'torch'}"

    assert run(f"import rfcalc\nprint({heavy} & set(sys.modules))") == "set()\n"


def test_an_answer_loads_what_it_needs() -> None:
    code = called("vgg16", "--layer", "3")

    printed = run(f"{code}\nprint(sorted(name for name in sys.modules if '.' not in name))")

    loaded = printed.splitlines()[-1]
    assert "'numpy'" in loaded
    assert [name for name in ("networkx", "tabulate", "torch", "xml", "html", "csv") if f"'{name}'" in loaded] == []


def test_a_command_loads_no_other() -> None:
    printed = run(f"{called('vgg16', '--layer', '3')}\nprint([name for name in sys.modules if 'rfcalc' in name])")

    loaded = printed.splitlines()[-1]
    assert "'rfcalc.cli.show'" in loaded
    assert "'rfcalc.report.formats.table'" in loaded
    others = ("comparing", "conventions", "baseline", "sweeping", "checking", "ops", "tracing")
    assert [part for part in others if f"'rfcalc.{part}" in loaded] == []
    assert [part for part in ("compare", "check", "sweep") if f"'rfcalc.cli.{part}'" in loaded] == []
    assert [part for part in ("html", "junit", "latex") if f"'rfcalc.report.formats.{part}'" in loaded] == []


def test_the_names_of_rfcalc_are_there_without_torch() -> None:
    run("import rfcalc\nfor name in rfcalc.__all__:\n    getattr(rfcalc, name)")


@pytest.mark.parametrize("package", [*WITHOUT_TORCH, *MODULES])
def test_packages_without_torch(package: str) -> None:
    names = modules_of(package) if package in WITHOUT_TORCH else [package]

    assert names
    run(f"from importlib import import_module\nfor name in {names!r}:\n    import_module(name)")


def test_help_and_lists_need_no_torch() -> None:
    calls = [("--help",), ("--version",), ("list",), ("ops",), *((name, "--help") for name in cli.names)]

    printed = run("\n".join(called(*args) for args in calls))

    assert printed.count("Usage: rfcalc") == 1 + len(cli.names)


def test_completion_needs_no_torch() -> None:
    words = {"_RFCALC_COMPLETE": "bash_complete", "COMP_WORDS": "rfcalc resnet5", "COMP_CWORD": "1"}

    assert "plain,resnet50\n" in run(called(), **words)


def test_a_saved_graph_needs_no_torch(tmp_path: Path) -> None:
    saved = tmp_path / "net.json"
    graph_json.save(layer_graph("lenet5"), saved)

    assert "416,520" in run(called(str(saved)))
    assert "14x14" in run(called(str(saved), "--layer", "C3"))
