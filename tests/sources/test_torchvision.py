"""torchvision's other families: images in a list, pairs of images, float versions of quantizable models.

Expected counts are the ones torchvision publishes with the default weights of each model (``meta["num_params"]``, and
``meta["_ops"]`` in units of 10^9 multiply-adds, to three decimals).
"""

from __future__ import annotations

import pytest
from torchvision import models

import rfcalc


def published(name: str) -> tuple[int, float]:
    meta = next(iter(models.get_model_weights(name))).meta
    return meta["num_params"], meta["_ops"]


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("ssdlite320_mobilenet_v3_large", {"image": (3, 320, 320)}),
        ("raft_small", {"image1": (1, 3, 512, 512), "image2": (1, 3, 512, 512)}),
        ("quantized_resnet18", {"input": (1, 3, 224, 224)}),
        ("lraspp_mobilenet_v3_large", {"input": (1, 3, 520, 520)}),
        ("r2plus1d_18", {"input": (1, 3, 16, 112, 112)}),
    ],
)
def test_default_inputs_and_published_counts(name: str, inputs: dict[str, tuple[int, ...]]) -> None:
    a = rfcalc.analyze(f"torchvision:{name}")

    assert {item.name: item.shape for item in a.inputs} == inputs
    assert a.totals.status == "complete"
    assert (a.totals.params, round(a.totals.macs / 1e9, 3)) == published(name)


def test_what_the_data_decides_is_said() -> None:
    notices = rfcalc.analyze("torchvision:ssdlite320_mobilenet_v3_large", (3, 64, 64)).notices

    assert any(notice.startswith("traced on real CPU tensors, for aten.") for notice in notices)
    assert any(notice.startswith("the data decides how much ") and "nonzero" in notice for notice in notices)
