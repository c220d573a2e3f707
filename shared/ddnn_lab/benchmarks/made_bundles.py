"""Untrained networks of any number of devices over noise: for cost, where accuracy does not matter."""

from pathlib import Path
from typing import Final

import numpy as np

from ddnn.bundle import Bundle

__all__ = ["make"]

CLASSES: Final = 10
EVENTS: Final = 200


def make(folder: Path, devices: int, edges: int = 1) -> Bundle:
    """Export a network over `devices` views of 16×10 pixels, which share their weights, and `edges` edges."""
    import torch

    from ddnn.data import load
    from ddnn.export import write_bundle
    from ddnn.network import DDNN, NetworkConfig, Plan, SectionConfig
    from ddnn.topology import View

    folder.mkdir(parents=True)
    chance, file = np.random.default_rng(0), folder / "noise.npz"
    views = chance.integers(0, 256, (EVENTS, devices, 1, 16, 10), dtype=np.uint8)
    np.savez(file, X=views, y=np.arange(EVENTS) % CLASSES)
    data = load(str(file))
    small = SectionConfig(filters=(4,), cut_filters=4)
    config = NetworkConfig(device=small, edge=small, cloud=small, shared_weights=True, edges=edges if edges > 1 else ())
    torch.manual_seed(0)
    network = DDNN(Plan.of(config, [View.of(view) for view in data.views], CLASSES))
    with torch.no_grad():  # batch norms that have seen something
        network([torch.from_numpy(view) for view in data.views], torch.from_numpy(data.present))
    return write_bundle(folder / "bundle", network, data, name=f"{devices} devices", golden_events=4)
