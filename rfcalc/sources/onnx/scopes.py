"""Which module call a node belongs to, by what exporters write down of it.

torch's newer exporter notes the names and classes of the modules; the older one names nodes after them,
``/layer1/layer1.0/conv1/Conv``. A node of any other name is a layer of that name.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Any

from rfcalc.sources.calling import Place

_NAMES, _CLASSES = "pkg.torch.onnx.name_scopes", "pkg.torch.onnx.class_hierarchy"


def place_of(node: Any) -> Place | None:
    """Where a node runs; None where nothing tells."""
    noted = {entry.key: entry.value for entry in getattr(node, "metadata_props", ())}
    names, classes = _listed(noted.get(_NAMES)), _listed(noted.get(_CLASSES))
    if names and len(names) == len(classes):
        inner = [(name, kind) for name, kind in zip(names[:-1], classes[:-1], strict=True) if name]
        return Place(tuple(name for name, _ in inner), tuple(kind for _, kind in inner))
    if not node.name:
        return None
    parts = node.name.split("/")
    if not parts[0] and len(parts) > 1 and re.fullmatch(rf"{re.escape(node.op_type)}(_\d+)?", parts[-1]):
        around = _joined(parts[1:-1])
        return Place(around, ("",) * len(around))
    return Place((node.name,), (node.op_type,))


def root_class(nodes: Sequence[Any]) -> str:
    """The full name of the class of the whole model, "" where nothing tells."""
    for node in nodes:
        noted = {entry.key: entry.value for entry in getattr(node, "metadata_props", ())}
        names, classes = _listed(noted.get(_NAMES)), _listed(noted.get(_CLASSES))
        if len(names) > 1 and len(names) == len(classes) and not names[0]:
            return classes[0]
    return ""


def _listed(text: str | None) -> list[str]:
    try:
        found = ast.literal_eval(text) if text else []
    except (ValueError, SyntaxError):
        return []
    return [str(item) for item in found] if isinstance(found, list) else []


def _joined(parts: Sequence[str]) -> tuple[str, ...]:
    """Full names of nested modules: ``layer1``, ``layer1.0``, ``layer1.0.conv1`` of layer1/layer1.0/conv1.

    Where a module's own name is a number, the exporter puts that of the one around it before.
    """
    names: list[str] = []
    before = ""
    for part in parts:
        own = part.removeprefix(f"{before}.") if before and part.startswith(f"{before}.") else part
        names.append(f"{names[-1]}.{own}" if names else own)
        before = part
    return tuple(names)
