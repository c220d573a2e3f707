"""Because of which devices an event goes up: they pay for it from their escalation budgets."""

from collections.abc import Sequence

import numpy as np

from ddnn.exits import answers
from ddnn.runtime import Section
from ddnn.serving.event import Event
from ddnn.task import Votes, needs_votes
from ddnn.types import Exit

__all__ = ["Payers"]


class Payers:
    """Those without any one of which the local exit would be sure; where that is no one, all that took part.

    Where callers have terms of their own, the devices that asked for them.
    """

    def __init__(self, local: Section | None) -> None:
        """`local` fuses the devices' scores."""
        self._local = local

    def __call__(self, event: Event) -> Sequence[int]:
        if event.swayed and event.replies:
            return sorted({reply.child for reply, _ in event.replies})
        present = event.inputs["present"]
        here: list[int] = np.flatnonzero(present).tolist()
        if self._local is None or len(here) < 2 or "scores" not in event.inputs:
            return here
        rows = np.arange(len(here))
        fewer = np.repeat(present[np.newaxis], len(here), axis=0)
        fewer[rows, here] = False
        scores = np.repeat(event.inputs["scores"][np.newaxis], len(here), axis=0)
        fused = self._local.run(scores=scores, present=fewer)["scores"]
        live = len(here) - 1
        votes: Votes = (scores, fewer) if needs_votes(event.rule.policy.criterion) else None
        unsure = event.rule.judge(Exit.LOCAL, fused, live, votes).uncertainty
        blamed = answers(unsure, event.rule.thresholds[Exit.LOCAL][live]).tolist()
        return [child for child, sure in zip(here, blamed, strict=True) if sure] or here
