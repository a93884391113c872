"""The diagram of a network as text for other programs: DOT for Graphviz, and Mermaid."""

from __future__ import annotations

from collections.abc import Iterator

from rfcalc.plotting.network import Diagram, label
from rfcalc.report import text

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:/-+_()")


def dot(found: Diagram) -> str:
    """A digraph in the DOT language."""
    return "\n".join(_dot(found)) + "\n"


def mermaid(found: Diagram) -> str:
    """A flowchart in Mermaid's language."""
    return "\n".join(_mermaid(found)) + "\n"


def _dot(found: Diagram) -> Iterator[str]:
    yield f"digraph {dot_string([found.model])} {{"
    yield '  node [shape=box, fontname="Helvetica"];'
    for item in found.items:
        yield f"  n{item.id} [label={dot_string(label(item))}];"
    for arrow in found.arrows:
        yield f"  n{arrow.tail} -> n{arrow.head}" + (" [style=dashed, constraint=false];" if arrow.back else ";")
    yield "}"


def dot_string(lines: list[str]) -> str:
    r"""A quoted string of DOT: Graphviz would take a backslash for an escape and ``&`` for an entity of HTML."""
    kept = (line.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;") for line in map(text.clean, lines))
    return '"' + "\\n".join(kept) + '"'


def _mermaid(found: Diagram) -> Iterator[str]:
    yield "flowchart TB"
    for item in found.items:
        yield f"  n{item.id}[{mermaid_string(label(item))}]"
    for arrow in found.arrows:
        yield f"  n{arrow.tail} {'-.->' if arrow.back else '-->'} n{arrow.head}"


def mermaid_string(lines: list[str]) -> str:
    """A quoted string of Mermaid, in which all but letters, digits and a few marks are written as their numbers."""
    return '"' + "<br/>".join("".join(map(_mermaid_char, text.clean(line))) for line in lines) + '"'


def _mermaid_char(char: str) -> str:
    return char if char in _PLAIN else f"#{ord(char)};"
