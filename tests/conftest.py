"""Every test draws the same random numbers in every run."""

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _seeded():
    import torch

    torch.manual_seed(0)
