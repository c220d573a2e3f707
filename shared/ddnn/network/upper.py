"""The sections above the devices: the local exit, the edge, the cloud."""

from torch import Tensor, nn

from ddnn.network.blocks import Head, Style, Trunk
from ddnn.network.fork import Fork
from ddnn.network.fusion import FUSIONS, Concat
from ddnn.network.plan import SectionPlan, Shape

__all__ = ["Cloud", "Edge", "Local"]


class Local(nn.Module):
    """The local exit: the devices' scores, fused; concatenated scores go through a linear layer, n·K → K."""

    def __init__(self, fusion: str, devices: int, classes: int) -> None:
        super().__init__()
        self.fusion = FUSIONS[fusion](devices, (classes,))
        self.score = nn.Linear(devices * classes, classes) if isinstance(self.fusion, Concat) else nn.Identity()

    def forward(self, scores: Tensor, present: Tensor) -> Tensor:
        """Scores (B, d, K), present (B, d) → (B, K)."""
        return self.score(self.fusion(scores, present))  # type: ignore[no-any-return]


class _Upper(nn.Module):
    """Fusion of the children's features, then blocks."""

    def __init__(self, style: Style, fusion: str, children: int, child: Shape, plan: SectionPlan) -> None:
        super().__init__()
        self.child = child
        """Shape of one child's features."""
        self.input = plan.input
        self.fusion = FUSIONS[fusion](children, child)
        self.trunk = Trunk(style, plan)

    def _values(self, features: Tensor, present: Tensor) -> Tensor:
        return self.trunk(self.fusion(features, present).reshape(-1, *self.input))  # type: ignore[no-any-return]


class Edge(_Upper):
    """An edge's section; it has features of its own for the cloud."""

    def __init__(self, style: Style, fusion: str, children: int, child: Shape, plan: SectionPlan, classes: int) -> None:
        super().__init__(style, fusion, children, child, plan)
        self.fork = Fork(style, plan, self.trunk, classes)

    def forward(self, features: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Features ±1 (B, d, *cut), present (B, d) → scores (B, K), features before their sign (B, *edge cut)."""
        return self.fork(self._values(features, present))  # type: ignore[no-any-return]


class Cloud(_Upper):
    """The cloud's section, the last exit."""

    def __init__(self, style: Style, fusion: str, children: int, child: Shape, plan: SectionPlan, classes: int) -> None:
        super().__init__(style, fusion, children, child, plan)
        self.head = Head(style, self.trunk.shape, classes)

    def forward(self, features: Tensor, present: Tensor) -> Tensor:
        """Features ±1, or normalised views, (B, n, *cut), present (B, n) → scores (B, K)."""
        return self.head(self._values(features, present))  # type: ignore[no-any-return]
