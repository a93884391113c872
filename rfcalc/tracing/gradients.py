"""Where the code of a model keeps nothing for gradients: ``torch.no_grad`` and its kin, in a pass that keeps nothing.

A pass without gradients runs under ``torch.no_grad`` itself, so torch's own flag says nothing of the model. What sets
the flag tells: from the frames around the call it is known which context begins, and which ends.
"""

from __future__ import annotations

from types import FrameType

import torch

#: What ``no_grad``, ``enable_grad`` and ``set_grad_enabled`` call to set torch's flag.
SETS = torch._C._set_grad_enabled


class Keeping:
    """Whether gradients would be kept at this point of the model's code, if the pass around it kept them."""

    def __init__(self) -> None:
        self._on = True
        self._before: dict[int, bool] = {}  #: what held before each context under way began

    @property
    def on(self) -> bool:
        return self._on and not torch.is_inference_mode_enabled()

    def told(self, value: bool, frame: FrameType) -> None:
        """The flag is set to a value by a call from a frame."""
        outer = frame.f_back
        if _is_checkpoint(frame):
            return  # it keeps nothing, and runs all once more with gradients
        around = outer is not None and outer.f_code.co_name in ("__enter__", "__exit__") and _context(outer)
        holder = outer if around and outer is not None else frame
        name, key = holder.f_code.co_name, id(holder.f_locals.get("self"))
        if name == "__exit__":
            self._on = self._before.pop(key, self._on)
            return
        if name in ("__enter__", "__init__"):
            self._before.setdefault(key, self._on)
        self._on = value


def _is_checkpoint(frame: FrameType | None) -> bool:
    """Whether it is torch's checkpointing, a few calls further out, that sets the flag."""
    for _ in range(3):
        if frame is None:
            return False
        if frame.f_globals.get("__name__") == "torch.utils.checkpoint":
            return True
        frame = frame.f_back
    return False


def _context(frame: FrameType) -> bool:
    """Whether a frame is that of one of torch's contexts, which set the flag by an object of another one."""
    return frame.f_globals.get("__name__") == "torch.autograd.grad_mode"
