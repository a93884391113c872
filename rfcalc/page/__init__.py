"""One self-contained HTML page of one or several analyses: `data` says what it holds, `build` puts it together."""

from __future__ import annotations

from rfcalc.page.build import page

__all__ = ["page"]
