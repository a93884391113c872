"""The cases that onnx ships for its backends, by values on the CPU: single nodes, functions written out, networks.

    python benchmarks/onnx_backend.py        # needs rfcalc[onnx]; some minutes

writes benchmarks/results/onnx_backend.json and .md: how many cases of each kind give the numbers that onnx says, and
each case that does not, with the reason. The networks of the light zoo hold the same number in all of a weight, so that
their outputs say little; where onnxruntime is installed they are run on random weights as well, and held against it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from rfcalc.errors import LoadError  # noqa: E402
from rfcalc.sources.onnx.rules import op_types  # noqa: E402
from tests.sources import onnx_cases  # noqa: E402
from tests.sources.test_onnx_ops import NOT  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "onnx_backend"
_FOLLOWED = {"onnx", "", "ai.onnx"}


def _verdict(case: Any) -> str:
    """Empty where all outputs are as they should be, else why not."""
    name = case.name.removesuffix("_expanded")
    if case.name in NOT or name in NOT:
        return f"not followed: {NOT.get(case.name, NOT.get(name))}"
    try:
        onnx_cases.agree(case)
    except onnx_cases.UnusedError as error:
        kind = "texts" if str(error) in ("object", "str_") or str(error).startswith("str") else str(error)
        return f"not followed: numbers of type {kind}" if kind != "texts" else "not followed: texts"
    except LoadError as error:
        text = " ".join(str(error).split())
        if "there is no rule for the op" in text:
            return f"no rule: {text.partition('for the op ')[2].partition(' (')[0]}"
        return f"refused: {text[:200]}"
    except Exception as error:
        return f"differs: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return ""


def _with_random_weights(path: Path) -> Any:
    """The network, its filled weights as initializers of random numbers that keep what goes through it in range."""
    model = onnx.load(path)
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    readers: dict[str, list[tuple[str, int]]] = {}
    for node in model.graph.node:
        for at, name in enumerate(node.input):
            readers.setdefault(name, []).append((node.op_type, at))
    draw = np.random.default_rng(0)
    kept = []
    for node in model.graph.node:
        if node.op_type != "ConstantOfShape":
            kept.append(node)
            continue
        shape = tuple(held[node.input[0]].tolist())
        fan = max(1, int(np.prod(shape[1:])))
        numbers = draw.standard_normal(shape).astype(np.float32) * np.float32((2 / fan) ** 0.5)
        if ("BatchNormalization", 4) in readers.get(node.output[0], ()):
            numbers = np.abs(numbers) + 1
        model.graph.initializer.append(onnx.numpy_helper.from_array(numbers, node.output[0]))
    if kept[-1].op_type == "Softmax":  # it would leave nothing but the largest
        model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info(kept.pop().input[0], 1, None))
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model


def from_onnxruntime(name: str) -> float | None:
    """How far outputs are from onnxruntime's on random weights, of the largest; None where that is not installed."""
    try:
        import onnxruntime
    except ImportError:
        return None
    case, model = onnx_cases.light(name), _with_random_weights(onnx_cases.light_files()[name])
    (given,), _ = case.data_sets[0]
    with torch.no_grad():
        found = onnx_cases.network(model)(torch.from_numpy(given)).numpy()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        options: Any = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        (expected,) = session.run(None, {session.get_inputs()[0].name: given})
    assert len(np.unique(expected)) > 100
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def measure() -> dict[str, Any]:
    """Every case, by kind."""
    nodes = onnx_cases.of_nodes(expanded=True)
    kinds = {
        "single nodes": [case for case in nodes if not case.name.endswith("_expanded")],
        "functions written out": [case for case in nodes if case.name.endswith("_expanded")],
        **{f"files, {kind}": onnx_cases.stored(kind) for kind in ("simple", "pytorch-converted", "pytorch-operator")},
        "light zoo": [onnx_cases.light(name) for name in onnx_cases.light_files()],
    }
    found: dict[str, Any] = {"kinds": {}, "types": {}, "others": [], "light": {}}
    for kind, cases in kinds.items():
        rows = [(case, _verdict(case)) for case in cases]
        found["kinds"][kind] = [len(rows), sum(not verdict for _, verdict in rows)]
        found["others"] += [(kind, case.name, verdict) for case, verdict in rows if verdict]
        if kind == "single nodes":
            equal = Counter(
                case.model.graph.node[-1].op_type
                for case, verdict in rows
                if not verdict and case.model.graph.node[-1].domain in _FOLLOWED
            )
            found["types"] = dict(sorted(equal.items()))
        print(kind, found["kinds"][kind], flush=True)
    for name in onnx_cases.light_files():
        away = from_onnxruntime(name)
        if away is not None:
            found["light"][name] = float(f"{away:.1g}")
        print(name, away, flush=True)
    return found


def write(found: dict[str, Any]) -> None:
    """The results as data and as a table."""
    RESULTS.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    rows = [(kind, f"{total:,}", f"{equal:,}") for kind, (total, equal) in found["kinds"].items()]
    own = set(op_types()) & set(found["types"])
    why: dict[str, list[str]] = {}
    for _, name, verdict in found["others"]:
        why.setdefault(verdict, []).append(name)
    reasons = [(verdict, len(names), names[0]) for verdict, names in sorted(why.items(), key=lambda x: -len(x[1]))]
    parts = [
        f"# The cases that onnx {version('onnx')} ships for backends",
        f"Run on the CPU by `benchmarks/onnx_backend.py`, outputs held against onnx's, with torch {version('torch')}. "
        f"{len(own)} op types of the default domain give the right numbers in cases of their own.",
        tabulate(rows, ("cases", "how many", "equal by values"), tablefmt="github", disable_numparse=True),
        "Cases that are not equal, by the reason, and one of them:",
        tabulate(reasons, ("reason", "cases", "one of them"), tablefmt="github"),
    ]
    if found["light"]:
        light = ", ".join(f"{name} {away:g}" for name, away in found["light"].items())
        parts.append(f"The light zoo on random weights, from onnxruntime {version('onnxruntime')}, of the largest")
        parts[-1] += f" output: {light}."
    RESULTS.with_suffix(".md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(measure())
