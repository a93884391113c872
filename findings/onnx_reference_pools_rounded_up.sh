#!/usr/bin/env bash
# onnx's reference evaluator gives other numbers for pools that round up: averages of moved windows, Lp norms read twice.
#
# onnx 1.23.2, ceil_mode=1, no pads, where the last window hangs over the end. AveragePool, kernel 3, stride 3, of 1 to 7:
# onnxruntime 1.31.1 gives the means of (1,2,3), (4,5,6) and (7), [2, 5, 7]; the reference evaluator [1.5, 4, 6], of which
# the first is the mean of (1,2) and the second that of (3,4,5): the windows begin one earlier, so that every result reads
# other inputs. LpPool, kernel 2, stride 2, of 1 to 5: onnxruntime's last is 5, the reference evaluator's sqrt(25 + 25), the
# last number twice. The shapes are right in both, and without ceil_mode they agree.
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


def pooled(kind, size, kernel, ceil):
    """Results of the reference evaluator and of onnxruntime for 1 to size."""
    x = np.arange(1, size + 1, dtype=np.float32).reshape(1, 1, size)
    node = helper.make_node(kind, ["x"], ["y"], kernel_shape=[kernel], strides=[kernel], ceil_mode=ceil)
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, list("abc"))
    graph = helper.make_graph([node], "graph", [given], [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return ReferenceEvaluator(model).run(None, {"x": x})[0].ravel(), session.run(None, {"x": x})[0].ravel()


print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
reference, runtime = pooled("AveragePool", 7, 3, 1)
print("AveragePool of 1 to 7:", reference, "and by onnxruntime", runtime)
assert reference.tolist() == [1.5, 4, 6], reference
assert runtime.tolist() == [2, 5, 7], runtime
reference, runtime = pooled("LpPool", 5, 2, 1)
print("LpPool of 1 to 5:", reference, "and by onnxruntime", runtime)
assert np.allclose(runtime, [5**0.5, 5, 5]), runtime
assert np.allclose(reference, [5**0.5, 5, 50**0.5]), reference
for kind, size, kernel in (("AveragePool", 7, 3), ("LpPool", 5, 2)):
    assert np.allclose(*pooled(kind, size, kernel, 0))
print("as described")
PYTHON
