"""What a tuned policy is beside what it might have been: the evidence that a report draws.

Legend: m exits below the cloud that are asked, P rows of thresholds.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from ddnn.evaluation.decide import ALWAYS
from ddnn.policy import Policy
from ddnn.tuning.calibration import answers, auroc, reliability
from ddnn.tuning.objective import DROP, Objective
from ddnn.tuning.points import Points, operating_points
from ddnn.tuning.sample import Sample
from ddnn.types import Array, Exit

__all__ = ["DROPS", "comparison"]

DROPS: Final = (0.0, 0.0025, 0.005, 0.01, 0.02)  #: how far below the best exit the alternatives' accuracy may lie
_SWEEP: Final = np.linspace(0, 1, 51)  #: thresholds tried of one exit while the others stay


def comparison(
    samples: Mapping[str, Sample], policy: Policy, points: Points | None = None, objective: Objective | None = None
) -> dict[str, Any]:
    """`frontier`, `alone`, `alternatives`, `sweeps` and `reliability`, each on every split; and `search`.

    Points and alternatives are found on `samples["validation"]` under the policy's criterion and temperatures, with one
    set of thresholds for every number of live devices; `points` are those, if they are known. Alternatives keep to what
    `objective` says of classes.
    """
    policy = policy.model_copy(update={"live": {}})
    objective = replace(objective or Objective(), max_accuracy_drop=DROP, max_cost=None, max_share={})
    points = points or operating_points(samples["validation"], policy, objective.weights(samples["validation"]))
    exits, found = points.asked.exits, points.frontier()
    chosen = np.array([policy.thresholds.of(exit) for exit in exits])
    sweeps = {}
    for place, exit in enumerate(exits):
        tried = np.repeat(chosen[None], len(_SWEEP), axis=0)
        tried[:, place] = _SWEEP
        sweeps[exit.value] = _played(samples, policy, exits, tried)
    return {
        "search": found.document(),
        "frontier": _played(samples, policy, exits, found.thresholds[found.some()]),
        "alone": _alone(samples, policy, exits),
        "alternatives": [
            _alternative(samples, policy, points, replace(objective, max_accuracy_drop=drop)) for drop in DROPS
        ],
        "sweeps": sweeps,
        "reliability": {split: _reliability(sample, policy) for split, sample in samples.items()},
    }


def _played(
    samples: Mapping[str, Sample], policy: Policy, exits: tuple[Exit, ...], rows: Array
) -> list[dict[str, Any]]:
    """Each row of thresholds (P, m), and on each split accuracy, mean cost and the share of each exit."""
    outcomes = {split: sample.outcomes(policy, rows) for split, sample in samples.items()}
    return [
        {"thresholds": _by_exit(exits, row), **{split: each[place].document() for split, each in outcomes.items()}}
        for place, row in enumerate(rows)
    ]


def _alone(samples: Mapping[str, Sample], policy: Policy, exits: tuple[Exit, ...]) -> dict[str, Any]:
    """The same of each exit if it answered everything, the cloud's last."""
    everything = np.vstack([ALWAYS * np.eye(len(exits)), np.zeros(len(exits))])
    found: dict[str, Any] = {exit.value: {} for exit in (*exits, Exit.CLOUD)}
    for split, sample in samples.items():
        for by_split, outcome in zip(found.values(), sample.outcomes(policy, everything), strict=True):
            shares = {exit.value: outcome.share(exit) for exit in sample.scores.topology.exits}
            by_split[split] = {**outcome.document(), "exit_share": shares}
    return found


def _alternative(samples: Mapping[str, Sample], policy: Policy, points: Points, objective: Objective) -> dict[str, Any]:
    """The cheapest point so far below the best exit, and what it does; the margin alone where there is none."""
    found = points.best(objective.limits(samples["validation"], policy), "cost").thresholds
    margin = {"max_accuracy_drop": objective.max_accuracy_drop}
    if not len(found):
        return {**margin, "thresholds": None}
    by_split = {split: sample.figures(sample.outcomes(policy, found)[0]) for split, sample in samples.items()}
    return {**margin, "thresholds": _by_exit(points.asked.exits, found[0]), **by_split}


def _reliability(sample: Sample, policy: Policy) -> dict[str, Any]:
    """By exit: ECE and bins of the probability of its label, whatever the criterion; AUROC of the criterion."""
    document, scores = {}, sample.scores
    for exit, said in sample.judged(policy).items():
        unsure, right = answers(scores, exit, said)
        by_probability = said._replace(uncertainty=scores.task.uncertainty("max_probability", said.probabilities))
        improbable, _ = answers(scores, exit, by_probability)
        document[exit.value] = {
            "answers": len(right),
            "auroc": auroc(unsure, right),
            **reliability(1 - improbable, right),
        }
    return document


def _by_exit(exits: tuple[Exit, ...], values: Array) -> dict[str, float]:
    return {exit.value: float(value) for exit, value in zip(exits, values, strict=True)}
