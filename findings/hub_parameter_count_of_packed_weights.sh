#!/usr/bin/env bash
# huggingface_hub counts the numbers of a safetensors header as parameters, whatever they hold.
#
# huggingface_hub 2.4.0: parameter_count of a file's metadata is the elements of its tensors by type. A linear layer of
# 4,096 x 4,096 as GPTQ stores it, 8 weights of 4 bits in each whole number of 32, is qweight (512 x 4,096, I32), qzeros
# (32 x 512, I32), scales (32 x 4,096, F16) and g_idx (4,096, I32): 2,248,704 "parameters" for a layer of 16,777,216
# weights, 13.4 % of them. Tensors that no parameter is (g_idx, qzeros, a step counter) count as well.
#
# Makes a temporary folder, installs huggingface_hub there, asks no network, and fails if any of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --target "$work" huggingface-hub==2.4.0
cd "$work"
PYTHONPATH="$work" python3 - <<'PYTHON'
import huggingface_hub
from huggingface_hub.utils import SafetensorsFileMetadata, TensorInfo

print("huggingface_hub", huggingface_hub.__version__)
wide, tensors, end = {"I32": 4, "F16": 2, "I64": 8}, {}, 0
for name, kind, shape in (
    ("q_proj.qweight", "I32", [4096 // 8, 4096]),
    ("q_proj.qzeros", "I32", [4096 // 128, 4096 // 8]),
    ("q_proj.scales", "F16", [4096 // 128, 4096]),
    ("q_proj.g_idx", "I32", [4096]),
):
    start, size = end, wide[kind]
    for n in shape:
        size *= n
    end = start + size
    tensors[name] = TensorInfo(dtype=kind, shape=shape, data_offsets=(start, end))
seen = SafetensorsFileMetadata(metadata={}, tensors=tensors).parameter_count
total, weights = sum(seen.values()), 4096 * 4096
print(f"{weights:,} weights of 4 bits: {seen}, {total:,} in all, {100 * total / weights:.1f} %")
assert seen == {"I32": 2_117_632, "F16": 131_072}, seen
assert total == 2_248_704
print("as described")
PYTHON
