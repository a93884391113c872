"""Models in a project's source, found by reading it: nothing of it runs."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

from rfcalc.reading import read_bytes

_SKIPPED = frozenset({"node_modules", "site-packages", "build", "dist", "tests", "test"})
_MOST_FILES = 5000


def models(folder: Path) -> list[str]:
    """``path/file.py:Class`` of each module class that can be made without arguments and is no part of another."""
    found: dict[str, ast.ClassDef] = {}
    for path in _files(folder):
        for node in _classes(path):
            found[f"{path.relative_to(folder).as_posix()}:{node.name}"] = node
    parts = {name for node in found.values() for name in _called(node)}
    return [spec for spec, node in found.items() if node.name not in parts and _makes_itself(node)]


def _files(folder: Path) -> Iterator[Path]:
    count = 0
    for where, folders, files in os.walk(folder):
        here = Path(where)
        kept = (name for name in sorted(folders) if not name.startswith(".") and name not in _SKIPPED)
        folders[:] = [name for name in kept if not (here / name / "pyvenv.cfg").exists()]
        for name in sorted(files):
            if name.endswith(".py"):
                count += 1
                if count > _MOST_FILES:
                    return
                yield here / name


def _classes(path: Path) -> Iterator[ast.ClassDef]:
    """The public classes of a file that are torch modules by the names of their bases, and have a forward."""
    try:
        tree = ast.parse(read_bytes(path))
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
            if any(base.endswith("Module") for base in bases) and _method(node, "forward") is not None:
                yield node


def _method(node: ast.ClassDef, name: str) -> ast.FunctionDef | None:
    return next((item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == name), None)


def _makes_itself(node: ast.ClassDef) -> bool:
    """Whether the class can be called without arguments."""
    init = _method(node, "__init__")
    if init is None:
        return True
    args = init.args
    needed = len(args.posonlyargs) + len(args.args) - 1 - len(args.defaults)
    return needed <= 0 and None not in args.kw_defaults


def _called(node: ast.ClassDef) -> Iterator[str]:
    for item in ast.walk(node):
        if isinstance(item, ast.Call):
            yield ast.unparse(item.func).rpartition(".")[2]
