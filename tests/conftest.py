"""Every test draws the same random numbers in every run."""

import pytest


@pytest.fixture(autouse=True)
def _seeded():
    import torch

    torch.manual_seed(0)
