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

USUAL = """
from torch import nn
from torch.nn import functional as F

class Usual(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Mish(), nn.MaxPool2d(2))
        self.up = nn.ConvTranspose2d(8, 4, 2, 2)
        self.pad, self.pool = nn.ReflectionPad2d(1), nn.AdaptiveAvgPool2d(4)

    def forward(self, x):
        y = F.interpolate(self.up(self.down(x)), scale_factor=2)
        z = self.pool(self.pad(y)).exp().clamp(0, 1) ** 2
        z = z * (1 - F.normalize(-z, dim=1).abs().sqrt()).sum(1, keepdim=True)
        return F.log_softmax(torch.where(z > 0, z, 0.0).amax((2, 3)), 1)
"""


def test_tracing_does_not_import_the_compiler():
    code = (
        f"import sys, torch\nbefore = set(sys.modules)\nimport rfcalc\n{USUAL}"
        "rfcalc.analyze('vgg16', (2, 3, 224, 224)).layers\nrfcalc.analyze(Usual(), (1, 3, 32, 32)).layers\n"
        "new = {'torch._dynamo', 'torch.fx.experimental.symbolic_shapes', 'sympy'} & (set(sys.modules) - before)\n"
        "assert not new, new"
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
