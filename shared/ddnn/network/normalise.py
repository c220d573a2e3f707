"""What every section does to a view first: what is missing filled in, and each channel brought to one scale."""

import math
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from ddnn.errors import BadConfig
from ddnn.network.backbone import BUILT_IN
from ddnn.network.plan import NetworkConfig
from ddnn.topology import View

__all__ = ["Normalise", "magnitudes", "normaliser"]

LARGEST: Final = 3e38  #: a number beyond, infinity and NaN are missing
CURVE: Final = ("knots", "widths", "slopes")


class Normalise(nn.Module):
    """View → (view − mean) / spread, of one device or of all that share their weights; a series with its spectrum.

    Mean and spread are each channel's or, of `elements`, each element's. A number that is missing counts as that mean,
    here and so at serving too. A channel with heavy tails has a curve instead of a line, `bend`: from its quantiles to
    those of a normal distribution, through 0 at its mean.
    """

    mean: Tensor
    spread: Tensor
    knots: Tensor | None
    widths: Tensor | None
    slopes: Tensor | None

    def __init__(self, view: View, *, spectrum: bool = False, elements: bool = False) -> None:
        super().__init__()
        self.declared = False
        each = view.shape if elements else (view.shape[0], *[1] * (len(view.shape) - 1))
        self.elements = elements
        self.register_buffer("mean", torch.full(each, 127.5 if view.dtype == "UINT8" else 0.0))
        self.register_buffer("spread", torch.full(each, 127.5 if view.dtype == "UINT8" else 1.0))
        for name in CURVE:
            self.register_buffer(name, None)
        self.spectrum = spectrum and len(view.shape) == 2
        self.floats = view.dtype != "UINT8"  # bytes are never missing
        self.shrink: Shrink | None = None

    def declare(self, mean: Sequence[float], spread: Sequence[float]) -> None:
        """Set both for good, one number or one a channel: training events will not change them."""
        self.mean.copy_(torch.tensor(mean).reshape(-1, *[1] * (self.mean.dim() - 1)))
        self.spread.copy_(torch.tensor(spread).reshape(-1, *[1] * (self.mean.dim() - 1)))
        self.declared = True

    def forward(self, view: Tensor) -> Tensor:
        """(B, *shape), bytes or floats → floats of the same shape, or (B, C, L + L // 2) with the spectrum."""
        filled = self.filled(view)
        x = (filled - self.mean) / self.spread
        if self.slopes is not None:
            x = torch.where(self.slopes.sum(dim=-1) > 0, self._curve(filled) - self._curve(self.mean), x)
        if self.shrink is not None:
            x = self.shrink(x)
        return torch.cat([x, magnitudes(x)], dim=2) if self.spectrum else x

    def filled(self, view: Tensor) -> Tensor:
        """The view as floats, the mean of its channel for each number that is missing."""
        x = view.to(torch.float32)
        return torch.where(x.abs() <= LARGEST, x, self.mean) if self.floats else x

    def bend(self, knots: Tensor, scores: Tensor) -> None:
        """Give channels (or elements) a curve through `scores` at `knots` (C, Q), ascending; zeros: a line."""
        widths = knots.diff(dim=1)
        slopes = torch.where(widths > 0, scores.diff(dim=1) / widths, 0.0)
        for name, values in zip(CURVE, (knots[:, :-1], widths, slopes), strict=True):
            setattr(self, name, values.reshape(*self.mean.shape, -1).to(self.mean))

    def _curve(self, x: Tensor) -> Tensor:
        """Σ of the parts of each step that x (…) is past, times its slope; flat beyond the first and last knot."""
        assert self.knots is not None
        assert self.widths is not None
        assert self.slopes is not None
        past = torch.minimum((x.unsqueeze(-1) - self.knots).clamp(min=0), self.widths)
        return (past * self.slopes).sum(dim=-1)

    def take_form(self, state: dict[str, Tensor] | Any, prefix: str) -> None:
        """Have a curve where the weights under `prefix` have one, else none, so that they can be loaded."""
        for name in CURVE:
            other = state.get(prefix + name)
            setattr(self, name, None if other is None else torch.zeros_like(other).to(self.mean))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        self.take_form(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *rest)


class Shrink(nn.Module):
    """Images (B, C, H, W) → (B, C, size, size): each pixel a weighted mean of all that it covers, as Pillow's bilinear.

    Two products with constant matrices: any size, and any ONNX runtime.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, height: int, width: int, size: int) -> None:
        super().__init__()
        self.register_buffer("rows", _weights(height, size), persistent=False)
        self.register_buffer("columns", _weights(width, size).T.contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.rows @ (x @ self.columns)


def _weights(places: int, size: int) -> Tensor:
    """(size, places), triangles as wide as two places of the smaller side."""
    scale = places / size
    middle = (torch.arange(size, dtype=torch.float64) + 0.5) * scale
    away = (torch.arange(places, dtype=torch.float64) + 0.5 - middle[:, None]).abs() / max(scale, 1.0)
    weights = (1 - away).clamp(min=0)
    return (weights / weights.sum(dim=1, keepdim=True)).to(torch.float32)


def normaliser(view: View, config: NetworkConfig, *, backbone: str | None = None, size: int = 0) -> Normalise:
    """The input normalisation of a view: as declared, as a built-in backbone expects bytes, or to be measured.

    `backbone`: another than the configuration's own; `size`: what images are shrunk to, 0 to nothing.
    """
    made = Normalise(view, spectrum=config.spectrum, elements=config.normalise == "element")
    if size:
        made.shrink = Shrink(view.shape[1], view.shape[2], size)
    built_in = BUILT_IN.get(config.backbone if backbone is None else backbone)
    mean, spread = config.input_mean, config.input_spread
    if built_in and not mean and view.dtype == "UINT8":
        mean, spread = (built_in.mean,), (built_in.spread,)
    if len(mean) not in (0, 1, view.shape[0]):
        raise BadConfig(f"network.input_mean has {len(mean)} numbers; expected one, or {view.shape[0]}, one a channel")
    if mean:
        made.declare(mean, spread)
    return made


def magnitudes(x: Tensor) -> Tensor:
    """ln(1 + |DFT| / √L) of series (B, C, L) around their means, at the frequencies 1 … L // 2."""
    length = x.shape[2]  # which is small; products with cosines and sines export to any ONNX runtime
    turns = torch.outer(torch.arange(length), torch.arange(1, length // 2 + 1)) * (2 * math.pi / length)
    around = x - x.mean(dim=2, keepdim=True)
    power = (around @ turns.cos().to(x)).square() + (around @ turns.sin().to(x)).square()
    return torch.log1p(((power + 1e-6) / length).sqrt())  # a root has no slope at zero
