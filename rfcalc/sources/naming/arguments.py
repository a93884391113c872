"""Keyword arguments in a model's name: ``package.module:attr(depth=50)``, ``torchvision:vit_h_14(image_size=518)``."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Sequence
from typing import Any

from rfcalc.errors import UsageError


def place(spec: str) -> tuple[str, str, str]:
    """``somewhere``, ``:`` and ``attribute(arguments)``; the first two are empty where there is no colon."""
    head, bracket, rest = spec.partition("(")
    where, colon, attribute = head.rpartition(":")
    return where, colon, attribute + bracket + rest


def arguments(call: str, spec: str) -> tuple[str, dict[str, Any]]:
    """The name and the literal keyword arguments of ``attr(depth=50)``."""
    if "(" not in call:
        return call, {}
    try:
        tree = ast.parse(call, mode="eval").body
        if not isinstance(tree, ast.Call) or tree.args:
            raise ValueError
        found = {item.arg: ast.literal_eval(item.value) for item in tree.keywords if item.arg is not None}
    except (SyntaxError, ValueError):
        raise UsageError(
            f"{spec}: expected literal keyword arguments, attr(depth=50), found {call[call.index('(') :]!r}"
        ) from None
    return ast.unparse(tree.func), found


def unknown(package: str, name: str, known: Sequence[str]) -> UsageError:
    """The error for a model that a package does not have, with the nearest names."""
    near = difflib.get_close_matches(name, known, 3)
    return UsageError(f"{package} has no model {name!r}; nearest: {', '.join(near) or 'none'}")
