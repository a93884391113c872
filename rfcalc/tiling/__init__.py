"""Exact tiled inference: the verdict, the plan, the run and the proof."""
