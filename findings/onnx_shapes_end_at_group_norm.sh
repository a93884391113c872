#!/usr/bin/env bash
# onnx's shape inference knows no shape behind a GroupNormalization whose input's shape it knows.
#
# onnx 1.23.2: a model of opset 21 with one GroupNormalization on 1 x 4 x 5, and a Relu after it. infer_shapes, also with
# data_prop, gives neither of the two results a shape, and raises nothing. A LayerNormalization in its place passes its
# shape on. What reads the extents of a file from value_info, to count or to draw it, ends there.
#
# Makes a temporary folder, installs onnx there, and fails if any of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --no-compile --disable-pip-version-check --target "$work" onnx==1.23.2 numpy==2.4.6
cd "$work"
PYTHONPATH="$work" python3 - <<'PYTHON'
import onnx
from onnx import TensorProto, helper, shape_inference


def inferred(kind, extent, **settings):
    """The shapes that are known behind a norm and a Relu."""
    ones = [helper.make_tensor(name, TensorProto.FLOAT, [extent], [1.0] * extent) for name in ("scale", "bias")]
    nodes = [helper.make_node(kind, ["x", "scale", "bias"], ["y"], **settings), helper.make_node("Relu", ["y"], ["z"])]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 5])
    result = helper.make_tensor_value_info("z", TensorProto.FLOAT, list("abc"))
    graph = helper.make_graph(nodes, "graph", [given], [result], ones)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    found = shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {one.name: one.type.tensor_type.shape.dim for one in [*found.value_info, *found.output]}
    known = {name: [d.dim_value for d in dims] for name, dims in shapes.items() if all(d.dim_value for d in dims)}
    return {name: known.get(name) for name in ("y", "z")}


print("onnx", onnx.__version__)
group = inferred("GroupNormalization", 4, num_groups=2)
layer = inferred("LayerNormalization", 5)
print("GroupNormalization:", group)
print("LayerNormalization:", layer)
assert group == {"y": None, "z": None}, group
assert layer == {"y": [1, 4, 5], "z": [1, 4, 5]}, layer
print("as described")
PYTHON
