"""What training is measured by: the loss of each task, and what every exit gets right on validation events."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ddnn.data import Dataset
from ddnn.data.stored import at_once
from ddnn.network import DDNN, Scored, Still
from ddnn.task import CLASSIFICATION
from ddnn.training.config import TrainingConfig
from ddnn.training.loader import Batch
from ddnn.types import Exit

__all__ = ["LOSSES", "Loss", "class_weights", "joint_loss", "taught_loss", "validate"]


PAIRS: Final = 1024
"""Most pairs of a validation event and a device it loses that an epoch is judged by."""

Loss = Callable[[Scored, Tensor, Tensor, Tensor, TrainingConfig, Tensor | None], Tensor]
"""The loss () of a batch: y (B,), y_dev (B, D) with −1 ignored, alive (B, E) the edges with a device present."""


def joint_loss(
    scored: Scored, y: Tensor, y_dev: Tensor, alive: Tensor, config: TrainingConfig, weights: Tensor | None = None
) -> Tensor:
    """Σ wₙ Lₙ, Lₙ = −(1/K) Σ y log ŷ at exit n (DDNN paper, III-C); of edges over those with a device present.

    `weights` (K,) are those of the classes, if they do not all weigh 1.
    """
    # What has no weight is left out: its gradient would be computed, and be zero.
    total = scored.cloud.new_zeros(())
    for weight, scores, labels in _terms(scored, y, y_dev, alive, config):
        if weight:
            total = total + weight * _seen(scores, labels, weights, config.smoothing)
    if config.distil:
        total = total + config.distil * _distilled(scored, alive, config.distil_temperature)
    return total / scored.cloud.shape[1]


def taught_loss(
    scored: Scored, others: Sequence[Scored], y: Tensor, y_dev: Tensor, alive: Tensor, config: TrainingConfig
) -> Tensor:
    """Σ wₙ ψₙ, ψₙ = −(1/K) Σ p̄ log ŷ at exit n, p̄ the mean of what the same exit of `others` says, which learn none.

    Wherever a label teaches (codistillation, Anil et al. 2018).
    """
    total, own = scored.cloud.new_zeros(()), _terms(scored, y, y_dev, alive, config)
    theirs = [_terms(other, y, y_dev, alive, config) for other in others]
    for (weight, scores, labels), *told in zip(own, *theirs, strict=True):
        if weight:
            said = torch.stack([functional.softmax(each.detach(), dim=-1) for _, each, _ in told]).mean(dim=0)
            losses = functional.cross_entropy(scores.flatten(0, -2), said.flatten(0, -2), reduction="none")
            seen = labels >= 0
            means = (losses.reshape(labels.shape) * seen).sum(dim=0) / seen.sum(dim=0).clamp(min=1)
            total = total + weight * means.sum()
    return total / scored.cloud.shape[1]


def _terms(
    scored: Scored, y: Tensor, y_dev: Tensor, alive: Tensor, config: TrainingConfig
) -> list[tuple[float, Tensor, Tensor]]:
    """Of each exit its weight, scores (N, …, K) and labels (N, …), −1 where there is nothing to learn."""
    y_edge = torch.where(alive, y[:, None], -1).flatten()
    terms = [(config.cloud_weight, scored.cloud, y)]
    for weight, fused in ((config.local_weight, scored.local), (config.edge_weight, scored.edge)):
        if fused is not None:
            terms.append((weight, fused.flatten(0, 1), y_edge))
    if scored.device is not None:
        terms.append((config.device_weight, scored.device, y_dev))
    return terms


def _distilled(scored: Scored, alive: Tensor, temperature: float) -> Tensor:
    """T² KL(cloud ‖ exit), softened by T (Hinton et al. 2015): mean over exits below the cloud, which learns none."""
    teacher = functional.softmax(scored.cloud.detach() / temperature, dim=1)[:, None]
    total, exits = scored.cloud.new_zeros(()), [exit for exit in (scored.local, scored.edge) if exit is not None]
    for scores in exits:
        student = functional.log_softmax(scores / temperature, dim=2)
        each = functional.kl_div(student, teacher.expand_as(student), reduction="none").sum(dim=2)
        total = total + (each * alive).sum() / alive.sum().clamp(min=1) * temperature**2 / len(exits)
    return total


def _seen(scores: Tensor, labels: Tensor, weights: Tensor | None, smoothing: float) -> Tensor:
    """Mean cross-entropy of scores (N, …, K) over labels (N, …) that are not −1, summed over …; 0 where all are."""
    flat = scores.flatten(0, -2), labels.flatten()
    losses = functional.cross_entropy(*flat, weights, ignore_index=-1, reduction="none", label_smoothing=smoothing)
    losses = losses.reshape(labels.shape)
    return (losses.sum(dim=0) / (labels >= 0).sum(dim=0).clamp(min=1)).sum()


LOSSES: Final[dict[str, Loss]] = {CLASSIFICATION.name: joint_loss}  #: the loss of each task, by its name


@torch.no_grad()
def validate(
    network: DDNN, events: Iterable[Batch], *, by: Exit = Exit.CLOUD, lost: bool = True, still: Still = None
) -> dict[str, Any]:
    """Accuracy per exit, with each device lost, and `score`, what the best epoch is chosen by; batch by batch.

    `score` is the mean of the accuracy of the exit `by` with all devices and of its mean accuracy with one lost. Not
    `lost`, it is the former alone: what never learns to lose a device does so the worse the longer it learns. By the
    device exits, which lose nothing with another device, it is their mean. Views may be what is `Still` already.
    """
    network.eval()
    parts = [
        (*network.below(views, still=still), network.told(views, still=still), *labels) for views, *labels in events
    ]
    scores, cuts, told, y, y_dev, present = (torch.cat(part) for part in zip(*parts, strict=True))
    whole = _above(network, scores, cuts, present, told, still)
    found: dict[str, Any] = {"device": None, **_fused(whole, y)}
    if whole.device is not None:
        seen = (y_dev >= 0) & present
        right = ((whole.device.argmax(dim=2) == y_dev) & seen).sum(dim=0) / seen.sum(dim=0).clamp(min=1)
        found["device"] = list(map(float, right))
    devices = present.shape[1]
    one_lost: list[dict[str, float | None]] = []
    apart = -(-len(y) * devices // PAIRS) or 1  # each event loses some devices, each device is lost in some events
    rows = torch.arange(len(y), device=y.device)
    for device in range(devices if devices > 1 else 0):
        without = present.clone()
        without[:, device] = False
        some = without.any(dim=1) & ((rows + device) % apart == 0)
        one_lost.append(_fused(_above(network, scores[some], cuts[some], without[some], told[some], still), y[some]))
    found["cloud_one_lost"] = [lost_one["cloud"] for lost_one in one_lost]
    if by is Exit.DEVICE:
        return {**found, "score": sum(found["device"]) / devices}
    if not lost or not one_lost:
        return {**found, "score": found[by.value]}
    kept = [lost_one[by.value] or 0.0 for lost_one in one_lost]
    return {**found, "score": (found[by.value] + sum(kept) / len(kept)) / 2}


def _above(network: DDNN, scores: Tensor, cuts: Tensor, present: Tensor, told: Tensor, still: Still) -> Scored:
    """The upper sections, on as many events at a time as their values leave room for."""
    step = max(at_once([cuts], len(cuts)), 1)
    rows = [slice(start, start + step) for start in range(0, max(len(cuts), 1), step)]
    parts = [network.above(scores[some], cuts[some], present[some], told[some], still=still) for some in rows]
    return Scored._make(None if part[0] is None else torch.cat(part) for part in zip(*parts, strict=True))


def _fused(scored: Scored, y: Tensor) -> dict[str, float | None]:
    """Accuracy of each exit that joins devices; of several edges, of the mean of their scores."""
    exits = {"local": scored.local, "edge": scored.edge, "cloud": scored.cloud[:, None]}
    right = {name: x if x is None else x.mean(dim=1).argmax(dim=1) == y for name, x in exits.items()}
    return {name: x if x is None else float(x.double().mean()) if len(y) else 0.0 for name, x in right.items()}


def class_weights(data: Dataset) -> Tensor:
    """(K,) by which all classes of the training events weigh alike, 1 on average; a class without events 1."""
    counts = np.bincount(data.y[data.split == "train"], minlength=len(data.classes))
    share = counts.sum() / np.maximum(counts, 1) / max((counts > 0).sum(), 1)
    return torch.from_numpy(np.where(counts > 0, share, 1.0).astype(np.float32))
