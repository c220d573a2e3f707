"""How long to wait for late devices: accuracy and wait over the collector's wait, fixed against adaptive.

`python -m ddnn_lab.benchmarks.stragglers --out results`: the real collector of an edge under a clock of its own; the
test split of mnist5k and the shipped bundle say how right the network is with whoever was in time. Devices are late by
lognormal jitter. Writes stragglers.json, stragglers.md and stragglers.png. Exit code 1: an adaptive point lies below
the curve of the fixed ones.
"""

import asyncio
import selectors
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.data import load
from ddnn.evaluation.decide import decide
from ddnn.evaluation.scores import Recorder
from ddnn.formatting import markdown
from ddnn.plot_style import name, panels
from ddnn.policy import Policy
from ddnn.serving.collector import Children, Collector
from ddnn.serving.control import PolicyControl
from ddnn.serving.engine import Engine
from ddnn.serving.event import Contribution, Event, Reply
from ddnn.serving.metrics import Metrics
from ddnn.serving.request import RequestOptions
from ddnn.settings import CollectorSettings
from ddnn.types import Answer, Bools, Exit
from ddnn_lab.benchmarks.report import environment, options, write
from ddnn_lab.plots import save

__all__ = ["Late", "collected", "main"]

DEVICES, CLASSES = 6, 10
RATE: Final = 20.0
"""Events a second."""
PASSES: Final = 4
"""How often the test events come."""
WARM_UP: Final = 100
"""Events that do not count: the adaptive wait begins with the policy's and learns."""
FIXED_MS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 35.0, 60.0, 100.0, 150.0, 250.0, 400.0)
CAPS_MS: Final = (150.0, 400.0)
"""Of the adaptive wait: the shipped policy's, and one that hardly binds."""
BELOW: Final = 0.001
"""So far below the curve is chance."""

Seconds = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Late:
    """How late each device's contributions are, by lognormal jitter."""

    name: str
    median_ms: tuple[float, ...] = (8.0,) * DEVICES
    sigma: float = 0.6
    lost: float = 0.0
    """Share that never comes."""
    busy: float = 1.0
    """Everything takes so many times as long in every other stretch of 20 seconds."""
    away: float = 0.0
    """Share of the time in which the last device is away, 5 seconds at a time."""

    def delays(self, at: Seconds, seed: int) -> Seconds:
        """(N, D) seconds after events that are seen at `at`; infinite for what is lost."""
        chance = np.random.default_rng(seed)
        delays = np.exp(chance.normal(np.log(np.array(self.median_ms) / 1000), self.sigma, (len(at), DEVICES)))
        delays[(at // 20) % 2 == 1] *= self.busy
        delays[chance.random(delays.shape) < self.lost] = np.inf
        gone = np.random.default_rng(seed + 1).random(int(at[-1] // 5) + 1) < self.away
        delays[gone[(at // 5).astype(int)], -1] = np.inf
        return delays


SLOW: Final = (8.0, 8.0, 8.0, 60.0, 8.0, 8.0)
SCENES: Final = (
    Late("alike"),
    Late("one much slower", SLOW),
    Late("5 % lost", lost=0.05),
    Late("busy every other 20 s", busy=6.0),
    Late("one slower, one away half the time, 2 % lost, busy", SLOW, lost=0.02, busy=4.0, away=0.5),
)


class _Clock(selectors.DefaultSelector):
    """Time passes when everybody waits, and then at once."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout:
            self.now += timeout
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._of = _Clock()
        super().__init__(self._of)

    def time(self) -> float:
        return self._of.now


def collected(policy: Policy, at: Seconds, delays: Seconds) -> tuple[Bools, Seconds]:
    """Who took part in each event (N, D), and how long it waited from when it was seen (N,)."""
    who, waited = np.zeros(delays.shape, np.bool_), np.full(len(at), np.nan)

    async def run() -> None:
        loop = asyncio.get_running_loop()

        class Answering(Engine):
            """Answers whatever is complete."""

            def start(self, events: Sequence[Event]) -> None:
                for event in events:
                    assert event.id is not None
                    row = int(event.id)
                    who[row], waited[row] = event.devices, loop.time() - at[row]
                    nothing = np.zeros(CLASSES, np.float32)
                    event.settle(Answer(0, nothing, Exit.LOCAL, 1.0, event.devices, policy.version))

        collector = Collector(
            Children([slice(n, n + 1) for n in range(DEVICES)], DEVICES, range(DEVICES), 1000),
            Answering([], Metrics(Exit, ())),
            PolicyControl(policy, classes=CLASSES, devices=DEVICES),
            Metrics(Exit, range(DEVICES)),
            CollectorSettings(),
        )
        scores, one, mine = np.zeros((1, CLASSES), np.float32), np.ones(1, np.bool_), np.eye(DEVICES, dtype=np.bool_)

        def offer(row: int, device: int) -> None:
            reply = Reply(RequestOptions(deadline=loop.time() + 60), 1, device)
            part = Contribution(device, {"scores": scores}, one, mine[device])
            collector.offer(str(row).encode(), part, reply, 0)

        for row, device in np.argwhere(np.isfinite(delays)).tolist():
            loop.call_at(at[row] + delays[row, device], offer, row, device)
        await asyncio.sleep(at[-1] + 60)
        collector.close()

    loop = _Loop()
    try:
        loop.run_until_complete(run())
    finally:
        loop.close()
    return who, waited


def study(scene: Late, right: Callable[[Bools], npt.NDArray[np.bool_]], policy: Policy, events: int) -> dict[str, Any]:
    """All fixed waits and the adaptive ones over the same delays."""
    chance = np.random.default_rng(7)
    at = np.cumsum(chance.exponential(1 / RATE, events))
    delays = scene.delays(at, 11)

    def point(wait_ms: float, *, adaptive: bool) -> dict[str, float]:
        changed = policy.model_copy(update={"wait_ms": wait_ms, "adaptive_wait": adaptive})
        who, waited = collected(changed, at, delays)
        seen = np.isfinite(waited)
        seen[:WARM_UP] = False
        return {
            "wait_ms": wait_ms,
            "mean_ms": 1000 * float(waited[seen].mean()),
            "p95_ms": 1000 * float(np.percentile(waited[seen], 95)),
            "accuracy": float(right(who)[seen].mean()),
            "devices": float(who[seen].sum(axis=1).mean()),
        }

    fixed = [point(wait_ms, adaptive=False) for wait_ms in FIXED_MS]
    adaptive = [point(cap, adaptive=True) for cap in CAPS_MS]
    for each in adaptive:
        curve = np.interp(each["mean_ms"], [p["mean_ms"] for p in fixed], [p["accuracy"] for p in fixed])
        each["above"] = each["accuracy"] - float(curve)
    return {"scene": scene.name, "fixed": fixed, "adaptive": adaptive}


def main() -> int:
    """Study every scene, write what was found."""
    parser = options(__doc__)
    parser.add_argument("--passes", type=int, default=PASSES, help="how often the test events come")
    given = parser.parse_args()
    bundle = Bundle.open(shipped_bundle())
    data = load("mnist5k", grid="3x2").subset("test")
    recorder, known = Recorder(bundle, data), dict[bytes, npt.NDArray[np.bool_]]()

    def right(who: Bools) -> npt.NDArray[np.bool_]:
        found = np.zeros(len(who), np.bool_)
        for mask in np.unique(who, axis=0):
            if mask.tobytes() not in known:
                scores = recorder.scores(np.tile(mask, (len(data), 1)))
                known[mask.tobytes()] = decide(scores, bundle.policy).label == data.y
            rows = np.flatnonzero((who == mask).all(axis=1))
            found[rows] = known[mask.tobytes()][rows % len(data)]
        return found

    scenes = [study(scene, right, bundle.policy, given.passes * len(data)) for scene in SCENES]
    page = markdown(_COLUMNS, [row for scene in scenes for row in _rows(scene)])
    write(given.out, "stragglers", {**environment(), "scenes": scenes}, page, partial(_draw, scenes))
    return int(any(each["above"] < -BELOW for scene in scenes for each in scene["adaptive"]))


_COLUMNS: Final = (
    *("devices", "wait", "mean, ms", "p95, ms", "accuracy, %", "devices in time"),
    "above the fixed waits, points",
)


def _rows(scene: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for kind, words in (("fixed", "fixed"), ("adaptive", "adaptive, at most")):
        for p in scene[kind]:
            figures = (f"{p['mean_ms']:.1f}", f"{p['p95_ms']:.1f}", f"{100 * p['accuracy']:.2f}", f"{p['devices']:.2f}")
            above = f"{100 * p['above']:+.2f}" if "above" in p else ""
            yield (scene["scene"], f"{words} {p['wait_ms']:g} ms", *figures, above)


def _draw(scenes: Sequence[Mapping[str, Any]], file: Path) -> None:
    figure, panes = panels(len(scenes), height=9.0, columns=2)
    for axis, scene in zip(panes, scenes, strict=True):
        fixed = scene["fixed"]
        axis.plot([p["mean_ms"] for p in fixed], [100 * p["accuracy"] for p in fixed], "o-", label="fixed")
        for mark, p in zip("*D", scene["adaptive"], strict=True):
            label = f"adaptive, at most {p['wait_ms']:g} ms"
            axis.plot(p["mean_ms"], 100 * p["accuracy"], mark, markersize=11, label=label)
        name(axis, scene["scene"], "mean wait, ms", "accuracy, %")
    panes[0].legend(fontsize=7)
    save(figure, file)


if __name__ == "__main__":
    sys.exit(main())
