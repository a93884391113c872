"""Models side by side, and their costs as formulas in symbolic sizes. No torch before a model is traced."""
