"""The dispatch mode that rfcalc's own modes build on."""

from __future__ import annotations

from torch.utils._python_dispatch import TorchDispatchMode


class DispatchMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A dispatch mode that is never compiled.

    torch guards every dispatch mode against its compiler, and imports the compiler for that: more than a second and
    150 MB before the first op. It asks the class whether it wants the guard.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False
