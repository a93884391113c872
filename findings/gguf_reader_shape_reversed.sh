#!/usr/bin/env bash
# gguf's reader gives one tensor two shapes: one reversed, and one that is bytes if the tensor is quantized.
#
# gguf 0.19.0: a tensor written as an array of 3 x 64 comes back from GGUFReader with .shape [64, 3], the order of GGML's
# dimensions, and .data.shape (3, 64), numpy's. Written with 8 bits, .shape is [64, 3] as before and .data.shape is (3, 68):
# bytes of its rows, 34 for each 32 numbers. Who takes rows and columns of a layer from .shape gets them the other way
# round, and who counts .data.size counts bytes; .n_elements is 192 for both.
#
# Makes a temporary folder, installs gguf there, and fails if any of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --target "$work" gguf==0.19.0 numpy==2.4.6
cd "$work"
PYTHONPATH="$work" python3 - <<'PYTHON'
from importlib.metadata import version

import gguf
import numpy as np

print("gguf", version("gguf"))
weight = np.ones((3, 64), np.float32)
eight = gguf.GGMLQuantizationType.Q8_0
writer = gguf.GGUFWriter("model.gguf", "llama")
writer.add_tensor("plain", weight)
writer.add_tensor("quantized", gguf.quants.quantize(weight, eight), raw_dtype=eight)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

found = {}
for tensor in gguf.GGUFReader("model.gguf").tensors:
    shape = [int(n) for n in tensor.shape]
    found[tensor.name] = shape, tensor.data.shape, int(tensor.n_elements)
    print(f"{tensor.name}: written as {weight.shape}; shape {shape}, data.shape {tensor.data.shape}")
assert found == {"plain": ([64, 3], (3, 64), 192), "quantized": ([64, 3], (3, 68), 192)}, found
print("as described")
PYTHON
