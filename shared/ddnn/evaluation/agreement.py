"""Served against offline: the same events, the same answers.

Legend: N events, D devices, E edges, K classes.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ddnn.bundle import Bundle
from ddnn.client import EventAnswer
from ddnn.data import Dataset
from ddnn.evaluation.decide import Decisions, decide, judge
from ddnn.evaluation.scores import Recorder, Scores
from ddnn.policy import Policy
from ddnn.types import Bools, Exit

__all__ = ["TIE", "Agreement", "agreement"]

TIE: Final = 1e-4
"""How near to its threshold a criterion may be decided by rounding."""
_FLIPPED: Final = 1e-3
"""Scores that differ by more than this between batch sizes differ in a feature bit."""
_EXITS: Final = tuple(Exit)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a fleet's answers compare with the offline run."""

    document: dict[str, Any]
    """The `fleet` part of the `evaluate --json` document."""
    differing: tuple[dict[str, Any], ...]
    """Events that differ in label, exit or probabilities and are no ties, or were answered degraded or under another
    policy."""
    degraded: Counter[str]
    """Degraded answers by reason."""

    @property
    def ok(self) -> bool:
        """Nothing differs but what rounding explains."""
        return not self.differing


def agreement(bundle: Bundle, data: Dataset, answers: Sequence[EventAnswer]) -> Agreement:
    """Compare the served `answers` with what `bundle` says of `data` offline, event by event."""
    version = bundle.policy.version
    scores = Recorder(bundle, data).scores()
    offline = decide(scores, bundle.policy)
    degraded = np.array([answer.degraded for answer in answers])
    same_label = (np.array([answer.label for answer in answers]) == offline.label) & ~degraded
    same_exit = (np.array([answer.exit.rank for answer in answers]) == offline.exit) & ~degraded
    apart = np.abs(np.stack([answer.probabilities for answer in answers]) - offline.probabilities).max(axis=1)
    same = same_label & same_exit & (apart <= TIE)
    reasons = _near_thresholds(scores, bundle.policy, offline, answers)
    odd = np.flatnonzero(~same & ~degraded)
    reasons |= {row: "two answers are equally sure" for row in odd.tolist() if _twins(answers[row])}
    for odd_row in odd[_flipping(bundle, data.take(odd))].tolist():
        reasons.setdefault(odd_row, "a feature bit is at its sign")
    # Rounding explains neither of these, however near to a threshold the event is.
    faults = {
        row: answer.degraded_reason or f"answered under policy version {answer.policy_version}, not {version}"
        for row, answer in enumerate(answers)
        if answer.degraded or answer.policy_version != version
    }

    def told(row: int, why: str) -> dict[str, Any]:
        return {
            "index": int(data.index[row]),
            "why": why,
            "exit_offline": _EXITS[offline.exit[row]].value,
            "exit_served": answers[row].exit.value,
            "label_offline": int(offline.label[row]),
            "label_served": answers[row].label,
        }

    return Agreement(
        document={
            "label_agreement": float(same_label.mean()),
            "exit_agreement": float(same_exit.mean()),
            "max_probability_difference": float(apart[same_exit].max(initial=0.0)),
            "ties": [told(row, why) for row, why in sorted(reasons.items())],
        },
        differing=tuple(
            told(row, faults.get(row) or _how(bool(same_label[row] & same_exit[row]), float(apart[row])))
            for row in range(len(answers))
            if row in faults or not (same[row] or row in reasons)
        ),
        degraded=Counter(answer.degraded_reason for answer in answers if answer.degraded),
    )


def _twins(answer: EventAnswer) -> bool:
    """Whether another of the event's callers holds a different answer that rounding alone keeps from being chosen."""
    return any(
        other is not None
        and (other.exit, other.devices.sum()) == (answer.exit, answer.devices.sum())
        and (other.devices != answer.devices).any()
        and abs(other.confidence - answer.confidence) < TIE
        for other in answer.answers
    )


def _how(same_answer: bool, apart: float) -> str:
    return f"probabilities differ by {apart:.2g}" if same_answer else "served and offline differ"


def _near_thresholds(
    scores: Scores, policy: Policy, offline: Decisions, answers: Sequence[EventAnswer]
) -> dict[int, str]:
    """Events one of whose criteria, at an exit they came to, is within `TIE` of its threshold; and which."""
    reached = np.maximum(offline.exit, [answer.exit.rank for answer in answers])
    found: dict[int, str] = {}
    for exit in scores.topology.exits:
        threshold = policy.thresholds.of(exit)
        if exit is Exit.CLOUD or threshold == 0:
            continue
        u = judge(scores, policy, exit)[1]
        near = (np.abs(u - threshold) < TIE) & (reached >= exit.rank)[:, None]
        for row, place in np.argwhere(near).tolist():
            found.setdefault(row, f"{exit} criterion {u[row, place]:.6f} is at its threshold {threshold:.6g}")
    return found


def _flipping(bundle: Bundle, data: Dataset) -> Bools:
    """(N,) whose features change with the batch size, because a value before the sign is next to zero."""
    changed = np.zeros(len(data), np.bool_)
    if len(data):
        first, *others = (Recorder(bundle, data, batch=batch).scores() for batch in (256, 32, 1))
        for other in others:
            changed |= np.abs(first.cloud - other.cloud).max(axis=1) > _FLIPPED
            if first.edge is not None and other.edge is not None:
                changed |= np.abs(first.edge - other.edge).max(axis=(1, 2)) > _FLIPPED
    return changed
