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
    measure = Measure(lambda H, N: 3 * H**2 * N + 5 * N)

    found = fitted(measure, H=Guess(16, (4,)), N=Guess(1))

    assert str(found.polynomials["macs"]) == "3*H**2*N + 5*N"
    assert found.least == {"H": 4, "N": 1}
    assert found.irregular == {}
    assert not {tuple(sizes.values()) for sizes in found.fitted} & {tuple(s.values()) for s in found.confirmed}
    assert len(measure.asked) <= 16
    assert len({tuple(sizes.values()) for sizes in measure.asked}) == len(measure.asked)


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 4])
def test_every_degree_up_to_the_fourth(degree: int) -> None:
    found = fitted(Measure(lambda C: 7 * C**degree + 1), C=Guess(2))

    assert found.polynomials["macs"].at({"C": 1000}) == 7 * 1000**degree + 1


def test_a_floor_is_a_polynomial_on_its_lattice() -> None:
    found = fitted(Measure(lambda H: 10 * ((H - 3) // 8 + 1)), H=Guess(67, (1, 8)))

    assert found.lattices[0].step == 8
    assert str(found.polynomials["macs"]) == "5*H/4 + 25/4"  # (H - 3)/8 + 1, ten times
    assert found.least == {"H": 3}


def test_a_lattice_that_nobody_guessed_is_found_by_trying() -> None:
    found = fitted(Measure(lambda H: 10 * (-(-H // 7))), H=Guess(56, (1,)))

    assert found.lattices[0].step == 7
    assert found.polynomials["macs"].at({"H": 700}) == 1000


def test_the_second_symbol_profits_from_the_first() -> None:
    found = fitted(Measure(lambda H, W: (H // 7) * (W // 7)), H=Guess(56, (1,)), W=Guess(56, (1,)))

    assert [item.step for item in found.lattices] == [7, 7]
    assert found.polynomials["macs"].at({"H": 70, "W": 21}) == 30


def test_where_larger_sizes_are_refused_smaller_ones_serve() -> None:
    found = fitted(Measure(lambda T: 4 * T * T, lambda sizes: sizes["T"] <= 128), T=Guess(128))

    assert str(found.polynomials["macs"]) == "4*T**2"
    assert max(sizes["T"] for sizes in found.confirmed) <= 128


def test_far_sizes_that_are_refused_are_replaced_by_nearer_ones() -> None:
    found = fitted(Measure(lambda T: 4 * T, lambda sizes: sizes["T"] <= 100), T=Guess(64))

    assert max(sizes["T"] for sizes in found.confirmed) > 80


def test_a_size_that_cannot_change_is_refused_with_the_models_own_words() -> None:
    with pytest.raises(RefusedError) as caught:
        fitted(Measure(lambda H, N: H * N, lambda sizes: sizes["H"] == 224), N=Guess(1), H=Guess(224, (16,)))

    assert caught.value.symbol == "H"
    assert "no: " in str(caught.value.cause)


def test_sizes_that_change_one_by_one_only_are_refused_too() -> None:
    only_one = Measure(lambda H, W: H * W, lambda sizes: 8 in sizes.values())

    with pytest.raises(RefusedError) as caught:
        fitted(only_one, H=Guess(8), W=Guess(8))

    assert caught.value.symbol == ""


def test_growth_that_is_no_polynomial_is_told_with_values() -> None:
    found = fitted(Measure(lambda L: L * L.bit_length()), L=Guess(16))

    assert found.polynomials == {}
    values = {sizes["L"]: count for sizes, count in found.irregular["macs"]}
    assert (values[16], values[33]) == (80, 198)


def test_a_jump_far_from_the_start_is_found() -> None:
    found = fitted(Measure(lambda L: 3 * L if L < 30 else 4 * L), L=Guess(16))

    assert found.polynomials == {}


def test_a_product_term_that_vanishes_at_the_start_is_no_polynomial_of_too_low_a_degree() -> None:
    """Along either axis through the start the count is constant: only sizes off both show the product."""
    found = fitted(Measure(lambda H, W: 5 + (H - 8) * (W - 8)), H=Guess(8), W=Guess(8))

    assert found.polynomials == {}


def test_what_is_no_count_must_be_the_same_everywhere() -> None:
    measure = Measure(lambda H: H, facts=lambda sizes: {"field": 7, "whole": sizes["H"] < 20})

    assert fitted(measure, H=Guess(16)).facts == {"field": 7}


def test_an_error_at_the_start_is_the_models() -> None:
    with pytest.raises(TraceError, match="no: "):
        fitted(Measure(lambda H: H, lambda sizes: False), H=Guess(8))
