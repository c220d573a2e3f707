"""A risk that is promised, not hoped for: learn then test.

Angelopoulos, Bates, Candès, Jordan and Lei, "Learn then test: calibrating predictive algorithms to achieve risk
control" (2021), with the exact binomial p-values of Bates et al., "Distribution-free, risk-controlling prediction sets"
(2021). One part of the events, the learning part, gives temperatures, the frontier and the order of testing; the other,
the testing part, which nothing was chosen on, gives the p-values. Along a fixed order each test may use the whole error
allowance 1 − confidence, as long as testing stops at the first that fails. All points that passed are shown, so any of
them may be taken. Where classes have a least recall, a point passes only if every class's recall is shown as well: the
p-value is the largest of all, which needs no correction (Berger, 1982, "Multiparameter hypothesis testing").

Legend: N events, m exits below the cloud that are asked, P points.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, Final, Literal

import numpy as np

from ddnn.errors import BadInput, Infeasible
from ddnn.policy import Policy
from ddnn.tuning.calibration import fit_temperatures
from ddnn.tuning.criteria import compare_criteria, criterion_of
from ddnn.tuning.frontier import Limits, frontier
from ddnn.tuning.objective import below
from ddnn.tuning.promise import fewest_events, p_value, p_values, promise, upper_bound
from ddnn.tuning.recall import MinRecall, check_recall, misses, recalls, wanted
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
    min_recall: MinRecall = field(default_factory=dict)
    """What of a class is answered right, as sure as that; needs labels."""

    def __post_init__(self) -> None:
        for name in ("risk", "confidence", "learning"):
            share = getattr(self, name)
            if not 0 < share < 1:  # false of what is not a number, too
                raise BadInput(f"{name} is {share}; expected a number above 0 and below 1")
        check_recall(self.min_recall)
        if any(share in (0, 1) for share in self.min_recall.values()):
            raise BadInput(
                "min_recall is 0 or 1 beside a risk; expected a number between: no events show a recall of 1"
            )
        if self.min_recall and not self.labelled:
            raise BadInput("min_recall is given without labels; expected labels, which say what class an event is of")

    def __str__(self) -> str:
        return f"a risk of at most {self.risk:g} with confidence {self.confidence:g}"

    @property
    def loss(self) -> Literal["accuracy", "disagreement"]:
        """What a loss is."""
        return "accuracy" if self.labelled else "disagreement"

    def sentence(self, names: Sequence[str]) -> str:
        """For people; `names` (K,) of the classes."""
        least = "".join(f" and {each}" for each in wanted(self.min_recall, names))
        return f"The lowest cost found at a risk of at most {self.risk:g}{least}, with confidence {self.confidence:g}."

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
    there are labels; one set of thresholds serves every number of live devices. Of the points shown to keep to the risk
    the cheapest is taken that sends no event above the exit that is best alone on the learning part, if there is one,
    else the cheapest. `seen` are the rows on which the network itself was chosen: they learn, or where they are too
    many for that the evidence says how many of them test.
    Raises `Infeasible`, saying how many events would do, when the testing part cannot support the promise; `BadInput`
    and `BadData` for what cannot be tuned on.
    """
    sample.check(labelled=asked_for.labelled)
    least = recalls(asked_for.min_recall, sample.scores.y, sample.names) if asked_for.min_recall else {}
    learn, test = halves(len(sample), asked_for.learning, seed, seen)
    need = _enough(asked_for, len(sample), len(test))
    learning, testing = sample.take(learn), sample.take(test)
    _enough_of_classes(asked_for, least, sample, testing)
    fitted = _fitted(learning, policy, asked_for, criterion)
    asked, y = learning.asked(fitted), learning.scores.y if asked_for.labelled else None
    best: dict[str, Any] = learning.best_exit(fitted) if asked_for.labelled else {}
    limits = Limits(classes=misses(least, learning.class_events))
    costs = learning.costs(fitted)
    steps = ladder(asked, costs, y, limits, best.get("exit"))
    reached, rows = asked.reached(steps), np.arange(len(learn))
    cost = costs[rows, reached].sum(axis=1)
    if least:
        order = np.lexsort((-cost, _used(asked, reached, learning, asked_for, least)))
        steps, cost = steps[order], cost[order]
    candidates = [fitted.model_copy(update={"thresholds": asked.thresholds(step)}) for step in steps]
    losses = (_losses(testing, each, asked_for.labelled) for each in candidates)
    shown = (_recall_p(testing, each, least) for each in candidates)
    rungs = climb(losses, len(test), asked_for.risk, asked_for.confidence, shown)
    passed = [place for place, rung in enumerate(rungs) if rung.passed]
    if not passed:
        raise Infeasible(f"{asked_for} is not shown: {_why(rungs, testing, candidates, asked_for, least)}")
    dropped = asked.above(best["exit"]) if best else []
    below_best = [place for place in passed if dropped and candidates[place].thresholds.of(Exit(best["exit"])) == 1]
    place = min(below_best or passed, key=lambda place: (cost[place], -place))
    chosen, last = candidates[place], rungs[place]
    kept = promise(testing.scores, chosen, asked_for.confidence, testing.decisions(chosen), least)
    kept = kept.model_copy(update={"risk": asked_for.risk, "loss": asked_for.loss})
    events = {"learning": len(learn), "testing": len(test), "fewest": need, "seen": int(np.isin(test, seen).sum())}
    return chosen.model_copy(update={"promise": kept}), {
        "risk": asked_for.risk,
        "confidence": asked_for.confidence,
        "loss": asked_for.loss,
        "min_recall": {sample.names[index]: share for index, share in least.items()},
        "events": events,
        "seed": seed,
        "criterion": chosen.criterion,
        "losses": last.losses,
        "p_value": last.p_value,
        "chosen": place + 1,
        "tested": [rung.document(asked.exits, step) for step, rung in zip(steps, rungs, strict=False)],
        "points": len(steps),
        "best_exit": best or None,
        "dropped": dropped if below_best else [],
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


def ladder(asked: Asked, costs: Array, y: Ints | None, limits: Limits | None = None, best: str | None = None) -> Array:
    """(P, m) thresholds of the frontier of losses against cost, from the safest to the cheapest, and before them rungs.

    The safest point goes up to the first event that it would have lost, so its risk is about one event in those that
    learnt: too much, when few did. Testing therefore starts below it, at thresholds under which each exit gives a
    tenth, two tenths … of the answers. The cloud alone is left out: it loses nothing by definition. Of `limits` those
    on classes count. Where an exit `best` below the cloud is named, points that send nothing above it are among them;
    if the cloud itself does not keep to the limits on classes, they are all, as nearer to the cloud is not safer.
    """
    limits, place = limits or Limits(), asked.exits.index(Exit(best)) if best in asked.exits else None
    right, kept = ~asked.losses(y), None if y is None else asked.labels == y[:, None]

    def points(within: Limits, top: int | None) -> Array:
        found = frontier(asked.uncertainty, right, costs, within, y=y, kept=kept)
        steps = np.asarray(found.thresholds[np.lexsort((-found.cost, found.wrong))], np.float64)
        if top is not None:
            steps[:, top] = 1.0
        return _gently(asked, steps[(steps > 0).any(axis=1)], top)

    if place is None:
        return points(limits, None)
    steps = points(below(limits, asked, asked.exits[place]), place)
    if kept is None or all(int((~kept[y == n, -1]).sum()) <= most for n, most in limits.classes.items()):
        steps = np.concatenate([points(limits, None), steps])
    reached, rows = asked.reached(steps), np.arange(len(asked.labels))
    lost, spent = (~right[rows, reached]).sum(axis=1), costs[rows, reached].sum(axis=1)
    steps = steps[np.lexsort((-spent, lost))]
    return np.asarray(steps[np.sort(np.unique(steps, axis=0, return_index=True)[1])])


def _gently(asked: Asked, steps: Array, top: int | None) -> Array:
    """`steps`, the safest first, behind parts of the safest; `top` answers all that comes to it, and alone at first."""
    if not len(steps):
        return steps
    answered = asked.reached(steps[:1])[0]
    gentle = np.zeros((len(_GENTLE), len(asked.exits)))
    for place in range(len(asked.exits) if top is None else top):
        mine = asked.uncertainty[answered == place, place].astype(np.float64)
        if len(mine):
            gentle[:, place] = np.quantile(mine, _GENTLE)
    if top is not None:
        gentle = np.concatenate([np.zeros((1, len(asked.exits))), gentle])
        gentle[:, top] = 1.0
    answers = (asked.reached(gentle) < len(asked.exits)).any(axis=1)  # of ties, a part is none
    return np.concatenate([gentle[answers], steps])


def climb(
    losses: Iterable[int], events: int, risk: float, confidence: float, recall: Iterable[float] | None = None
) -> list[Rung]:
    """Test each point in turn, up to the first that fails; `losses` in `events` testing events.

    `recall`: of each point the largest p-value of its classes, if any have a least recall.
    """
    chances = p_values(events, risk)
    rungs = []
    for count, of_classes in zip(losses, recall or repeat(0.0), strict=False):
        chance = max(float(chances[count]), of_classes)
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


def _enough_of_classes(asked_for: Risk, least: Mapping[int, float], sample: Sample, testing: Sample) -> None:
    """Raise `Infeasible` where a class has fewer testing events than can show its recall."""
    for index, share in least.items():
        need, events = fewest_events(1 - share, asked_for.confidence) or 0, int(testing.class_events[index])
        if events < need:
            raise Infeasible(
                f"a recall of at least {share:g} of class {sample.names[index]} with confidence"
                f" {asked_for.confidence:g} needs {need:,} testing events of the class without a miss, so about"
                f" {asked_for.whole(need):,} in all; there are {int(sample.class_events[index]):,}, of which {events:,}"
                f" test: the highest recall they can show is {1 - asked_for.lowest(0, events):.4g}"
            )


def _used(asked: Asked, reached: Ints, learning: Sample, asked_for: Risk, least: Mapping[int, float]) -> Array:
    """(P,) the largest part of what may be lost, or missed of a class, that each point uses where it was learnt."""
    rows, y = np.arange(len(learning)), learning.scores.y
    used = [asked.losses(y)[rows, reached].mean(axis=1) / asked_for.risk]
    missed = (asked.labels != y[:, None])[rows, reached]
    used += [missed[:, y == index].mean(axis=1) / (1 - share) for index, share in least.items() if (y == index).any()]
    return np.asarray(np.max(used, axis=0))


def _missed(testing: Sample, policy: Policy, index: int) -> int:
    """Events of a class whose answer is wrong as the policy is served."""
    return int((testing.decisions(policy).label[testing.scores.y == index] != index).sum())


def _recall_p(testing: Sample, policy: Policy, least: Mapping[int, float]) -> float:
    """The largest p-value of the classes' recalls."""
    events = testing.class_events
    chances = (
        float(p_value(_missed(testing, policy, index), int(events[index]), 1 - share)) for index, share in least.items()
    )
    return max(chances, default=0.0)


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


def _why(
    rungs: list[Rung], testing: Sample, candidates: list[Policy], asked_for: Risk, least: Mapping[int, float]
) -> str:
    if not rungs and least:
        return f"on the learning part no thresholds keep {' and '.join(wanted(asked_for.min_recall, testing.names))}"
    if not rungs:
        return "on the learning part no thresholds cost less than asking the cloud every time"
    for index, share in least.items():
        missed, events = _missed(testing, candidates[0], index), int(testing.class_events[index])
        if p_value(missed, events, 1 - share) > 1 - asked_for.confidence:
            return (
                f"the safest thresholds miss {missed} of {events:,} testing events of class {testing.names[index]},"
                f" which shows a recall of {1 - asked_for.lowest(missed, events):.4g}, not of {share:g}"
            )
    losses, events = rungs[0].losses, len(testing)
    found = (
        f"the safest thresholds lose {losses} of {events:,} testing events,"
        f" which shows no less than {asked_for.lowest(losses, events):g}"
    )
    need = fewest_events(asked_for.risk, asked_for.confidence, losses / events)
    return f"{found}; " + (
        "more events would not help, send all to the cloud or allow more risk"
        if need is None
        else f"if that is their rate, about {asked_for.whole(need):,} events in all would do"
    )
