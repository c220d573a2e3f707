"""One engine for three tiers: run section → exit or go on → answer. It knows no HTTP.

A tier is a list of steps (device: `device`; edge: `local`, `edge`; cloud: `cloud`) and, below the cloud, a way up.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from time import perf_counter
from typing import Literal, Protocol

import numpy as np

from ddnn.bundle import Cut
from ddnn.exits import answers, judge
from ddnn.policy import Policy
from ddnn.runtime import Section
from ddnn.serving.batching import Outputs, SectionQueue
from ddnn.serving.case import Case, Stage
from ddnn.types import Answer, Array, Bools, Exit, Floats, pack_bits, unpack_bits

__all__ = ["Carried", "Engine", "Step", "WayUp", "judge_cases"]

Carried = Literal["features", "view"]
"""What goes up; raw views where the devices have no section."""


@dataclass(frozen=True)
class Step:
    """A section that ends in an exit."""

    exit: Exit
    section: Section
    needs: Literal["view", "scores", "features"]
    """The input without which this step cannot run."""
    cut: Cut | None = None
    """What `features` unpack to on the way in."""

    def run(self, cases: Sequence[Case]) -> dict[str, Array]:
        """Run the section on a batch of events; features come out packed."""
        rows = {name: _rows([case.inputs[name] for case in cases]) for name in self.section.inputs}
        if self.cut and "features" in rows:
            rows["features"] = unpack_bits(rows["features"], self.cut.bits)
        outputs = self.section.run(**rows)
        if "features" in outputs:
            outputs["features"] = pack_bits(outputs["features"])
        return outputs


class WayUp(Protocol):
    """What takes unsure events to the tier above."""

    carries: Carried

    async def offload(self, cases: Sequence[Case]) -> None:
        """Settle every case, with the answer from above or degraded."""

    def tell(self, cases: Sequence[Case]) -> None:
        """Let the tier above know, in the background, of events that are answered here."""


class Engine:
    """Takes events through the exits of one tier."""

    def __init__(
        self,
        steps: Sequence[Step],
        *,
        above: Exit | None = None,
        way_up: WayUp | None = None,
        ask: Callable[[Case], None] | None = None,
        audit: Callable[[Sequence[Case]], None] | None = None,
        observe: Callable[[int], None] = lambda events: None,
        most: int = 64,
        delay_s: float = 0.0,
    ) -> None:
        """`above` is the first exit of the tier above, if there is such a tier; `audit` sees what is sure first.

        At most `most` events go through a section at once, and `observe` hears how many; a section that is free waits
        `delay_s` for more.
        """
        self.steps = tuple(steps)
        self.above = above
        self.way_up = way_up
        self._ask, self._audit = ask, audit
        self._observe = observe
        self._queues = {
            step.exit: SectionQueue(step.run, partial(self._decide, step.exit), most=most, delay_s=delay_s)
            for step in self.steps
        }

    @property
    def wait_s(self) -> float:
        """Seconds that an event which came now would wait for sections, if it had to pass them all."""
        return sum(queue.wait_s for queue in self._queues.values())

    def close(self) -> None:
        """Let the threads of slow sections end."""
        for queue in self._queues.values():
            queue.close()

    async def advance(self, cases: Sequence[Case]) -> None:
        """Take events as far as they can go: settled here, asked for features, or settled from above."""
        for step in self.steps:
            done = [case for case in cases if case.reached >= step.exit.rank]
            todo = [case for case in cases if case.reached < step.exit.rank]
            if ready := self._holding(step.needs, self._allowed(todo, step.exit)):
                await self._queues[step.exit].visit(ready)
            cases = [case for case in (*done, *ready) if not case.outcome.done()]
        if self.above:
            cases = self._allowed(cases, self.above)
        if self.way_up and (cases := self._holding(self.way_up.carries, cases)):
            start = perf_counter()
            await self.way_up.offload(cases)
            uplink = Stage("uplink", perf_counter() - start, start)
            for case in cases:
                case.stages.append(uplink)
        for case in cases:
            case.degrade("no_upstream")

    @staticmethod
    def _allowed(cases: Sequence[Case], exit: Exit) -> list[Case]:
        """Those that may be answered at `exit`; the others keep the answer they have."""
        for case in cases:
            if case.reached >= 0 and case.terms.max_exit.rank < exit.rank:
                case.settle(case.best)
        return [case for case in cases if not case.outcome.done()]

    def _holding(self, needs: str, cases: Sequence[Case]) -> list[Case]:
        """Those that hold the input; the others are asked for it, or answer with what they have."""
        holding = [case for case in cases if needs in case.inputs]
        for case in cases:
            if needs not in case.inputs:
                if self._ask and case.event is not None:
                    self._ask(case)
                else:
                    case.degrade("no_features")
        return holding

    def _decide(self, exit: Exit, cases: Sequence[Case], outputs: Outputs, seconds: float) -> None:
        """Settle those of a run's events that `exit` is sure of; the others have its answer as their best so far."""
        self._observe(len(cases))
        run = Stage(exit.value, seconds, perf_counter() - seconds)
        sure: list[Case] = []
        scores, features = outputs["scores"], outputs.get("features")
        best, _, answered = judge_cases(exit, scores, cases)
        for row, case in enumerate(cases):
            if case.outcome.done():  # while the section was at it
                continue
            case.best = best[row]
            case.scores = case.judged[exit] = scores[row].copy()  # it is kept longer than its batch
            case.stages.append(run)
            if features is not None:
                case.inputs["features"] = features[row]
            if answered[row]:
                sure.append(case)
        if sure and self._audit:
            self._audit(sure)
        if sure and self.way_up:
            self.way_up.tell(sure)
        for case in sure:
            case.settle(case.best)


def _rows(rows: Sequence[Array]) -> Array:
    """[B, …]; one row needs no copy."""
    return np.stack(rows) if len(rows) > 1 else rows[0][np.newaxis]


def judge_cases(exit: Exit, scores: Floats, cases: Sequence[Case]) -> tuple[list[Answer], list[float], list[bool]]:
    """What `exit` says of each event, how uncertain it is, and whether it answers.

    `scores` are (B, K); each event is judged under its own policy and its request's threshold.
    """
    best: list[Answer] = []
    criterion: list[float] = []
    sure: list[bool] = []
    for _, same in groupby(cases, key=lambda case: id(case.policy)):
        group = list(same)
        policy, temperatures = group[0].policy, [case.temperature(exit) for case in group]
        rows = scores[len(best) : len(best) + len(group)]
        p, uncertainty, labels = judge(rows, temperatures, policy.criterion, _votes(exit, policy, group))
        values = uncertainty.tolist()
        best += [
            Answer(label, p[row], exit, 1 - values[row], case.devices, policy.version)
            for row, (case, label) in enumerate(zip(group, labels.tolist(), strict=True))
        ]
        criterion += values
        sure += answers(uncertainty, [case.threshold(exit) for case in group]).tolist()
    return best, criterion, sure


def _votes(exit: Exit, policy: Policy, cases: Sequence[Case]) -> tuple[Floats, Bools] | None:
    """The scores of the devices that are fused here, where the criterion asks for them."""
    if policy.criterion != "agreement" or exit not in (Exit.LOCAL, Exit.EDGE):
        return None
    if not all("scores" in case.inputs for case in cases):  # of an edge that was sure the cloud has no more than that
        return None
    return tuple(np.stack([case.inputs[name] for case in cases]) for name in ("scores", "present"))  # type: ignore[return-value]
