"""The term of the loss by which what goes up tells the class and as little else as may be."""

import numpy as np
import pytest
import torch

from ddnn.data import Dataset, load
from ddnn.network import DDNN, NetworkConfig, SectionConfig
from ddnn.training import Config, Trainer
from ddnn.training.privacy import looks, told_beside_the_class


def test_what_tells_the_class_alone_counts_nothing_and_what_tells_all_else_counts_whole() -> None:
    labels = torch.arange(60) % 3
    telling = torch.nn.functional.one_hot(labels).float()
    assert looks(telling, labels) == pytest.approx(0, abs=1e-6)
    assert looks(torch.ones(60, 4), labels) == pytest.approx(0, abs=1e-6)
    own = torch.stack([labels % 1 + (torch.arange(60) // 3 % 2)], dim=1).float()
    assert looks(own, labels) == pytest.approx(1, abs=0.01)
    assert looks(own, labels - 1) == looks(own, labels)  # -1: what does not see the object


def told(network: DDNN, data: Dataset) -> float:
    """The term on training events."""
    rows = np.flatnonzero(data.split == "train")
    views = [torch.from_numpy(np.ascontiguousarray(view[rows])) for view in data.views]
    network.eval()
    with torch.no_grad():
        scored = network(views, torch.from_numpy(data.present[rows]))
        return float(
            told_beside_the_class(network, scored, torch.from_numpy(data.y[rows]), torch.from_numpy(data.y_dev[rows]))
        )


def test_a_training_with_it_tells_less_than_one_without() -> None:
    data = load("synthetic", seed=3)
    small = SectionConfig(filters=(4,), cut_filters=2)
    config = Config(network=NetworkConfig(device=small, edge=small, cloud=small)).changed(epochs=2)
    plain, private = (Trainer(config.changed(privacy=weight), data, seed=0) for weight in (0.0, 4.0))
    for trainer in (plain, private):
        while not trainer.over:
            trainer.epoch()
    assert told(private.best(), data) < told(plain.best(), data) - 0.02
