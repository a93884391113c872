"""The cases of onnx's own backend tests: one node each, with inputs and the right outputs."""

from __future__ import annotations

import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rfcalc.sources.onnx.files import File
from rfcalc.sources.onnx.network import Network, network_of


class UnusedError(Exception):
    """A case is about something that is not followed."""


@cache
def cases() -> dict[str, list[Any]]:
    """The cases of single nodes, by the type of the op; not those of functions written out, which take a minute."""
    from onnx.backend.test.case import node

    helper = node.function_testcase_helper
    found: dict[str, list[Any]] = {}
    try:
        node.function_testcase_helper = lambda *args, **kwargs: ([], 0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            every = node.collect_testcases(None)
    finally:
        node.function_testcase_helper = helper
    for case in every:
        found.setdefault(case.model.graph.node[-1].op_type, []).append(case)
    return found


def network(model: Any) -> Network:
    """The network of a model, with its numbers."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return network_of(File(path, "model.onnx"), real=True)


def agree(case: Any) -> None:
    """Run a case. Raises `AssertionError` where an output differs, `UnusedError` for texts and types torch has not."""
    data = [([tensor(x) for x in inputs], outputs) for inputs, outputs in case.data_sets]
    for _, outputs in data:
        for output in outputs:
            tensor(output)
    made = network(case.model)
    for inputs, outputs in data:
        with torch.no_grad():
            given = made(*inputs)
        given = given if isinstance(given, tuple) else (given,)
        assert len(given) >= len(outputs)
        for one, other in zip(given, outputs, strict=False):
            same(one, tensor(other), case)


def same(found: Any, expected: Any, case: Any) -> None:
    """Whether two outputs are the same, up to rounding."""
    if isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other, case)
    elif expected is None:
        assert found is None
    else:
        assert (tuple(found.shape), found.dtype) == (tuple(expected.shape), expected.dtype)
        half = found.dtype in (torch.float16, torch.bfloat16)
        rtol, atol = max(case.rtol, 1e-2 if half else 1e-3), max(case.atol, 1e-2 if half else 1e-5)
        kind = np.complex128 if found.is_complex() else np.float64
        one, other = ((x.detach() if x.is_complex() else x.detach().double()).numpy() for x in (found, expected))
        np.testing.assert_allclose(one.astype(kind), other.astype(kind), rtol=rtol, atol=atol)


def tensor(value: Any) -> Any:
    """An input or output as torch has it."""
    if value is None or isinstance(value, torch.Tensor):
        return value
    if isinstance(value, list):
        return [tensor(item) for item in value]
    if hasattr(value, "data_type"):
        from onnx import numpy_helper

        value = numpy_helper.to_array(value)
    array = np.asarray(value)
    name = array.dtype.name
    if array.dtype.kind in "OSU" or name in ("int2", "uint2", "float4_e2m1fn", "float8_e8m0fnu"):
        raise UnusedError(name)
    plain = np.ascontiguousarray(array).reshape(array.shape)
    if name == "bfloat16":
        return torch.from_numpy(plain.view(np.int16).copy()).view(torch.bfloat16)
    if name.startswith("float8"):
        return torch.from_numpy(plain.view(np.int8).copy()).view(getattr(torch, name))
    if name in ("int4", "uint4"):
        return torch.from_numpy(plain.astype(np.int8 if name == "int4" else np.uint8))
    return torch.from_numpy(plain.copy())
