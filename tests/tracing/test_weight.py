"""What a trace must not bring in."""

import subprocess
import sys


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
