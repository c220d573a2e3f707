"""One image cut into a grid of views, and put together again.

`3x2` reads as 3 columns × 2 rows. As the authors' PyTorch code cuts: pad to 32×32, then device i sees rows
16·(i mod 2) … +16 and columns 10·(i div 2) … +10; what is left over at the right and the bottom is unseen.
"""

import re

import numpy as np

from ddnn.errors import BadData
from ddnn.types import Array

__all__ = ["SIDE", "boxes", "channels_first", "cut", "parse"]

SIDE = 32
"""Images smaller than this are padded to it, equally on both sides."""


def parse(text: str) -> tuple[int, int]:
    """Read `3x2` as (3 columns, 2 rows)."""
    match = re.fullmatch(r"([1-9]\d?)x([1-9]\d?)", text.strip().lower())
    if not match:
        raise BadData(f"grid is {text!r}; expected columns x rows such as 3x2")
    return int(match[1]), int(match[2])


def boxes(grid: tuple[int, int], height: int, width: int) -> list[tuple[slice, slice]]:
    """Rows and columns that each device sees of an image; device i is at row i mod R, column i div R."""
    columns, rows = grid
    high, wide = height // rows, width // columns
    if not high or not wide:
        raise BadData(f"grid is {columns}x{rows}, the image {height}x{width}; expected a grid not finer than the image")
    places = [(i % rows, i // rows) for i in range(columns * rows)]
    return [(slice(high * r, high * (r + 1)), slice(wide * c, wide * (c + 1))) for r, c in places]


def cut(images: Array, grid: tuple[int, int]) -> tuple[Array, ...]:
    """Cut images (N, C, H, W) into one array (N, C, h, w) a device."""
    high, wide = (max(SIDE - side, 0) for side in images.shape[2:])
    padding = ((0, 0), (0, 0), (high // 2, high - high // 2), (wide // 2, wide - wide // 2))
    padded = np.pad(images, padding)
    return tuple(np.ascontiguousarray(padded[:, :, r, c]) for r, c in boxes(grid, *padded.shape[2:]))


def channels_first(name: str, images: Array) -> Array:
    """(N, H, W) or (N, H, W, C) → (N, C, H, W)."""
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4 and images.shape[3] in (1, 2, 3, 4):
        return images.transpose(0, 3, 1, 2)
    raise BadData(f"{name} has shape {images.shape}; expected images (N, H, W) or (N, H, W, C) with up to 4 channels")
