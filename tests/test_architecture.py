"""Imports go one way, from the command line down to the records, and files stay small."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "rfcalc"
LONGEST = 500

#: What each part of rfcalc may import of rfcalc's others when it runs. ``rfcalc`` is the root with its version.
ALLOWED = {
    "errors": set(),
    "writing": {"errors"},
    "reading": set(),
    "reads": set(),
    "uncollected": set(),
    "recall": set(),
    "progress": set(),
    "graph": {"reads", "errors"},
    "graph_json": {"graph", "reading", "reads", "errors", "writing"},
    "ops": {"graph", "reads", "errors"},
    "analyses": {"graph", "reads", "errors", "recall", "uncollected"},
    "report": {"analyses", "errors", "graph"},
    "zoo": set(),
    "tracing": {"ops", "graph", "reads", "errors", "recall", "uncollected"},
    "sources": {"tracing", "zoo", "graph", "graph_json", "errors", "reading", "writing"},
    "api": {"sources", "analyses", "checking", "comparing", "effective", "errors", "footprint", "graph", "report"}
    | {"streaming", "tiling"},
    "plotting": {"analyses", "graph", "report", "streaming", "tiling", "errors"},
    "page": {"analyses", "graph", "report", "rfcalc"},
    "comparing": {"sources", "analyses", "graph", "progress", "errors"},
    "checking": {"sources", "tracing", "analyses", "ops", "graph", "progress", "report", "errors", "rfcalc"},
    "effective": {"sources", "tracing", "checking", "analyses", "graph", "progress", "report", "errors"},
    "streaming": {"sources", "tracing", "checking", "analyses", "graph", "reads", "errors"},
    "footprint": {
        "sources",
        "tracing",
        "checking",
        "comparing",
        "analyses",
        "graph",
        "report",
        "errors",
        "uncollected",
    },
    "tiling": {"sources", "tracing", "checking", "analyses", "footprint", "graph", "reads", "errors"},
    "sweeping": {"api", "sources", "tracing", "analyses", "errors", "reading", "rfcalc"},
    "baseline": {"analyses", "graph", "errors", "reading", "rfcalc", "streaming", "writing"},
    "conventions": {"analyses", "graph", "errors", "reads"},
    "pytest_plugin": {"api", "analyses", "baseline", "graph", "report", "errors"},
    "cli": {"api", "analyses", "baseline", "checking", "conventions", "effective", "graph", "graph_json", "ops"}
    | {"page", "plotting", "progress", "report", "sources", "sweeping", "writing", "zoo", "errors", "rfcalc"},
    "rfcalc": {"api", "analyses", "ops"},
    "__main__": {"cli"},
}
#: Imports against the direction, where a record shows itself in a notebook.
SHOWS_ITSELF = {
    ("rfcalc.analyses.analysis", "rfcalc.report.records"),
    ("rfcalc.analyses.results", "rfcalc.report.showing"),
    ("rfcalc.comparing.growth", "rfcalc.report.growth"),
    ("rfcalc.comparing.rows", "rfcalc.report.comparison"),
    ("rfcalc.streaming.results", "rfcalc.report.streaming"),
}
WITH_TORCH = {"zoo", "tracing", "sources", "checking", "effective", "footprint", "streaming", "tiling"}


def files() -> list[Path]:
    """Every Python file of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def module(path: Path) -> str:
    """The dotted name of a file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part(name: str) -> str:
    """The part of rfcalc that a dotted name belongs to; ``rfcalc`` for the root."""
    names = name.split(".")
    parts = ALLOWED if len(names) > 1 else ()
    return names[1] if len(names) > 1 and names[1] in parts else "rfcalc"


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """The node and what is in it, but for what only a type checker sees."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not _is_for_types(child):
            yield from _statements(child)


@cache
def imports(path: Path) -> tuple[str, ...]:
    """The modules that a file imports anywhere, also in functions."""
    found = []
    for node in _statements(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [item.name for item in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            home = node.module or ""
            found += [f"{home}.{item.name}" if home == "rfcalc" else home for item in node.names]
    return tuple(dict.fromkeys(found))


def top_level_imports(path: Path) -> set[str]:
    """The first names of what importing the file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found |= {item.name.partition(".")[0] for item in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found


def own_imports(path: Path) -> list[str]:
    """The modules of rfcalc that a file imports."""
    return [name for name in imports(path) if name.split(".")[0] == "rfcalc"]


def test_every_part_is_known() -> None:
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}

    assert parts - {"__init__", "__pycache__"} == set(ALLOWED) - {"rfcalc"}


def test_the_direction_has_no_cycle() -> None:
    left = {name: set(below) for name, below in ALLOWED.items() if name != "rfcalc"}
    for below in left.values():
        below.discard("rfcalc")
    while left:
        lowest = {name for name, below in left.items() if not below & set(left)}
        assert lowest, f"a cycle among {sorted(left)}"
        left = {name: below for name, below in left.items() if name not in lowest}


def test_imports_go_one_way() -> None:
    wrong = [
        f"{name} imports {other}"
        for path in files()
        for name in [module(path)]
        for other in own_imports(path)
        if part(other) not in {part(name), *ALLOWED[part(name)]} and (name, other) not in SHOWS_ITSELF
    ]

    assert wrong == []


def test_torch_stays_where_models_run() -> None:
    users = {module(path) for path in files() if any(name.startswith("torch") for name in imports(path))}

    assert {part(name) for name in users} == WITH_TORCH


def test_reports_see_results_only() -> None:
    used = {other for path in files() if part(module(path)) == "report" for other in own_imports(path)}

    assert {name for name in used if part(name) == "analyses"} == {"rfcalc.analyses.results"}


def test_the_command_line_loads_its_commands_without_the_pipeline() -> None:
    """What a command needs to run it imports when it runs."""
    eager = set()
    for path in files():
        if part(module(path)) == "cli":
            eager |= top_level_imports(path) & {"numpy", "networkx", "torch", "tabulate"}

    assert eager == set()


def test_files_stay_small() -> None:
    lengths = {module(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files()}

    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_the_parser_sees_what_it_should(tmp_path: Path) -> None:
    """The checks above would pass on a parser that found nothing."""
    source = (
        "from typing import TYPE_CHECKING\nfrom rfcalc import graph\nimport rfcalc.ops.conv\n"
        "if TYPE_CHECKING:\n    import torch\ndef f():\n    from rfcalc.report import text\n    import torch.nn\n"
    )
    path = tmp_path / "module.py"
    path.write_text(source, encoding="utf-8")

    assert imports(path) == ("typing", "rfcalc.graph", "rfcalc.ops.conv", "rfcalc.report", "torch.nn")
    assert [part(name) for name in own_imports(path)] == ["graph", "ops", "report"]
    assert part("rfcalc.__version__") == part("rfcalc") == "rfcalc"
