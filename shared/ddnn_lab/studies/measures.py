"""What is measured of a trained network: each measure by its name, with a version of its own.

Legend: N events, D devices, K classes. Shares and accuracies are in 0..1, bytes per event.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ddnn.data.summary import near_duplicates
from ddnn.evaluation import Scores, decide, record
from ddnn.evaluation.decide import exit_alone
from ddnn.evaluation.report import MOST_DEVICES, accuracies, missing_devices, overall, traffic
from ddnn.policy import Policy, Temperatures, Thresholds
from ddnn.task import probabilities
from ddnn.tuning.calibration import auroc, reliability
from ddnn.types import Array, Exit, Floats, Tier
from ddnn_lab.baselines import linear, linear_alone, majority, nearest, presence
from ddnn_lab.jpeg import jpeg_views
from ddnn_lab.studies.offload import oracle_exit, random_offload
from ddnn_lab.studies.pictures import pictures
from ddnn_lab.studies.site import site
from ddnn_lab.studies.subject import Subject, keep_scores

__all__ = ["MEASURES", "Measure", "confidence", "majority_vote", "mean_vote"]

THRESHOLDS: Final = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
BUDGETS: Final = 11  #: points of the frontier: none to all of the events leave the local exit
EDGE_THRESHOLDS: Final = 8  #: edge thresholds tried for each of them
MOST_ENCODED: Final = 2000  #: test events that go through JPEG, evenly spaced: encoding takes longer than the network


def exits(subject: Subject) -> dict[str, Any]:
    """Accuracy per exit on validation and test, the tuned overall answer, bytes, and simple rules beside it."""
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
        "scores": topology.score_codec(Exit.DEVICE).bytes((len(subject.bundle.manifest.classes),)) if cut else None,
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
        calibration = reliability(answers.probabilities.max(axis=1), right)
        document[exit.value] = {"auroc": auroc(answers.uncertainty, right), **calibration}
    return document


def votes(subject: Subject) -> dict[str, Any] | None:
    """Each device alone, over all events and over those it sees; the best of them, and two votes, chosen on validation.

    None for a network whose devices have no exit.
    """
    if Exit.DEVICE not in subject.bundle.topology.exits:
        return None
    known, scores, policy = subject.validation, subject.test, subject.policy
    right, seen = _right(scores), scores.present
    alone = [float(share) for share in right.mean(axis=0)]
    best = int(_right(known).mean(axis=0).argmax())
    rules = {"majority": majority_vote, "mean_probability": mean_vote}
    better = max(rules, key=lambda rule: _accuracy(known, rules[rule](known, policy)))
    accuracy = {name: {"accuracy": _accuracy(scores, rule(scores, policy))} for name, rule in rules.items()}
    return {
        "events": len(scores),
        "each": {"accuracy": alone},
        "each_seen": {
            "accuracy": [float(right[seen[:, i], i].mean()) if seen[:, i].any() else None for i in range(len(alone))]
        },
        "best": {"accuracy": alone[best], "device": str(best)},
        **accuracy,
        "bar": {**accuracy[better], "rule": better},
    }


def majority_vote(scores: Scores, policy: Policy) -> Array:
    """(N,) the label that most of the present devices give; of equals the one with the larger sum of probabilities."""
    p = _probabilities(scores, policy)
    labels = np.eye(p.shape[2])[p.argmax(axis=2)] * scores.present[:, :, None]
    return np.asarray((labels.sum(axis=1) + p.sum(axis=1) / (p.shape[1] + 1)).argmax(axis=1))


def mean_vote(scores: Scores, policy: Policy) -> Array:
    """(N,) the label with the largest mean probability over the present devices."""
    return np.asarray(_probabilities(scores, policy).sum(axis=1).argmax(axis=1))


def _probabilities(scores: Scores, policy: Policy) -> Array:
    """(N, D, K), 0 where the device is absent."""
    return probabilities(scores.of(Exit.DEVICE), policy.temperatures.device) * scores.present[:, :, None]


def _right(scores: Scores) -> Array:
    """(N, D) whether each device by itself is right about the event; what it does not see it has wrong."""
    return np.asarray((scores.of(Exit.DEVICE).argmax(axis=2) == scores.y[:, None]) & scores.present)


def _accuracy(scores: Scores, label: Array) -> float:
    return float(((label == scores.y) & scores.present.any(axis=1)).mean())


def one_lost(subject: Subject) -> dict[str, Any] | None:
    """Accuracy of every exit and overall with each single device lost, nothing trained or tuned again.

    None for a lone device.
    """
    policy, data = subject.policy, subject.test_events
    if data.devices == 1:
        return None
    each = []
    for lost in range(data.devices):
        scores = subject.recorder.scores(np.broadcast_to(np.arange(data.devices) != lost, data.present.shape))
        answers = {"overall": decide(scores, policy)}
        answers |= {exit.value: exit_alone(scores, policy, exit) for exit in subject.exits}
        each.append({name: {"accuracy": decisions.accuracy(data.y)} for name, decisions in answers.items()})
    values = [accuracy["overall"]["accuracy"] for accuracy in each]
    return {"mean": {"accuracy": float(np.mean(values))}, "worst": {"accuracy": min(values)}, "each": each}


def subsets(subject: Subject) -> dict[str, Any] | None:
    """Overall accuracy with only these devices left, all 2^D − 1 choices; None above six devices."""
    data = subject.test_events
    if not 1 < data.devices <= MOST_DEVICES:
        return None
    left = missing_devices(subject.recorder, subject.policy, data.y)["subsets"]
    return {group: {"accuracy": value} for group, value in left.items()}


def thresholds(subject: Subject) -> dict[str, Any] | None:
    """On test, for each threshold T of the local exit: which exits answer, accuracy, bytes a device.

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
    """The best thresholds, by validation, for each share of events that may pass the local exit; measured on test."""
    if Exit.LOCAL not in subject.exits:
        return None
    known, policy = subject.validation, subject.policy
    local = exit_alone(known, policy, Exit.LOCAL).uncertainty
    seconds = [0.0]
    if Exit.EDGE in subject.exits:
        edge = exit_alone(known, policy, Exit.EDGE).uncertainty
        seconds = sorted({_quantile(edge, share) for share in np.linspace(0, 1, EDGE_THRESHOLDS)})
    points = []
    for share in np.linspace(0, 1, BUDGETS):
        tried = [_first(known, policy, _quantile(local, 1 - share), second) for second in seconds]
        # Equally right: the one that sends fewer events on to the cloud.
        best = max(tried, key=lambda tuned: (round(decide(known, tuned).accuracy(known.y), 9), tuned.thresholds.edge))
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


def classifiers(subject: Subject) -> dict[str, Any]:
    """Accuracy on test of each baseline, and whether test events have near-duplicates in training.

    The best single device of the linear ones is chosen on validation.
    """
    data, y = subject.data, subject.test_events.y
    baselines = {"majority": majority, "presence": presence, "nearest": nearest, "linear": linear}
    known = data.subset("validation").y
    best = int((linear_alone(data, part="validation") == known[:, None]).mean(axis=0).argmax())
    alone = [float(share) for share in (linear_alone(data) == y[:, None]).mean(axis=0)]
    return {
        "events": len(y),
        **{name: {"accuracy": float(np.mean(labels(data) == y))} for name, labels in baselines.items()},
        "linear_each": {"accuracy": alone},
        "linear_best": {"accuracy": alone[best], "device": str(best)},
        "near_duplicates": near_duplicates(data),
    }


def jpeg(subject: Subject) -> dict[str, Any] | None:
    """Accuracy on test and bytes a device and event for each quality; None unless all views are uint8 images."""
    test, bundle = subject.test_events, subject.bundle
    if any(view.ndim != 4 or view.dtype != np.uint8 or view.shape[1] not in (1, 3) for view in test.views):
        return None
    test = test.take(np.unique(np.linspace(0, len(test) - 1, min(len(test), MOST_ENCODED)).astype(np.int64)))
    points = []
    for quality in subject.qualities:
        sent = jpeg_views(test, quality)
        points.append(
            {
                "quality": str(quality),
                "accuracy": decide(record(bundle, sent.data), bundle.policy).accuracy(test.y),
                "file": float(sent.file_bytes.sum() / test.present.size),
                "scan": float(sent.scan_bytes.sum() / test.present.size),
            }
        )
    raw = sum(spec.view.bytes for spec in bundle.topology.devices) / len(bundle.topology.devices)
    plain = decide(record(bundle, test), bundle.policy).accuracy(test.y)
    return {"events": len(test), "points": points, "raw": {"accuracy": plain, "bytes": raw}}


@dataclass(frozen=True)
class Measure:
    """A function of a trained network; a result of another version is measured again, without training again."""

    version: int
    of: Callable[[Subject], Any]


MEASURES: Final = {
    "exits": Measure(3, exits),
    "one_lost": Measure(1, one_lost),
    "subsets": Measure(1, subsets),
    "confidence": Measure(1, confidence),
    "thresholds": Measure(1, thresholds),
    "frontier": Measure(1, frontier),
    "votes": Measure(1, votes),
    "jpeg": Measure(1, jpeg),
    "scores": Measure(1, keep_scores),
    "classifiers": Measure(1, classifiers),
    "site": Measure(1, site),
    "pictures": Measure(1, pictures),
}
