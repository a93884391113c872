"""Every rule broken on purpose is caught by random networks; `tests.randomnets.mutations` lists them."""

from __future__ import annotations

import pytest

from tests.randomnets.kinds import KINDS
from tests.randomnets.mutations import MUTATIONS, SEEDS, EngineMutation, Mutation, seeds_until_caught


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: f"{mutation.family}: {mutation.name}")
def test_a_broken_rule_is_caught(mutation: Mutation | EngineMutation) -> None:
    assert seeds_until_caught(mutation) is not None, f"{SEEDS} networks did not show it"


def test_every_family_has_a_mutation() -> None:
    assert {mutation.family for mutation in MUTATIONS} == {kind.family for kind in KINDS.values()}
