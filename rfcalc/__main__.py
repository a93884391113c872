"""`python -m rfcalc`."""

from __future__ import annotations

from rfcalc.cli import main

if __name__ == "__main__":
    main()
