"""Where a section ends that has something above it: scores here, features on the way up."""

from torch import Tensor, nn

from ddnn.network.blocks import Head, Style, Tail, Trunk
from ddnn.network.plan import SectionPlan
from ddnn.network.sign import Sign

__all__ = ["Fork"]


class Fork(nn.Module):
    """From a trunk's output to scores and to features before their sign.

    With a tail, a block of its own makes the features, and the head sees the trunk's values. Without, the trunk's
    output is the features, and the head sees their bits, as the paper's does.
    """

    def __init__(self, style: Style, plan: SectionPlan, trunk: Trunk, classes: int) -> None:
        super().__init__()
        if plan.cut is None:
            raise AssertionError("what has something above it has a cut")
        self.head = Head(style, trunk.shape, classes)
        self.tail = Tail(style, plan.family, trunk.shape, plan.cut) if plan.tail else None
        self.seen = nn.Identity() if plan.tail else Sign()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, …) → scores (B, K), features before their sign (B, *cut)."""
        return self.head(self.seen(x)), x if self.tail is None else self.tail(x)
