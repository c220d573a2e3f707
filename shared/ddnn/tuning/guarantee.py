"""A risk that is promised, not hoped for: learn then test.

Angelopoulos, Bates, Candès, Jordan and Lei, "Learn then test: calibrating predictive algorithms to achieve risk
control" (2021), with the exact binomial p-values of Bates et al., "Distribution-free, risk-controlling prediction sets"
(2021). One part of the events, the learning part, gives temperatures, the frontier and the order of testing; the other,
the testing part, which nothing was chosen on, gives the p-values. Along a fixed order each test may use the whole error
allowance 1 − confidence, as long as testing stops at the first that fails.

Legend: N events, m exits below the cloud that are asked.
"""

import math
from typing import Any, Final

import numpy as np

from ddnn.errors import BadInput, Infeasible
from ddnn.evaluation import Scores, decide
from ddnn.policy import Policy
from ddnn.tuning.asked import ask, enough
from ddnn.tuning.binomial import fewest_events, upper_bound
from ddnn.tuning.calibration import fit_temperatures
from ddnn.tuning.criteria import compare_criteria, criterion_of
from ddnn.tuning.guarantee_steps import NOTHING_SEEN, Rung, climb, halves, ladder
from ddnn.tuning.promise import cloud_labels, promise
from ddnn.types import Array, Ints

__all__ = ["LEARNING", "guarantee"]

LEARNING: Final = 0.3
"""Share of the events that learn; the others test."""


def guarantee(
    scores: Scores,
    policy: Policy,
    costs: Array,
    *,
    risk: float,
    confidence: float = 0.95,
    labelled: bool = True,
    criterion: str | None = None,
    learning: float = LEARNING,
    seed: int = 0,
    seen: Ints = NOTHING_SEEN,
) -> tuple[Policy, dict[str, Any]]:
    """The cheapest policy found whose risk is at most `risk`, with `confidence` over the draw of the events; evidence.

    A loss is an event that the cloud has right and the served answer wrong; not `labelled`: one whose served answer is
    not the cloud's, and then no label is looked at. `costs` (N, m + 1) is what an event costs if answered at each of
    the exits asked in order. `criterion` is the policy's own by default; `auto` chooses on the learning part.
    Temperatures are fitted there where there are labels; one set of thresholds serves every number of live devices.
    `seen` are the rows on which the network itself was chosen: they learn, or where they are too many for that the
    evidence says how many of them test.
    Raises `Infeasible`, saying how many events would do, when the testing part cannot support the promise; `BadInput`
    and `BadData` for what cannot be tuned on.
    """
    for name, share in (("risk", risk), ("confidence", confidence), ("learning", learning)):
        if not 0 < share < 1:  # false of what is not a number, too
            raise BadInput(f"{name} is {share}; expected a number above 0 and below 1")
    enough(scores, labelled=labelled)
    learn, test = halves(len(scores), learning, seed, seen)
    need = fewest_events(risk, confidence) or 0
    asked_for = f"a risk of at most {risk:g} with confidence {confidence:g}"
    if len(test) < need:
        raise Infeasible(
            f"{asked_for} needs {need:,} testing events without a single loss, so {_whole(need, learning):,} events in"
            f" all; there are {len(scores):,}, of which {len(test):,} test:"
            f" the lowest risk they can show is {_lowest(0, len(test), confidence):g}"
        )
    learning_part, testing_part = scores.take(learn), scores.take(test)
    fitted = policy.model_copy(update={"live": {}, "version": policy.version + 1, "tuned": None, "promise": None})
    if labelled:
        fitted = fitted.model_copy(update={"temperatures": fit_temperatures(learning_part)})
    judged_by = _criterion(criterion, learning_part, fitted, costs[learn], labelled)
    fitted = fitted.model_copy(update={"criterion": judged_by})
    asked = ask(learning_part, fitted)
    steps = ladder(asked, costs[learn], learning_part.y if labelled else None)
    candidates = [fitted.model_copy(update={"thresholds": asked.thresholds(step)}) for step in steps]
    rungs = climb((_losses(testing_part, each, labelled) for each in candidates), len(test), risk, confidence)
    passed = sum(rung.passed for rung in rungs)
    if not passed:
        raise Infeasible(f"{asked_for} is not shown: {_why(rungs, len(test), learning, risk, confidence)}")
    chosen = candidates[passed - 1]
    loss = "accuracy" if labelled else "disagreement"
    promised = promise(testing_part, chosen, confidence).model_copy(update={"risk": risk, "loss": loss})
    evidence = {
        "risk": risk,
        "confidence": confidence,
        "loss": loss,
        "events": {
            "learning": len(learn),
            "testing": len(test),
            "fewest": need,
            "seen": int(np.isin(test, seen).sum()),
        },
        "seed": seed,
        "criterion": chosen.criterion,
        "losses": rungs[passed - 1].losses,
        "p_value": rungs[passed - 1].p_value,
        "tested": [
            {
                "thresholds": {exit.value: float(v) for exit, v in zip(asked.exits, step, strict=True)},
                "losses": rung.losses,
                "p_value": rung.p_value,
                "passed": rung.passed,
            }
            for step, rung in zip(steps, rungs, strict=False)
        ],
        "points": len(steps),
    }
    return chosen.model_copy(update={"promise": promised}), evidence


def _criterion(name: str | None, scores: Scores, policy: Policy, costs: Array, labelled: bool) -> str:
    if name != "auto":
        return criterion_of(name, policy)
    if not labelled:
        raise BadInput("criterion is 'auto' without labels; expected one by name: which is best is judged by labels")
    return str(compare_criteria({"validation": scores}, policy, {"validation": costs})["chosen"])


def _losses(scores: Scores, policy: Policy, labelled: bool) -> int:
    """Losses of the policy as it is served."""
    cloud = cloud_labels(scores)
    differs = decide(scores, policy).label != cloud
    return int((differs & scores.right(cloud) if labelled else differs).sum())


def _whole(testing: int, learning: float) -> int:
    return math.ceil(testing / (1 - learning))


def _lowest(losses: int, testing: int, confidence: float) -> float:
    return math.ceil(1e4 * upper_bound(losses, testing, confidence)) / 1e4


def _why(rungs: list[Rung], testing: int, learning: float, risk: float, confidence: float) -> str:
    if not rungs:
        return "on the learning part no thresholds cost less than asking the cloud every time"
    losses = rungs[0].losses
    told = (
        f"the safest thresholds lose {losses} of {testing:,} testing events,"
        f" which shows no less than {_lowest(losses, testing, confidence):g}"
    )
    need = fewest_events(risk, confidence, losses / testing)
    return f"{told}; " + (
        "more events would not help, send all to the cloud or allow more risk"
        if need is None
        else f"if that is their rate, about {_whole(need, learning):,} events in all would do"
    )
