"""Counts that are known functions of sizes: polynomials, floors, jumps, sizes that are refused."""

from __future__ import annotations

import pytest

from rfcalc.comparing.fitting import Guess, RefusedError, Sample, fit
from rfcalc.errors import TraceError


class Measure:
    """A function of sizes as a model that is traced; it counts its calls."""

    def __init__(self, count, accepts=lambda sizes: True, facts=lambda sizes: {}):
        self.count, self.accepts, self.facts = count, accepts, facts
        self.asked: list[dict[str, int]] = []

    def __call__(self, sizes):
        self.asked.append(dict(sizes))
        if not self.accepts(sizes):
            raise TraceError(f"no: {sizes}")
        return Sample({"macs": self.count(**sizes)}, lambda: self.facts(sizes))


def fitted(measure, **guesses):
    return fit(measure, guesses, ["macs"])


def test_a_polynomial_in_two_symbols() -> None:
    measure = Measure(lambda h, n: 3 * h**2 * n + 5 * n)

    found = fitted(measure, h=Guess(16, (4,)), n=Guess(1))

    assert str(found.polynomials["macs"]) == "3*h**2*n + 5*n"
    assert found.least == {"h": 4, "n": 1}
    assert found.irregular == {}
    assert not {tuple(sizes.values()) for sizes in found.fitted} & {tuple(s.values()) for s in found.confirmed}
    assert len(measure.asked) <= 16
    assert len({tuple(sizes.values()) for sizes in measure.asked}) == len(measure.asked)


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 4])
def test_every_degree_up_to_the_fourth(degree: int) -> None:
    found = fitted(Measure(lambda c: 7 * c**degree + 1), c=Guess(2))

    assert found.polynomials["macs"].at({"c": 1000}) == 7 * 1000**degree + 1


def test_a_floor_is_a_polynomial_on_its_lattice() -> None:
    found = fitted(Measure(lambda h: 10 * ((h - 3) // 8 + 1)), h=Guess(67, (1, 8)))

    assert found.lattices[0].step == 8
    assert str(found.polynomials["macs"]) == "5*h/4 + 25/4"  # (h - 3)/8 + 1, ten times
    assert found.least == {"h": 3}


def test_a_lattice_that_nobody_guessed_is_found_by_trying() -> None:
    found = fitted(Measure(lambda h: 10 * (-(-h // 7))), h=Guess(56, (1,)))

    assert found.lattices[0].step == 7
    assert found.polynomials["macs"].at({"h": 700}) == 1000


def test_the_second_symbol_profits_from_the_first() -> None:
    measure = Measure(lambda h, w: (h // 7) * (w // 7))

    found = fitted(measure, h=Guess(56, (1,)), w=Guess(56, (1,)))

    assert [item.step for item in found.lattices] == [7, 7]
    along = {name: sum(1 for sizes in measure.asked if sizes[other] == 56) for name, other in ("hw", "wh")}
    assert along["w"] < along["h"] / 2  # no search for the second
    assert found.polynomials["macs"].at({"h": 70, "w": 21}) == 30


def test_where_larger_sizes_are_refused_smaller_ones_serve() -> None:
    found = fitted(Measure(lambda t: 4 * t * t, lambda sizes: sizes["t"] <= 128), t=Guess(128))

    assert str(found.polynomials["macs"]) == "4*t**2"
    assert max(sizes["t"] for sizes in found.confirmed) <= 128


def test_far_sizes_that_are_refused_are_replaced_by_nearer_ones() -> None:
    found = fitted(Measure(lambda t: 4 * t, lambda sizes: sizes["t"] <= 100), t=Guess(64))

    assert max(sizes["t"] for sizes in found.confirmed) > 80


def test_a_size_that_cannot_change_is_refused_with_the_models_own_words() -> None:
    with pytest.raises(RefusedError) as caught:
        fitted(Measure(lambda h, n: h * n, lambda sizes: sizes["h"] == 224), n=Guess(1), h=Guess(224, (16,)))

    assert caught.value.symbol == "h"
    assert "no: " in str(caught.value.cause)


def test_sizes_that_change_one_by_one_only_are_refused_too() -> None:
    only_one = Measure(lambda h, w: h * w, lambda sizes: 8 in sizes.values())

    with pytest.raises(RefusedError) as caught:
        fitted(only_one, h=Guess(8), w=Guess(8))

    assert caught.value.symbol == ""


def test_growth_that_is_no_polynomial_is_told_with_values() -> None:
    found = fitted(Measure(lambda t: t * t.bit_length()), t=Guess(16))

    assert found.polynomials == {}
    values = {sizes["t"]: count for sizes, count in found.irregular["macs"]}
    assert (values[16], values[33]) == (80, 198)


def test_a_jump_far_from_the_start_is_found() -> None:
    found = fitted(Measure(lambda t: 3 * t if t < 30 else 4 * t), t=Guess(16))

    assert found.polynomials == {}


def test_a_product_that_vanishes_along_both_axes_gives_no_formula_rather_than_a_wrong_one() -> None:
    """Through the start the count is constant both ways: only sizes off both axes show the product."""
    found = fitted(Measure(lambda h, w: 5 + (h - 8) * (w - 8)), h=Guess(8), w=Guess(8))

    assert found.polynomials == {}


def test_what_is_no_count_must_be_the_same_everywhere() -> None:
    measure = Measure(lambda h: h, facts=lambda sizes: {"field": 7, "whole": sizes["h"] < 20})

    assert fitted(measure, h=Guess(16)).facts == {"field": 7}


def test_an_error_at_the_start_is_the_models() -> None:
    with pytest.raises(TraceError, match="no: "):
        fitted(Measure(lambda h: h, lambda sizes: False), h=Guess(8))
