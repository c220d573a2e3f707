"""The sections above the devices: the local exit, the edge, the cloud."""

from torch import Tensor, nn

from ddnn.network.blocks import Head, Kind, Tail, Trunk
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
    """Fusion of the children's features, blocks, a score head."""

    def __init__(self, kind: Kind, fusion: str, children: int, child: Shape, plan: SectionPlan, classes: int) -> None:
        super().__init__()
        self.child = child
        """Shape of one child's features."""
        self.fusion = FUSIONS[fusion](children, child)
        self.trunk = Trunk(kind, plan)
        self.head = Head(kind, self.trunk.shape, classes)

    def _values(self, features: Tensor, present: Tensor) -> Tensor:
        return self.trunk(self.fusion(features, present))  # type: ignore[no-any-return]


class Edge(_Upper):
    """An edge's section; it has features of its own for the cloud."""

    def __init__(self, kind: Kind, fusion: str, children: int, child: Shape, plan: SectionPlan, classes: int) -> None:
        super().__init__(kind, fusion, children, child, plan, classes)
        if plan.cut is None:
            raise AssertionError("an edge section has a cut")
        self.tail = Tail(kind, plan.family, self.trunk.shape, plan.cut)

    def forward(self, features: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Features ±1 (B, d, *cut), present (B, d) → scores (B, K), features before their sign (B, *edge cut)."""
        x = self._values(features, present)
        return self.head(x), self.tail(x)


class Cloud(_Upper):
    """The cloud's section, the last exit."""

    def forward(self, features: Tensor, present: Tensor) -> Tensor:
        """Features ±1 (B, n, *cut), present (B, n) → scores (B, K)."""
        return self.head(self._values(features, present))  # type: ignore[no-any-return]
