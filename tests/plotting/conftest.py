"""The saved graphs of the command line's tests."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.cli.conftest import invoke, odd, tiny

__all__ = ["invoke", "odd", "tiny"]


@pytest.fixture(scope="session", autouse=True)
def _fonts() -> None:
    """On its first use on a machine matplotlib looks for fonts, and says so if it takes long."""
    if find_spec("matplotlib"):
        import matplotlib.font_manager  # noqa: F401
