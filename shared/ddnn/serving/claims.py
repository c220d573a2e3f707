"""What children say that they were sure of: believed where the policy in force backs it, whoever says so."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from ddnn.exits import Rule
from ddnn.serving.event import Contribution
from ddnn.serving.metrics import Metrics, Refuted
from ddnn.task import needs_votes
from ddnn.types import Answer, Exit, Floats

__all__ = ["checked", "refuted", "surest"]


def refuted(rule: Rule, part: Contribution) -> Refuted | None:
    """Why a child's answer is not believed under `rule`, or None.

    Another policy than that of the event, an exit that is off, or scores that are not so sure.
    """
    exit, live = part.answered, int(part.devices.sum())
    assert exit is not None
    limit = float(rule.thresholds[exit][live])
    if part.policy_version not in (None, rule.policy.version):
        return "other_policy"
    if not limit:
        return "exit_off"
    if exit is not Exit.DEVICE and needs_votes(rule.policy.criterion):
        return None  # votes are not told
    return None if float(rule.judge(exit, part.inputs["scores"], [live]).uncertainty[0]) < limit else "unsure"


def checked(rule: Rule, part: Contribution, fused: Collection[str], metrics: Metrics) -> Contribution:
    """What a child says that it was sure of; where that is not believed an ordinary contribution, of what is fused."""
    if why := refuted(rule, part):
        metrics.unbacked.labels(why).inc()
        return replace(part, answered=None, inputs={name: rows for name, rows in part.inputs.items() if name in fused})
    return part


def surest(rule: Rule, parts: Mapping[int, Contribution]) -> tuple[Answer, Floats]:
    """The answer, and its scores (K,), of the surest child that has answered, then of the lowest index."""
    judged = []
    for child, part in sorted(parts.items()):
        if part.answered:
            live, scores = int(part.devices.sum()), part.inputs["scores"]
            p, uncertainty, labels = rule.judge(part.answered, scores, [live])
            u = float(uncertainty[0])
            answer = Answer(int(labels[0]), p[0], part.answered, 1 - u, part.devices, rule.policy.version)
            judged.append((u, child, answer, scores[0]))
    _, _, answer, scores = min(judged, key=lambda each: each[:2])
    return answer, scores
