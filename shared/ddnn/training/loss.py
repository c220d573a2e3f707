"""The joint loss: the weighted sum of the cross-entropies of all exits (DDNN paper, section III-C)."""

from torch import Tensor
from torch.nn import functional

from ddnn.network import Scored
from ddnn.training.config import TrainingConfig

__all__ = ["joint_loss"]


def joint_loss(scored: Scored, y: Tensor, y_dev: Tensor, config: TrainingConfig) -> Tensor:
    """Σ wₙ Lₙ, with Lₙ = −(1/K) Σ y log ŷ at exit n.

    y (B,) is every fused exit's label, y_dev (B, D) each device's own, −1 ignored. Several edges' losses are averaged.
    """
    total = config.cloud_weight * functional.cross_entropy(scored.cloud, y)
    total = total + config.local_weight * _repeated(scored.local, y)
    if scored.edge is not None:
        total = total + config.edge_weight * _repeated(scored.edge, y)
    for device in range(y_dev.shape[1]):
        labels = y_dev[:, device]
        # The mean over no label at all would be NaN.
        seen = (labels >= 0).sum().clamp(min=1)
        own = functional.cross_entropy(scored.device[:, device], labels, ignore_index=-1, reduction="sum") / seen
        total = total + config.device_weight * own
    return total / scored.cloud.shape[1]


def _repeated(scores: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy of scores (B, E, K), each edge against the same y (B,)."""
    return functional.cross_entropy(scores.flatten(0, 1), y.repeat_interleave(scores.shape[1]))
