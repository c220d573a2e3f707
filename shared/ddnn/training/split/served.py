"""What the server of a split training has to know of its network before there is a trainer."""

import math

from ddnn.data import Dataset
from ddnn.training.config import Config
from ddnn.training.federated.served import server_data
from ddnn.training.initial import initial_network
from ddnn.training.split.device import cut_of, state_of
from ddnn.training.split.wire import ANSWER_BYTES

__all__ = ["largest_answer"]


def largest_answer(data: Dataset, config: Config) -> int:
    """Bytes that no answer has more of: those of a batch, or a section's weights."""
    network = initial_network(config, server_data(data), 0)
    learning = int((data.split == "train").sum())
    rows = math.ceil(learning / max(learning // config.training.batch, 1))
    said = max(cut_of(network, index).up for index in range(data.devices)) * rows
    return ANSWER_BYTES + max(said, *(len(state_of(device)) + 1024 for device in network.devices))
