"""What tuning of thresholds promises, against the truth: its frontier, its guarantee, its model of latency.

`python -m ddnn_lab.benchmarks.thresholds frontier [mnist5k.npz fashion.npz]`,
`python -m ddnn_lab.benchmarks.thresholds guarantee mnist5k.npz:test fashion.npz:test --events 2000 --draws 500`, or
`python -m ddnn_lab.benchmarks.thresholds latency`.

Files are made by `ddnn record`. Each writes its figures, its tables and what it draws into --out.
"""

import asyncio
import multiprocessing
import resource
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
import numpy as np
import typer
from matplotlib.figure import Figure

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.data import Dataset, load
from ddnn.evaluation import Scores, record
from ddnn.evaluation.recorded import Recorded
from ddnn.formatting import markdown
from ddnn.plot_style import panels
from ddnn.policy import Policy, Thresholds
from ddnn.tuning.calibration import fit_temperatures
from ddnn.tuning.cost import CostModel, Links, Offload
from ddnn.tuning.frontier import Limits, best
from ddnn.tuning.frontier import frontier as find_frontier
from ddnn.tuning.guarantee import LEARNING, climb, halves, ladder
from ddnn.tuning.profile import measure
from ddnn.tuning.promise import p_values
from ddnn.tuning.sample import Asked, ask
from ddnn.types import Array, Bools, Floats, Ints
from ddnn_lab.benchmarks import RESULTS, Out, command, write
from ddnn_lab.in_process import NEVER, Fleet, Switch

__all__ = ["SlowSwitch", "against_grid", "study", "waited_ms"]

SIZES: Final = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
STEPS: Final = 101
COSTS: Final = {
    "payload": CostModel(),
    "latency": CostModel("latency", links=Links.parse(["device-edge=5ms,50mbit", "edge-cloud=40ms,10mbit"])),
}
RISKS, CONFIDENCES = (0.01, 0.02), (0.9, 0.95)
LINKS: Final = ("device-edge=200ms,100kbit", "edge-cloud=800ms,100kbit")
EXITS: Final = {"local": Thresholds(local=1, edge=0), "edge": Thresholds(local=0, edge=1), "cloud": NEVER}
Draws = dict[tuple[float, ...], list[tuple[float, ...]]]
"""By risk, and confidence where it is promised: of each draw, what its thresholds do on the whole pool."""
OFFLOADS: Final[tuple[Offload, ...]] = ("staged", "eager")


def frontier(
    scores: Annotated[list[Path] | None, typer.Argument(help="Files of `ddnn record`; then no made events.")] = None,
    sizes: list[int] = list(SIZES),  # noqa: B006
    exits: Annotated[list[int], typer.Option(help="Thresholds.")] = [2, 3],  # noqa: B006
    seed: int = 0,
    out: Out = RESULTS,
) -> None:
    """How long the frontier takes and how much memory, to 1,000,000 events; or whether a grid finds better.

    Made events: every exit, the cloud too, is wrong in 5 % of them; exits share each event's difficulty (correlation
    0.36 of their margins), are surer where their margin is large, and one device in ten is absent, so that costs
    differ. Each size runs in a process of its own, on one core. With SCORES: the frontier on validation against every
    combination of 101 thresholds an exit, played event by event, for payload bytes and for latency.
    """
    if scores:
        rows = [row for path in scores for row in against_grid(path)]
    else:  # a process of its own for each, so that its peak memory is this run's
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            rows = [pool.apply(timed, (events, count, seed)) for count in exits for events in sizes]
    write(out, "frontier", {"rows": rows}, None if scores else _draw_frontier(rows), page=_table(rows))


def made_events(events: int, exits: int, seed: int) -> tuple[Floats, Bools, Array]:
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
    sample = made_events(events, exits, seed)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    whole, middle = find_frontier(*sample), time.perf_counter()
    point, end = best(*sample, Limits(most_wrong=int((~sample[1][:, -1]).sum()))), time.perf_counter()
    return {
        "thresholds": exits,
        "events": events,
        "combinations": whole.combinations,
        "looked_at": whole.looked_at,
        "points": len(whole.wrong),
        "seconds": middle - start,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "of_it_before_mb": before / 1024,
        "exact": whole.exact,
        "loss_wrong": whole.largest_loss,
        "loss_accuracy": None if whole.largest_loss is None else whole.largest_loss / events,
        "loss_cost": whole.largest_loss_cost and whole.largest_loss_cost / float(whole.cost.mean()),
        "best_seconds": end - middle,
        "best_exact": point.exact,
    }


def against_grid(path: Path) -> Iterable[dict[str, Any]]:
    """The frontier of a recorded validation split, beside the best that a grid finds."""
    scores = Recorded.load(path).split("validation")
    policy = Policy(bundle="benchmark", temperatures=fit_temperatures(scores))
    asked = ask(scores, policy)
    right = asked.labels == scores.y[:, None]
    for name, cost_model in COSTS.items():
        each, start = cost_model.at_exits(scores, policy.offload), time.perf_counter()
        points, end = find_frontier(asked.uncertainty, right, each), time.perf_counter()
        wrong, cost = _grid(asked.uncertainty, right, each)
        slack = 1e-9 * each.sum()
        affordable = np.searchsorted(points.cost, cost + slack, side="right")
        fewest = np.concatenate([[np.iinfo(np.int64).max], points.wrong])[affordable]
        below = (points.wrong[:, None] < wrong) & (points.cost[:, None] <= cost + slack)
        yield {
            "scores": path.stem,
            "cost": name,
            "events": len(scores),
            "thresholds": len(asked.exits),
            "points": len(points.wrong),
            "exact": points.exact,
            "seconds": end - start,
            "grid_points": len(wrong),
            "grid_better": int((fewest > wrong).sum()),
            "grid_worse": int(below.any(axis=0).sum()),
        }


def _grid(uncertainty: Floats, right: Bools, each: Array) -> tuple[Array, Array]:
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


def _table(rows: Sequence[dict[str, Any]]) -> str:
    def cell(value: Any) -> str:
        return f"{value:.3g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)

    return markdown(list(rows[0]), [[cell(value) for value in row.values()] for row in rows])


def _draw_frontier(rows: Sequence[dict[str, Any]]) -> Figure:
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
    return figure


def guarantee(
    pools: Annotated[list[str], typer.Argument(metavar="SCORES:SPLIT...", help="The split is the pool.")],
    events: Annotated[int, typer.Option(help="Calibration events in a draw.")] = 2000,
    draws: int = 500,
    learning: float = LEARNING,
    seed: int = 0,
    out: Out = RESULTS,
) -> None:
    """Does the guarantee hold, and at what price? Many draws of calibration events from pools of known risk.

    A draw takes events with replacement, so that they are independent and the pool's loss rate is exactly the risk
    that is promised. Beside it, what plain picking does with the same events: all of them give temperatures and
    frontier, and the cheapest point is taken whose own loss rate is at most the risk.
    """
    rows: list[dict[str, Any]] = []
    for name in pools:
        path, _, split = name.rpartition(":")
        scores, pool = Recorded.load(Path(path)).split(split), {"pool": Path(path).stem}
        for labelled in (True, False):
            of_pool = {**pool, "events": len(scores), "labelled": labelled}
            rows += ({**of_pool, **row} for row in study(scores, labelled, events, draws, learning, seed))
    write(out, "guarantee", {"events": events, "draws": draws, "rows": rows})


def _on_pool(asked: Asked, losses: Bools, price: Array, thresholds: Array | None) -> tuple[float, ...]:
    """Of thresholds, or none where nothing is promised and all goes up: refused, risk, share below the cloud, bytes."""
    reached = asked.reached(np.zeros((1, len(asked.exits))) if thresholds is None else thresholds[None])[0]
    rows, below = np.arange(len(losses)), reached < len(asked.exits)
    return thresholds is None, losses[rows, reached].mean(), below.mean(), price[rows, reached].mean()


def study(scores: Scores, labelled: bool, events: int, draws: int, learning: float, seed: int) -> list[dict[str, Any]]:
    """The rows of one pool and one kind of loss."""
    policy, y = Policy(bundle="benchmark", temperatures=fit_temperatures(scores)), scores.y if labelled else None
    price = CostModel().at_exits(scores, policy.offload)
    promised: Draws = {(risk, confidence): [] for risk in RISKS for confidence in CONFIDENCES}
    plain: Draws = {(risk,): [] for risk in RISKS}
    rng = np.random.default_rng(seed)
    for draw in range(draws):
        drawn = rng.integers(len(scores), size=events)
        learn, test = (drawn[part] for part in halves(events, learning, draw))
        asked = _judged(scores, policy, learn, labelled)
        losses = asked.losses(y)
        steps = ladder(_rows_of(asked, learn), price[learn], scores.y[learn] if labelled else None)
        lost = losses[test, _rows_of(asked, test).reached(steps)].sum(axis=1)
        for (risk, confidence), outcomes in promised.items():
            passed = sum(rung.passed for rung in climb(lost.tolist(), len(test), risk, confidence))
            outcomes.append(_on_pool(asked, losses, price, steps[passed - 1] if passed else None))
        asked = _judged(scores, policy, drawn, labelled)
        losses = asked.losses(y)
        points = find_frontier(asked.uncertainty[drawn], ~losses[drawn], price[drawn])
        for (risk,), outcomes in plain.items():
            good = np.flatnonzero(points.wrong <= risk * events)
            outcomes.append(_on_pool(asked, losses, price, points.thresholds[good[points.cost[good].argmin()]]))
    whole, to_cloud = ask(scores, policy), np.zeros(price.shape)
    to_cloud[:, -1] = 1
    rows: list[dict[str, Any]] = []
    for (risk, confidence), outcomes in promised.items():
        refused, true_risk, below, sent = np.array(outcomes).T
        rows.append(
            {
                "risk": risk,
                "confidence": confidence,
                "broken": float((true_risk > risk).mean()),
                "refused": float(refused.mean()),
                "below": float(np.median(below)),
                "best": 1 - _cheapest(whole, whole.losses(y), to_cloud, risk),
                "bytes": float(np.median(sent)),
                "best_bytes": _cheapest(whole, whole.losses(y), price, risk),
                "plain": float((np.array(plain[risk,])[:, 1] > risk).mean()),
                # The share of draws that a true rate of `1 - confidence` exceeds with a chance of at most 5 %.
                "allowed": float(np.searchsorted(p_values(draws, 1 - confidence), 0.95) / draws),
            }
        )
    return rows


def _judged(scores: Scores, policy: Policy, rows: Ints, labelled: bool) -> Asked:
    """The whole pool under temperatures fitted on `rows`, if there are labels."""
    if labelled:
        policy = policy.model_copy(update={"temperatures": fit_temperatures(scores.take(rows))})
    return ask(scores, policy)


def _rows_of(asked: Asked, rows: Ints) -> Asked:
    return Asked(asked.exits, asked.uncertainty[rows], asked.labels[rows])


def _cheapest(asked: Asked, losses: Bools, price: Array, risk: float) -> float:
    """The lowest mean cost of all thresholds whose loss rate on the pool is at most `risk`."""
    points = find_frontier(asked.uncertainty, ~losses, price)
    return float(points.cost[points.wrong <= risk * len(losses)].min() / len(losses))


class SlowSwitch(Switch):
    """Requests to the edge and to the cloud, and their answers, take as long as their link says."""

    links: Links = Links()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        link = {"edge": self.links.device_edge, "cloud": self.links.edge_cloud}.get(request.url.host)
        if link is None:
            return await super().handle_async_request(request)
        await asyncio.sleep(link.round_trip_s / 2 + link.seconds(len(request.content)))
        response = await super().handle_async_request(request)
        await asyncio.sleep(link.round_trip_s / 2 + link.seconds(len(await response.aread())))
        return response


async def waited_ms(fleet: Fleet, data: Dataset, name: str) -> float:
    """Median over events of the mean time that an event's callers wait."""

    async def call(device: int, row: int) -> float:
        event = np.array([f"{name}-{row}".encode()], np.object_)
        start = time.perf_counter()
        await fleet.infer(f"device-{device}", {"view": data.views[device][row : row + 1], "event": event})
        return time.perf_counter() - start

    times = [np.mean(await asyncio.gather(*(call(n, row) for n in range(data.devices)))) for row in range(len(data))]
    return 1000 * float(np.median(times))


def latency(events: int = 8, out: Out = RESULTS) -> None:
    """Latency as tuning counts it against a real fleet with slow links: tiers, policy and protocol as served.

    The shipped fleet in one process. What Python itself takes is measured with fast links and printed beside.
    """
    rows = asyncio.run(_latency(events))
    columns = ("offload", "answered at", "model: ms", "fleet: ms", "fleet with fast links: ms")
    page = markdown(columns, [(*row[:2], *(f"{ms:,.0f}" for ms in row[2:])) for row in rows])
    write(out, "latency", {"links": LINKS, "rows": rows}, page=f"links: {' '.join(LINKS)}\n\n{page}")


async def _latency(events: int) -> list[tuple[Any, ...]]:
    """Offload, exit, and milliseconds by the model, with slow links and with fast ones."""
    bundle, switch, links = Bundle.open(shipped_bundle()), SlowSwitch(), Links.parse(LINKS)
    fleet, rows = Fleet(bundle, switch), []
    fleet.start()
    data = load("mnist5k", grid="3x2").subset("test").take(range(events))
    cost = CostModel("latency", links=links, profile=measure(bundle))
    for offload in OFFLOADS:
        model = 1000 * cost.at_exits(record(bundle, data), offload).mean(axis=0)
        for place, (exit, thresholds) in enumerate(EXITS.items()):
            fleet.use(thresholds=thresholds, offload=offload)
            switch.links = links
            slow = await waited_ms(fleet, data, f"slow-{offload}-{exit}")
            switch.links = Links()
            fast = await waited_ms(fleet, data, f"fast-{offload}-{exit}")
            rows.append((offload, exit, float(model[place]), slow, fast))
    await fleet.close()
    return rows


if __name__ == "__main__":
    command(__doc__, frontier, guarantee, latency)
