"""A risk that is promised, not hoped for: learn then test.

Angelopoulos, Bates, Candès, Jordan and Lei, "Learn then test: calibrating predictive algorithms to achieve risk
control" (2021), with the exact binomial p-values of Bates et al., "Distribution-free, risk-controlling prediction sets"
(2021). One part of the events, the learning part, gives temperatures, the frontier and the order of testing; the other,
the testing part, which nothing was chosen on, gives the p-values. Along a fixed order each test may use the whole error
allowance 1 − confidence, as long as testing stops at the first that fails.

Legend: N events, m exits below the cloud that are asked, P points.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from ddnn.errors import BadInput, Infeasible
from ddnn.policy import Policy
from ddnn.tuning.calibration import fit_temperatures
from ddnn.tuning.criteria import compare_criteria, criterion_of
from ddnn.tuning.frontier import frontier
from ddnn.tuning.promise import fewest_events, p_values, promise, upper_bound
from ddnn.tuning.sample import Asked, Sample
from ddnn.types import Array, Exit, Ints

__all__ = ["LEARNING", "NOTHING_SEEN", "Risk", "Rung", "climb", "guarantee", "halves", "ladder"]

LEARNING: Final = 0.3  #: share of the events that learn; the others test
NOTHING_SEEN: Final[Ints] = np.zeros(0, np.int64)
_GENTLE: Final = np.arange(1, 10) / 10
"""How much of what the safest point answers below the cloud the rungs below it do."""


@dataclass(frozen=True, slots=True)
class Risk:
    """What is to be promised."""

    risk: float  #: at most this share of all events is lost by not asking the cloud
    confidence: float = 0.95  #: how sure that is, over the draw of the events
    labelled: bool = True
    """A loss is an event that the cloud has right and the served answer wrong; without labels, one whose served answer
    is not the cloud's, and then no label is looked at."""
    learning: float = LEARNING

    def __post_init__(self) -> None:
        for name in ("risk", "confidence", "learning"):
            share = getattr(self, name)
            if not 0 < share < 1:  # false of what is not a number, too
                raise BadInput(f"{name} is {share}; expected a number above 0 and below 1")

    def __str__(self) -> str:
        return f"a risk of at most {self.risk:g} with confidence {self.confidence:g}"

    @property
    def loss(self) -> Literal["accuracy", "disagreement"]:
        """What a loss is."""
        return "accuracy" if self.labelled else "disagreement"

    def sentence(self) -> str:
        """For people."""
        return f"The lowest cost found at a risk of at most {self.risk:g}, with confidence {self.confidence:g}."

    def whole(self, testing: int) -> int:
        """Events in all, of which so many test."""
        return math.ceil(testing / (1 - self.learning))

    def lowest(self, losses: int, testing: int) -> float:
        """The lowest risk that so many losses show."""
        return math.ceil(1e4 * upper_bound(losses, testing, self.confidence)) / 1e4


def guarantee(
    sample: Sample,
    policy: Policy,
    asked_for: Risk,
    *,
    criterion: str | None = None,
    seed: int = 0,
    seen: Ints = NOTHING_SEEN,
) -> tuple[Policy, dict[str, Any]]:
    """The cheapest policy found that keeps to the risk, and the evidence.

    `criterion` is the policy's own by default; `auto` chooses on the learning part. Temperatures are fitted there where
    there are labels; one set of thresholds serves every number of live devices. `seen` are the rows on which the
    network itself was chosen: they learn, or where they are too many for that the evidence says how many of them test.
    Raises `Infeasible`, saying how many events would do, when the testing part cannot support the promise; `BadInput`
    and `BadData` for what cannot be tuned on.
    """
    sample.check(labelled=asked_for.labelled)
    learn, test = halves(len(sample), asked_for.learning, seed, seen)
    need = _enough(asked_for, len(sample), len(test))
    learning, testing = sample.take(learn), sample.take(test)
    fitted = _fitted(learning, policy, asked_for, criterion)
    asked = learning.asked(fitted)
    steps = ladder(asked, learning.costs(fitted), learning.scores.y if asked_for.labelled else None)
    candidates = [fitted.model_copy(update={"thresholds": asked.thresholds(step)}) for step in steps]
    losses = (_losses(testing, each, asked_for.labelled) for each in candidates)
    rungs = climb(losses, len(test), asked_for.risk, asked_for.confidence)
    passed = sum(rung.passed for rung in rungs)
    if not passed:
        raise Infeasible(f"{asked_for} is not shown: {_why(rungs, len(test), asked_for)}")
    chosen, last = candidates[passed - 1], rungs[passed - 1]
    kept = promise(testing.scores, chosen, asked_for.confidence, testing.decisions(chosen))
    kept = kept.model_copy(update={"risk": asked_for.risk, "loss": asked_for.loss})
    events = {"learning": len(learn), "testing": len(test), "fewest": need, "seen": int(np.isin(test, seen).sum())}
    return chosen.model_copy(update={"promise": kept}), {
        "risk": asked_for.risk,
        "confidence": asked_for.confidence,
        "loss": asked_for.loss,
        "events": events,
        "seed": seed,
        "criterion": chosen.criterion,
        "losses": last.losses,
        "p_value": last.p_value,
        "tested": [rung.document(asked.exits, step) for step, rung in zip(steps, rungs, strict=False)],
        "points": len(steps),
    }


@dataclass(frozen=True, slots=True)
class Rung:
    """One tested point."""

    losses: int
    p_value: float
    passed: bool

    def document(self, exits: tuple[Exit, ...], thresholds: Array) -> dict[str, Any]:
        """As JSON, with its thresholds (m,)."""
        limits = {exit.value: float(value) for exit, value in zip(exits, thresholds, strict=True)}
        return {"thresholds": limits, "losses": self.losses, "p_value": self.p_value, "passed": self.passed}


def halves(events: int, learning: float, seed: int, seen: Ints = NOTHING_SEEN) -> tuple[Ints, Ints]:
    """Rows of the learning and of the testing part, drawn at random; `seen` rows learn, where there is room.

    Not stratified: with a plain draw the testing part is itself a draw from the source, and the p-values are exact.
    """
    order = np.random.default_rng(seed).permutation(events)
    cut = round(learning * events)
    if len(seen) <= cut:
        order = np.concatenate([seen, order[~np.isin(order, seen)]])
    return np.sort(order[:cut]), np.sort(order[cut:])


def ladder(asked: Asked, costs: Array, y: Ints | None) -> Array:
    """(P, m) thresholds of the frontier of losses against cost, from the safest to the cheapest, and before them rungs.

    The safest point goes up to the first event that it would have lost, so its risk is about one event in those that
    learnt: too much, when few did. Testing therefore starts below it, at thresholds under which each exit gives a
    tenth, two tenths … of the answers. The cloud alone is left out: it loses nothing by definition.
    """
    found = frontier(asked.uncertainty, ~asked.losses(y), costs)
    steps = found.thresholds[np.lexsort((-found.cost, found.wrong))]
    steps = np.asarray(steps[(steps > 0).any(axis=1)], np.float64)
    if not len(steps):
        return steps
    answered = asked.reached(steps[:1])[0]
    gentle = np.zeros((len(_GENTLE), len(asked.exits)))
    for place in range(len(asked.exits)):
        mine = asked.uncertainty[answered == place, place].astype(np.float64)
        if len(mine):
            gentle[:, place] = np.quantile(mine, _GENTLE)
    answers = (asked.reached(gentle) < len(asked.exits)).any(axis=1)  # of ties, a part is none
    return np.concatenate([gentle[answers], steps])


def climb(losses: Iterable[int], events: int, risk: float, confidence: float) -> list[Rung]:
    """Test each point in turn, up to the first that fails; `losses` in `events` testing events."""
    chances = p_values(events, risk)
    rungs = []
    for count in losses:
        chance = float(chances[count])
        rungs.append(Rung(count, chance, chance <= 1 - confidence))
        if not rungs[-1].passed:
            break
    return rungs


def _enough(asked_for: Risk, events: int, testing: int) -> int:
    """The fewest testing events that can show the risk; raise `Infeasible` where there are fewer."""
    need = fewest_events(asked_for.risk, asked_for.confidence) or 0
    if testing < need:
        raise Infeasible(
            f"{asked_for} needs {need:,} testing events without a single loss, so {asked_for.whole(need):,} events in"
            f" all; there are {events:,}, of which {testing:,} test:"
            f" the lowest risk they can show is {asked_for.lowest(0, testing):g}"
        )
    return need


def _fitted(learning: Sample, policy: Policy, asked_for: Risk, criterion: str | None) -> Policy:
    """`policy`, one version on, with criterion and temperatures of the learning part."""
    fitted = policy.model_copy(update={"live": {}, "version": policy.version + 1, "tuned": None, "promise": None})
    if asked_for.labelled:
        fitted = fitted.model_copy(update={"temperatures": fit_temperatures(learning.scores)})
    if criterion != "auto":
        return fitted.model_copy(update={"criterion": criterion_of(criterion, policy)})
    if not asked_for.labelled:
        raise BadInput("criterion is 'auto' without labels; expected one by name: which is best is judged by labels")
    return fitted.model_copy(update={"criterion": compare_criteria({"validation": learning}, fitted)["chosen"]})


def _losses(testing: Sample, policy: Policy, labelled: bool) -> int:
    """Losses of the policy as it is served."""
    differs = testing.decisions(policy).label != testing.cloud_labels
    return int((differs & testing.cloud_right if labelled else differs).sum())


def _why(rungs: list[Rung], testing: int, asked_for: Risk) -> str:
    if not rungs:
        return "on the learning part no thresholds cost less than asking the cloud every time"
    losses = rungs[0].losses
    found = (
        f"the safest thresholds lose {losses} of {testing:,} testing events,"
        f" which shows no less than {asked_for.lowest(losses, testing):g}"
    )
    need = fewest_events(asked_for.risk, asked_for.confidence, losses / testing)
    return f"{found}; " + (
        "more events would not help, send all to the cloud or allow more risk"
        if need is None
        else f"if that is their rate, about {asked_for.whole(need):,} events in all would do"
    )
