"""The public trainer: batches from anywhere, weights in and out, frozen sections."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.data import Dataset
from ddnn.errors import BadConfig
from ddnn.export import sample_bundle, sample_data
from ddnn.network import NetworkConfig
from ddnn.training import Batch, Config, Loader, Trainer, train
from ddnn.training.liars import lie, worst
from ddnn.training.run import weights_of

CONFIG = Config.of(
    {
        "network": {
            "device": {"widths": [4], "cut_width": 8},
            "edge": {"widths": [4], "cut_width": 8},
            "cloud": {"widths": [4]},
        },
        "training": {"epochs": 2, "batch": 16},
    }
)


@pytest.fixture
def data() -> Dataset:
    return sample_data([(5,)] * 2, events=120)


def batch(events: int = 8) -> Batch:
    y = torch.arange(events) % 3
    return Batch([torch.randn(events, 5)] * 2, y, y[:, None].repeat(1, 2), torch.ones(events, 2, dtype=torch.bool))


def test_steps_on_batches_of_the_callers_own_learn(data: Dataset) -> None:
    trainer, mine = Trainer(CONFIG, data), batch()
    before = trainer.state()
    losses = [float(trainer.step(mine)) for _ in range(8)]
    assert np.isfinite(losses).all()
    assert any(not torch.equal(before[name], tensor) for name, tensor in trainer.state().items())


def test_epochs_of_any_sized_iterable_are_learnt_from(data: Dataset) -> None:
    trainer = Trainer(CONFIG, data, batches=[batch(), batch()])
    records = [trainer.epoch(), trainer.epoch()]
    assert [record["epoch"] for record in records] == [0, 1]
    assert trainer.over
    assert trainer.validate() == {key: records[1][key] for key in trainer.validate()}
    assert not trainer.best().training


@pytest.mark.parametrize("freeze", [["device"], ["device_1", "cloud"], ["local", "edge"]])
def test_frozen_sections_keep_every_weight_and_the_others_learn(data: Dataset, freeze: list[str]) -> None:
    trainer = Trainer(CONFIG, data, freeze=freeze)
    before = trainer.state()
    trainer.epoch()
    moved = {name for name, tensor in trainer.state().items() if not torch.equal(before[name], tensor)}
    starts = {"device": "devices.", "device_1": "devices.1.", "cloud": "cloud.", "local": "locals.", "edge": "edges."}
    assert moved
    assert not [name for name in moved if name.startswith(tuple(starts[section] for section in freeze))]
    average = trainer.state(averaged=True)
    assert all(torch.equal(before[name], tensor) for name, tensor in average.items() if name not in moved)


def test_an_unknown_section_cannot_be_frozen_and_nothing_can_learn_when_all_are(data: Dataset) -> None:
    with pytest.raises(BadConfig, match=r"freeze names fog, .* expected some of cloud, device, device_0, device_1"):
        Trainer(CONFIG, data, freeze=["fog"])
    with pytest.raises(BadConfig, match="or their sections are frozen"):
        Trainer(CONFIG, data, freeze=["device", "local", "edge", "cloud"]).epoch()


def test_weights_go_out_and_in_and_a_misfit_is_named(data: Dataset) -> None:
    first, other = Trainer(CONFIG, data), Trainer(CONFIG, data, seed=1)
    other.load(first.state())
    assert all(torch.equal(tensor, other.state()[name]) for name, tensor in first.state().items())
    state = first.state()
    state["edges.0.trunk.0.weight"] = torch.zeros(1, 2)
    with pytest.raises(BadConfig, match=r"edges.0: the state have edges.0.trunk.0.weight of shape \(1, 2\); expected"):
        first.load(state)


def test_training_starts_from_a_bundles_weights(data: Dataset, tmp_path: Path) -> None:
    bundle = sample_bundle(tmp_path / "b", [(5,)] * 2, network=CONFIG.network, events=120)
    kept = Trainer(CONFIG, data, initial=bundle).state()
    assert all(torch.equal(tensor, kept[name]) for name, tensor in weights_of(bundle).items())
    still = train(CONFIG.changed(learning_rate=0.0, epochs=1), data, seed=0, initial=bundle).state_dict()
    assert torch.equal(still["cloud.head.score.weight"], kept["cloud.head.score.weight"])
    wider = CONFIG.model_copy(update={"network": NetworkConfig.model_validate({"edge": {"widths": (6,)}})})
    with pytest.raises(BadConfig, match=r"devices.0: the weights of .*b have devices.0.+ of shape .+; expected"):
        Trainer(wider, data, initial=bundle)


def test_the_shipped_weights_are_read() -> None:
    bundle = Bundle.open(shipped_bundle())
    assert len(weights_of(bundle)) == 156


def test_a_loader_gives_each_event_once_in_the_order_of_the_generator(data: Dataset) -> None:
    rows = np.flatnonzero(data.split == "train")
    loader = Loader(data, rows, batch=16)
    torch.manual_seed(3)
    batches = list(loader)
    torch.manual_seed(3)
    order = rows[torch.randperm(len(rows)).numpy()]
    assert len(loader) == len(batches) == 2
    np.testing.assert_array_equal(torch.cat([part.views[1] for part in batches]).numpy(), data.views[1][order])
    np.testing.assert_array_equal(torch.cat([part.y for part in batches]).numpy(), data.y[order])


def test_devices_that_lie_in_training_speak_of_another_event_one_at_a_time() -> None:
    torch.manual_seed(0)
    scores = torch.arange(40.0).reshape(40, 1, 1).expand(40, 6, 3).clone()
    liar = torch.arange(40)[:, None] % 12 == torch.arange(6)
    told, cuts = lie(scores, scores[..., :1], liar)
    lied = (told != scores).any(dim=2)
    assert torch.equal(lied, (cuts != scores[..., :1]).any(dim=2))
    assert not (lied & ~liar).any()
    assert lied.sum() > 10


def test_the_worst_that_a_device_can_say_is_worse_than_what_it_would_say_of_another_event(data: Dataset) -> None:
    trainer = Trainer(CONFIG.changed(), data)
    trainer.epoch()
    network = trainer.network.eval()
    events = next(iter(trainer.batches))
    before = trainer.state()
    with torch.no_grad():
        scores, cuts = network.below(events.views)
    liar = torch.zeros(scores.shape[:2], dtype=torch.bool)
    liar[:, 0] = True

    def loss(told: tuple[torch.Tensor, torch.Tensor]) -> float:
        with torch.no_grad():
            said = network.above(*told, events.present)
        assert said.edge is not None
        return float(torch.nn.functional.cross_entropy(said.edge[:, 0], events.y))

    seen = network.told(events.views)
    told = worst(network, scores, cuts, seen, events.y, events.present, liar)
    assert torch.equal(told[0][:, 1:], scores[:, 1:])
    assert (told[0][:, 0].argmax(dim=1) != events.y).all()
    assert loss(told) > max(loss((scores, cuts)), loss(lie(scores, cuts, liar)))
    assert all(torch.equal(weight, before[name]) for name, weight in trainer.state().items())


def test_with_liars_the_exits_above_learn_and_devices_learn_what_they_see(data: Dataset) -> None:
    trainer = Trainer(CONFIG.changed(liars=0.9), data)
    assert np.isfinite(trainer.epoch()["loss"])
