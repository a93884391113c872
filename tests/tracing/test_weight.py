"""What a trace must not bring in."""

import subprocess
import sys

import pytest
import torch

from rfcalc.tracing import shapes


def test_tracing_does_not_import_the_compiler():
    code = (
        "import sys, torch\nbefore = 'torch._dynamo' in sys.modules\nimport rfcalc\nrfcalc.analyze('vgg16').layers\n"
        "assert before or 'torch._dynamo' not in sys.modules"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_peak_memory_stays_far_from_the_weights():
    code = (
        "import resource, torch\npeak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "before = peak()\nimport rfcalc\nrfcalc.analyze('vgg16').layers\nprint(peak() - before)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert int(done.stdout) < 264  # MB; half of the 528 MB of VGG16's weights


@pytest.mark.parametrize("name", sorted(shapes.LIKE_THEIR_INPUT))
def test_activations_are_like_their_input(name):
    op = getattr(torch.ops.aten, name.removeprefix("aten."), None)
    if op is None:
        return  # not every activation has a form in place
    dense = torch.empty(2, 3, 4, 5, dtype=torch.float16, device="meta")

    for x in (dense, dense.permute(0, 2, 3, 1), dense.to(memory_format=torch.channels_last), dense[..., ::2]):
        real, like = op(x.clone() if name.endswith("_") else x), x if name.endswith("_") else torch.empty_like(x)
        assert (real.shape, real.dtype) == (like.shape, like.dtype)
        assert name.endswith("_") or real.stride() == like.stride()
