"""How right every exit is, which of them answers, what it costs, and whether it knows when it is wrong.

Beside the served rule stand simpler ones: exits chosen at random, and by the truth.
Legend: N events. Shares and accuracies are in 0..1, bytes per event.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ddnn.evaluation import NOBODY, Decisions, Scores
from ddnn.evaluation.decide import exit_alone
from ddnn.evaluation.report import accuracies, overall, traffic
from ddnn.policy import Policy
from ddnn.tuning.calibration import auroc, reliability
from ddnn.types import Exit, Tier
from ddnn_lab.studies.measures.subject import Subject

__all__ = ["confidence", "exits", "oracle_exit", "random_offload"]


def exits(subject: Subject) -> dict[str, Any]:
    """Accuracy per exit on validation and test, the tuned overall answer, bytes, and the simple rules beside it."""
    scores, decisions, policy = subject.test, subject.decisions, subject.policy
    oracle = oracle_exit(scores, policy)
    shares = {exit: decisions.share(exit) for exit in subject.exits}
    if scores.present.shape[1] == 1 and Exit.LOCAL in shares:
        shares[Exit.LOCAL] += decisions.share(Exit.DEVICE)  # a lone device is the local exit
    return {
        "events": len(scores),
        "exits": accuracies(scores),
        "validation": accuracies(subject.validation),
        "overall": overall(scores, decisions, policy),
        "temperatures": policy.temperatures.model_dump(),
        "below_cloud": sum(share for exit, share in shares.items() if exit is not Exit.CLOUD),
        "bytes": _bytes(subject),
        "always": {exit.value: {"accuracy": exit_alone(scores, policy, exit).accuracy(scores.y)} for exit in shares},
        "random_offload": {"accuracy": random_offload(scores, policy, decisions)},
        "oracle": {
            "accuracy": oracle.accuracy(scores.y),
            "exit_share": {exit.value: oracle.share(exit) for exit in shares},
        },
    }


def _bytes(subject: Subject) -> dict[str, Any]:
    topology = subject.bundle.topology
    sent = traffic(subject.test, subject.decisions, subject.policy)
    count, cut = len(topology.devices), topology.features(Tier.DEVICE)
    return {
        **sent,
        "per_device": sent["device_to_edge"]["payload"] / count,
        "formula_per_device": sent["formula"] / count,
        "scores": 4 * len(subject.bundle.manifest.classes) if cut else None,
        "features": cut.bytes if cut else None,
        "cut": list(cut.shape) if cut else None,
        "present": float(subject.test.present.mean()),
    }


def confidence(subject: Subject) -> dict[str, Any]:
    """AUROC of the criterion, ECE and the bins behind it, for each fused exit at its temperature."""
    document = {}
    for exit in subject.exits:
        answers = exit_alone(subject.test, subject.policy, exit)
        right = np.asarray(answers.label == subject.test.y)
        document[exit.value] = {
            "auroc": auroc(answers.uncertainty, right),
            **reliability(answers.probabilities.max(axis=1), right),
        }
    return document


def random_offload(scores: Scores, policy: Policy, decisions: Decisions) -> float:
    """Expected accuracy if each exit answered as many events as in `decisions`, but a random set of them.

    Exact: the sum over the exits of share × accuracy on all events, as a random set is right as often as the whole.
    """
    answered = decisions.exit != NOBODY
    if not answered.any():
        return 0.0
    return sum(
        decisions.share(exit) * float((exit_alone(scores, policy, exit).label == scores.y)[answered].mean())
        for exit in scores.topology.exits
        if (decisions.exit == exit.rank).any()
    )


def oracle_exit(scores: Scores, policy: Policy, exits: Sequence[Exit] | None = None) -> Decisions:
    """Labels and exits if every event left at the first of `exits` that is right: a ceiling for every criterion.

    By default all exits that the network has; the device exit only where the policy lets devices answer. The cloud's
    answer stands where no exit is right.
    """
    if exits is None:
        exits = [exit for exit in scores.topology.exits if exit is not Exit.DEVICE or policy.thresholds.device > 0]
    oracle = exit_alone(scores, policy, Exit.CLOUD)
    for exit in sorted(exits, key=lambda exit: exit.rank, reverse=True):
        label = exit_alone(scores, policy, exit).label
        right = label == scores.y
        chosen = np.where(right, exit.rank, oracle.exit)
        oracle = replace(oracle, label=np.where(right, label, oracle.label), exit=chosen)
    return oracle
