"""``model.pt``, ``model.torchscript``: a TorchScript program that torch.jit.save wrote, scripted or traced.

torch's own interpreter runs it: nothing in the file is Python's, and no object is unpickled that is not the program's.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from rfcalc.errors import LoadError
from rfcalc.sources.files import archives
from rfcalc.sources.files.archives import Kind
from rfcalc.sources.loaded import Loaded

if TYPE_CHECKING:
    from torch import nn

_LONGEST = 200  #: characters of an error of torch's that are shown


def matches(spec: str) -> bool:
    """Whether the file holds such a program; any other is told by what it holds."""
    if not Path(spec).is_file():
        return False
    return archives.held(Path(spec), spec).kind is Kind.SCRIPT


def load(spec: str) -> Loaded:
    """The program as a module, with the names of the original's modules. Raises `LoadError` where torch cannot."""
    model = _read(spec)
    model.eval()
    return Loaded(model, spec)


def _read(spec: str) -> nn.Module:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript is not developed any more
        try:
            model: nn.Module = torch.jit.load(spec, map_location="cpu")  # type: ignore[no-untyped-call]
        except Exception as error:
            text = " ".join(str(error).split())
            short = text if len(text) < _LONGEST else f"{text[:_LONGEST]}..."
            raise LoadError(
                f"{spec}: torch {torch.__version__} cannot load this TorchScript program: {short}; save it again with"
                " torch.jit.save, or name the code that makes the model (file.py:attr)"
            ) from error
    return model
