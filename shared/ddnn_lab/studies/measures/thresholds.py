"""Accuracy and traffic against the local exit's threshold, and the best accuracy for a budget of bytes."""

from typing import Any, Final

import numpy as np

from ddnn.evaluation import Decisions, Scores, decide
from ddnn.evaluation.report import traffic
from ddnn.policy import Policy, Temperatures, Thresholds
from ddnn.types import Exit
from ddnn_lab.studies.measures.exits import spoken
from ddnn_lab.studies.measures.subject import Subject

__all__ = ["THRESHOLDS", "frontier", "thresholds"]

THRESHOLDS: Final = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
BUDGETS: Final = 11
"""Points of the frontier: none to all of the events leave the local exit."""
SECONDS: Final = 8
"""Edge thresholds tried for each of them."""


def thresholds(subject: Subject) -> dict[str, Any] | None:
    """On test, for each threshold T of the local exit: who answers, how right, at how many bytes a device.

    `paper`: local and cloud exit alone, no temperatures, as the paper has it. `served`: the edge exit at its tuned
    threshold, and temperatures, as a fleet answers. None for a network that has only the cloud.
    """
    policy = subject.bundle.policy
    if Exit.LOCAL not in subject.bundle.topology.exits:
        return None
    plain = policy.model_copy(update={"temperatures": Temperatures()})
    return {
        "T": [f"{value:g}" for value in THRESHOLDS],
        "paper": [_row(subject.test, _first(subject.test, plain, value, 0.0)) for value in THRESHOLDS],
        "served": [
            _row(subject.test, _first(subject.test, policy, value, policy.thresholds.edge)) for value in THRESHOLDS
        ],
    }


def frontier(subject: Subject) -> list[dict[str, Any]] | None:
    """The best thresholds for each share of events that may pass the local exit: chosen on validation, told on test."""
    policy = subject.bundle.policy
    if Exit.LOCAL not in subject.bundle.topology.exits:
        return None
    known = subject.validation
    _, first = spoken(known, policy, Exit.LOCAL)
    firsts = [_quantile(first, 1 - share) for share in np.linspace(0, 1, BUDGETS)]
    seconds = [0.0]
    if Exit.EDGE in subject.bundle.topology.exits:
        _, second = spoken(known, policy, Exit.EDGE)
        seconds = sorted({_quantile(second, share) for share in np.linspace(0, 1, SECONDS)})
    points = []
    for threshold in firsts:
        tried = [_first(known, policy, threshold, other) for other in seconds]
        # Equally right: the one that sends fewer events on to the cloud.
        best = max(tried, key=lambda each: (round(decide(known, each).accuracy(known.y), 9), each.thresholds.edge))
        points.append(_row(subject.test, best))
    return points


def _quantile(criteria: np.ndarray[Any, Any], share: float) -> float:
    """A threshold that about `share` of these criteria are below; 0 is off, 1 lets all answer that can."""
    if share <= 0:
        return 0.0
    finite = criteria[np.isfinite(criteria)]
    return 1.0 if share >= 1 or not len(finite) else float(np.quantile(finite, share))


def _first(scores: Scores, policy: Policy, first: float, second: float) -> Policy:
    """`policy` with the thresholds of the first exit (the device's, if it is alone) and of the edge."""
    alone = scores.present.shape[1] == 1
    given = Thresholds(device=first if alone else 0.0, local=0.0 if alone else first, edge=second)
    return policy.at(given)


def _row(scores: Scores, policy: Policy) -> dict[str, Any]:
    decisions = decide(scores, policy)
    sent, devices = traffic(scores, decisions, policy), scores.present.shape[1]
    return {
        "accuracy": decisions.accuracy(scores.y),
        "local_share": _local(decisions),
        "edge_share": decisions.share(Exit.EDGE),
        "bytes": sent["device_to_edge"]["payload"] / devices,
        "formula": sent["formula"] / devices,
        "edge_to_cloud": sent["edge_to_cloud"]["payload"],
    }


def _local(decisions: Decisions) -> float:
    return decisions.share(Exit.LOCAL) + decisions.share(Exit.DEVICE)
