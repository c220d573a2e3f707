"""Does the guarantee hold, and at what price? Many draws of calibration events from a pool whose true risk is known.

python -m ddnn_lab.benchmarks.guarantee mnist5k.npz:test fashion.npz:test --events 2000 --draws 500

Each argument is a file made by `ddnn record`, and the split of it that is the pool. A draw takes events with
replacement, so that they are independent and the pool's loss rate is exactly the risk that is promised. Beside it, what
plain picking does with the same events: all of them give temperatures and frontier, and the cheapest point is taken
whose own loss rate is at most the risk.
"""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ddnn.evaluation import Scores
from ddnn.evaluation.recorded import Recorded
from ddnn.formatting import percent
from ddnn.policy import Policy
from ddnn.tuning.calibration import fit_temperatures
from ddnn.tuning.cost import CostModel
from ddnn.tuning.frontier import frontier
from ddnn.tuning.guarantee import LEARNING, climb, halves, ladder
from ddnn.tuning.promise import p_values
from ddnn.tuning.sample import Asked, ask
from ddnn.types import Array, Bools, Ints
from ddnn_lab.benchmarks.report import options

__all__ = ["main"]

RISKS, CONFIDENCES = (0.01, 0.02), (0.9, 0.95)


@dataclass
class Tally:
    """What came of the draws, for one risk and one confidence."""

    risk: list[float] = field(default_factory=list)
    below: list[float] = field(default_factory=list)
    bytes: list[float] = field(default_factory=list)
    refused: int = 0


def main() -> None:
    parser = options(__doc__, out=False)
    parser.add_argument("pools", nargs="+", metavar="SCORES:SPLIT")
    parser.add_argument("--events", type=int, default=2000, help="Calibration events in a draw.")
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--learning", type=float, default=LEARNING)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="Write all figures here too.")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    heads = ("pool", "loss", "risk", "confidence", "broken", "at most", "plain picking breaks", "refused")
    print("| " + " | ".join((*heads, "below the cloud", "best", "bytes", "best")) + " |")
    print("| --- " * (len(heads) + 4) + "|")
    for name in args.pools:
        path, _, split = name.rpartition(":")
        scores = Recorded.load(Path(path)).split(split)
        for labelled in (True, False):
            started = time.perf_counter()
            for row in study(scores, labelled, args.events, args.draws, args.learning, args.seed):
                row = {"pool": Path(path).stem, "events": len(scores), "labelled": labelled, **row}
                rows.append(row)
                print(line(row), flush=True)
            rows[-1]["seconds"] = time.perf_counter() - started
    if args.json:
        args.json.write_text(json.dumps({"events": args.events, "draws": args.draws, "rows": rows}, indent=1))


def line(row: dict[str, Any]) -> str:
    """One row of the table."""
    share = {key: percent(row[key]) for key in ("broken", "allowed", "plain", "refused", "below", "best")}
    loss = "accuracy" if row["labelled"] else "disagreement"
    sent = (f"{row[key]:.0f}" for key in ("bytes", "best_bytes"))
    return (
        "| "
        + " | ".join((row["pool"], loss, f"{row['risk']:g}", f"{row['confidence']:g}", *share.values(), *sent))
        + " |"
    )


def study(scores: Scores, labelled: bool, events: int, draws: int, learning: float, seed: int) -> list[dict[str, Any]]:
    """The rows of one pool and one kind of loss."""
    policy = Policy(bundle="benchmark", temperatures=fit_temperatures(scores))
    price = CostModel().at_exits(scores, policy.offload)
    whole = ask(scores, policy)
    true = whole.losses(scores.y if labelled else None)
    up = np.zeros(price.shape)
    up[:, -1] = 1
    best = {risk: (1 - cheapest(whole, true, up, risk), cheapest(whole, true, price, risk)) for risk in RISKS}
    promised = {(risk, confidence): Tally() for risk in RISKS for confidence in CONFIDENCES}
    plain = {risk: Tally() for risk in RISKS}
    rng = np.random.default_rng(seed)
    for draw in range(draws):
        drawn = rng.integers(len(scores), size=events)
        learn, test = (drawn[part] for part in halves(events, learning, draw))
        asked = judged(scores, policy, learn, labelled)
        losses = asked.losses(scores.y if labelled else None)
        steps = ladder(rows_of(asked, learn), price[learn], scores.y[learn] if labelled else None)
        lost = losses[test, rows_of(asked, test).reached(steps)].sum(axis=1)
        for (risk, confidence), tally in promised.items():
            passed = sum(rung.passed for rung in climb(lost.tolist(), len(test), risk, confidence))
            note(tally, asked, losses, price, steps[passed - 1] if passed else None)
        asked = judged(scores, policy, drawn, labelled)
        losses = asked.losses(scores.y if labelled else None)
        found = frontier(asked.uncertainty[drawn], ~losses[drawn], price[drawn])
        for risk, tally in plain.items():
            good = np.flatnonzero(found.wrong <= risk * events)
            note(tally, asked, losses, price, found.thresholds[good[found.cost[good].argmin()]])
    return [
        {
            "risk": risk,
            "confidence": confidence,
            "broken": float(np.mean(np.asarray(tally.risk) > risk)),
            "refused": tally.refused / draws,
            "below": float(np.median(tally.below)),
            "best": best[risk][0],
            "bytes": float(np.median(tally.bytes)),
            "best_bytes": best[risk][1],
            "plain": float(np.mean(np.asarray(plain[risk].risk) > risk)),
            "allowed": margin(draws, 1 - confidence),
        }
        for (risk, confidence), tally in promised.items()
    ]


def judged(scores: Scores, policy: Policy, rows: Ints, labelled: bool) -> Asked:
    """The whole pool under temperatures fitted on `rows`, if there are labels."""
    if not labelled:
        return ask(scores, policy)
    return ask(scores, policy.model_copy(update={"temperatures": fit_temperatures(scores.take(rows))}))


def rows_of(asked: Asked, rows: Ints) -> Asked:
    return Asked(asked.exits, asked.uncertainty[rows], asked.labels[rows])


def note(tally: Tally, asked: Asked, losses: Bools, price: Array, thresholds: Array | None) -> None:
    """What thresholds, or none where nothing is promised and all goes up, do on the whole pool."""
    tally.refused += thresholds is None
    reached = asked.reached(np.zeros((1, len(asked.exits))) if thresholds is None else thresholds[None])[0]
    rows = np.arange(len(losses))
    tally.risk.append(float(losses[rows, reached].mean()))
    tally.below.append(float((reached < len(asked.exits)).mean()))
    tally.bytes.append(float(price[rows, reached].mean()))


def cheapest(asked: Asked, losses: Bools, price: Array, risk: float) -> float:
    """The lowest mean cost of all thresholds whose loss rate on the pool is at most `risk`."""
    found = frontier(asked.uncertainty, ~losses, price)
    return float(found.cost[found.wrong <= risk * len(losses)].min() / len(losses))


def margin(draws: int, rate: float) -> float:
    """The share of draws that a true rate of `rate` exceeds with a chance of at most 5 %."""
    return float(np.searchsorted(p_values(draws, rate), 0.95) / draws)


if __name__ == "__main__":
    main()
