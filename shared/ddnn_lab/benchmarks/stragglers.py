"""How long to wait for late devices: accuracy and wait over the collector's wait, fixed against adaptive.

`python -m ddnn_lab.benchmarks.stragglers --out results`: the real collector of an edge under a clock of its own; the
test split of mnist5k and the shipped bundle say how right the network is with the devices in time. Devices are late by
lognormal jitter. Writes stragglers.json, stragglers.md and stragglers.png. Exit code 1: an adaptive point lies below
the curve of the fixed ones.
"""

import asyncio
import selectors
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import typer
from matplotlib.figure import Figure

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.data import load
from ddnn.evaluation import Recorder, decide
from ddnn.plot_style import name, panels
from ddnn.policy import Policy
from ddnn.serving.collector import Children, Collector
from ddnn.serving.control import PolicyControl
from ddnn.serving.engine import Engine
from ddnn.serving.event import Contribution, Event, Reply
from ddnn.serving.metrics import Metrics
from ddnn.serving.request import RequestOptions
from ddnn.settings import CollectorSettings
from ddnn.types import Answer, Array, Bools, Exit
from ddnn_lab.benchmarks import RESULTS, Out, command, write

__all__ = ["Late", "collected"]

DEVICES, CLASSES = 6, 10
RATE: Final = 20.0  #: events a second
WARM_UP: Final = 100  #: events that do not count: the adaptive wait begins with the policy's and learns
FIXED_MS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 35.0, 60.0, 100.0, 150.0, 250.0, 400.0)
CAPS_MS: Final = (150.0, 400.0)  #: of the adaptive wait: the shipped policy's, and one that hardly binds
BELOW: Final = 0.001  #: so far below the curve is chance


@dataclass(frozen=True)
class Late:
    """How late each device's contributions are, by lognormal jitter."""

    name: str
    median_ms: tuple[float, ...] = (8.0,) * DEVICES
    sigma: float = 0.6
    lost: float = 0.0  #: share that never comes
    busy: float = 1.0  #: everything takes so many times as long in every other stretch of 20 seconds
    away: float = 0.0  #: share of the time in which the last device is away, 5 seconds at a time

    def delays(self, at: Array, seed: int) -> Array:
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


def _loop() -> asyncio.AbstractEventLoop:
    clock = _Clock()
    loop = asyncio.SelectorEventLoop(clock)
    loop.time = lambda: clock.now  # type: ignore[method-assign]
    return loop


def collected(policy: Policy, at: Array, delays: Array) -> tuple[Bools, Array]:
    """Who took part in each event (N, D), and how long it waited from when it was seen (N,)."""
    took_part, waited = np.zeros(delays.shape, np.bool_), np.full(len(at), np.nan)
    scores, one, mine = np.zeros((1, CLASSES), np.float32), np.ones(1, np.bool_), np.eye(DEVICES, dtype=np.bool_)

    async def run() -> None:
        loop = asyncio.get_running_loop()

        class Answering(Engine):
            """Answers whatever is complete."""

            def start(self, events: Sequence[Event]) -> None:
                for event in events:
                    id = (event.parted_from or event).id
                    assert id is not None
                    if np.isnan(waited[row := int(id)]):  # those that came later have an answer of their own
                        took_part[row], waited[row] = event.devices, loop.time() - at[row]
                    event.settle(Answer(0, scores[0], Exit.LOCAL, 1.0, event.devices, policy.version))

        collector = Collector(
            Children([slice(n, n + 1) for n in range(DEVICES)], DEVICES, range(DEVICES), 1000),
            Answering([], Metrics(Exit, ())),
            PolicyControl(policy, classes=CLASSES, devices=DEVICES),
            Metrics(Exit, range(DEVICES)),
            CollectorSettings(),
        )

        def offer(row: int, device: int) -> None:
            reply = Reply(RequestOptions(deadline=loop.time() + 60), 1, device)
            part = Contribution(device, {"scores": scores}, one, mine[device])
            collector.offer(str(row).encode(), part, reply, 0)

        for row, device in np.argwhere(np.isfinite(delays)).tolist():
            loop.call_at(at[row] + delays[row, device], offer, row, device)
        await asyncio.sleep(at[-1] + 60)
        collector.close()

    with asyncio.Runner(loop_factory=_loop) as runner:
        runner.run(run())
    return took_part, waited


def study(scene: Late, right: Callable[[Bools], Bools], policy: Policy, events: int) -> dict[str, Any]:
    """All fixed waits and the adaptive ones over the same delays."""
    at = np.cumsum(np.random.default_rng(7).exponential(1 / RATE, events))
    delays = scene.delays(at, 11)

    def point(wait_ms: float, *, adaptive: bool) -> dict[str, float]:
        changed = policy.model_copy(update={"wait_ms": wait_ms, "adaptive_wait": adaptive})
        took_part, waited = collected(changed, at, delays)
        seen = np.isfinite(waited)
        seen[:WARM_UP] = False
        return {
            "wait_ms": wait_ms,
            "mean_ms": 1000 * float(waited[seen].mean()),
            "p95_ms": 1000 * float(np.percentile(waited[seen], 95)),
            "accuracy": float(right(took_part)[seen].mean()),
            "devices": float(took_part[seen].sum(axis=1).mean()),
        }

    fixed = [point(wait_ms, adaptive=False) for wait_ms in FIXED_MS]
    adaptive = [point(cap, adaptive=True) for cap in CAPS_MS]
    waits, accuracies = ([each[key] for each in fixed] for key in ("mean_ms", "accuracy"))
    for each in adaptive:
        each["above"] = each["accuracy"] - float(np.interp(each["mean_ms"], waits, accuracies))
    return {"scene": scene.name, "fixed": fixed, "adaptive": adaptive}


def main(out: Out = RESULTS, passes: int = 4) -> None:
    """Study every scene, in which the test events come --passes times, and write what was found."""
    bundle = Bundle.open(shipped_bundle())
    data = load("mnist5k", grid="3x2").subset("test")
    recorder, known = Recorder(bundle, data), dict[bytes, Bools]()

    def right(took_part: Bools) -> Bools:
        judged = np.zeros(len(took_part), np.bool_)
        for mask in np.unique(took_part, axis=0):
            if mask.tobytes() not in known:
                scores = recorder.scores(np.tile(mask, (len(data), 1)))
                known[mask.tobytes()] = decide(scores, bundle.policy).label == data.y
            rows = np.flatnonzero((took_part == mask).all(axis=1))
            judged[rows] = known[mask.tobytes()][rows % len(data)]
        return judged

    scenes = [study(scene, right, bundle.policy, passes * len(data)) for scene in SCENES]
    write(out, "stragglers", {"scenes": scenes}, _draw(scenes))
    raise typer.Exit(int(any(each["above"] < -BELOW for scene in scenes for each in scene["adaptive"])))


def _draw(scenes: Sequence[Mapping[str, Any]]) -> Figure:
    figure, panes = panels(len(scenes), height=9.0, columns=2)
    for axis, scene in zip(panes, scenes, strict=True):
        fixed = scene["fixed"]
        axis.plot([p["mean_ms"] for p in fixed], [100 * p["accuracy"] for p in fixed], "o-", label="fixed")
        for mark, p in zip("*D", scene["adaptive"], strict=True):
            label = f"adaptive, at most {p['wait_ms']:g} ms"
            axis.plot(p["mean_ms"], 100 * p["accuracy"], mark, markersize=11, label=label)
        name(axis, scene["scene"], "mean wait, ms", "accuracy, %")
    panes[0].legend(fontsize=7)
    return figure


if __name__ == "__main__":
    command(__doc__, main)
