"""What the server of a federated training has: events to choose and to test by, none to learn from."""

from dataclasses import replace

import numpy as np

from ddnn.data import Dataset
from ddnn.errors import BadData
from ddnn.training.config import Config
from ddnn.training.initial import initial_network

__all__ = ["largest_parcel", "server_data"]


def server_data(data: Dataset) -> Dataset:
    """Validation and test events alone; raise `BadData` where one of the two is missing.

    Once more its validation events, as training events: a network is set up by some, of which nothing stays once the
    sites' own moments are there.
    """
    validation, rest = (np.flatnonzero(data.split == split) for split in ("validation", "test"))
    if not len(validation) or not len(rest):
        raise BadData(
            f"{data.name} has {len(validation)} validation and {len(rest)} test events; expected some of both"
        )
    own = data.take(np.concatenate([validation, validation, rest]))
    split = own.split.copy()
    split[: len(validation)] = "train"
    return replace(own, split=split)


def largest_parcel(data: Dataset, config: Config) -> int:
    """Numbers that no parcel has more of, with a gradient of each."""
    state = initial_network(config, server_data(data), 0).state_dict()
    return 2 * sum(int(tensor.numel()) for tensor in state.values())
