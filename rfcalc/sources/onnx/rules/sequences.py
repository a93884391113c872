"""Lists of tensors, and values that may be missing."""

from __future__ import annotations

import torch

from rfcalc.sources.onnx.rules import Op, Value, ints, one, rule

T = torch.Tensor


@rule("SequenceEmpty")
def sequence_empty(op: Op) -> list[T]:
    """A list of nothing."""
    return []


@rule("SequenceConstruct")
def sequence_construct(op: Op, *elements: T) -> list[T]:
    """A list."""
    return list(elements)


@rule("SequenceInsert")
def sequence_insert(op: Op, sequence: list[T], element: T, position: T | None = None) -> list[T]:
    """A list with one more, at the end or elsewhere."""
    found = list(sequence)
    found.insert(len(found) if position is None else int(one(position)), element)
    return found


@rule("SequenceErase")
def sequence_erase(op: Op, sequence: list[T], position: T | None = None) -> list[T]:
    """A list with one less, at the end or elsewhere."""
    found = list(sequence)
    del found[-1 if position is None else int(one(position))]
    return found


@rule("SequenceAt")
def sequence_at(op: Op, sequence: list[T], position: T) -> T:
    """One of a list."""
    return sequence[int(one(position))]


@rule("SequenceLength")
def sequence_length(op: Op, sequence: list[T]) -> T:
    """How many there are."""
    return torch.tensor(len(sequence), dtype=torch.int64)


@rule("SplitToSequence")
def split_to_sequence(op: Op, x: T, sizes: T | None = None) -> list[T]:
    """Parts along an axis as a list; of one element each without sizes."""
    axis, keep = op.get("axis", 0), op.get("keepdims", 1)
    if sizes is None:
        parts = torch.split(x, 1, axis)
        return list(parts) if keep else [part.squeeze(axis) for part in parts]
    given = ints(sizes)
    return list(torch.split(x, given if sizes.ndim else given[0], axis))


@rule("ConcatFromSequence")
def concat_from_sequence(op: Op, sequence: list[T]) -> T:
    """The list as one tensor, along an axis or a new one."""
    axis = op.get("axis")
    return torch.stack(sequence, axis) if op.get("new_axis", 0) else torch.cat(sequence, axis)


@rule("Optional")
def optional(op: Op, x: Value = None) -> Value:
    """A value, or none."""
    return x


@rule("OptionalHasElement")
def optional_has_element(op: Op, x: Value = None) -> T:
    """Whether there is a value."""
    return torch.tensor(x is not None)


@rule("OptionalGetElement")
def optional_get_element(op: Op, x: Value) -> Value:
    """The value that is there."""
    if x is None:
        raise ValueError("the element of an optional value that is empty")
    return x
