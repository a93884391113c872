"""The cases of onnx's own backend tests, with inputs and the right outputs: of one node each, and of whole networks."""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import replace
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
def of_nodes(expanded: bool = False) -> list[Any]:
    """The cases of single nodes; with ``expanded`` those of functions written out, too, which take a minute."""
    from onnx.backend.test.case import node

    helper = node.function_testcase_helper
    try:
        if not expanded:
            node.function_testcase_helper = lambda *args, **kwargs: ([], 0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return list(node.collect_testcases(None))
    finally:
        node.function_testcase_helper = helper


@cache
def cases() -> dict[str, list[Any]]:
    """The cases of single nodes, by the type of the op."""
    found: dict[str, list[Any]] = {}
    for case in of_nodes():
        found.setdefault(case.model.graph.node[-1].op_type, []).append(case)
    return found


def stored(kind: str) -> list[Any]:
    """The cases whose files onnx ships: "simple", "pytorch-converted" or "pytorch-operator"."""
    import onnx
    from onnx.backend.test.loader import load_model_tests

    found = []
    for case in sorted(load_model_tests(kind=kind), key=lambda case: case.name):
        if case.model is None:
            folder = Path(case.model_dir)
            model = onnx.load(folder / "model.onnx")
            sets = [
                tuple(
                    [_read(path, info.type) for path, info in zip(_numbered(data, what), infos, strict=False)]
                    for what, infos in (("input", model.graph.input), ("output", model.graph.output))
                )
                for data in sorted(folder.glob("test_data_set_*"))
            ]
            case = replace(case, model=model, data_sets=sets)
        found.append(case)
    return found


def _numbered(folder: Path, what: str) -> list[Path]:
    return sorted(folder.glob(f"{what}_*.pb"), key=lambda path: int(path.stem.rpartition("_")[2]))


def _read(path: Path, kind: Any) -> Any:
    import onnx
    from onnx import numpy_helper

    if kind.HasField("sequence_type"):
        sequence = onnx.SequenceProto()
        sequence.ParseFromString(path.read_bytes())
        return numpy_helper.to_list(sequence)
    held = onnx.TensorProto()
    held.ParseFromString(path.read_bytes())
    return numpy_helper.to_array(held)


def light_files() -> dict[str, Path]:
    """The networks of onnx's light zoo, whose weights their nodes fill with one number, by their names."""
    import onnx

    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    return {path.stem.removeprefix("light_"): path for path in sorted(folder.glob("light_*.onnx"))}


def light(name: str) -> Any:
    """A network of the light zoo with the input that onnx's runner makes for it, and the output that it ships."""
    import onnx
    from onnx.backend.test.case.test_case import TestCase
    from onnx.backend.test.runner import Runner

    path = light_files()[name]
    model = onnx.load(path)
    held = {tensor.name for tensor in model.graph.initializer}
    given = [Runner.generate_dummy_data(info) for info in model.graph.input if info.name not in held]
    out = _read(path.with_name(f"{path.stem}_output_0.pb"), model.graph.output[0].type)
    return TestCase(f"light_{name}", name, None, None, model, [(given, [out])], "light", 1e-3, 1e-7)


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
