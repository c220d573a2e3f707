"""Small untrained networks of other topologies than the usual six devices behind one edge with a section."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ddnn.bundle import Bundle

__all__ = ["make_bundle"]


def make_bundle(
    path: Path, *, devices: int = 6, edge_section: bool = True, edges: Sequence[Sequence[int]] = ()
) -> Bundle:
    """Export and prove a network over the first `devices` of the synthetic cameras."""
    import torch

    from ddnn.data import load
    from ddnn.export import write_bundle
    from ddnn.network import DDNN, NetworkConfig, Plan, SectionConfig, ViewSpec

    whole = load("synthetic", seed=3)
    keep = np.asarray(whole.present[:, :devices].any(axis=1))
    data = replace(
        whole,
        views=tuple(view[keep] for view in whole.views[:devices]),
        y=whole.y[keep],
        y_dev=whole.y_dev[keep, :devices],
        present=whole.present[keep, :devices],
        split=whole.split[keep],
        index=whole.index[keep],
    )
    small = SectionConfig(filters=(4,), cut_filters=2)
    config = NetworkConfig(
        device=small, edge=small, cloud=small, edge_section=edge_section, edges=tuple(tuple(edge) for edge in edges)
    )
    torch.manual_seed(5)
    views = [ViewSpec(view.shape[1:], view.dtype.kind == "u") for view in data.views]
    return write_bundle(path, DDNN(Plan.of(config, views, len(data.classes))), data, golden_events=16)
