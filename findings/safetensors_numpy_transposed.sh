#!/usr/bin/env bash
# safetensors writes a transposed numpy array with the numbers in other places, and says nothing.
#
# safetensors 0.8.0, with numpy 2.4.6: safetensors.numpy.save and save_file write the memory of an array as it lies, under
# its shape. For a transposed array (w.T, as one gets on the way from another framework), and for one in Fortran's order,
# the file has the right shape and numbers, each at another place: [[0, 1, 2], [3, 4, 5]] transposed is read back as
# [[0, 1], [2, 3], [4, 5]]. numpy's own save keeps it right. numpy.ascontiguousarray before saving helps. Counts of
# parameters and shapes from such a file are right, and every number that depends on the weights is not.
#
# Makes a temporary folder, installs safetensors and numpy there, and fails if any of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --target "$work" safetensors==0.8.0 numpy==2.4.6
cd "$work"
PYTHONPATH="$work" python3 - <<'PYTHON'
import io

import numpy as np
import safetensors
from safetensors.numpy import load, load_file, save, save_file

print("safetensors", safetensors.__version__, "numpy", np.__version__)
weight = np.arange(6, dtype=np.float32).reshape(2, 3)
for name, array in {"transposed": weight.T, "in Fortran's order": np.asfortranarray(weight)}.items():
    save_file({"w": array}, "weights.safetensors")
    seen = load(save({"w": array}))["w"]
    print(f"{name}: {array.tolist()} comes back as {seen.tolist()}")
    assert seen.shape == array.shape
    assert not np.array_equal(seen, array)
    assert np.array_equal(load_file("weights.safetensors")["w"], seen)
    assert np.array_equal(load(save({"w": np.ascontiguousarray(array)}))["w"], array)
    file = io.BytesIO()
    np.save(file, array)
    file.seek(0)
    assert np.array_equal(np.load(file), array)
assert load(save({"w": weight.T}))["w"].tolist() == [[0, 1], [2, 3], [4, 5]]
print("as described")
PYTHON
