"""Sections that are pieces of a backbone: each with an exit, and features that the tier above goes on from.

Legend: B events, n children, C channels of the backbone, c channels that go up, K classes; `…` places of a map.
"""

from typing import Self

import torch
from torch import Tensor, nn

from ddnn.network.backbone import Backbone
from ddnn.network.blocks import FUSIONS
from ddnn.network.normalise import normaliser
from ddnn.network.plan import Shape, Wanted
from ddnn.types import Tier

__all__ = ["Expand", "Head", "OfBackbone", "Pool", "Reduce", "hold_still"]

Point = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


class OfBackbone(nn.Module):
    """A piece of a backbone, behind its normalised view at a device, else behind what its children gave."""

    def __init__(self, wanted: Wanted, backbone: Backbone) -> None:
        super().__init__()
        piece, below = backbone.piece(wanted.tier), backbone.shape_below(wanted.tier)
        self.body, self.shape, self.count = piece.body, piece.shape, wanted.children
        join, shape, stacked = FUSIONS[wanted.fusion], piece.shape, wanted.fusion == "concat"
        self.pool = Pool(shape, wanted.config.pool)
        self.pooled = not wanted.view and wanted.network.join == "pooled"
        if wanted.view:
            self.normalise = normaliser(wanted.view, wanted.network, size=wanted.config.input_size)
        elif self.pooled:
            self.fusion = join(self.count, (self.pool.numbers,))
            self.maps = join(self.count, shape) if wanted.features and len(shape) > 1 else None
        else:
            self.before = join(self.count, wanted.input)
        arriving = wanted.input[0] * (self.count if stacked and not self.pooled else 1)
        self.expand = Expand(arriving, below, narrowed=_narrowed(wanted)) if below else None
        stack = self.count if stacked and self.pooled else 1
        own = piece.scores and stack == 1
        self.head = nn.Identity() if own else Head(self.pool.numbers * stack, wanted.classes)
        self.reduce = Reduce((shape[0] * stack, *shape[1:]), wanted.config.bottleneck) if wanted.features else None

    def forward(self, x: Tensor, *present: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """View (B, C, …), or (B, n, c, …) and present (B, n) → scores (B, K), below the cloud features (B, c, …)."""
        return self.ended(*self.joined(x, *present)) if present else self.ended(self.seen(x))

    def seen(self, view: Tensor) -> Tensor:
        """What a device's piece makes of views: (B, C, …)."""
        return self.body(self.normalise(view))  # type: ignore[no-any-return]

    def joined(self, x: Tensor, present: Tensor, *, made: bool = False) -> tuple[Tensor, Tensor]:
        """What the piece makes of what children gave, joined: (B, C, …), and its means (B, C).

        `made`: x is what it makes of each child (B, n, C, …) already.
        """
        if not self.pooled:
            whole = self._made(self.before(x, present))
            return whole, self.pool(whole)
        each = x.flatten(0, 1) if made else self._made(x.flatten(0, 1))
        pooled = self.fusion(_apart(self.pool(each), x), present)
        return pooled if self.maps is None else self.maps(_apart(each, x), present), pooled

    def alone(self, x: Tensor) -> Tensor:
        """What the piece makes of what one child gave, (B, c, …), as if all had given the same: (B, C, …)."""
        if not self.pooled:
            everyone = torch.ones(len(x), self.count, dtype=torch.bool, device=x.device)
            x = self.before(x.unsqueeze(1).expand(-1, self.count, *x.shape[1:]), everyone)
        return self._made(x)

    def ended(self, x: Tensor, pooled: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """What the piece made, and its means → scores (B, K), and features (B, c, …) where they are wanted."""
        scores = self.head(self.pool(x) if pooled is None else pooled)
        return scores if self.reduce is None else (scores, self.reduce(x))

    def train(self, mode: bool = True) -> Self:
        """As of any module, but batch norms of what does not learn stay as they are."""
        super().train(mode)
        if mode:
            hold_still(self.body)
        return self

    @property
    def still(self) -> bool:
        """Whether its piece of the backbone does not learn."""
        return not any(weight.requires_grad for weight in self.body.parameters())

    def _made(self, x: Tensor) -> Tensor:
        return self.body(x if self.expand is None else self.expand(x))  # type: ignore[no-any-return]


class Pool(nn.Module):
    """Maps (B, C, …) → F numbers (B, F): each channel's mean over all places and, if so asked, all covariances.

    Covariances tell textures apart whose means are alike (Lin et al. 2015, *Bilinear CNN Models*).
    """

    pairs: Tensor

    def __init__(self, shape: Shape, pool: str) -> None:
        super().__init__()
        channels, self.flat = shape[0], len(shape) == 1
        self.numbers = channels
        if pool == "covariance" and not self.flat:
            rows, columns = torch.triu_indices(channels, channels)
            self.register_buffer("pairs", rows * channels + columns, persistent=False)
            self.numbers += len(self.pairs)

    def forward(self, x: Tensor) -> Tensor:
        if self.flat:
            return x
        places = x.flatten(2)
        mean = places.mean(dim=2)
        if self.numbers == mean.shape[1]:
            return mean
        around = places - mean.unsqueeze(2)
        covariances = around @ around.transpose(1, 2) / places.shape[2]
        return torch.cat([mean, covariances.flatten(1)[:, self.pairs]], dim=1)


class Head(nn.Module):
    """Numbers (B, F) → scores (B, K), each on one scale first."""

    def __init__(self, numbers: int, classes: int) -> None:
        super().__init__()
        # A scale of its own would tell the score nothing new; without one at all, the exporter gives up.
        self.norm = nn.BatchNorm1d(numbers).requires_grad_(False)
        self.score = nn.Linear(numbers, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.score(self.norm(x))  # type: ignore[no-any-return]


class Standard(nn.Module):
    """Each channel of (B, C, …) around 0 in units of its spread, of the training events' features."""

    mean: Tensor
    spread: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        each = shape[0], *[1] * (len(shape) - 1)
        self.register_buffer("mean", torch.zeros(each))
        self.register_buffer("spread", torch.ones(each))

    def fit(self, mean: Tensor, spread: Tensor) -> None:
        """Take mean and spread (C,)."""
        self.mean.copy_(mean.reshape(self.mean.shape))
        self.spread.copy_(spread.reshape(self.spread.shape))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.spread


class Restored(Standard):
    """The way back."""

    def forward(self, x: Tensor) -> Tensor:
        return x * self.spread + self.mean


class Reduce(nn.Module):
    """What a section does to its features before they are quantised: one scale, and a bottleneck's fewer channels."""

    def __init__(self, shape: Shape, bottleneck: int) -> None:
        super().__init__()
        self.standard = Standard(shape)
        self.narrow = _point(shape, shape[0], bottleneck) if bottleneck else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.standard(x)
        return x if self.narrow is None else self.narrow(x)

    def start(self, weight: Tensor) -> None:
        """Begin from a matrix (c, C)."""
        assert self.narrow is not None
        _put(self.narrow, weight, torch.zeros(len(weight)))


class Expand(nn.Module):
    """What the section above does to them after: as many channels as the backbone has, on its own scale."""

    def __init__(self, arriving: int, shape: Shape, *, narrowed: bool) -> None:
        super().__init__()
        channels, self.arriving = shape[0], arriving
        self.widen = _point(shape, arriving, channels) if narrowed or arriving != channels else None
        self.restored = Restored(shape)
        if self.widen is not None and not narrowed:
            self.start(torch.eye(channels), torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.restored(x if self.widen is None else self.widen(x))  # type: ignore[no-any-return]

    def start(self, weight: Tensor, bias: Tensor) -> None:
        """Begin from a matrix (C, c) and (C,): of children side by side with the mean of what it makes of each."""
        assert self.widen is not None
        children = self.arriving // weight.shape[1]
        _put(self.widen, (weight / children).repeat(1, children), bias)


def hold_still(body: nn.Module) -> None:
    """Keep the batch norms of what does not learn as they are."""
    for module in body.modules():
        weights = list(module.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            module.eval()


def _apart(x: Tensor, given: Tensor) -> Tensor:
    """(B · n, …) → (B, n, …), as what was `given` has them."""
    return x.reshape(-1, given.shape[1], *x.shape[1:])


def _narrowed(wanted: Wanted) -> bool:
    """Whether what arrives came through a bottleneck."""
    config = wanted.network
    below = config.edge if wanted.tier is Tier.CLOUD and config.edge_section else config.device
    return below.bottleneck > 0


def _point(shape: Shape, inputs: int, outputs: int) -> Point:
    """A learned linear map of channels, alike at all places: a 1 × 1 convolution."""
    if len(shape) == 1:
        return nn.Linear(inputs, outputs)
    convolution: type[nn.Conv1d | nn.Conv2d | nn.Conv3d] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(shape) - 2]
    return convolution(inputs, outputs, 1)


def _put(layer: Point, weight: Tensor, bias: Tensor) -> None:
    with torch.no_grad():
        layer.weight.copy_(weight.reshape(layer.weight.shape))
        if layer.bias is not None:
            layer.bias.copy_(bias)
