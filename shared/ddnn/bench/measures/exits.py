"""How right every exit is, who answers, what it costs; and what simpler rules would have answered.

Legend: N events, D devices, E edges, K classes. Shares and accuracies are in 0..1, bytes per event.
"""

from typing import Any

import numpy as np

from ddnn.bench.measures.subject import Subject
from ddnn.evaluation import Scores
from ddnn.evaluation.decide import judge
from ddnn.evaluation.report import accuracies, overall
from ddnn.evaluation.traffic import traffic
from ddnn.policy import Policy
from ddnn.tier import Exit
from ddnn.types import Bools

__all__ = ["exit_right", "exits"]


def exits(subject: Subject) -> dict[str, Any]:
    """Accuracy per exit on validation and test, the tuned overall answer, bytes, and the simple rules beside it."""
    scores, decisions, policy = subject.test, subject.decisions, subject.bundle.policy
    topology = subject.bundle.topology
    right = {exit: exit_right(scores, policy, exit) for exit in topology.exits if exit is not Exit.DEVICE}
    shares = {exit: decisions.share(exit) for exit in right}
    any_right = np.logical_or.reduce(list(right.values()))
    below = sum(share for exit, share in shares.items() if exit is not Exit.CLOUD) + decisions.share(Exit.DEVICE)
    return {
        "events": len(scores),
        "exits": accuracies(scores),
        "validation": accuracies(subject.validation),
        "overall": overall(scores, decisions, policy),
        "temperatures": policy.temperatures.model_dump(),
        "below_cloud": below,
        "bytes": _bytes(subject),
        "always": {exit.value: {"accuracy": float(mask.mean())} for exit, mask in right.items()},
        # Of an event sent to an exit by chance, that exit is right as often as of any event.
        "random_offload": {"accuracy": sum(shares[exit] * float(right[exit].mean()) for exit in right)},
        "oracle": {"accuracy": float(any_right.mean())},
    }


def exit_right(scores: Scores, policy: Policy, exit: Exit) -> Bools:
    """(N,) whether `exit` is right if it answers every event; of several edges the surest speaks."""
    p, u = judge(scores, policy, exit)
    if exit is not Exit.CLOUD:
        p = p[np.arange(len(scores)), u.argmin(axis=1)]
    return np.asarray((p.argmax(axis=1) == scores.y) & scores.present.any(axis=1))


def _bytes(subject: Subject) -> dict[str, Any]:
    topology = subject.bundle.topology
    told = traffic(subject.test, subject.decisions, subject.bundle.policy)
    count, classes = len(topology.devices), len(subject.bundle.manifest.classes)
    cut = topology.device_cut
    return {
        **told,
        "per_device": told["device_to_edge"]["payload"] / count,
        "formula_per_device": None if told["formula"] is None else told["formula"] / count,
        "scores": 4 * classes,
        "features": cut.bytes if cut else None,
        "cut": list(cut.shape) if cut else None,
    }
