"""The bundle that comes with the package: what it promises, held."""

import re

import numpy as np

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.configs import config_file
from ddnn.data import load
from ddnn.evaluation import decide, record
from ddnn.runtime import Section
from ddnn.training import Config
from ddnn.types import Tier


def opened() -> Bundle:
    return Bundle.open(shipped_bundle())


def test_it_verifies_and_is_small() -> None:
    bundle = opened()
    bundle.verify()
    assert sum(file.stat().st_size for file in bundle.path.iterdir()) <= 2_000_000
    assert {file.name for file in bundle.path.iterdir()} == {*bundle.manifest.files, "manifest.json", "policy.json"}


def test_its_manifest_says_how_to_make_it_again() -> None:
    training = opened().manifest.training
    command = (
        "ddnn train mnist5k --grid 3x2 --seed 0 --config mnist5k"
        " --max-accuracy-drop 0 --out shared/ddnn/shipped/mnist5k"
    )
    assert training.command == command
    assert Config.of(training.config) == Config.read(config_file("mnist5k")), "train the bundle again"
    source = dict(training.data["source"])
    data = load(source.pop("name"), **source)
    assert training.data["fingerprint"] == data.fingerprint
    assert training.data["split"] == {"train": 3400, "validation": 600, "test": 1000}
    assert re.fullmatch(r"\d+\.\d+.*", training.versions["torch"])


def test_its_golden_events_are_test_digits_answered_as_torch_answered_them() -> None:
    bundle = opened()
    golden, topology = bundle.golden, bundle.topology
    device, edge = (topology.features(tier) for tier in (Tier.DEVICE, Tier.EDGE))
    assert device is not None
    assert edge is not None
    data = load("mnist5k", grid="3x2")
    assert len(golden["y"]) == 256
    assert np.bincount(golden["y"]).min() >= 25
    assert set(data.split[golden["index"]]) == {"test"}
    for index in range(6):
        view = golden[f"view_{index}"]
        assert (view == data.views[index][golden["index"]]).all()
        found = Section(bundle.sections(Tier.DEVICE, index)["section"]).run(view=view)
        np.testing.assert_allclose(found["scores"], golden["device_scores"][:, index], atol=1e-4)
        bits, ties = (device.unpack(golden[f"device_{part}"][:, index]) for part in ("features", "ties"))
        assert not ((found["features"] != bits) & (ties == 0)).any()
    files, present = bundle.sections(Tier.EDGE), golden["present"]
    found = Section(files["local"]).run(scores=golden["device_scores"], present=present)
    np.testing.assert_allclose(found["scores"], golden["local_scores"][:, 0], atol=1e-4)
    features = device.unpack(golden["device_features"])
    found = Section(files["section"]).run(features=features, present=present)
    np.testing.assert_allclose(found["scores"], golden["edge_scores"][:, 0], atol=1e-4)
    features = edge.unpack(golden["edge_features"])
    found = Section(bundle.sections(Tier.CLOUD)["section"]).run(features=features, present=np.ones((256, 1), bool))
    np.testing.assert_allclose(found["scores"], golden["cloud_scores"], atol=1e-4)


def test_it_answers_as_well_as_it_must() -> None:
    bundle = opened()
    cut = bundle.topology.features(Tier.DEVICE)
    assert cut is not None
    assert cut.bytes <= 64
    test = load("mnist5k", grid="3x2").subset("test")
    scores = record(bundle, test)
    cloud = float((scores.cloud.argmax(axis=1) == test.y).mean())
    decisions = decide(scores, bundle.policy)
    overall = decisions.accuracy(test.y)
    assert cloud >= 0.96
    assert overall >= cloud - 0.005
    assert overall == bundle.manifest.training.test["overall"]["accuracy"]
    assert bundle.manifest.training.test["overall"]["exit_share"]["cloud"] <= 0.5
    for device in range(6):
        present = np.ones((len(test), 6), bool)
        present[:, device] = False
        assert decide(record(bundle, test, present=present), bundle.policy).accuracy(test.y) >= 0.93
