"""What every exit gets right on the validation events, with all devices and with one lost."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ddnn.network import DDNN, Scored
from ddnn.types import Exit

__all__ = ["validate"]


@torch.no_grad()
def validate(
    network: DDNN,
    views: Sequence[Tensor],
    y: Tensor,
    y_dev: Tensor,
    present: Tensor,
    *,
    by: Exit = Exit.CLOUD,
    lost: bool = True,
    batch: int = 512,
) -> dict[str, Any]:
    """Accuracy per exit, with each device lost, and `score`, what the best epoch is chosen by.

    `score` is the mean of the accuracy of the exit `by` with all devices and of its mean accuracy with one lost. Not
    `lost`, it is the former alone: what never learns to lose a device does so the worse the longer it learns. By the
    device exits, which lose nothing with another device, it is their mean.
    """
    network.eval()
    parts = [network.below([view[i : i + batch] for view in views]) for i in range(0, len(y), batch)]
    scores, cuts = (torch.cat(part) for part in zip(*parts, strict=True))
    whole = network.above(scores, cuts, present)
    found: dict[str, Any] = {
        "device": None if whole.device is None else _right_where((y_dev >= 0) & present, whole.device, y_dev),
        **_fused(whole, y),
    }
    devices = present.shape[1]
    one_lost: list[dict[str, float | None]] = []
    for device in range(devices if devices > 1 else 0):
        without = present.clone()
        without[:, device] = False
        some = without.any(dim=1)
        one_lost.append(_fused(network.above(scores[some], cuts[some], without[some]), y[some]))
    found["cloud_one_lost"] = [each["cloud"] for each in one_lost]
    if by is Exit.DEVICE:
        return {**found, "score": sum(found["device"]) / devices}
    if not lost or not one_lost:
        return {**found, "score": found[by.value]}
    kept = [each[by.value] or 0.0 for each in one_lost]
    return {**found, "score": (found[by.value] + sum(kept) / len(kept)) / 2}


def _fused(scored: Scored, y: Tensor) -> dict[str, float | None]:
    """Accuracy of each exit that joins devices; of several edges, of the mean of their scores."""
    return {
        "local": None if scored.local is None else _right(scored.local.mean(dim=1), y),
        "edge": None if scored.edge is None else _right(scored.edge.mean(dim=1), y),
        "cloud": _right(scored.cloud, y),
    }


def _right_where(seen: Tensor, scores: Tensor, y_dev: Tensor) -> list[float]:
    right = (scores.argmax(dim=2) == y_dev) & seen
    return [float(share) for share in right.sum(dim=0) / seen.sum(dim=0).clamp(min=1)]


def _right(scores: Tensor, y: Tensor) -> float:
    return float((scores.argmax(dim=1) == y).double().mean()) if len(y) else 0.0
