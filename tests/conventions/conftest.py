"""The command line, and graphs made by hand, as its own tests have them."""

from tests.cli.conftest import invoke, odd

__all__ = ["invoke", "odd"]
