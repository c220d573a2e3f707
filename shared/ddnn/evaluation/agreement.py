"""Served against offline: the same events, the same answers.

Legend: N events, D devices, E edges, K classes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ddnn.bundle import Bundle
from ddnn.client import EventAnswer
from ddnn.data import Dataset
from ddnn.evaluation.decide import Decisions, decide, judge_all, thresholds
from ddnn.evaluation.scores import Recorder, Scores
from ddnn.exits import Judged
from ddnn.policy import Policy
from ddnn.types import Bools, Exit

__all__ = ["TIE", "Agreement", "agreement"]

TIE: Final = 1e-4  #: how near to its threshold a criterion may be decided by rounding
_FLIPPED: Final = 1e-4
"""Scores that differ by more than this between batch sizes differ in a feature bit, or were rounded otherwise."""
_EXITS: Final = tuple(Exit)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a fleet's answers compare with the offline run."""

    document: dict[str, Any]  #: the `fleet` part of the `evaluate --json` document
    differing: tuple[dict[str, Any], ...]
    """Events that differ in label, exit or probabilities and are no ties, or were answered degraded or under another
    policy."""
    degraded: Counter[str]  #: degraded answers by reason

    @property
    def ok(self) -> bool:
        """Nothing differs but what rounding explains."""
        return not self.differing


def agreement(bundle: Bundle, data: Dataset, answers: Sequence[EventAnswer]) -> Agreement:
    """Compare the served `answers` with what `bundle` says of `data` offline, event by event."""
    scores = Recorder(bundle, data).scores()
    judged = judge_all(scores, bundle.policy)
    offline = decide(scores, bundle.policy, judged)
    degraded = np.array([answer.degraded for answer in answers])
    same_label = (np.array([answer.label for answer in answers]) == offline.label) & ~degraded
    same_exit = (np.array([answer.exit.rank for answer in answers]) == offline.exit) & ~degraded
    apart = np.abs(np.stack([answer.probabilities for answer in answers]) - offline.probabilities).max(axis=1)
    same = same_label & same_exit & (apart <= TIE)

    ties = _near_thresholds(scores, bundle.policy, judged, offline, answers)
    odd = np.flatnonzero(~same & ~degraded)
    ties |= {row: "two answers are equally sure" for row in odd.tolist() if _twins(answers[row])}
    flipping = odd[_flipping(bundle, data.take(odd))].tolist()
    ties = dict.fromkeys(flipping, "a feature bit or a rounded score is at a tie") | ties
    answer_differs = ~(same_label & same_exit)
    differing = {
        row: "served and offline differ" if answer_differs[row] else f"probabilities differ by {apart[row]:.2g}"
        for row in np.flatnonzero(~same).tolist()
        if row not in ties
    }
    version = bundle.policy.version
    for row, answer in enumerate(answers):  # rounding does not explain these, however near to a threshold the event is
        if answer.degraded or answer.policy_version != version:
            under = f"answered under policy version {answer.policy_version}, not {version}"
            differing[row] = answer.degraded_reason or under

    def event(row: int, why: str) -> dict[str, Any]:
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
            "ties": [event(row, why) for row, why in sorted(ties.items())],
        },
        differing=tuple(event(row, why) for row, why in sorted(differing.items())),
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


def _near_thresholds(
    scores: Scores, policy: Policy, judged: Mapping[Exit, Judged], offline: Decisions, answers: Sequence[EventAnswer]
) -> dict[int, str]:
    """Events one of whose criteria, at an exit they came to, is within `TIE` of its threshold; and which."""
    reached = np.maximum(offline.exit, [answer.exit.rank for answer in answers])
    found: dict[int, str] = {}
    for exit, said in judged.items():
        limits = thresholds(scores, policy, exit)
        if exit is Exit.CLOUD:
            continue
        u = said.uncertainty
        near = (np.abs(u - limits) < TIE) & (limits > 0) & (reached >= exit.rank)[:, None]
        for row, place in np.argwhere(near).tolist():
            found.setdefault(row, f"{exit} criterion {u[row, place]:.6f} is at its threshold {limits[row, place]:.6g}")
    return found


def _flipping(bundle: Bundle, data: Dataset) -> Bools:
    """(N,) that change with the batch size: a value before a sign is next to zero, a score between two of 16 bits."""
    changed = np.zeros(len(data), np.bool_)
    if len(data):
        first, *others = (Recorder(bundle, data, batch=batch).scores() for batch in (256, 32, 1))
        for other in others:
            for exit in bundle.topology.exits:
                apart = np.abs(first.of(exit) - other.of(exit)).max(axis=-1) > _FLIPPED
                changed |= (apart & first.there(exit)).reshape(len(data), -1).any(axis=1)
    return changed
