"""Einsums as they stand in a graph: their labels, and the products of pairs that they are worked out by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import NamedTuple


class Labels(NamedTuple):
    """The labels of each operand and of the result, and the extent of each."""

    terms: tuple[str, ...]
    out: str
    extent: Mapping[str, int]


def labels_of(equation: str, operands: Sequence[Sequence[int]]) -> Labels | None:
    """The labels of an equation over operands of these shapes; None with dots, and where the result is not written."""
    left, arrow, out = equation.partition("->")
    terms = tuple(left.split(","))
    if not arrow or "." in equation or list(map(len, terms)) != list(map(len, operands)):
        return None
    extent: dict[str, int] = {}
    for term, shape in zip(terms, operands, strict=True):
        for label, size in zip(term, shape, strict=True):
            extent[label] = max(size, extent.get(label, size))
    return Labels(terms, out, extent)


def contractions(equation: str, operands: Sequence[Sequence[int]]) -> list[int] | None:
    """The multiply-adds of each pair, from left to right; an index is summed as soon as nothing later has it."""
    found = labels_of(equation, operands)
    if found is None:
        return None
    steps, current = [], set(found.terms[0])
    for at, term in enumerate(found.terms[1:], start=1):
        joint = current | set(term)
        steps.append(prod(found.extent[label] for label in joint))
        current = joint & set(found.out).union(*found.terms[at + 1 :])
    return steps


__all__ = ["Labels", "contractions", "labels_of"]
