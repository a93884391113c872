"""Files of Python code, read and not run: which models they have, and what they import."""

from __future__ import annotations

import ast
from pathlib import Path

_MOST = 8  #: names that an error lists


def models_of(path: Path) -> list[str]:
    """The public classes of a file that are torch modules by their bases or have a forward; else its functions."""
    tree = _parsed(path)
    classes: dict[str, bool] = {}
    functions = []
    for node in tree.body if tree is not None else ():
        if isinstance(node, ast.ClassDef):
            bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
            derives = any(base.endswith("Module") or classes.get(base, False) for base in bases)
            classes[node.name] = derives or any(getattr(item, "name", "") == "forward" for item in node.body)
        elif isinstance(node, ast.FunctionDef):
            functions.append(node.name)
    found = [name for name, is_model in classes.items() if is_model and not name.startswith("_")]
    return found or [name for name in functions if not name.startswith("_")]


def offered(path: Path, written: str) -> str:
    """What to name in a file, as an error ends: ``; it has net.py:Net and net.py:Block``."""
    names = [f"{written}:{name}" for name in models_of(path)]
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return f"; it has {', '.join(names[:_MOST])}{more}" if names else ""


def relative_levels(path: Path) -> int:
    """How many packages up the relative imports of a file reach, 0 without any."""
    tree = _parsed(path)
    nodes = ast.walk(tree) if tree is not None else ()
    return max((node.level for node in nodes if isinstance(node, ast.ImportFrom)), default=0)


def notebook(where: str, spec: str) -> str:
    """What to do with a notebook."""
    name = Path(where).stem
    return (
        f"{spec}: a notebook is no module; in it, rfcalc.summary(model, input_size) does the same, and"
        f" jupyter nbconvert --to script {where} makes {name}.py of it, for rfcalc {name}.py:ATTRIBUTE"
    )


def _parsed(path: Path) -> ast.Module | None:
    try:
        return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None
