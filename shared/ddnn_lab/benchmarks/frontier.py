"""How long the frontier takes and how much memory, from 1,000 to 1,000,000 events; and whether a grid finds better.

python -m ddnn_lab.benchmarks.frontier --json out.json --plot out.svg
python -m ddnn_lab.benchmarks.frontier --scores mnist5k.npz fashion.npz

Made events: every exit, the cloud too, is wrong in 5 % of them; exits share each event's difficulty (correlation 0.36
of their margins), are surer where their margin is large, and one device in ten is absent, so that costs differ. Each
size runs in a process of its own, on one core. With --scores, files made by `ddnn record`: the frontier on validation
against every combination of 101 thresholds an exit, played event by event, for payload bytes and for latency.
"""

import json
import multiprocessing
import resource
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ddnn.evaluation.recorded import Recorded
from ddnn.formatting import markdown
from ddnn.plot_style import panels
from ddnn.policy import Policy
from ddnn.tuning.calibration import fit_temperatures
from ddnn.tuning.cost import CostModel, Links
from ddnn.tuning.frontier import Limits, best, frontier
from ddnn.tuning.sample import ask
from ddnn.types import Array, Bools, Floats
from ddnn_lab.benchmarks.report import options

__all__ = ["main"]

SIZES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
STEPS = 101
COSTS = {
    "payload": CostModel(),
    "latency": CostModel("latency", links=Links.parse(["device-edge=5ms,50mbit", "edge-cloud=40ms,10mbit"])),
}


def main() -> None:
    parser = options(__doc__, out=False)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--exits", type=int, nargs="+", default=(2, 3), help="Thresholds.")
    parser.add_argument("--scores", type=Path, nargs="+", help="Files of `ddnn record`; then no made events.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="Write all figures here too.")
    parser.add_argument("--plot", type=Path, help="Write the growth curve here, as .svg or .png.")
    args = parser.parse_args()
    if args.scores:
        document = [row for path in args.scores for row in against_grid(path)]
        show(document)
    else:
        pool = multiprocessing.get_context("spawn")
        document = []
        for exits in args.exits:
            for events in args.sizes:
                with pool.Pool(1) as process:  # a process of its own, so that its peak memory is this run's
                    document.append(process.apply(timed, (events, exits, args.seed)))
        show(document)
        if args.plot:
            plot(document, args.plot)
    if args.json:
        args.json.write_text(json.dumps(document, indent=1) + "\n")


def made(events: int, exits: int, seed: int) -> tuple[Floats, Bools, Array]:
    """Criteria (N, m), which exits are right (N, m + 1), and costs (N, m + 1)."""
    rng = np.random.default_rng(seed)
    margin = 1.645 + 0.6 * rng.normal(size=(events, 1)) + 0.8 * rng.normal(size=(events, exits + 1))
    p = 1 / (1 + np.exp(-2 * np.abs(margin[:, :exits])))
    entropy = -(p * np.log(p) + (1 - p) * np.log(np.maximum(1 - p, 1e-300))) / np.log(2)
    live = rng.binomial(6, 0.9, size=events)
    steps = np.stack([40.0 * live, 32.0 * live, 64.0 * np.ones(events), 128.0 * np.ones(events)], axis=1)
    return entropy.clip(0, 1).astype(np.float32), margin > 0, steps[:, : exits + 1].cumsum(axis=1)


def timed(events: int, exits: int, seed: int) -> dict[str, Any]:
    """One frontier, and one best point: the lowest cost with no more wrong answers than the cloud has."""
    given = made(events, exits, seed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    found = frontier(*given)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    point = best(*given, Limits(most_wrong=int((~given[1][:, -1]).sum())))
    point_seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "thresholds": exits,
        "events": events,
        "combinations": found.combinations,
        "looked_at": found.looked_at,
        "points": len(found.wrong),
        "seconds": seconds,
        "peak_mb": peak / 1024,
        "of_it_before_mb": before / 1024,
        "exact": found.exact,
        "loss_wrong": found.largest_loss,
        "loss_accuracy": None if found.largest_loss is None else found.largest_loss / events,
        "loss_cost": found.largest_loss_cost and found.largest_loss_cost / float(found.cost.mean()),
        "best_seconds": point_seconds,
        "best_exact": point.exact,
    }


def against_grid(path: Path) -> Iterable[dict[str, Any]]:
    """The frontier of a recorded validation split, beside the best that a grid finds."""
    scores = Recorded.load(path).split("validation")
    policy = Policy(bundle="benchmark", temperatures=fit_temperatures(scores))
    asked = ask(scores, policy)
    right = asked.labels == scores.y[:, None]
    for name, cost_model in COSTS.items():
        each = cost_model.at_exits(scores, policy.offload)
        start = time.perf_counter()
        found = frontier(asked.uncertainty, right, each)
        seconds = time.perf_counter() - start
        wrong, cost = grid(asked.uncertainty, right, each)
        slack = 1e-9 * each.sum()
        fewest = np.concatenate([[np.iinfo(np.int64).max], found.wrong])[
            np.searchsorted(found.cost, cost + slack, side="right")
        ]
        below = (found.wrong[:, None] < wrong) & (found.cost[:, None] <= cost + slack)
        yield {
            "scores": path.stem,
            "cost": name,
            "events": len(scores),
            "thresholds": len(asked.exits),
            "points": len(found.wrong),
            "exact": found.exact,
            "seconds": seconds,
            "grid_points": len(wrong),
            "grid_better": int((fewest > wrong).sum()),
            "grid_worse": int(below.any(axis=0).sum()),
        }


def grid(uncertainty: Floats, right: Bools, each: Array) -> tuple[Array, Array]:
    """Wrong answers and cost of every combination of `STEPS` thresholds an exit, by comparing as a tier does."""
    steps, exits = np.linspace(0, 1, STEPS), uncertainty.shape[1]
    wrong = np.zeros((STEPS,) * exits)
    cost = np.zeros_like(wrong)
    for index in np.ndindex(*wrong.shape[:-1]):
        going = np.ones(len(right), np.bool_)
        for exit, step in enumerate(index):
            answers = going & (uncertainty[:, exit] < steps[step])
            wrong[index] += (~right[answers, exit]).sum()
            cost[index] += each[answers, exit].sum()
            going &= ~answers
        last = going[:, None] & (uncertainty[:, -1, None] < steps)
        for total, here, later in ((wrong, ~right[:, -2], ~right[:, -1]), (cost, each[:, -2], each[:, -1])):
            total[index] += here.astype(np.float64) @ last + later.astype(np.float64) @ (going[:, None] & ~last)
    return wrong.ravel(), cost.ravel()


def show(rows: list[dict[str, Any]]) -> None:
    """Print rows of equal keys as a table."""

    def cell(value: Any) -> str:
        return f"{value:.3g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)

    print(markdown(list(rows[0]), [[cell(value) for value in row.values()] for row in rows]))


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Seconds and memory against events, a line for each number of thresholds; hollow where not exact."""
    figure, axes = panels(2, height=4.0, columns=2)
    for exits in sorted({row["thresholds"] for row in rows}):
        mine = [row for row in rows if row["thresholds"] == exits]
        events = [row["events"] for row in mine]
        for axis, key, label in ((axes[0], "seconds", "the frontier"), (axes[1], "peak_mb", "peak")):
            (line,) = axis.plot(events, [row[key] for row in mine], label=f"{label}, {exits} thresholds")
            for row in mine:
                fill = line.get_color() if row["exact"] else "white"
                axis.plot(row["events"], row[key], "o", color=line.get_color(), markerfacecolor=fill)
        axes[0].plot(events, [row["best_seconds"] for row in mine], ":", label=f"one best point, {exits} thresholds")
    for axis, label in zip(axes, ("seconds, one core", "MB"), strict=True):
        axis.set(xscale="log", yscale="log", xlabel="events", ylabel=label)
        axis.legend()
    axes[0].set_title("hollow: not exact, with a stated largest loss")
    figure.savefig(path)


if __name__ == "__main__":
    main()
