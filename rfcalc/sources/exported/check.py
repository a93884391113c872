"""What the description of an exported program may contain. torch's loader evaluates the sizes in it as Python."""

from __future__ import annotations

import ast
import json
import zipfile
from collections.abc import Iterator
from typing import Any

from rfcalc.errors import LoadError
from rfcalc.reading import read_part
from rfcalc.sources.files.archives import is_description

#: What an expression over sizes is made of: numbers, symbols, operators, and functions of sympy's and torch's.
_PARTS = (
    *(ast.Expression, ast.Name, ast.Load, ast.Constant, ast.Call, ast.keyword, ast.Tuple),
    *(ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare),
    *(ast.operator, ast.unaryop, ast.boolop, ast.cmpop),
)


def check(spec: str) -> None:
    """Raises `LoadError` for a program whose sizes are not plain expressions, before torch sees them."""
    with zipfile.ZipFile(spec) as archive:
        for name in filter(is_description, archive.namelist()):
            try:
                found = [text for text in _expressions(json.loads(read_part(archive, name))) if not _is_plain(text)]
            except (ValueError, RecursionError):  # no JSON: torch will say so
                continue
            if found:
                raise LoadError(
                    f"{spec} has a size that is no plain expression, {found[0][:60]!r}: loading it could run any code;"
                    " name the code that makes the model (file.py:attr)"
                )


def _expressions(data: Any) -> Iterator[str]:
    """The texts that stand for sizes: under ``expr_str``, and the keys of what says how large they may be."""
    if isinstance(data, dict):
        for key, value in data.items():
            if key == "expr_str" and isinstance(value, str):
                yield value
            elif key == "range_constraints" and isinstance(value, dict):
                yield from value
            yield from _expressions(value)
    elif isinstance(data, list):
        for item in data:
            yield from _expressions(item)


def _is_plain(text: str) -> bool:
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(isinstance(part, _PARTS) and _is_harmless(part) for part in ast.walk(tree))


def _is_harmless(part: ast.AST) -> bool:
    """Functions have names like classes, as in ``Max(Integer(1), Symbol('s0'))``; a text is one name."""
    if isinstance(part, ast.Call):
        return isinstance(part.func, ast.Name) and part.func.id[:1].isupper()
    if isinstance(part, ast.Constant):
        return not isinstance(part.value, bytes | str) or (isinstance(part.value, str) and part.value.isidentifier())
    return True
