"""A section of a user's own, at any tier: two dense layers over what comes in, present children averaged."""

import math

from torch import Tensor, nn

from ddnn.network import Wanted

__all__ = ["Averaged", "make"]


class Averaged(nn.Module):
    """(B, *input), or (B, n, *input) and who is present → scores (B, K) and, below the cloud, features (B, 13)."""

    def __init__(self, wanted: Wanted) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(math.prod(wanted.input), 16), nn.BatchNorm1d(16), nn.Tanh())
        self.scores = nn.Linear(16, wanted.classes)
        self.features = nn.Sequential(nn.Linear(16, 13), nn.BatchNorm1d(13)) if wanted.features else None

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Scores, and features where a tier above wants some."""
        if present is not None:
            share = present.to(x.dtype) / present.sum(dim=1, keepdim=True).clamp(min=1)
            x = (x.flatten(2) * share.unsqueeze(2)).sum(dim=1)
        inner = self.inner(x.flatten(1))
        return self.scores(inner) if self.features is None else (self.scores(inner), self.features(inner))


def make(wanted: Wanted) -> nn.Module:
    """The factory that a configuration names: `section = "foreign.section:make"`."""
    return Averaged(wanted)
