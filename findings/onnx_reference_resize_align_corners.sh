#!/usr/bin/env bash
# onnx's reference evaluator and onnxruntime read other inputs in a Resize that aligns corners by a scale.
#
# onnx 1.23.2: seven numbers, Resize by the scale 0.5, linear, align_corners: three results. onnxruntime 1.31.1 puts them
# from the first number to the last, [0, 3, 6] of 0 to 6. The reference evaluator divides by the length before it is
# rounded, 3.5 - 1, and gives [0, 2.4, 4.8]: the last corner is not aligned, and the last number is not read at all. With
# sizes in place of scales they agree.
#
# Makes a temporary folder, installs onnx and onnxruntime there, and fails if any of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --no-compile --disable-pip-version-check --target "$work" onnx==1.23.2 onnxruntime==1.31.1 numpy==2.4.6
cd "$work"
PYTHONPATH="$work" python3 - <<'PYTHON'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator


def resized(name, values):
    """0 to 6 resized, by the reference evaluator and by onnxruntime."""
    x = np.arange(7, dtype=np.float32).reshape(1, 1, 7)
    kind = TensorProto.FLOAT if name == "scales" else TensorProto.INT64
    inputs = ["x", "", "scales"] if name == "scales" else ["x", "", "", "sizes"]
    settings = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
    node = helper.make_node("Resize", inputs, ["y"], **settings)
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, list("abc"))
    graph = helper.make_graph([node], "graph", [given], [result], [helper.make_tensor(name, kind, [3], values)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return ReferenceEvaluator(model).run(None, {"x": x})[0].ravel(), session.run(None, {"x": x})[0].ravel()


print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
reference, runtime = resized("scales", [1.0, 1.0, 0.5])
print("by a scale of 0.5:", reference, "and by onnxruntime", runtime)
assert np.allclose(reference, [0, 2.4, 4.8]), reference
assert np.allclose(runtime, [0, 3, 6]), runtime
reference, runtime = resized("sizes", [1, 1, 3])
print("to a size of 3:", reference, "and by onnxruntime", runtime)
assert np.allclose(reference, runtime), (reference, runtime)
assert np.allclose(runtime, [0, 3, 6]), runtime
print("as described")
PYTHON
