"""A torch network of a user's own, cut at two named points: trained, exported, proved, served, and held to itself.

The page for it is `shared/docs/backbones.md`.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ddnn.bundle import WEIGHTS_FILE, Bundle
from ddnn.client import Fleet
from ddnn.data import Dataset
from ddnn.evaluation.agreement import agreement
from ddnn.evaluation.served import ask
from ddnn.export import sample_data
from ddnn.fleet.processes import LocalFleet
from ddnn.network.backbone import uncut
from ddnn.pipeline import make_bundle
from ddnn.task import probabilities
from ddnn.topology import Features
from ddnn.training import Config
from ddnn.types import Array, Exit, Tier

MEAN, SPREAD = 127.0, 128.0
NETWORK = {
    "backbone": "foreign.cameras:Plain",
    "cuts": ["blocks.0", "blocks.1"],
    "input_mean": [MEAN],
    "input_spread": [SPREAD],
    "edge_fusion": "mean",
}
TRAINING = {"epochs": 2, "batch": 32, "rotate": 0, "warp": 0, "scale": 0}


def made(path: Path, data: Dataset, **network: object) -> Bundle:
    config = Config.of({"network": NETWORK | network, "training": TRAINING})
    return make_bundle(data, config, path, golden_events=30, yardstick=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("backbones")


@pytest.fixture(scope="module")
def one(folder: Path) -> tuple[Bundle, Dataset]:
    """One camera, features as they are."""
    data = sample_data([(3, 12, 12)], events=240, uint8=True)
    exact = {"cut_codec": "float32"}
    return made(folder / "one", data, device=exact, edge=exact), data


@pytest.fixture(scope="module")
def three(folder: Path) -> tuple[Bundle, Dataset]:
    """Three cameras of one section, the second often away; a bottleneck, and two bits a value."""
    data = sample_data([(3, 12, 12)] * 3, events=240, uint8=True)
    data.present[::2, 1] = False
    narrow = {"bottleneck": 4, "cut_codec": "bits2"}
    return made(folder / "three", data, shared_weights=True, device=narrow, edge={"cut_codec": "bits8"}), data


@pytest.fixture(scope="module")
def served(one: tuple[Bundle, Dataset]) -> Iterator[LocalFleet]:
    with LocalFleet(one[0].path, base_port=0) as fleet:
        fleet.wait_until_ready(seconds=120)
        yield fleet


def scores_of_the_whole(bundle: Bundle, views: Array) -> Array:
    """What the network says uncut, with the weights that its sections have learnt."""
    config = Config.of(bundle.manifest.training.config).network
    whole = uncut(config, load_file(bundle.path / WEIGHTS_FILE))
    with torch.no_grad():
        return np.asarray(whole((torch.from_numpy(views).float() - MEAN) / SPREAD).numpy())


@pytest.mark.parametrize("exit", [Exit.LOCAL, Exit.EDGE, Exit.CLOUD])
def test_every_exit_is_served_and_the_last_is_the_uncut_networks(
    one: tuple[Bundle, Dataset], served: LocalFleet, exit: Exit
) -> None:
    bundle, events = one[0], one[1].subset("test")
    with Fleet(served.device_urls) as fleet:
        answers = fleet.answer_events(
            [*events.views], threshold=0.0, max_exit=exit.value, wait_ms=5000, deadline_ms=20_000
        )
    assert {answer.exit for answer in answers} == {exit}
    if exit is Exit.CLOUD:
        scores = scores_of_the_whole(bundle, events.views[0])
        wanted = probabilities(scores, bundle.policy.temperatures.cloud)
        found = np.stack([answer.probabilities for answer in answers])
        np.testing.assert_allclose(found, wanted, atol=1e-4)
        assert [answer.label for answer in answers] == scores.argmax(axis=1).tolist()


def test_the_bundle_has_one_file_for_all_devices_and_says_bits_and_sizes(three: tuple[Bundle, Dataset]) -> None:
    topology = three[0].topology
    assert {section.file for section in topology.sections_of(Tier.DEVICE, 2)} == {"device.onnx"}
    device, edge = topology.features(Tier.DEVICE), topology.features(Tier.EDGE)
    assert (device, edge) == (Features(shape=(4, 6, 6), codec="bits2"), Features(shape=(8, 6, 6), codec="bits8"))
    assert device is not None
    assert device.bytes == 36
    sent = three[0].manifest.training.test["sent"]
    features = [(each["from"], each["bits"], each["bytes"]) for each in sent if each["what"] == "features"]
    assert features == [("device", 2, [36, 36]), ("edge", 8, [288, 288])]


@pytest.mark.long
async def test_quantised_and_with_cameras_away_real_tiers_answer_as_offline(three: tuple[Bundle, Dataset]) -> None:
    bundle, events = three[0], three[1].subset("test").take(np.arange(60))
    with LocalFleet(bundle.path, base_port=0) as fleet:
        fleet.wait_until_ready(seconds=120)
        answers = await ask(fleet.device_urls, bundle, events)
    found = agreement(bundle, events, answers)
    assert found.ok, found.differing
