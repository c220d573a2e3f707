"""Each channel's centre and scale, from the training events: what a network's input normalisation is set to.

Mean and standard deviation, unless a few values far out make the deviation: then quantiles.
Legend: N events, C channels, Q quantiles.
"""

import math
from statistics import NormalDist
from typing import Final

import numpy as np
import torch

from ddnn.data import Dataset
from ddnn.data.dataset import PIECE
from ddnn.data.moments import SIDES, TINY, finite_moments, finite_quantiles, heavy_tails, middle_deviation
from ddnn.data.stored import in_file
from ddnn.network import DDNN
from ddnn.network.normalise import Normalise
from ddnn.network.views import OfViews
from ddnn.types import Array, Floats, Ints

__all__ = ["fit_inputs"]

Part = tuple[Array, Ints]  #: views of one device, and the rows of them that count

LEVELS: Final = (0.01, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.99)
EXTREME: Final = 3.3  #: score of the smallest and the largest value
STILL: Final = 1e-7
"""Spread, as a share of the mean, up to which a channel is constant: float32 rounds to 6e-8 of a number."""
QUARTERS: Final = (0.25, 0.75)
QUARTER: Final = NormalDist().inv_cdf(0.75)


def fit_inputs(network: DDNN, data: Dataset) -> None:
    """Set the input normalisation of every device by the training events that it sees."""
    train = data.split == "train"
    parts: dict[Normalise, list[Part]] = {}  # devices that share their weights share this too
    for index, (normalise, view) in enumerate(zip(network.inputs, data.views, strict=True)):
        parts.setdefault(normalise, []).append((view, np.flatnonzero(train & data.present[:, index])))
    for normalise, seen in parts.items():
        if any(len(rows) for _, rows in seen) and not normalise.declared:
            _fit(normalise, seen, bend=network.plan.config.tails == "bend")
    if isinstance(network.cloud, OfViews) and not network.cloud.normalise.declared:  # which sees the same views
        network.cloud.normalise.load_state_dict(network.inputs[0].state_dict())


def _fit(normalise: Normalise, seen: list[Part], *, bend: bool) -> None:
    if normalise.elements:
        seen = [(np.asarray(view).reshape(len(view), -1), rows) for view, rows in seen]
    mean, spread = _moments(seen)
    # A channel that never changes tells nothing; do not blow up its rounding.
    spread = np.where(spread > np.maximum(STILL * abs(mean), TINY), spread, 1.0)
    if bend and seen[0][0].dtype != np.uint8:
        knots, (low, high, lower, upper) = _quantiles(seen)
        middle, median = middle_deviation(low, high), knots[:, len(LEVELS) // 2 + 1]
        heavy = heavy_tails(spread, middle)
        if heavy.any():
            # The shorter side's, as noise of the longer one's size would hide what is told apart on the shorter.
            short = np.minimum(upper - median, median - lower) / QUARTER
            mean = np.where(heavy, median, mean)
            spread = np.where(heavy, np.where(short > TINY, short, middle), spread)
            normalise.bend(*map(torch.from_numpy, _curves(knots, heavy)))
    normalise.mean.copy_(torch.from_numpy(mean).reshape(normalise.mean.shape))
    normalise.spread.copy_(torch.from_numpy(spread).reshape(normalise.spread.shape))


def _curves(knots: Floats, heavy: Array) -> tuple[Floats, Floats]:
    """Knots and scores (C, Q) of the channels with heavy tails; zeros for the others."""
    normal = np.array([-EXTREME, *map(NormalDist().inv_cdf, LEVELS), EXTREME])
    scores = np.zeros_like(knots)
    for channel in np.flatnonzero(heavy):
        # Quantiles that are the same value have one score, the mean of theirs.
        _, which = np.unique(knots[channel].astype(np.float32), return_inverse=True)
        scores[channel] = (np.bincount(which, normal) / np.bincount(which))[which]
    return np.where(heavy[:, None], knots, 0.0).astype(np.float32), scores.astype(np.float32)


def _quantiles(parts: list[Part]) -> tuple[Floats, Floats]:
    """Quantiles of each channel, of evenly taken events: (C, Q) at 0, `LEVELS`, 1; (4, C) at `SIDES`, `QUARTERS`."""
    size, count = math.prod(parts[0][0].shape[1:]), sum(len(rows) for _, rows in parts)
    step = max(8 * count * size // PIECE, 1)  # enough to tell tails, and a small part of the memory
    channels = parts[0][0].shape[1]
    values = np.concatenate([np.moveaxis(view[rows[::step]], 1, -1).reshape(-1, channels) for view, rows in parts])
    *knots, low, high, lower, upper = finite_quantiles(values, (0.0, *LEVELS, 1.0, *SIDES, *QUARTERS))
    return np.stack(knots, axis=1), np.stack([low, high, lower, upper])


def _moments(parts: list[Part]) -> tuple[Floats, Floats]:
    """Mean and deviation of each channel over views (N_i, *shape); mapped ones in pieces, as Chan et al. (1979) do."""
    size = sum(len(rows) * math.prod(view.shape[1:]) for view, rows in parts)
    pieces = 1
    if any(in_file(view) for view, _ in parts):
        pieces = min(-(-size // PIECE), max(len(rows) for _, rows in parts))
    count: Array = np.zeros(())
    mean, variance, spread = count, count, count
    for piece in range(pieces):
        seen = np.concatenate([view[np.array_split(rows, pieces)[piece]] for view, rows in parts])
        more, delta, spread = finite_moments(seen, (0, *range(2, seen.ndim)))
        share = more / np.maximum(count + more, 1)
        delta = delta - mean
        if piece:
            variance = (1 - share) * variance + share * spread**2 + share * (1 - share) * delta**2
            mean, spread = mean + share * delta, np.sqrt(variance)
        else:
            mean, variance = delta, spread**2
        count = count + more
    return mean, spread
