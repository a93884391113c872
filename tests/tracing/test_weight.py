"""What a trace must not bring in."""

import gc
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch
from torch import nn

import rfcalc
from rfcalc.errors import TraceError
from rfcalc.tracing.forward import trace_module


def test_tracing_does_not_import_the_compiler():
    code = (
        "import sys, torch\nbefore = 'torch._dynamo' in sys.modules\nimport rfcalc\n"
        "rfcalc.analyze('vgg16', (2, 3, 224, 224)).layers\n"
        "assert before or 'torch._dynamo' not in sys.modules"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_peak_memory_stays_far_from_the_weights():
    code = (
        "import resource, torch\npeak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "before = peak()\nimport rfcalc\nrfcalc.analyze('vgg16', (2, 3, 224, 224)).layers\nprint(peak() - before)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert int(done.stdout) < 264  # MB; half of the 528 MB of VGG16's weights


class Grid(nn.Module):
    """Asks for a number of a constant that is computed from so many others."""

    def __init__(self, count: int, broken: bool = False):
        super().__init__()
        self.count, self.broken = count, broken

    def forward(self, x):
        positions = torch.arange(self.count)
        shift = (positions[:, None] * positions)[1, 1].item()
        if self.broken:
            raise ValueError("as asked")
        return x + shift


@pytest.mark.parametrize(("count", "known"), [(1000, True), (3000, False)])
def test_large_constants_are_not_computed(count, known):
    a = rfcalc.analyze(Grid(count), torch.zeros(1, 1, 8))

    assert bool(a.notices) is not known


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("collects", [False, True])
def test_threads_and_the_collection_of_garbage_are_as_before(broken, collects):
    threads, before = torch.get_num_threads(), gc.isenabled()
    torch.set_num_threads(3)
    (gc.enable if collects else gc.disable)()
    try:
        with pytest.raises(TraceError) if broken else nullcontext():
            trace_module(Grid(4, broken), (torch.zeros(1, 8),))
        assert (torch.get_num_threads(), gc.isenabled()) == (3, collects)
    finally:
        torch.set_num_threads(threads)
        (gc.enable if before else gc.disable)()
