#!/usr/bin/env bash
# numpy's einsum_path reports the operations of an einsum with four digits, and tools take them from its text.
#
# numpy 2.4.6 gives no number: the second result of numpy.einsum_path is a text whose line "Optimized FLOP count:" is
# printed with "%.3e". A product of a 1001x1003 and a 1003x1007 matrix takes 2 * 1001 * 1003 * 1007 = 2,022,062,042
# operations and is reported as 2.022e+09; what is lost is 62,042 here, and 0.05 % at worst. What reads the line, such as
# fvcore 0.1.5's counter of einsum, inherits it: sizes that differ give one count, and a sum over layers is not exact.
# The count is also one too many: an outer product of 10 and 20 numbers is reported as 201, a product of a 10x20 matrix
# and a vector as 401, which the four digits hide in larger ones.
#
# Makes a temporary folder, installs numpy there, and fails if any of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --target "$work" numpy==2.4.6
cd "$work"
PYTHONPATH="$work" python3 - <<'PYTHON'
import numpy as np


def reported(equation, *shapes):
    """The count that numpy prints for operands of these shapes."""
    operands = [np.broadcast_to(np.float32(0), shape) for shape in shapes]
    text = np.einsum_path(equation, *operands, optimize="optimal")[1]
    return next(line.split(":")[1].strip() for line in text.splitlines() if "Optimized FLOP count" in line)


print("numpy", np.__version__)
real = 2 * 1001 * 1003 * 1007
seen = reported("ij,jk->ik", (1001, 1003), (1003, 1007))
print(f"1001x1003 by 1003x1007: {real:,} operations, reported {seen}")
assert seen == "2.022e+09", seen
assert real - int(float(seen)) == 62_042

one = reported("ij,jk->ik", (1001, 1003), (1003, 5001))
other = reported("ij,jk->ik", (1001, 1003), (1003, 5002))
print(f"5001 and 5002 columns: {one} and {other}")
assert one == other == "1.004e+10", (one, other)

outer, inner = reported("i,j->ij", (10,), (20,)), reported("ij,j->i", (10, 20), (20,))
print(f"outer product of 10 and 20: {outer}; 10x20 by 20: {inner}")
assert (outer, inner) == ("2.010e+02", "4.010e+02"), (outer, inner)
print("as described")
PYTHON
