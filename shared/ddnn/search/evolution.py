"""NSGA-II (Deb et al. 2002), by pymoo: generations of networks by two objectives and a constraint.

Legend: G genes, P networks of a generation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ddnn.search.space import Genes

__all__ = ["Judged", "evolve"]

SPREAD: Final = 3.0  #: index of crossover and mutation: genes are few steps wide, so that large steps are wanted
CHANGED: Final = 0.25  #: share of the genes that mutate
STALE: Final = 10
"""Generations after the last one that had a network not tried before."""


@dataclass(frozen=True)
class Judged:
    """What is minimised, and by how much a network is not allowed."""

    error: float
    bytes: float
    excess: float = 0.0


def evolve(
    choices: Sequence[int],
    judge: Callable[[Sequence[Genes]], Sequence[Judged]],
    *,
    trials: int,
    population: int,
    seed: int,
    first: Sequence[Genes] = (),
) -> dict[Genes, Judged]:
    """Judge so many different networks, generation by generation; all that were judged, in their order.

    Args:
        choices: (G,) how many each gene has.
        judge: Is given networks that it has not judged before, a generation at once.
        trials: How many in all, at most.
        population: P.
        seed: Where chance plays: the same calls come again, so that what has been judged need not be judged anew.
        first: Networks of the first generation; chance fills it.
    """
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.evaluator import Evaluator
    from pymoo.core.problem import Problem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.problems.static import StaticProblem
    from pymoo.termination import get_termination

    problem = Problem(n_var=len(choices), n_obj=2, n_ieq_constr=1, xl=0, xu=np.array(choices) - 1, vtype=int)
    algorithm = NSGA2(
        pop_size=population,
        sampling=_first(choices, population, seed, first),
        crossover=SBX(prob=0.9, eta=SPREAD, vtype=float, repair=RoundingRepair()),
        mutation=PM(eta=SPREAD, prob_var=CHANGED, vtype=float, repair=RoundingRepair()),
        eliminate_duplicates=True,
    )
    algorithm.setup(problem, termination=get_termination("n_gen", 1 << 30), seed=seed, verbose=False)
    known, stale = dict[Genes, Judged](), 0
    while len(known) < trials and stale < STALE:
        asked: Any = algorithm.ask()
        if asked is None or not len(asked):
            break
        networks = [tuple(int(gene) for gene in genes) for genes in asked.get("X")]
        new = list(dict.fromkeys(genes for genes in networks if genes not in known))[: trials - len(known)]
        stale = 0 if new else stale + 1
        known |= zip(new, judge(new) if new else (), strict=True)
        some = [genes in known for genes in networks]  # the last generation may be cut short
        found = [known.get(genes, Judged(1.0, np.inf, np.inf)) for genes in networks]
        if not all(some):
            break
        values = np.array([[each.error, each.bytes] for each in found])
        excess = np.array([[each.excess] for each in found])
        Evaluator().eval(StaticProblem(problem, F=values, G=excess), asked)
        algorithm.tell(infills=asked)
    return known


def _first(choices: Sequence[int], population: int, seed: int, first: Sequence[Genes]) -> Any:
    """(P, G) different networks, as far as there are so many."""
    random = np.random.default_rng(seed)
    found = dict.fromkeys(first)
    most = min(population, int(np.prod([float(count) for count in choices])))
    while len(found) < most:
        found[tuple(int(random.integers(count)) for count in choices)] = None
    return np.array(list(found), dtype=int)
