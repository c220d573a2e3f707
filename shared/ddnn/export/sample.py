"""A bundle of an untrained network on random events, made in about a second: for tests and first experiments."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ddnn.bundle import Bundle
from ddnn.data import SPLIT_NAMES, Dataset
from ddnn.data.dataset import Events
from ddnn.export.bundle import write_bundle
from ddnn.network import DDNN, NetworkConfig, Plan
from ddnn.topology import View

__all__ = ["sample_bundle", "sample_data"]


def sample_data(
    shapes: Sequence[tuple[int, ...]], *, classes: int = 3, events: int = 60, uint8: bool = False, seed: int = 0
) -> Dataset:
    """Random events of len(shapes) devices, all present, with a third of them in each split."""
    random = np.random.default_rng(seed)
    y = random.permutation(np.arange(events) % classes)
    views = tuple(
        random.integers(0, 256, (events, *shape)).astype(np.uint8)
        if uint8
        else random.normal(y.reshape(-1, *[1] * len(shape)), 1.0, (events, *shape)).astype(np.float32)
        for shape in shapes
    )
    seen = Events.all_seen(views, y, tuple(f"class {label}" for label in range(classes)))
    split = np.array(SPLIT_NAMES)[np.arange(events) * 3 // events]
    return Dataset.of("sample", seen, split, {"name": "sample", "seed": seed})


def sample_bundle(
    folder: Path,
    shapes: Sequence[tuple[int, ...]] = ((4,), (4,), (4,)),
    *,
    classes: int = 3,
    network: NetworkConfig | None = None,
    events: int = 60,
    uint8: bool = False,
    seed: int = 0,
) -> Bundle:
    """Write a bundle of an untrained network, one device for each of `shapes`, into `folder` and open it.

    `network` sets fusion, edges and blocks; golden events come from `sample_data` with the same arguments.
    """
    data = sample_data(shapes, classes=classes, events=events, uint8=uint8, seed=seed)
    views = [View.of(view) for view in data.views]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = DDNN(Plan.of(network or NetworkConfig(), views, classes))
    with torch.no_grad():
        # Batch norms that have seen something, or the whole numbers of binary layers would all lie at a sign's zero.
        made([torch.from_numpy(view) for view in data.views], torch.from_numpy(data.present))
    return write_bundle(folder, made, data, seed=seed)
