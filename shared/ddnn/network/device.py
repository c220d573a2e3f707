"""The device section: view → scores and features."""

from torch import Tensor, nn

from ddnn.network.blocks import Style, Trunk
from ddnn.network.fork import Fork
from ddnn.network.normalise import Normalise
from ddnn.network.plan import SectionPlan, ViewSpec

__all__ = ["Device"]


class Device(nn.Module):
    """One device's section (or that of all devices), with its input normalisation inside."""

    def __init__(self, style: Style, view: ViewSpec, plan: SectionPlan, classes: int, spectrum: bool = False) -> None:
        super().__init__()
        self.normalise = Normalise(view, spectrum)
        self.input = plan.input
        self.trunk = Trunk(style, plan)
        self.fork = Fork(style, plan, self.trunk, classes)

    def forward(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """View (B, *shape) → scores (B, K), features before their sign (B, *cut)."""
        return self.fork(self.trunk(self.normalise(view).reshape(-1, *self.input)))  # type: ignore[no-any-return]
