"""What becomes of a tuned policy when events drift or devices get lost.

`python -m ddnn_lab.benchmarks.drift audits BUNDLE fashion_mnist.npz`, or
`python -m ddnn_lab.benchmarks.drift live BUNDLE mnist5k --grid 3x2 --lost 0.3`.
Each prints its tables and writes them, with the figures, into --out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.stats import binom
from scipy.stats import t as student

from ddnn.bundle import Bundle
from ddnn.data import Dataset, load
from ddnn.drift import Evidence
from ddnn.errors import BadInput
from ddnn.evaluation import Recorder, Scores, decide, record
from ddnn.evaluation.source import load_for
from ddnn.formatting import NONE, markdown, percent
from ddnn.policy import Policy, Temperatures
from ddnn.task import CRITERIA, probabilities
from ddnn.tuning.calibration import fit_temperatures, reliability
from ddnn.tuning.cost import CostModel
from ddnn.tuning.frontier import frontier
from ddnn.tuning.live import some
from ddnn.tuning.promise import promise
from ddnn.tuning.sample import FEWEST_EVENTS, Sample, ask
from ddnn.types import Array, Bools, Exit, Ints
from ddnn_lab.benchmarks import RESULTS, Out, command, write
from ddnn_lab.drifting import Drift, drifting

__all__ = ["alarms", "audits", "live", "lose", "study"]

RATES: Final = (0.01, 0.05, 0.2)
SHARE: Final = 0.1
DRIFTS: Final = {
    "fade 0.5": Drift(fade=0.5),
    "fade 0.7": Drift(fade=0.7),
    "blur 1": Drift(blur=1.0),
    "blur 2": Drift(blur=2.0),
    "lose 1 device": Drift(lose=1),
    "lose 2 devices": Drift(lose=2),
    "lose 3 devices": Drift(lose=3),
    "fade 0.3, blur 1, lose 2": Drift(fade=0.3, blur=1.0, lose=2),
}
BUDGETS: Final = (0.05, 0.1, 0.2, 0.4)
PRICES: Final = np.concatenate([[0.0], np.geomspace(1e-6, 1e-2, 80)])  #: accuracy that a byte is worth
Pool = Mapping[Exit, Bools]  #: of each exit's answers, whether they are unlike the cloud's
Sets = Mapping[int, tuple[Temperatures, Array]]
"""Temperatures and thresholds (prices, m) by the number of live devices."""


def audits(
    bundle: Path,
    data: str,
    grid: str | None = None,
    replays: int = 1000,
    audits: int = 5000,
    quiet: int = 1000,
    seed: int = 0,
    out: Out = RESULTS,
) -> None:
    """How often audits raise a false alarm, and how soon a true one: thousands of replays of recorded events.

    A replay draws audited answers of each exit with replacement, so that they are independent and the pool's share of
    answers unlike the cloud's is exactly the truth. Without drift: as tuned, and with the truth itself as the promise,
    the worst case that is no broken promise. With drift: --quiet audits of the test events, then up to --audits of the
    same events as drift has made them; "answers" is how many the fleet gives until the alarm when a tenth of the sure
    ones is audited.
    """
    opened, rng = Bundle.open(bundle), np.random.default_rng(seed)
    events, policy = load_for(opened, data, grid=grid), opened.policy
    promised = policy.promise or promise(record(opened, events.subset("validation")), policy)
    test, highest = events.subset("test"), promised.disagreement
    clean, _, _ = pool(opened, test, policy)
    truth = {exit: float(differ.mean()) for exit, differ in clean.items() if exit in highest}
    quiet_rows, rows = [], []
    for name, most in (("as tuned", highest), ("the truth", truth)):
        peaks = [alarms(rng, [(clean[exit], audits)], most[exit], replays)[0] for exit in truth]
        count = [int((np.max(peaks, axis=0) >= np.log(len(truth) / rate)).sum()) for rate in RATES]
        counts = [f"{n} (at most {int(binom.ppf(0.99, replays, rate))})" for n, rate in zip(count, RATES, strict=True)]
        exits = (f"{exit} {percent(most[exit], 2)} (true {percent(truth[exit], 2)})" for exit in truth)
        quiet_rows.append((name, ", ".join(exits), *counts))
    limit = float(np.log(len(truth) / policy.audits.false_alarm))
    for name, drift in DRIFTS.items():
        stream, _ = drifting(test, replace(drift, begins=-1.0, over=0.1), events=len(test), seed=seed)
        drifted, shares, accuracy = pool(opened, stream, policy)
        for exit in truth:
            stages = [(clean[exit], quiet), (drifted[exit], audits)]
            _, alarm = alarms(rng, stages, highest[exit], replays, limit)
            cells = (percent(shares[exit]), percent(float(drifted[exit].mean())), percent(highest[exit]))
            rows.append((name, accuracy, exit, *cells, *_delay(alarm, quiet, shares[exit])))
    heads = ("accuracy, cloud's", "exit", "answers", "unlike the cloud", "promised", "alarm in", "audits", "answers")
    first = markdown(("promise", "exits", *(f"stated {rate:.0%}" for rate in RATES)), quiet_rows)
    page = f"{first}\n{markdown(('drift', *heads), rows)}"
    write(out, "drift", {"replays": replays, "quiet": quiet_rows, "drifts": rows}, page=page)


def _delay(alarm: Ints, quiet: int, share: float) -> tuple[str, str, str]:
    """The share of replays with an alarm; audits and answers from the drift to the median one, of most of them."""
    if (alarm > 0).mean() <= 0.5:
        return percent((alarm > 0).mean(), 0), NONE, NONE
    median = float(np.median(alarm[alarm > quiet] - quiet))
    return percent((alarm > 0).mean(), 0), f"{median:,.0f}", f"{median / SHARE / share:,.0f}"


def pool(bundle: Bundle, data: Dataset, policy: Policy) -> tuple[Pool, Mapping[Exit, float], str]:
    """Each exit's answers, its share of them, and in words overall accuracy and the cloud's."""
    scores = record(bundle, data)
    decisions, cloud = decide(scores, policy), Sample(scores).cloud_labels
    differs, below = decisions.label != cloud, [exit for exit in Exit if exit is not Exit.CLOUD]
    answers: dict[Exit, Bools] = {exit: differs[rows] for exit in below if (rows := decisions.exit == exit.rank).any()}
    accuracy = f"{percent(decisions.accuracy(scores.y))}, {percent(float((cloud == scores.y).mean()))}"
    return answers, {exit: decisions.share(exit) for exit in answers}, accuracy


def alarms(
    rng: np.random.Generator, stages: Sequence[tuple[Bools, int]], most: float, replays: int, limit: float = np.inf
) -> tuple[Array, Ints]:
    """Of each replay (R) the logarithm of the highest e-value, and the audits until it reached `limit` or 0.

    Ends when all have reached it.
    """
    evidence, highest, when, done = Evidence(most, (replays,)), np.zeros(replays), np.zeros(replays, np.int64), 0
    for differ, audits in stages:
        for _ in range(audits):
            done += 1
            evidence.add(rng.choice(differ, replays))
            np.maximum(highest, evidence.log, out=highest)
            when[(when == 0) & (evidence.log >= limit)] = done
        if when.all():
            break
    return highest, when


def live(
    bundle: Path,
    data: str,
    test: str | None = None,
    grid: str | None = None,
    group_by: str | None = None,
    test_groups: str | None = None,
    lost: float = 0.3,
    criterion: str = "entropy",
    draws: int = 5,
    out: Out = RESULTS,
) -> None:
    """One set of thresholds and temperatures, or one for each number of live devices? Accuracy at equal bytes.

    On validation: temperatures and the frontier of accuracy against payload bytes, once with all devices and once for
    each number of live devices. On the test split, of --test if given, each device is lost with the chance --lost, in
    five draws. Every arm's accuracy is read at the same mean bytes, at shares of the way from all events at the local
    exit to all in the cloud. An operating point is one price of accuracy in bytes, the same for every count: else one
    count could spend better what another saved. Intervals: Student's t over the draws, of the paired differences to
    the first arm.
    """
    if criterion not in CRITERIA:
        raise BadInput(f"--criterion is {criterion!r}; expected one of {', '.join(CRITERIA)}")
    opened, groups = Bundle.open(bundle), test_groups.split(",") if test_groups else None
    events = load_for(opened, data, grid=grid, group_by=group_by, test_groups=groups, seed=None)
    seen = (load(test, grid=grid) if test else events).subset("test")
    validation = Recorder(opened, events.subset("validation"))
    arms = study(validation, Recorder(opened, seen), seen.present, criterion, lost, draws)
    first, rows = next(iter(arms.values()))[0], []
    for name, (accuracy, ece) in arms.items():
        gain = accuracy - first
        half = student.ppf(0.975, draws - 1) * gain.std(axis=0, ddof=1) / np.sqrt(draws)
        cells = [
            f"{100 * mean:.2f}" + (f" ({100 * more:+.2f} ± {100 * width:.2f})" if gain.any() else "")
            for mean, more, width in zip(accuracy.mean(axis=0), gain.mean(axis=0), half, strict=True)
        ]
        rows.append((name, *cells, *(f"{error:.3f}" for error in ece.mean(axis=0))))
    budgets = [f"{budget:.0%}" for budget in BUDGETS]
    page = markdown(("accuracy at … of the way to the cloud", *budgets, "ECE local", "ECE edge"), rows)
    document: dict[str, Any] = {name: [values.tolist() for values in arm] for name, arm in arms.items()}
    write(out, "live", {"lost": lost, "arms": document}, page=page)


def study(
    validation: Recorder, test: Recorder, present: Bools, criterion: str, lost: float, draws: int
) -> dict[str, tuple[Array, Array]]:
    """By arm, of each draw the accuracy at each budget (draws, budgets), and the ECE of two exits (draws, 2)."""
    base, there = fitted(validation.scores(), criterion), validation.scores().present
    count, arms = there.shape[1], dict[str, list[tuple[Array, Array]]]()
    for draw in range(draws):
        rng, sets = np.random.default_rng(draw), {count: base}
        for number in range(1, count):
            mask = some(there, number, rng)
            rows = np.flatnonzero(mask.sum(axis=1) == number)
            sets[number] = base
            if len(rows) >= FEWEST_EVENTS:
                sets[number] = fitted(validation.scores(mask).take(rows), criterion)
        mixed = fitted(validation.scores(lose(there, lost, rng)), criterion)
        scores = test.scores(lose(present, lost, rng))
        of_draw: dict[str, Sets] = {
            "one set, found with all devices": dict.fromkeys(sets, base),
            "one set, found with devices lost": dict.fromkeys(sets, mixed),
            "temperatures by count": {number: (each[0], base[1]) for number, each in sets.items()},
            "temperatures and thresholds by count": sets,
        }
        low, *_, high = CostModel().at_exits(scores, "staged").mean(axis=0)
        budgets = low + (high - low) * np.asarray(BUDGETS)
        for name, arm in of_draw.items():
            spent, right = played(scores, criterion, arm)
            order = np.argsort(spent, kind="stable")
            accuracy = np.interp(budgets, spent[order], right[order])
            arms.setdefault(name, []).append((accuracy, errors(scores, arm)))
    return {name: (np.array([a for a, _ in arm]), np.array([e for _, e in arm])) for name, arm in arms.items()}


def lose(present: Bools, share: float, rng: np.random.Generator) -> Bools:
    """Each present device of each event (N, D) lost with chance `share`, but never the last."""
    left = present & (rng.random(present.shape) >= share)
    empty = np.flatnonzero(~left.any(axis=1))
    left[empty] = some(present[empty], 1, rng)
    return np.asarray(left)


def fitted(scores: Scores, criterion: str) -> tuple[Temperatures, Array]:
    """Temperatures, and for each price of a byte the frontier's best thresholds: (prices, m)."""
    policy = Policy(bundle="benchmark", criterion=criterion, temperatures=fit_temperatures(scores))
    asked = ask(scores, policy)
    points = frontier(asked.uncertainty, asked.labels == scores.y[:, None], CostModel().at_exits(scores, "staged"))
    best = (points.wrong + PRICES[:, None] * points.cost).argmin(axis=1)
    return policy.temperatures, points.thresholds[best]


def played(scores: Scores, criterion: str, arm: Sets) -> tuple[Array, Array]:
    """Mean bytes and accuracy on `scores` at every price: (prices,) each."""
    present, price = scores.present.sum(axis=1), CostModel().at_exits(scores, "staged")
    spent, right = np.zeros(len(PRICES)), np.zeros(len(PRICES))
    for count in np.unique(present):
        rows = np.flatnonzero(present == count)
        temperatures, thresholds = arm[int(count)]
        asked = ask(scores.take(rows), Policy(bundle="benchmark", criterion=criterion, temperatures=temperatures))
        reached, at = asked.reached(thresholds), np.arange(len(rows))
        spent += price[rows][at, reached].sum(axis=1)
        right += (asked.labels == scores.y[rows, None])[at, reached].sum(axis=1)
    return spent / len(scores), right / len(scores)


def errors(scores: Scores, arm: Sets) -> Array:
    """ECE of the probabilities of the label, at the local and at the edge exit."""
    present, ece = scores.present.sum(axis=1), []
    for exit in (Exit.LOCAL, Exit.EDGE):
        temperature = np.array([arm[max(n, 1)][0].of(exit) for n in range(present.max() + 1)])[present]
        p = probabilities(scores.of(exit)[:, 0], temperature)
        ece.append(reliability(p.max(axis=1), p.argmax(axis=1) == scores.y)["ece"])
    return np.array(ece)


if __name__ == "__main__":
    command(__doc__, audits, live)
