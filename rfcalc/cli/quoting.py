"""What a user typed, as an error shows it."""

from __future__ import annotations


def quoted(value: str, always: bool = False) -> str:
    """What the user typed, in quotes where it would not be seen without them, and not longer than a line bears."""
    if len(value) > 60:
        value = f"{value[:40]}...{value[-10:]}"
    return repr(value) if always or not value.strip() or not value.isprintable() else value
