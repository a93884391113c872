"""Models as streams: how far outputs look ahead and back along one axis, what breaks causality, what chunks must carry.

The numbers are those of the receptive fields (`rfcalc.analyses`), read along time: of every unit from its own place on.
`rfcalc.streaming.trial` holds them against real numbers.
"""

from __future__ import annotations

from rfcalc.streaming.results import Border, Break, Chunk, Delay, Probe, State, Stream, Streaming, Trial

__all__ = ["Border", "Break", "Chunk", "Delay", "Probe", "State", "Stream", "Streaming", "Trial"]
