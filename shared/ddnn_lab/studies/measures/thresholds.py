"""Accuracy and traffic against the local exit's threshold, and the best accuracy for a budget of bytes."""

from typing import Any, Final

import numpy as np

from ddnn.evaluation import Scores, decide
from ddnn.evaluation.decide import exit_alone
from ddnn.evaluation.report import traffic
from ddnn.policy import Policy, Temperatures, Thresholds
from ddnn.types import Exit, Floats
from ddnn_lab.studies.measures.subject import Subject

__all__ = ["THRESHOLDS", "frontier", "thresholds"]

THRESHOLDS: Final = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
BUDGETS: Final = 11
"""Points of the frontier: none to all of the events leave the local exit."""
EDGE_THRESHOLDS: Final = 8
"""Edge thresholds tried for each of them."""


def thresholds(subject: Subject) -> dict[str, Any] | None:
    """On test, for each threshold T of the local exit: who answers, how right, at how many bytes a device.

    `paper`: local and cloud exit alone, no temperatures, as the paper has it. `served`: the edge exit at its tuned
    threshold, and temperatures, as a fleet answers. None for a network that has only the cloud.
    """
    if Exit.LOCAL not in subject.exits:
        return None
    scores, policy, edge = subject.test, subject.policy, subject.policy.thresholds.edge
    plain = policy.model_copy(update={"temperatures": Temperatures()})
    return {
        "T": [f"{value:g}" for value in THRESHOLDS],
        "paper": [_row(scores, _first(scores, plain, value, 0.0)) for value in THRESHOLDS],
        "served": [_row(scores, _first(scores, policy, value, edge)) for value in THRESHOLDS],
    }


def frontier(subject: Subject) -> list[dict[str, Any]] | None:
    """The best thresholds for each share of events that may pass the local exit: chosen on validation, told on test."""
    if Exit.LOCAL not in subject.exits:
        return None
    known, policy = subject.validation, subject.policy
    local, edge = (
        exit_alone(known, policy, exit).uncertainty if exit in subject.exits else np.zeros(0, np.float32)
        for exit in (Exit.LOCAL, Exit.EDGE)
    )
    seconds = sorted({_quantile(edge, share) for share in np.linspace(0, 1, EDGE_THRESHOLDS)}) if len(edge) else [0.0]
    points = []
    for share in np.linspace(0, 1, BUDGETS):
        tried = [_first(known, policy, _quantile(local, 1 - share), second) for second in seconds]
        # Equally right: the one that sends fewer events on to the cloud.
        best = max(tried, key=lambda each: (round(decide(known, each).accuracy(known.y), 9), each.thresholds.edge))
        points.append(_row(subject.test, best))
    return points


def _quantile(criteria: Floats, share: float) -> float:
    """A threshold that about `share` of these criteria are below; 0 is off, 1 lets all answer that can."""
    if share <= 0:
        return 0.0
    finite = criteria[np.isfinite(criteria)]
    return 1.0 if share >= 1 or not len(finite) else float(np.quantile(finite, share))


def _first(scores: Scores, policy: Policy, first: float, second: float) -> Policy:
    """`policy` with the thresholds of the first exit (the device's, if it is alone) and of the edge."""
    alone = scores.present.shape[1] == 1
    return policy.at(Thresholds(device=first if alone else 0.0, local=0.0 if alone else first, edge=second))


def _row(scores: Scores, policy: Policy) -> dict[str, Any]:
    decisions, devices = decide(scores, policy), scores.present.shape[1]
    sent = traffic(scores, decisions, policy)
    return {
        "accuracy": decisions.accuracy(scores.y),
        "local_share": decisions.share(Exit.LOCAL) + decisions.share(Exit.DEVICE),
        "edge_share": decisions.share(Exit.EDGE),
        "bytes": sent["device_to_edge"]["payload"] / devices,
        "formula": sent["formula"] / devices,
        "edge_to_cloud": sent["edge_to_cloud"]["payload"],
    }
