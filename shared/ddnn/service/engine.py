"""One engine for three tiers: run section → exit or go on → answer. It knows no HTTP.

A tier is a list of steps (device: `device`; edge: `local`, `edge`; cloud: `cloud`) and, below the cloud, a way up.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from time import perf_counter
from typing import Literal, Protocol

import numpy as np

from ddnn.bundle import Cut
from ddnn.exits import probabilities, unsureness
from ddnn.policy import Policy
from ddnn.runtime import Section
from ddnn.service.case import Case
from ddnn.tier import Exit
from ddnn.types import Answer, Array, Bools, Floats, pack_bits, unpack_bits

__all__ = ["Carried", "Engine", "Step", "WayUp", "judge"]

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
        rows = {name: np.stack([case.inputs[name] for case in cases]) for name in self.section.inputs}
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
        observe: Callable[[str, float, int], None] = lambda stage, seconds, events: None,
    ) -> None:
        """`above` is the first exit of the tier above, if there is such a tier; `audit` sees what is sure first."""
        self.steps = tuple(steps)
        self.above = above
        self.way_up = way_up
        self._ask, self._audit = ask, audit
        self._observe = observe

    async def advance(self, cases: Sequence[Case]) -> None:
        """Take events as far as they can go: settled here, asked for features, or settled from above."""
        for step in self.steps:
            done = [case for case in cases if case.reached >= step.exit.rank]
            todo = [case for case in cases if case.reached < step.exit.rank]
            cases = done + self._exit(step, self._holding(step.needs, self._allowed(todo, step.exit)))
        if self.above:
            cases = self._allowed(cases, self.above)
        if self.way_up and (cases := self._holding(self.way_up.carries, cases)):
            await self.way_up.offload(cases)
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

    def _exit(self, step: Step, cases: Sequence[Case]) -> list[Case]:
        """Run a step; settle the events it is sure of and return the others."""
        if not cases:
            return []
        start = perf_counter()
        outputs = step.run(cases)
        seconds = perf_counter() - start
        self._observe(step.exit.value, seconds, len(cases))
        run = (step.exit.value, seconds)
        unsure: list[Case] = []
        sure: list[Case] = []
        answers, criterion = judge(step.exit, outputs["scores"], cases)
        for row, (case, answer) in enumerate(zip(cases, answers, strict=True)):
            case.best, case.scores = answer, outputs["scores"][row]
            case.judged[step.exit] = case.scores.copy()  # it is kept longer than its batch
            case.sections.append(run)
            if "features" in outputs:
                case.inputs["features"] = outputs["features"][row]
            (sure if criterion[row] < case.threshold(step.exit) else unsure).append(case)
        if sure and self._audit:
            self._audit(sure)
        if sure and self.way_up:
            self.way_up.tell(sure)
        for case in sure:
            case.settle(case.best)
        return unsure


def judge(exit: Exit, scores: Floats, cases: Sequence[Case]) -> tuple[list[Answer], list[float]]:
    """What `exit` says of each event, and how unsure it is: (B, K) scores, each under its event's own policy."""
    answers: list[Answer] = []
    criterion: list[float] = []
    for _, same in groupby(cases, key=lambda case: id(case.policy)):
        group = list(same)
        policy = group[0].policy
        temperatures = np.array([case.judging(exit).temperatures.of(exit) for case in group], np.float32)
        p = probabilities(scores[len(answers) : len(answers) + len(group)], temperatures)
        values = unsureness(policy.criterion, p, _votes(exit, policy, group)).tolist()
        answers += [
            Answer(
                label=label,
                probabilities=p[row],
                exit=exit,
                confidence=1 - values[row],
                devices=case.devices,
                policy_version=policy.version,
            )
            for row, (case, label) in enumerate(zip(group, p.argmax(axis=-1).tolist(), strict=True))
        ]
        criterion += values
    return answers, criterion


def _votes(exit: Exit, policy: Policy, cases: Sequence[Case]) -> tuple[Floats, Bools] | None:
    """The scores of the devices that are fused here, where the criterion asks for them."""
    if policy.criterion != "agreement" or exit not in (Exit.LOCAL, Exit.EDGE):
        return None
    if not all("scores" in case.inputs for case in cases):  # of an edge that was sure the cloud has no more than that
        return None
    return tuple(np.stack([case.inputs[name] for case in cases]) for name in ("scores", "present"))  # type: ignore[return-value]
