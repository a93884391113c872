"""Shell completion of MODEL: the zoo's names, then files. No torch."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem


def complete_model(ctx: click.Context, param: click.Parameter | None, incomplete: str) -> list[CompletionItem]:
    """Names that go on from what is typed; a path is left to the shell."""
    from rfcalc.zoo import CATALOG

    found = [CompletionItem(name, help=entry.title) for name, entry in CATALOG.items() if name.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="file")]
