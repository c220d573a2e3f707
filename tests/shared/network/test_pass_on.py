"""Sections that send up what they take in."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ddnn.export import sample_bundle, sample_data
from ddnn.network import NetworkConfig, SectionConfig
from ddnn.training import Config, Trainer
from ddnn.training.loader import batch_of
from ddnn.types import Tier


def network(codec: str, **more: object) -> NetworkConfig:
    passing = {"flat": True, "pass_on": True, "cut_codec": codec, **more}
    return NetworkConfig.model_validate({"device": passing, "edge": passing, "cloud": {"flat": True, **more}})


@pytest.mark.parametrize(("codec", "bytes_"), [("float16", 8), ("bits8", 4)])
def test_a_small_view_goes_up_itself_and_costs_less_than_it_is(tmp_path: Path, codec: str, bytes_: int) -> None:
    bundle = sample_bundle(tmp_path / "bundle", [(4,)] * 3, network=network(codec))  # proved as it is written
    device, edge = (bundle.topology.features(tier) for tier in (Tier.DEVICE, Tier.EDGE))
    assert device is not None
    assert edge is not None
    assert (device.bytes, edge.bytes) == (bytes_, 3 * bytes_)
    assert device.bytes < bundle.topology.devices[0].view.bytes


def test_views_of_unequal_length_are_filled_up(tmp_path: Path) -> None:
    bundle = sample_bundle(tmp_path / "bundle", [(1,), (3,), (2,)], network=network("float16"))
    device = bundle.topology.features(Tier.DEVICE)
    assert device is not None
    assert device.shape == (3,)


def test_encodings_and_trees_are_fitted_exported_and_proved(tmp_path: Path) -> None:
    config = network("float16", bins=4, trees=20, forest=8)
    bundle = sample_bundle(tmp_path / "bundle", [(4,), (4,)], network=config)
    assert bundle.golden["cloud_scores"].shape[-1] == 3
    data = sample_data([(4,), (4,)], events=300)
    data = replace(data, y=(data.views[0][:, 0] > np.median(data.views[0][:, 0])).astype(np.int64))
    trainer = Trainer(Config.of({"network": config.model_dump(mode="json"), "training": {"epochs": 2}}), data)
    while not trainer.over:
        trainer.epoch()
    best = trainer.best()
    train = data.subset("train")
    with torch.no_grad():
        labels = best(batch_of(train).views, torch.from_numpy(train.present)).cloud.argmax(dim=1).numpy()
    assert np.mean(labels == train.y) > 0.9


def test_what_is_passed_on_keeps_its_levels() -> None:
    trainer = Trainer(
        Config.of({"network": network("bits8").model_dump(mode="json"), "training": {"epochs": 1}}),
        sample_data([(4,), (4,)]),
    )
    before = {name: value.clone() for name, value in trainer.network.cuts.state_dict().items()}
    trainer.epoch()
    assert all(torch.equal(value, before[name]) for name, value in trainer.network.cuts.state_dict().items())


def test_the_parts_of_a_series_can_be_told_apart() -> None:
    config = Config(network=NetworkConfig(device=SectionConfig(parts=4)))
    made = Trainer(config, sample_data([(2, 16)] * 2)).network
    views = torch.zeros(2, 2, 16)
    views[0, :, :4] = views[1, :, 12:] = 1.0
    scores = made.eval().below([views, views])[0]
    assert not torch.allclose(scores[0], scores[1], atol=1e-3)
