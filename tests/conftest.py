"""Every test draws the same random numbers in every run."""

import os

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

os.environ["RFCALC_CACHE_DIR"] = ""  # nothing of a user's cache is used or written, in processes started here neither


@pytest.fixture(autouse=True)
def _traced_anew():
    """Tests see what is traced now, not what was stored before, nor what another test has traced."""
    from rfcalc.sources import stored
    from rfcalc.tracing import replay

    replay.forget()
    with stored.using("nothing"):
        yield


@pytest.fixture(autouse=True)
def _seeded():
    import torch

    torch.manual_seed(0)
