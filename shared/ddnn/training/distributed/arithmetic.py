"""The arithmetic of each way to learn together, apart from what carries it.

Legend: P workers, m weights, vectors (m,).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

__all__ = ["Consensus", "mean", "scale", "soft_update"]


def mean(vectors: Sequence[Tensor], amounts: Sequence[float] | None = None) -> Tensor:
    """Σ (nₖ / Σ n) wₖ (McMahan et al. 2017); without amounts all count alike."""
    amounts = amounts or [1.0] * len(vectors)
    total, whole = torch.zeros_like(vectors[0]), sum(amounts)
    for vector, amount in zip(vectors, amounts, strict=True):
        total.add_(vector, alpha=amount / whole)
    return total


def scale(staleness: int, *, scaled: bool) -> float:
    """λ of an update, 1 / staleness of one that is stale, if it is `scaled` (Zhang et al. 2016)."""
    return 1 / max(staleness, 1) if scaled else 1.0


def soft_update(weights: Tensor, updates: Sequence[Tensor], scales: Sequence[float]) -> Tensor:
    """W − (1/s) Σ λⱼ ΔWⱼ over the s updates that are there."""
    changed = weights.clone()
    for update, scale in zip(updates, scales, strict=True):
        changed.sub_(update, alpha=scale / len(updates))
    return changed


@dataclass
class Consensus:
    """Consensus ADMM in its scaled form (Boyd et al. 2011, section 7.1), seen from where the mean is made.

    Args:
        z: (m,) what all are pulled to.
        rho: ρ, the pull.
        duals: uᵢ (m,) by worker; none is 0.
    """

    z: Tensor
    rho: float
    duals: dict[int, Tensor] = field(default_factory=dict)
    primal: float = float("inf")
    """r = √Σ‖xᵢ − z‖² of the last iteration."""
    dual: float = float("inf")
    """s = ρ √P ‖z − z_prev‖ of the last iteration."""

    def iterate(self, points: Mapping[int, Tensor]) -> Tensor:
        """xᵢ + uᵢ by worker → z, their mean; the uᵢ become what they are above it."""
        before = {worker: self.duals.get(worker, torch.zeros_like(self.z)) for worker in points}
        z = mean([points[worker] for worker in sorted(points)])
        squares = [float((points[worker] - before[worker] - z).square().sum()) for worker in sorted(points)]
        self.primal = sum(squares) ** 0.5
        self.dual = self.rho * len(points) ** 0.5 * float((z - self.z).norm())
        # u + x − z, of which u + x is what came.
        self.duals = {worker: point - z for worker, point in points.items()}
        self.z = z
        return z
