"""What every exit gets right on the validation events, with all devices and with one lost."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ddnn.network import DDNN

__all__ = ["validate"]


@torch.no_grad()
def validate(
    network: DDNN, views: Sequence[Tensor], y: Tensor, y_dev: Tensor, present: Tensor, batch: int = 512
) -> dict[str, Any]:
    """Accuracy per exit, the cloud's with each device lost, and `score`, what the best epoch is chosen by.

    `score` is the mean of the cloud's accuracy with all devices and of its mean accuracy with one lost.
    """
    network.eval()
    parts = [network.below([view[i : i + batch] for view in views]) for i in range(0, len(y), batch)]
    scores, cuts = (torch.cat(part) for part in zip(*parts, strict=True))
    whole = network.above(scores, cuts, present)
    seen = (y_dev >= 0) & present
    lost = []
    devices = present.shape[1]
    for device in range(devices if devices > 1 else 0):
        without = present.clone()
        without[:, device] = False
        some = without.any(dim=1)
        lost.append(_right(network.above(scores[some], cuts[some], without[some]).cloud, y[some]))
    cloud = _right(whole.cloud, y)
    return {
        "device": None if whole.device is None else _right_where(seen, whole.device, y_dev),
        "local": None if whole.local is None else _right(whole.local.mean(dim=1), y),
        "edge": None if whole.edge is None else _right(whole.edge.mean(dim=1), y),
        "cloud": cloud,
        "cloud_one_lost": lost,
        "score": (cloud + sum(lost) / len(lost)) / 2 if lost else cloud,
    }


def _right_where(seen: Tensor, scores: Tensor, y_dev: Tensor) -> list[float]:
    right = (scores.argmax(dim=2) == y_dev) & seen
    return [float(share) for share in right.sum(dim=0) / seen.sum(dim=0).clamp(min=1)]


def _right(scores: Tensor, y: Tensor) -> float:
    return float((scores.argmax(dim=1) == y).double().mean()) if len(y) else 0.0
