"""rfcalc: what each layer of a neural network sees, what it costs, and whether that changed."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
_FUNCTIONS: tuple[str, ...] = ("analyze", "compare", "erf", "growth", "memory", "memory_growth", "stream", "summary")
_FUNCTIONS += ("tile", "trace", "verify")
__all__ = ["Analysis", "Effect", "__version__", "analyze", "compare", "erf", "growth", "memory", "rule", "stream"]
__all__ += ["memory_growth", "summary", "tile", "trace", "verify"]


def __getattr__(name: str) -> Any:
    # Importing rfcalc stays free: the functions load what they need when they are asked for.
    if name in _FUNCTIONS:
        from rfcalc import api

        return getattr(api, name)
    if name == "Analysis":
        from rfcalc.analyses.analysis import Analysis

        return Analysis
    if name in ("Effect", "rule"):
        from rfcalc import ops

        return getattr(ops, name)
    raise AttributeError(f"module 'rfcalc' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
