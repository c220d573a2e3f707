"""What is at the cuts of a backbone: fitted first, from what it makes itself; and a frozen one's values, made once."""

from typing import Any

import numpy as np
import pytest
import torch

from ddnn.data import Dataset
from ddnn.export import sample_data
from ddnn.network import DDNN
from ddnn.network.pieces import OfBackbone
from ddnn.training import Config, Run, Trainer, initial_network
from ddnn.training.cuts import fit_cuts
from ddnn.types import Tier

UNCHANGED = {"shift": 0, "rotate": 0, "scale": 0, "warp": 0}


@pytest.fixture(scope="module")
def data() -> Dataset:
    found = sample_data([(3, 12, 12)] * 3, events=90, uint8=True)
    found.present[::3, 2] = False
    return found


def config(training: dict[str, Any] | None = None, **network: Any) -> Config:
    own = {"backbone": "foreign.cameras:Plain", "cuts": ["blocks.0", "blocks.1"], "shared_weights": True}
    changes = {"epochs": 2, "batch": 10, "cut_epochs": 3, "learning_rate": 0.01, **UNCHANGED}
    return Config.of({"network": own | network, "training": changes | (training or {})})


def pieces(network: DDNN) -> tuple[OfBackbone, OfBackbone]:
    device, edge = network.devices[0], network.edges[0]
    assert isinstance(device, OfBackbone)
    assert isinstance(edge, OfBackbone)
    return device, edge


def off(network: DDNN, data: Dataset) -> float:
    """How far what the edge's piece makes of what arrives is from what it makes of the features themselves."""
    device, edge = pieces(network.eval())
    with torch.no_grad():
        seen = device.seen(torch.from_numpy(data.views[0]))
        _, cut = device.ended(seen)
        wanted = edge.body(seen)
        return float((edge.alone(network.cut(Tier.DEVICE)(cut)) - wanted).square().mean() / wanted.var())


@pytest.mark.parametrize("join", ["pooled", "features"])
@pytest.mark.parametrize("fusion", ["mean", "concat"])
def test_a_bottleneck_learns_to_give_what_the_uncut_network_does(data: Dataset, join: str, fusion: str) -> None:
    narrow = {"bottleneck": 4, "cut_codec": "bits2"}
    found = list[float]()
    for epochs in (0, 10):
        made = config({"cut_epochs": epochs}, device=narrow, join=join, edge_fusion=fusion, learn="nothing")
        network = initial_network(made, data, 0)
        blind = off(network, data)
        fit_cuts(network, data, made.training, 0)
        found.append(off(network, data))
    assert found[1] < found[0] < min(blind, 1.0)


@pytest.mark.parametrize("codec", ["bits1", "bits2", "bits8"])
def test_scales_are_those_of_the_training_events(data: Dataset, codec: str) -> None:
    made = config(device={"cut_codec": codec}, learn="nothing")
    network = initial_network(made, data, 0)
    fit_cuts(network, data, made.training, 0)
    train = data.subset("train")
    device, _ = pieces(network.eval())
    with torch.no_grad():
        views = [torch.from_numpy(view[mask]) for view, mask in zip(train.views, train.present.T, strict=True)]
        _, cut = device.ended(device.seen(torch.cat(views)))
    torch.testing.assert_close(cut.mean(dim=(0, 2, 3)), torch.zeros(8), atol=1e-4, rtol=0)
    torch.testing.assert_close(cut.std(dim=(0, 2, 3)), torch.ones(8), atol=1e-3, rtol=0)
    assert off(network, data) < {"bits1": 1.0, "bits2": 0.3, "bits8": 0.01}[codec]


def trained(made: Config, data: Dataset, monkeypatch: pytest.MonkeyPatch, *, kept: bool) -> tuple[Trainer, int]:
    """A trainer after its epochs, and how often the devices' piece ran; not `kept`: no room to keep what it made."""
    monkeypatch.setattr("ddnn.training.cuts.ROOM", 1 << 30 if kept else 0)
    trainer, runs = Trainer(made, data, seed=0), list[int]()
    device, _ = pieces(trainer.network)
    device.body.register_forward_hook(lambda *_: runs.append(1))
    while not trainer.over:
        trainer.epoch()
    return trainer, len(runs)


@pytest.mark.parametrize("learn", ["nothing", "blocks.1"])
@pytest.mark.parametrize("join", ["pooled", "features"])
def test_what_does_not_learn_is_computed_once_and_changes_nothing(
    data: Dataset, monkeypatch: pytest.MonkeyPatch, learn: str, join: str
) -> None:
    made = config(learn=learn, join=join)
    kept, none = trained(made, data, monkeypatch, kept=True)
    computed, every = trained(made, data, monkeypatch, kept=False)
    assert none == 0 < every
    assert [record["cloud"] for record in kept.metrics] == [record["cloud"] for record in computed.metrics]
    wanted = computed.best().state_dict()
    for name, weight in kept.best().state_dict().items():
        np.testing.assert_allclose(weight.numpy(), wanted[name].numpy(), atol=0.02, err_msg=name)


def test_views_that_are_changed_at_random_are_not_kept(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    _, runs = trained(config({"mirror": True, "epochs": 1}, learn="nothing"), data, monkeypatch, kept=True)
    assert runs > 0


@pytest.mark.parametrize("liars", [0.0, 0.5])
def test_a_frozen_backbone_and_its_cuts_keep_their_weights(data: Dataset, liars: float) -> None:
    trainer = Trainer(config({"liars": liars}, learn="nothing", device={"bottleneck": 4}), data, seed=0)
    before = trainer.state()
    trainer.epoch()
    moved = {name for name, weight in trainer.state().items() if not weight.equal(before[name])}
    assert moved
    kept = ".body.", ".reduce.", ".expand.", "cuts."
    assert not [name for name in moved if any(part in name for part in kept)]


def test_a_run_goes_on_with_the_same_cuts(data: Dataset, tmp_path: Any) -> None:
    made = config(learn="nothing", device={"bottleneck": 4})
    whole = Trainer(made, data, seed=0)
    while not whole.over:
        whole.epoch()
    Trainer(made, data, seed=0, run=Run(tmp_path)).epoch()
    resumed = Trainer(made, data, seed=0, run=Run(tmp_path), resume=True)
    resumed.epoch()
    for name, weight in whole.best().state_dict().items():
        torch.testing.assert_close(resumed.network.cpu().state_dict()[name], weight, msg=name, atol=0.02, rtol=0)
