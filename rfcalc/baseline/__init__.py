"""Locks and budgets: what a model was when it was last accepted, what it may become, and what changed."""

from __future__ import annotations
