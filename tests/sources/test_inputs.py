"""What a model takes: the usual inputs of a source, other shapes for them, and inputs of models that say nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from rfcalc.errors import UsageError
from rfcalc.sources import traced
from rfcalc.sources.loaded import Expected, Loaded


class Pair(nn.Module):
    """Takes two images and looks at them by different kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 2, 3), nn.Conv2d(1, 2, 5, padding=1)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return self.left(first) + self.right(second)


class Images(nn.Module):
    """Takes a list of images, of whatever sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, images: list[torch.Tensor]) -> list[torch.Tensor]:
        return [self.conv(image[None]) for image in images]


def pair(**changes: Any) -> Loaded:
    inputs = (Expected("a", (3, 8, 8)), Expected("b", (1, 8, 8)))
    return Loaded(Pair(), "pair", **{"inputs": inputs, **changes})


def images() -> Loaded:
    expected = Expected("image", (3, 9, None), batched=False)
    return Loaded(Images(), "images", (expected,), lambda tensors: ((list(tensors),), {}))


def shapes(loaded: Loaded, inputs: Any) -> dict[str, tuple[int, ...]]:
    graph, _, _ = traced(loaded, inputs, axes=None, training=False)
    return {item.name: item.shape for item in graph.inputs}


@pytest.mark.parametrize(
    ("loaded", "inputs", "expected"),
    [
        (pair(), None, {"a": (1, 3, 8, 8), "b": (1, 1, 8, 8)}),
        (pair(), {"b": (1, 8, 10), "a": (3, 8, 10)}, {"a": (1, 3, 8, 10), "b": (1, 1, 8, 10)}),
        (pair(), {"a": (2, 3, 8, 8), "b": (2, 1, 8, 8)}, {"a": (2, 3, 8, 8), "b": (2, 1, 8, 8)}),
        (pair(), {"first": (3, 8, 8), "second": (1, 8, 8)}, {"first": (1, 3, 8, 8), "second": (1, 1, 8, 8)}),
        (images(), (3, 9, 7), {"image": (3, 9, 7)}),
        (images(), (2, 3, 9, 7), {"image.0": (3, 9, 7), "image.1": (3, 9, 7)}),
        (images(), {"image": (3, 5, 5)}, {"image": (3, 5, 5)}),
    ],
)
def test_shapes_of_a_model_that_says_what_it_takes(loaded: Loaded, inputs: Any, expected: Any) -> None:
    assert shapes(loaded, inputs) == expected


def test_one_shape_goes_to_every_input() -> None:
    same = (Expected("a", (3, 8, 8)), Expected("b", (3, 8, 8)))
    model = Pair()
    model.right = nn.Conv2d(3, 2, 5, padding=1)

    found = shapes(Loaded(model, "pair", same), (3, 6, 6))

    assert found == {"a": (1, 3, 6, 6), "b": (1, 3, 6, 6)}


def test_the_sources_own_example_is_the_default() -> None:
    example = ((torch.rand(1, 3, 6, 6), torch.rand(1, 1, 6, 6)), {})

    assert shapes(pair(inputs=(), example=example), None) == {"first": (1, 3, 6, 6), "second": (1, 1, 6, 6)}


def test_a_dtype_is_that_of_the_source() -> None:
    ids = Loaded(nn.Embedding(10, 4), "ids", (Expected("ids", (7,), "int32"),))
    graph, _, _ = traced(ids, None, axes=None, training=False)

    (found,) = graph.inputs
    assert (found.name, found.shape, found.dtype) == ("ids", (1, 7), "int32")


@pytest.mark.parametrize(
    ("loaded", "inputs", "words"),
    [
        (images(), None, "images leaves the size of its input image open (3x9x?): give it, --input image=3x9x224"),
        (images(), (9, 7), "images takes an input like 3x9x?, with or without batch before it; 9x7 has 2 numbers"),
        (images(), (3, 0, 7), "input 3x0x7 has an extent below 1"),
        (pair(), {"c": (3, 8, 8)}, "pair has no input 'c'; it takes a, b"),
        (Loaded(Pair(), "pair"), None, "pair has no default input: give its shape, --input 3x224x224"),
    ],
)
def test_refused(loaded: Loaded, inputs: Any, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        shapes(loaded, inputs)

    assert str(refused.value) == words


def test_a_sample_of_a_list_has_no_batch() -> None:
    graph, _, _ = traced(images(), (2, 3, 9, 7), axes=None, training=False)

    assert [item.batch for item in graph.inputs] == [None, None]
    graph, _, _ = traced(pair(), {"a": (2, 3, 8, 8), "b": (2, 1, 8, 8)}, axes=None, training=False)
    assert [item.batch for item in graph.inputs] == [2, 2]
