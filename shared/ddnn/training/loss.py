"""The joint loss: the weighted sum of the cross-entropies of all exits (DDNN paper, section III-C)."""

import torch
from torch import Tensor
from torch.nn import functional

from ddnn.network import Scored
from ddnn.training.config import TrainingConfig

__all__ = ["joint_loss"]


def joint_loss(scored: Scored, y: Tensor, y_dev: Tensor, alive: Tensor, config: TrainingConfig) -> Tensor:
    """Σ wₙ Lₙ, with Lₙ = −(1/K) Σ y log ŷ at exit n.

    y (B,) is every fused exit's label, y_dev (B, D) each device's own, −1 ignored. Several edges' losses are averaged
    over those that `alive` (B, E) names: the ones with a device present.
    """
    y_edge = torch.where(alive, y[:, None], -1).flatten()
    terms = [(config.cloud_weight, scored.cloud, y)]
    if scored.local is not None:
        terms.append((config.local_weight, scored.local.flatten(0, 1), y_edge))
    if scored.edge is not None:
        terms.append((config.edge_weight, scored.edge.flatten(0, 1), y_edge))
    if scored.device is not None:
        each = zip(scored.device.unbind(dim=1), y_dev.unbind(dim=1), strict=True)
        terms += [(config.device_weight, scores, labels) for scores, labels in each]
    # What has no weight is left out: its gradient would be computed, and be zero.
    total = scored.cloud.new_zeros(())
    for weight, scores, labels in terms:
        if weight:
            total = total + weight * _seen(scores, labels)
    if config.distil:
        total = total + config.distil * _distilled(scored, alive, config.distil_temperature)
    return total / scored.cloud.shape[1]


def _distilled(scored: Scored, alive: Tensor, temperature: float) -> Tensor:
    """Mean over the exits below the cloud of T² KL(cloud ‖ exit), both softened by T (Hinton et al. 2015).

    The cloud is the teacher and learns nothing from it; edges without a device present are left out.
    """
    teacher = functional.softmax(scored.cloud.detach() / temperature, dim=1)[:, None]
    total, exits = scored.cloud.new_zeros(()), [exit for exit in (scored.local, scored.edge) if exit is not None]
    for scores in exits:
        student = functional.log_softmax(scores / temperature, dim=2)
        each = functional.kl_div(student, teacher.expand_as(student), reduction="none").sum(dim=2)
        total = total + (each * alive).sum() / alive.sum().clamp(min=1) * temperature**2 / len(exits)
    return total


def _seen(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of scores (N, K) over labels (N,) that are not −1; 0 where all are, not NaN."""
    total = functional.cross_entropy(scores, labels, ignore_index=-1, reduction="sum")
    return total / (labels >= 0).sum().clamp(min=1)
