"""One set of thresholds and temperatures, or one for each number of live devices? Accuracy at equal bytes.

python -m ddnn_lab.benchmarks.live BUNDLE mnist5k --grid 3x2 --lost 0.3

On validation: temperatures and the frontier of accuracy against payload bytes, once with all devices and once for
each number of live devices. On test each device is lost with the chance `--lost`, in five draws. Every arm's accuracy
is read at the same mean bytes, at shares of the way from all events at the local exit to all in the cloud. An operating
point is one price of accuracy in bytes, the same for every count: else one count could spend better what another
saved. Intervals: Student's t over the draws, of the paired differences to the first arm.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from ddnn.bundle import Bundle
from ddnn.data import load
from ddnn.evaluation import Recorder, Scores
from ddnn.evaluation.source import load_for
from ddnn.policy import Policy, Temperatures
from ddnn.task import CRITERIA, probabilities
from ddnn.tuning.calibration import fit_temperatures, reliability
from ddnn.tuning.cost import CostModel
from ddnn.tuning.frontier import frontier
from ddnn.tuning.live import some
from ddnn.tuning.sample import FEWEST_EVENTS, ask
from ddnn.types import Array, Bools, Exit
from ddnn_lab.benchmarks.report import options

__all__ = ["lose", "main"]

BUDGETS = (0.05, 0.1, 0.2, 0.4)
PRICES = np.concatenate([[0.0], np.geomspace(1e-6, 1e-2, 80)])
"""Accuracy that a byte is worth."""
Sets = Mapping[int, tuple[Temperatures, Array]]
"""Temperatures and thresholds (prices, m) by the number of live devices."""


def main() -> None:
    parser = options(__doc__, out=False)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("data")
    parser.add_argument("--test", help="Other data whose test split is the test; needs the same --grid.")
    parser.add_argument("--grid")
    parser.add_argument("--group-by")
    parser.add_argument("--test-groups")
    parser.add_argument("--lost", type=float, default=0.3, help="Chance of each device to be lost.")
    parser.add_argument("--criterion", choices=CRITERIA, default="entropy")
    parser.add_argument("--draws", type=int, default=5)
    args = parser.parse_args()
    bundle = Bundle.open(args.bundle)
    groups = args.test_groups.split(",") if args.test_groups else None
    data = load_for(bundle, args.data, grid=args.grid, group_by=args.group_by, test_groups=groups, seed=None)
    test = (load(args.test, grid=args.grid) if args.test else data).subset("test")
    validation = Recorder(bundle, data.subset("validation"))
    study(validation, Recorder(bundle, test), test.present, args.criterion, args.lost, args.draws)


def study(validation: Recorder, test: Recorder, present: Bools, criterion: str, lost: float, draws: int) -> None:
    """Print the table of one bundle."""
    base = fitted(validation.scores(), criterion)
    there = validation.scores().present
    count = there.shape[1]
    found: dict[str, list[Array]] = {}
    ece: dict[str, list[Array]] = {}
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        sets = {count: base}
        for live in range(1, count):
            mask = some(there, live, rng)
            rows = np.flatnonzero(mask.sum(axis=1) == live)
            sets[live] = fitted(validation.scores(mask).take(rows), criterion) if len(rows) >= FEWEST_EVENTS else base
        mixed = fitted(validation.scores(lose(there, lost, rng)), criterion)
        scores = test.scores(lose(present, lost, rng))
        arms: dict[str, Sets] = {
            "one set, found with all devices": dict.fromkeys(sets, base),
            "one set, found with devices lost": dict.fromkeys(sets, mixed),
            "temperatures by count": {live: (each[0], base[1]) for live, each in sets.items()},
            "temperatures and thresholds by count": sets,
        }
        low, high = (CostModel().at_exits(scores, "staged").mean(axis=0)[place] for place in (0, -1))
        budgets = low + (high - low) * np.asarray(BUDGETS)
        for name, arm in arms.items():
            spent, right = played(scores, criterion, arm)
            order = np.argsort(spent, kind="stable")
            found.setdefault(name, []).append(np.interp(budgets, spent[order], right[order]))
            ece.setdefault(name, []).append(errors(scores, arm))
    print(
        f"| accuracy at … of the way to the cloud | {' | '.join(f'{b:.0%}' for b in BUDGETS)} | ECE local | ECE edge |"
    )
    print("| --- |" + " --- |" * (len(BUDGETS) + 2))
    first = np.array(next(iter(found.values())))
    for name, each in found.items():
        gain = np.array(each) - first
        half = student.ppf(0.975, draws - 1) * gain.std(axis=0, ddof=1) / np.sqrt(draws)
        cells = [
            f"{100 * mean:.2f}" + (f" ({100 * more:+.2f} ± {100 * width:.2f})" if gain.any() else "")
            for mean, more, width in zip(np.mean(each, axis=0), gain.mean(axis=0), half, strict=True)
        ]
        print(f"| {name} | " + " | ".join([*cells, *(f"{e:.3f}" for e in np.mean(ece[name], axis=0))]) + " |")


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
    live, price = scores.present.sum(axis=1), CostModel().at_exits(scores, "staged")
    spent, right = np.zeros(len(PRICES)), np.zeros(len(PRICES))
    for count in np.unique(live):
        rows = np.flatnonzero(live == count)
        temperatures, thresholds = arm[int(count)]
        policy = Policy(bundle="benchmark", criterion=criterion, temperatures=temperatures)
        asked = ask(scores.take(rows), policy)
        reached, at = asked.reached(thresholds), np.arange(len(rows))
        spent += price[rows][at, reached].sum(axis=1)
        right += (asked.labels == scores.y[rows, None])[at, reached].sum(axis=1)
    return spent / len(scores), right / len(scores)


def errors(scores: Scores, arm: Sets) -> Array:
    """ECE of the probabilities of the label, at the local and at the edge exit."""
    live, found = scores.present.sum(axis=1), []
    for exit in (Exit.LOCAL, Exit.EDGE):
        temperature = np.array([arm[max(n, 1)][0].of(exit) for n in range(live.max() + 1)])[live]
        p = probabilities(scores.of(exit)[:, 0], temperature)
        found.append(reliability(p.max(axis=1), p.argmax(axis=1) == scores.y)["ece"])
    return np.array(found)


if __name__ == "__main__":
    main()
