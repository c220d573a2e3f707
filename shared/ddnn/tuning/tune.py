"""Choosing the temperatures and thresholds of a policy on the validation split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ddnn.evaluation import Recorder, Scores
from ddnn.policy import Judging, Policy
from ddnn.traffic import Offload
from ddnn.tuning.calibration import fit_temperatures
from ddnn.tuning.cost import CostModel
from ddnn.tuning.criteria import compare_criteria, criterion_of
from ddnn.tuning.doubt import doubted
from ddnn.tuning.frontier import Frontier, Limits
from ddnn.tuning.guarantee import NOTHING_SEEN, Risk, guarantee
from ddnn.tuning.live import fit_live
from ddnn.tuning.nearest import closest_recall, infeasible, unmet
from ddnn.tuning.objective import DROP, Objective, below
from ddnn.tuning.points import Points, operating_points
from ddnn.tuning.promise import promise
from ddnn.tuning.report import change, frontier_document
from ddnn.tuning.sample import Sample
from ddnn.types import Array, Ints

__all__ = ["Chosen", "Tuned", "choose", "seen_on", "tune", "tune_policy"]

_FEW: Final = 100  #: events of a class below which its recall is kept with room
_ROOM: Final = 0.5


@dataclass(frozen=True, slots=True)
class Chosen:
    """A policy, and what it was chosen from."""

    policy: Policy
    points: Points


@dataclass(frozen=True, slots=True)
class Tuned:
    """A tuned policy, and all there is to say about it."""

    policy: Policy
    sentence: str  #: what was asked for
    document: dict[str, Any]  #: what `ddnn tune --json` prints, but for whether the policy was written
    points: Points | None  #: what it was chosen from; none where a risk was promised


def tune(
    scores: Scores,
    policy: Policy,
    *,
    max_accuracy_drop: float = DROP,
    criterion: str | None = None,
    cost: CostModel | None = None,
) -> Policy:
    """`policy`, one version on, of the lowest cost at an accuracy at most `max_accuracy_drop` below the best exit's."""
    return choose(Sample(scores, cost), policy, Objective(max_accuracy_drop), criterion=criterion).policy


def seen_on(sample: Sample, policy: Policy, objective: Objective) -> Policy:
    """`policy` with what it does on other events than those it was chosen on, and so promises."""
    return _remember(sample, policy, objective)


def tune_policy(
    samples: Mapping[str, Sample],
    before: Policy,
    aim: Objective | Risk,
    *,
    offload: Offload | None = None,
    criterion: str | None = None,
    live: Recorder | None = None,
    seen: Ints = NOTHING_SEEN,
    seed: int = 0,
) -> Tuned:
    """Tune `before` on `samples["validation"]`, and report on every split.

    `offload` and `criterion` are the policy's own by default; `auto` is the criterion that compares best. `live` is the
    recorder of the validation events, where each number of live devices is to have thresholds of its own. `seen` and
    what is raised are as `choose` and `guarantee` have it.
    """
    validation, points, compared = samples["validation"], None, None
    start = before.model_copy(update={"offload": offload or before.offload})
    if isinstance(aim, Risk):  # a criterion, too, is chosen on what learns alone
        policy, evidence = guarantee(validation, start, aim, criterion=criterion, seed=seed, seen=seen)
        goal = {"minimise": "cost", **{key: evidence[key] for key in ("risk", "confidence", "loss", "min_recall")}}
        made_on = _made_on(validation, policy, goal) | {key: evidence[key] for key in ("best_exit", "dropped")}
        policy = policy.model_copy(update={"tuned": made_on | _shown(validation, policy)})
        sentence, found = aim.sentence(validation.names), {"frontier": None, "guarantee": evidence}
    else:
        if criterion == "auto":
            validation.check()
            fitted = start.model_copy(update={"temperatures": fit_temperatures(validation.scores), "live": {}})
            compared = compare_criteria(samples, fitted, seed=seed)
            criterion = str(compared["chosen"])
        chosen = choose(validation, start, aim, criterion=criterion)
        policy, points = chosen.policy, chosen.points
        if live is not None:
            policy = _remember(validation, policy, aim, fit_live(live, validation, policy, aim))
        frontier = frontier_document(points, "balanced_accuracy" if aim.balanced else "accuracy")
        sentence, found = aim.sentence(validation), {"frontier": frontier, "guarantee": None}
    document = {**change(before, policy, samples), **found, "criteria": compared}
    return Tuned(policy, sentence, document, points)


def choose(
    sample: Sample,
    policy: Policy,
    objective: Objective | None = None,
    *,
    criterion: str | None = None,
    closest: bool = False,
    doubt: float = 0.0,
) -> Chosen:
    """`policy`, one version on, with temperatures and thresholds fitted on a sample, as `objective` wants them.

    The device exit stays off in a group; with one device it takes the local exit's place, whose answer would repeat it.
    Thresholds lie between neighbouring values and serve every number of live devices. No event goes up to
    an exit above the one that is most accurate alone, unless nothing else keeps to the limits. Raises `BadData` for too
    few events, one class or scores that are not finite, `Infeasible`, with what comes nearest, when nothing keeps
    to them; `closest`: where only recall is out of reach, the policy that comes nearest to it says so in `tuned`.
    `doubt`: so many standard errors are exits above given the benefit of (`ddnn.tuning.doubt`).
    """
    objective = objective or Objective()
    sample.check()
    fitted = policy.model_copy(
        update={
            "version": policy.version + 1,
            "criterion": criterion_of(criterion, policy),
            "temperatures": fit_temperatures(sample.scores),
            "live": {},
            "promise": None,
            "tuned": None,
        }
    )
    weights = objective.weights(sample)
    points, best = operating_points(sample, fitted, weights), sample.best_exit(fitted, weights)
    limits = objective.limits(sample, fitted)
    found, dropped = _within(points, limits, objective, best["exit"])
    if not len(found.wrong):
        nearest = closest_recall(sample, fitted, objective, points) if closest and objective.min_recall else None
        if nearest is None:
            raise infeasible(sample, fitted, objective, points)
        limits = nearest.limits(sample, fitted)
        found, dropped = _within(points, limits, objective, best["exit"])
    row, highest, drop = found.thresholds[0], best["exit"], objective.max_accuracy_drop
    if doubt and drop is not None:
        doubtful = doubted(sample, fitted, drop, points, objective.limits(sample, fitted), doubt, weights)
        if doubtful is not None:
            highest, row = doubtful
            dropped = points.asked.above(highest)
    thresholds = points.asked.thresholds(_with_room(sample, fitted, objective, limits, row, dropped))
    if dropped:
        thresholds = thresholds.model_copy(update={highest: 1.0})
    chosen = fitted.model_copy(update={"thresholds": thresholds})
    made_on = _made_on(sample, fitted, objective.document(sample)) | {"search": found.document()}
    made_on |= {"best_exit": best, "dropped": dropped, "unmet": unmet(sample, chosen, objective)}
    return Chosen(_remember(sample, chosen.model_copy(update={"tuned": made_on}), objective), points)


def _within(points: Points, limits: Limits, objective: Objective, best: str) -> tuple[Frontier, list[str]]:
    """The best point within limits, if there is one, and the exits above the exit `best`, if it needs none of them."""
    found = points.best(below(limits, points.asked, best), objective.minimise)
    if len(found.wrong):
        return found, points.asked.above(best)
    return points.best(limits, objective.minimise), []  # a share, a cost or a recall may ask for more than that exit


def _with_room(
    sample: Sample, policy: Policy, objective: Objective, limits: Limits, row: Array, dropped: Sequence[str]
) -> Array:
    """(m,) thresholds `row`, half as high, if limits allow, at exits below one that knows a limited class better.

    For classes with few events: the surest mistake of a dozen is not the surest there is.
    """
    few = [index for index in limits.classes if sample.class_events[index] < _FEW]
    hits = {exit: outcome.hits for exit, outcome in sample.alone(policy).items() if exit.value not in dropped}
    exits = list(hits)
    better = [
        any(hits[later][index] > hits[exit][index] for index in few for later in exits[place + 1 :])
        for place, exit in enumerate(exits)
    ]
    lower = np.array([limit * (_ROOM if any(better[place : place + 1]) else 1) for place, limit in enumerate(row)])
    (outcome,) = sample.outcomes(policy, lower[None])
    answers = [outcome.answers[exit] for exit in sample.asked(policy).exits]
    counts = np.ones(sample.scores.classes, np.int64) if (weights := objective.weights(sample)) is None else weights
    missed = sample.class_events - outcome.hits
    keeps = (
        (limits.most_wrong is None or counts @ missed <= limits.most_wrong)
        and (limits.most_cost is None or outcome.total_cost <= limits.most_cost)
        and all(missed[index] <= most for index, most in limits.classes.items())
        and all(
            cap is None or count <= cap
            for count, cap in zip([*answers, len(sample) - sum(answers)], limits.caps or (), strict=False)
        )
    )
    return lower if keeps else row


def _made_on(sample: Sample, policy: Policy, objective: Mapping[str, Any]) -> dict[str, Any]:
    """What a policy says of its own making."""
    return {
        **sample.scores.source,
        "events": len(sample),
        "criterion": policy.criterion,
        "objective": objective,
        "cost": sample.cost.document(),
    }


def _shown(sample: Sample, policy: Policy) -> dict[str, Any]:
    return {"validation": sample.figures(sample.outcome(policy))}


def _remember(
    sample: Sample, policy: Policy, objective: Objective, live: Mapping[int, Judging] | None = None
) -> Policy:
    """`policy` with what it does on a sample and so promises; with sets of their own for numbers of `live` devices."""
    chosen = policy.model_copy(update={"live": dict(live or {})})
    tuned = {**(policy.tuned or {}), **_shown(sample, chosen)}
    kept = promise(sample.scores, chosen, decisions=sample.decisions(chosen), classes=objective.recalls(sample))
    return chosen.model_copy(update={"tuned": tuned, "promise": kept})
