"""Small untrained networks of any topology, over the synthetic cameras."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ddnn.bundle import Bundle

__all__ = ["TOPOLOGIES", "make_bundle"]

TOPOLOGIES: dict[str, dict[str, Any]] = {
    "a": {"device_section": False, "edge_section": False},
    "b": {"devices": [0], "edge_section": False},
    "c": {"edge_section": False},
    "d": {"devices": [0]},
    "e": {},
    "f": {"edges": 2},
}
"""The paper's configurations by their keys: `make_bundle(path, **TOPOLOGIES["f"])`."""


def make_bundle(path: Path, *, devices: int | Sequence[int] = 6, **keys: Any) -> Bundle:
    """Export and prove a network over the first so many of the synthetic cameras, or over those named.

    `keys` are any of `ddnn.network.NetworkConfig`; blocks are tiny unless they say otherwise.
    """
    import torch

    from ddnn.data import load
    from ddnn.export import write_bundle
    from ddnn.network import DDNN, NetworkConfig, Plan, SectionConfig
    from ddnn.topology import View

    data = load("synthetic", seed=3).of_devices(range(devices) if isinstance(devices, int) else devices)
    data = data.take(np.flatnonzero(data.present.any(axis=1)))
    small = SectionConfig(filters=(4,), cut_filters=2)
    # As from a file: lists are welcome where the network has tuples.
    config = NetworkConfig.model_validate({"device": small, "edge": small, "cloud": small} | keys)
    views = [View.of(view) for view in data.views]
    with torch.random.fork_rng():
        torch.manual_seed(5)
        network = DDNN(Plan.of(config, views, len(data.classes)))
    with torch.no_grad():
        # Batch norms that have seen something, or the whole numbers of binary layers would all lie at a sign's zero.
        network([torch.from_numpy(view) for view in data.views], torch.from_numpy(data.present))
    return write_bundle(path, network, data, golden_events=16)
