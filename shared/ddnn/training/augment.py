"""Small random changes of the training events, of the kind that fits what the devices see."""

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from ddnn.training.config import TrainingConfig

__all__ = ["augment", "drop_devices", "join"]

KNOTS: Final = 4
"""Displacements of a warp along each side of an image."""


def augment(
    views: Sequence[Tensor], spreads: Sequence[Tensor], grid: tuple[int, int] | None, config: TrainingConfig
) -> list[Tensor]:
    """Change views (B, *shape_i): the views of a grid as one image, other images and series each by itself.

    `spreads` are the channels' standard deviations, which noise is measured in.
    """
    values = [view.to(torch.float32) for view in views]
    if grid:
        return _cut(_moved(join(values, grid), config), grid)
    return [_changed(view, spread, config) for view, spread in zip(values, spreads, strict=True)]


def _changed(view: Tensor, spread: Tensor, config: TrainingConfig) -> Tensor:
    if view.dim() == 4:
        return _tinted(_moved(view, config), spread, config.colour)
    if view.dim() == 3:
        view = _turned(_delayed(view, config.shift), config.turn) * (1 + config.scale * _uniform(view, 1, 1))
    return view + config.noise * spread * torch.randn_like(view)


def _tinted(images: Tensor, spread: Tensor, share: float) -> Tensor:
    """Change strength and level of each channel of images (B, C, H, W)."""
    if not share:
        return images
    channels = images.shape[1]
    return images * (1 + share * _uniform(images, channels, 1, 1)) + share * spread * _uniform(images, channels, 1, 1)


def _turned(series: Tensor, degrees: float) -> Tensor:
    """Rotate the channels of series (B, 3n, L), three by three, about a random axis; all of a device's alike."""
    if not degrees or series.shape[1] % 3:
        return series
    axis = functional.normalize(torch.randn(len(series), 3, device=series.device), dim=1)
    angle = math.radians(degrees) * _uniform(series, 1, 1)
    x, y, z = axis.unbind(dim=1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).reshape(-1, 3, 3)
    # Rodrigues' formula: R = I + sin θ K + (1 − cos θ) K².
    rotation = torch.eye(3, device=series.device) + angle.sin() * cross + (1 - angle.cos()) * cross @ cross
    threes = series.reshape(len(series), -1, 3, series.shape[2])
    return (rotation[:, None] @ threes).reshape(series.shape)


def _uniform(like: Tensor, *shape: int) -> Tensor:
    """(B, *shape) in −1..1."""
    return torch.rand(len(like), *shape, device=like.device) * 2 - 1


def _moved(images: Tensor, config: TrainingConfig) -> Tensor:
    """Mirror, shift, rotate, scale and warp each image (B, C, H, W); its border goes on outside."""
    if config.mirror:
        images = torch.where(torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5, images.flip(3), images)
    if not (config.shift or config.rotate or config.scale or config.warp):
        return images
    height, width = images.shape[2:]
    angle = math.radians(config.rotate) * _uniform(images, 1)[:, 0]
    size = 1 + config.scale * _uniform(images, 2)
    cosine, sine = angle.cos(), angle.sin()
    # Coordinates run from −1 to 1 on both axes whatever their lengths: a rotation must undo that.
    matrix = torch.stack(
        [
            torch.stack([cosine / size[:, 0], -sine * height / width / size[:, 0]], dim=1),
            torch.stack([sine * width / height / size[:, 1], cosine / size[:, 1]], dim=1),
        ],
        dim=1,
    )
    where = torch.cat([matrix, 2 * config.shift * _uniform(images, 2, 1)], dim=2)
    grid = functional.affine_grid(where, list(images.shape), align_corners=False)
    if config.warp:
        # A few random displacements, joined smoothly: each part of the image moves a little in a way of its own.
        knots = 2 * config.warp * _uniform(images, 2, KNOTS, KNOTS)
        smooth = functional.interpolate(knots, size=(height, width), mode="bicubic", align_corners=True)
        grid = grid + smooth.permute(0, 2, 3, 1)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _delayed(series: Tensor, share: float) -> Tensor:
    """Shift each series (B, C, L) in time by up to `share` of its length; the ends are held."""
    length = series.shape[2]
    delay = (share * length * _uniform(series, 1)).round().to(torch.int64)
    where = (torch.arange(length, device=series.device) + delay).clamp(0, length - 1)
    return series.gather(2, where[:, None].expand_as(series))


def join(views: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
    """Views (B, C, h, w) of a grid → the image (B, C, rows·h, columns·w) they were cut from."""
    columns, rows = grid
    strips = [torch.cat(list(views[c * rows : (c + 1) * rows]), dim=2) for c in range(columns)]
    return torch.cat(strips, dim=3)


def _cut(image: Tensor, grid: tuple[int, int]) -> list[Tensor]:
    columns, rows = grid
    return [part for strip in image.chunk(columns, dim=3) for part in strip.chunk(rows, dim=2)]


def drop_devices(present: Tensor, chance: float, whole: float) -> Tensor:
    """Take each present device (B, D) away with `chance`, but from the share `whole` of the events none.

    An event that would lose all keeps what it had.
    """
    lost = torch.rand(present.shape, device=present.device) < chance
    lost &= torch.rand(len(present), 1, device=present.device) >= whole
    kept = present & ~lost
    return torch.where(kept.any(dim=1, keepdim=True), kept, present)
