#!/usr/bin/env bash
# onnx-tool counts a transposed convolution by the layout of a plain one's weights.
#
# onnx-tool 1.0.1, with onnx 1.23.2: ONNX keeps the weights of ConvTranspose as input channels x output channels x kernel,
# those of Conv the other way round. The tool takes positions of the output x output channels x the weights' extents after
# the first, which of a Conv are its input channels and kernel, of a ConvTranspose output channels and kernel. 8 channels to
# 4 by a 3x3 kernel, stride 2, on 6x6: 24,336 multiply-adds, where 6 x 6 x 8 x 4 x 9 = 10,368 are done, and 48,672 would be
# if each of the 13 x 13 outputs read a whole window. With 8 to 32 channels it says 1,557,504, where 82,944 are done.
#
# Makes a temporary folder, installs onnx-tool and onnx there, and fails if any of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --no-compile --disable-pip-version-check --target "$work" onnx-tool==1.0.1 onnx==1.23.2 numpy==2.4.6
cd "$work"
PYTHONPATH="$work" python3 - <<'PYTHON'
from importlib.metadata import version

import numpy as np
import onnx_tool
from onnx import TensorProto, helper


def counted(kind, inner, outer, weight, side):
    """The multiply-adds that the tool reports for one layer of 3x3 on 6x6."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, weight, np.ones(weight, np.float32).ravel())
    node = helper.make_node(kind, ["x", "w"], ["y"], name="layer", strides=[2, 2] if kind == "ConvTranspose" else [1, 1])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, inner, 6, 6])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, outer, side, side])
    graph = helper.make_graph([node], "graph", [x], [y], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    graph = onnx_tool.Model(model, {"verbose": False, "constant_folding": False}).graph
    graph.shape_infer()
    graph.profile()
    return int(graph.macs[0])


print("onnx-tool", version("onnx-tool"), "onnx", version("onnx"))
plain = counted("Conv", 8, 4, (4, 8, 3, 3), 4)
print(f"Conv, 8 to 4 channels: {4 * 4 * 4 * 8 * 9:,}, reported {plain:,}")
assert plain == 4 * 4 * 4 * 8 * 9, plain
for outer, says in ((4, 24_336), (32, 1_557_504)):
    seen = counted("ConvTranspose", 8, outer, (8, outer, 3, 3), 13)
    print(f"ConvTranspose, 8 to {outer} channels: {6 * 6 * 8 * outer * 9:,}, reported {seen:,}")
    assert seen == says == 13 * 13 * outer * outer * 9, seen
print("as described")
PYTHON
