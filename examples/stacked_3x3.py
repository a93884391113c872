"""Why are three 3x3 convolutions better than one 7x7? The same field, 27 C^2 parameters against 49 C^2."""

from __future__ import annotations

from fractions import Fraction

from tabulate import tabulate

import rfcalc

CHANNELS = 256


def stack(kernel: int, layers: int) -> str:
    """A stack of equal convolutions without bias, as rfcalc reads it: ``3x3:256-256 3x3:256-256``."""
    return " ".join([f"{kernel}x{kernel}:{CHANNELS}-{CHANNELS}"] * layers)


def main() -> None:
    """Analyze the candidates and print a row for each."""
    rows = []
    for title, spec in [
        ("one 3x3", stack(3, 1)),
        ("two 3x3", stack(3, 2)),
        ("one 5x5", stack(5, 1)),
        ("three 3x3", stack(3, 3)),
        ("one 7x7", stack(7, 1)),
    ]:
        analysis = rfcalc.analyze(spec, (CHANNELS, 56, 56))
        field = analysis.layers[-1].receptive_field
        params, macs = analysis.totals.params, analysis.totals.macs
        rows.append((title, "x".join(map(str, field.size)), f"{params // CHANNELS**2} C^2", f"{params:,}", f"{macs:,}"))
        assert params % CHANNELS**2 == 0
    headers = ("layers", "field", "parameters", f"with C = {CHANNELS}", "multiply-adds on 56x56")
    print(tabulate(rows, headers, disable_numparse=True, colalign=("left", *["right"] * 4)))

    saved = 1 - Fraction(rfcalc.analyze(stack(3, 3)).totals.params, rfcalc.analyze(stack(7, 1)).totals.params)
    print(f"\nthree 3x3 see what one 7x7 sees, with {float(100 * saved):.1f} % fewer parameters")


if __name__ == "__main__":
    main()
