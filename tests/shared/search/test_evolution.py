"""NSGA-II against all of a small space, and against chance on a larger one; what each network is worth is a table."""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import pytest

from ddnn.search.evolution import Judged, evolve
from ddnn.search.space import Genes

Table = Callable[[Genes], Judged]


def best_of(judged: dict[Genes, Judged]) -> set[Genes]:
    """Those that are allowed and that none beats in both."""
    allowed = {genes: (each.error, each.bytes) for genes, each in judged.items() if not each.excess}

    def beaten(one: tuple[float, float]) -> bool:
        return any(other != one and other[0] <= one[0] and other[1] <= one[1] for other in allowed.values())

    return {genes for genes, one in allowed.items() if not beaten(one)}


def worth(genes: Genes) -> Judged:
    """Each gene has a best place, bytes grow with all, and a second gene of 2 is not allowed."""
    off = sum((gene - wanted) ** 2 for gene, wanted in zip(genes, (2, 1, 2, 0, 5, 2, 3), strict=False))
    sent = sum(each * gene for each, gene in zip((4, 2, 3, 1, 1, 1, 1), genes, strict=False))
    return Judged(0.02 + off / 200, 10.0 + sent, float(genes[1] == 2))


def all_of(table: Table) -> Callable[[Sequence[Genes]], list[Judged]]:
    return lambda networks: [table(genes) for genes in networks]


@pytest.mark.parametrize("seed", range(2))
def test_on_72_networks_it_finds_what_trying_all_of_them_finds(seed: int) -> None:
    choices = (4, 3, 3, 2)
    every = {genes: worth(genes) for genes in product(*map(range, choices))}
    assert len(every) == 72
    found = evolve(choices, all_of(lambda genes: every[genes]), trials=54, population=8, seed=seed)
    assert len(found) <= 54
    assert best_of(found) == best_of(every)
    assert len(best_of(every)) > 5


def hypervolume(judged: dict[Genes, Judged], reference: Judged) -> float:
    """The area that is better than the reference and not better than the front."""
    area, error = 0.0, reference.error
    for each in sorted((judged[genes] for genes in best_of(judged)), key=lambda each: each.bytes):
        if each.bytes < reference.bytes and each.error < error:
            area += (reference.bytes - each.bytes) * (error - each.error)
            error = each.error
    return area


def test_it_beats_chance_at_as_many_networks_in_most_of_five_seeds() -> None:
    choices, trials, better, reference = (6,) * 7, 96, 0, Judged(1.0, 100.0)
    for seed in range(5):
        bred = evolve(choices, all_of(worth), trials=trials, population=8, seed=seed)
        chance, drawn = np.random.default_rng(seed + 100), dict[Genes, Judged]()
        while len(drawn) < trials:
            genes = tuple(int(gene) for gene in chance.integers(0, 6, size=7))
            drawn[genes] = worth(genes)
        assert len(bred) == trials
        better += hypervolume(bred, reference) > hypervolume(drawn, reference)
    assert better >= 4


def test_the_same_seed_asks_for_the_same_networks_and_none_twice() -> None:
    asked: list[list[Genes]] = [[], []]
    for which in asked:

        def judge(networks: Sequence[Genes], which: list[Genes] = which) -> list[Judged]:
            which.extend(networks)
            return [worth(genes) for genes in networks]

        evolve((4, 4, 4), judge, trials=40, population=8, seed=3, first=[(3, 3, 3)])
    assert asked[0] == asked[1]
    assert asked[0][0] == (3, 3, 3)
    assert len(asked[0]) == len(set(asked[0])) == 40


def test_a_space_that_is_smaller_than_the_wish_is_tried_whole() -> None:
    found = evolve((2, 2), all_of(worth), trials=50, population=4, seed=0)
    assert len(found) == 4
