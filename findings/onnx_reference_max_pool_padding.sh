#!/usr/bin/env bash
# onnx's reference evaluator takes the padding of a MaxPool at stride 1 for another one, and gives results of another shape.
#
# onnx 1.23.2: MaxPool along one axis, kernel 2, stride 1, pads [0, 1], on five numbers. onnx's own shape inference says 5
# results, onnxruntime 1.31.1 gives [2, 3, 4, 5, 5], the reference evaluator [2, 3, 4, 5]: the padding is left out. Along
# two axes, pads [0, 0, 1, 1], which is 1 after each axis, gives 5x5 by both others and 4x6 here: none for the first axis,
# 1 on both sides of the second. With stride 2 along one axis all three agree.
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
from onnx import TensorProto, helper, shape_inference
from onnx.reference import ReferenceEvaluator


def pooled(axes, **settings):
    """Extents by shape inference, and results of the reference evaluator and of onnxruntime."""
    x = np.arange(1, 5**axes + 1, dtype=np.float32).reshape(1, 1, *[5] * axes)
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, list("abcd")[: axes + 2])
    graph = helper.make_graph([helper.make_node("MaxPool", ["x"], ["y"], **settings)], "graph", [given], [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    shape = shape_inference.infer_shapes(model, strict_mode=True).graph.output[0].type.tensor_type.shape
    session = onnxruntime.InferenceSession(model.SerializeToString())
    runs = ReferenceEvaluator(model).run(None, {"x": x})[0], session.run(None, {"x": x})[0]
    return tuple(d.dim_value for d in shape.dim), *runs


print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
shape, reference, runtime = pooled(1, kernel_shape=[2], strides=[1], pads=[0, 1], dilations=[1])
print(f"inferred {shape}; reference evaluator {reference.ravel()}; onnxruntime {runtime.ravel()}")
assert shape == runtime.shape == (1, 1, 5)
assert runtime.ravel().tolist() == [2, 3, 4, 5, 5]
assert reference.ravel().tolist() == [2, 3, 4, 5]
more = {"kernel_shape": [2, 2], "strides": [1, 1], "pads": [0, 0, 1, 1], "dilations": [1, 1]}
shape, reference, runtime = pooled(2, **more)
print(f"2 axes: inferred {shape}, reference evaluator {reference.shape}, onnxruntime {runtime.shape}")
assert shape == runtime.shape == (1, 1, 5, 5)
assert reference.shape == (1, 1, 4, 6), reference.shape
shape, reference, runtime = pooled(1, kernel_shape=[2], strides=[2], pads=[0, 1], dilations=[1])
print(f"stride 2: inferred {shape}, reference evaluator {reference.ravel()}, onnxruntime {runtime.ravel()}")
assert shape == reference.shape == runtime.shape
assert np.array_equal(reference, runtime)
print("as described")
PYTHON
