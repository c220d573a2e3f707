"""The cloud's section where it takes views: a network of its own, which sees what the tiers below have not kept.

Legend: B events, D devices, F numbers that its exit sees of one view, K classes.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from ddnn.codec import Codec, codec_of
from ddnn.network.backbone import Backbone
from ddnn.network.blocks import FUSIONS, Trunk
from ddnn.network.normalise import normaliser
from ddnn.network.pieces import Head, Pool, hold_still
from ddnn.network.plan import NetworkConfig, Plan, SectionPlan, Shape
from ddnn.topology import Input, View
from ddnn.types import Tier

__all__ = ["OfViews"]


class OfViews(nn.Module):
    """Sees each view by itself, joins what it makes of them, and adds what the exit below says, by a learned weight."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        config, view, devices = plan.config, plan.views[0], len(plan.views)
        table = config.cloud
        self.view, self.count = view, devices
        self.codec: Codec = codec_of(table.picture, view.dtype)
        wanted = plan.cloud(None, devices)
        self.body, shape, scores = _body(config, view, plan)
        self.normalise = normaliser(view, config, backbone=table.backbone, size=table.input_size)
        self.pool = Pool(shape, table.pool)
        self.fusion = FUSIONS[wanted.fusion](devices, (self.pool.numbers,))
        stack = devices if wanted.fusion == "concat" else 1
        self.head = nn.Identity() if scores and stack == 1 else Head(self.pool.numbers * stack, plan.classes)
        self.mix = nn.Parameter(torch.zeros(())) if table.mix else None
        """Weight of the scores of the exit below."""

    def forward(self, views: Tensor, *rest: Tensor) -> Tensor:
        """Views (B, D, C, H, W) as they arrive, scores below (B, 1, K) if mixed, present (B, D) → scores (B, K)."""
        # Only what is there is looked at, as that is most of the work.
        there = rest[-1].flatten()
        seen = there.to(torch.float32).unsqueeze(1) * torch.zeros(self.pool.numbers)
        seen = seen.index_put((there.nonzero()[:, 0],), self.seen(views.flatten(0, 1)[there]))
        return self.ended(seen.reshape(-1, self.count, self.pool.numbers), *rest)

    def seen(self, views: Tensor) -> Tensor:
        """What the exit sees of views (B, C, H, W), each by itself: (B, F)."""
        return self.pool(self.body(self.normalise(views)))  # type: ignore[no-any-return]

    def ended(self, seen: Tensor, *rest: Tensor) -> Tensor:
        """What is seen of D views (B, D, F), scores below (B, 1, K) if mixed, present (B, D) → scores (B, K)."""
        scores: Tensor = self.head(self.fusion(seen, rest[-1]))
        return scores if self.mix is None else scores + self.mix * rest[0][:, 0]

    @torch.no_grad()
    def arrived(self, views: Tensor) -> Tensor:
        """Views (B, C, H, W) as they are above the link, by the code that serves them."""
        if self.codec.name == "view":
            return views
        whole = views.round().clamp(0, 255).to(torch.uint8).cpu().numpy()
        return torch.from_numpy(np.asarray(self.codec.arrived(whole, self.view.shape))).to(views.device)

    @property
    def still(self) -> bool:
        """Whether what it makes of a view does not learn."""
        return not any(weight.requires_grad for weight in self.body.parameters())

    def train(self, mode: bool = True) -> Self:
        """As of any module, but batch norms of what does not learn stay as they are."""
        super().train(mode)
        if mode:
            hold_still(self.body)
        return self

    def inputs(self, config: NetworkConfig) -> Sequence[Input]:
        """What it takes."""
        table = config.cloud
        views = Input(
            child=Tier.DEVICE, what="view", codec=table.picture, when="asked", most=table.views, pick=table.pick
        )
        scores = Input(child=Tier.EDGE, what="scores", codec="float32", when="always")
        return (views, scores) if table.mix else (views,)


class _Blocks(nn.Module):
    """Blocks of the user's configuration over one view."""

    def __init__(self, config: NetworkConfig, plan: SectionPlan) -> None:
        super().__init__()
        self.input, self.trunk = plan.input, Trunk(config, plan)

    def forward(self, x: Tensor) -> Tensor:
        return self.trunk(x.reshape(-1, *self.input))  # type: ignore[no-any-return]


def _body(config: NetworkConfig, view: View, plan: Plan) -> tuple[nn.Module, Shape, bool]:
    """What runs on each view, the shape it gives, and whether that is scores already."""
    table = config.cloud
    if not table.backbone:
        blocks = SectionPlan.of(plan.one_view())
        made = _Blocks(config, blocks)
        return made, made.trunk.shape, False
    own = NetworkConfig(
        backbone=table.backbone,
        backbone_weights=table.backbone_weights,
        backbone_end=table.backbone_end,
        learn=table.learn,
        device_section=False,
        edge_section=False,
    )
    shape = plan.one_view().input
    piece = Backbone(own, view.model_copy(update={"shape": shape, "picture": None}), plan.classes).piece(Tier.CLOUD)
    return piece.body, piece.shape, piece.scores
