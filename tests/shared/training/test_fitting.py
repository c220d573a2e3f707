"""What is fitted once the network has learnt: judges beside it, and local exits that weigh what these say."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ddnn.data import Dataset
from ddnn.errors import BadConfig
from ddnn.export import sample_data
from ddnn.network import DDNN
from ddnn.network.sections import Blocks
from ddnn.training import Config, train
from ddnn.training.loader import batch_of

FOREST = {"forest": 16, "forest_share": 1.0}


def one_knows() -> Dataset:
    """Three devices, of which the second alone sees something: whether two of its numbers have one sign."""
    data = sample_data([(4,)] * 3, events=300)
    chance = np.random.default_rng(0)
    views = [chance.normal(size=(300, 4)).astype(np.float32) for _ in range(3)]
    y = (views[1][:, 0] * views[1][:, 1] > 0).astype(np.int64)
    return replace(data, views=tuple(views), y=y, y_dev=np.repeat(y[:, None], 3, axis=1))


def config(**device: float) -> Config:
    passed = {"flat": True, "pass_on": True, "cut_codec": "float16", "widths": [4]}
    tables = {"device": {**passed, **device}, "edge": passed, "cloud": {"flat": True, "widths": [4]}}
    learn = {"epochs": 1, "scale": 0.0, "shift": 0.0, "warp": 0.0}
    return Config.of({"network": {"local_fusion": "concat", "normalise": "element", **tables}, "training": learn})


def local(network: DDNN, data: Dataset, present: torch.Tensor | None = None) -> np.ndarray:
    batch = batch_of(data.subset("test"))
    with torch.no_grad():
        scored = network(batch.views, batch.present if present is None else present.expand_as(batch.present))
    assert scored.local is not None
    return np.asarray(scored.local[:, 0].argmax(dim=1))


def unfit(network: DDNN) -> None:
    for device in network.devices:
        assert isinstance(device, Blocks)
        if device.beside is not None:
            device.beside.fitted = False


def test_a_local_exit_trusts_the_device_that_is_right_of_events_it_has_not_learnt() -> None:
    data = one_knows()
    y = data.subset("test").y
    judged = train(config(**FOREST), data, seed=0)
    assert np.mean(local(judged, data) == y) > 0.8  # all three know the training events by heart
    assert np.mean(local(train(config(), data, seed=0), data) == y) < 0.7
    without = local(judged, data, torch.tensor([True, False, True]))
    assert np.mean(without == y) < 0.65
    assert set(without.tolist()) <= {0, 1}


def test_before_judges_are_fitted_the_network_judges_alone() -> None:
    data, seen = one_knows(), list[torch.Tensor]()
    for more in ({}, FOREST):
        network = train(config(**more).changed(epochs=1), data, seed=0)
        unfit(network)
        seen.append(network.below(batch_of(data).views)[0])
    assert torch.equal(*seen)


def test_judges_that_are_loaded_are_asked() -> None:
    data = one_knows()
    network, other = (train(config(**FOREST), data, seed=seed) for seed in (0, 1))
    unfit(other)
    other.load_state_dict(network.state_dict())
    views = batch_of(data).views
    assert torch.equal(other.below(views)[0], network.below(views)[0])


def test_shares_past_one_are_refused() -> None:
    with pytest.raises(BadConfig, match=r"network.device: shares of linear and trees and forest sum to 1.3"):
        train(config(**FOREST, linear=1.0, linear_share=0.3), one_knows(), seed=0)
