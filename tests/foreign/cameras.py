"""A network of a user's own that knows nothing of tiers: what `network.backbone` names and `network.cuts` cuts."""

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Branching", "Counted", "Crossed", "Needy", "Plain", "Sized", "Twice", "Two", "number"]


class Residual(nn.Module):
    """x + convolution(x)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the same."""
        return x + torch.relu(self.norm(self.convolution(x)))


class Plain(nn.Module):
    """Images (B, 3, 12, 12) → scores (B, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList([Residual(8), Residual(8), Residual(8)])
        self.score = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the classes."""
        x = torch.relu(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.score(x.mean(dim=(2, 3)))  # type: ignore[no-any-return]


class Crossed(Plain):
    """The same, in which what the first block gives is also added at the end."""

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the classes."""
        first = self.blocks[0](torch.relu(self.stem(x)))
        second = self.blocks[1](first)
        return self.score((self.blocks[2](second) + first).mean(dim=(2, 3)))  # type: ignore[no-any-return]


class Twice(Plain):
    """The same, in which one block acts before and after others."""

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the classes."""
        x = self.blocks[1](self.blocks[0](torch.relu(self.stem(x))))
        x = self.blocks[0](self.blocks[2](x))
        return self.score(x.mean(dim=(2, 3)))  # type: ignore[no-any-return]


class Counted(Plain):
    """The same, which asks the pictures for their number."""

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the classes."""
        count, again = x.size(0), x.shape[0]
        x = self.blocks[1](self.blocks[0](torch.relu(self.stem(x))))
        x = self.blocks[2](x).view(count, 8, -1).mean(dim=2)
        return self.score(x.view(again, -1))  # type: ignore[no-any-return]


class Sized(Plain):
    """The same, which asks the pictures for their height."""

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the classes."""
        height = x.shape[2]
        x = self.blocks[1](self.blocks[0](torch.relu(self.stem(x))))
        return self.score((x / height).mean(dim=(2, 3)))  # type: ignore[no-any-return]


class Branching(Plain):
    """The same, which looks at values to choose its way."""

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the classes."""
        return super().forward(x if x.mean() > 0 else -x)


class Two(Plain):
    """The same, which gives two things."""

    def forward(self, x: Tensor) -> Any:
        """Scores of the classes, and those of another."""
        scores = super().forward(x)
        return scores, -scores


class Needy(Plain):
    """The same, which must be told something."""

    def __init__(self, told: int) -> None:
        super().__init__()


def number() -> int:
    """No module."""
    return 3
