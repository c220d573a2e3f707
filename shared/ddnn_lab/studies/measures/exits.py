"""How right every exit is, who answers, what it costs; and what simpler rules would have answered.

Legend: N events, D devices, E edges, K classes. Shares and accuracies are in 0..1, bytes per event.
"""

from typing import Any

import numpy as np

from ddnn.evaluation import Scores
from ddnn.evaluation.decide import judge
from ddnn.evaluation.report import accuracies, overall, traffic
from ddnn.policy import Policy
from ddnn.types import Bools, Exit, Floats
from ddnn_lab.studies.measures.rules import exit_labels, oracle_exit, random_offload
from ddnn_lab.studies.measures.subject import Subject

__all__ = ["exit_right", "exits", "fused", "spoken"]


def exits(subject: Subject) -> dict[str, Any]:
    """Accuracy per exit on validation and test, the tuned overall answer, bytes, and the simple rules beside it."""
    scores, decisions, policy = subject.test, subject.decisions, subject.bundle.policy
    right = {exit: exit_right(scores, policy, exit) for exit in fused(scores)}
    oracle = oracle_exit(scores, policy)
    shares = {exit: decisions.share(exit) for exit in right}
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
        "always": {exit.value: {"accuracy": float(mask.mean())} for exit, mask in right.items()},
        "random_offload": {"accuracy": random_offload(scores, policy, decisions)},
        "oracle": {
            "accuracy": oracle.accuracy(scores.y),
            "exit_share": {exit.value: oracle.share(exit) for exit in right},
        },
    }


def fused(scores: Scores) -> list[Exit]:
    """The exits that speak for the event: all but the devices' own."""
    return [exit for exit in scores.topology.exits if exit is not Exit.DEVICE]


def spoken(scores: Scores, policy: Policy, exit: Exit) -> tuple[Floats, Floats]:
    """Probabilities (N, K) and criterion (N,) of a fused exit for every event; of several edges the surest speaks."""
    p, u, _ = judge(scores, policy, exit)
    if exit is Exit.CLOUD:
        return p, u
    rows, surest = np.arange(len(scores)), u.argmin(axis=1)
    return p[rows, surest], u[rows, surest]


def exit_right(scores: Scores, policy: Policy, exit: Exit) -> Bools:
    """(N,) whether a fused exit is right if it answers every event; an event that nobody sees is wrong."""
    return np.asarray(exit_labels(scores, policy, exit) == scores.y)


def _bytes(subject: Subject) -> dict[str, Any]:
    topology = subject.bundle.topology
    told = traffic(subject.test, subject.decisions, subject.bundle.policy)
    count, cut = len(topology.devices), topology.device_cut
    return {
        **told,
        "per_device": told["device_to_edge"]["payload"] / count,
        "formula_per_device": told["formula"] / count,
        "scores": 4 * len(subject.bundle.manifest.classes) if cut else None,
        "features": cut.bytes if cut else None,
        "cut": list(cut.shape) if cut else None,
        "present": float(subject.test.present.mean()),
    }
