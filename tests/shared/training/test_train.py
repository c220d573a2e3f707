"""Training: it learns, it is made by its seed, it resumes as if it had never stopped."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ddnn.data import Dataset, load
from ddnn.errors import BadConfig, BadInput
from ddnn.export import sample_data
from ddnn.network import DDNN, Scored, Still
from ddnn.training import Config, Run, Trainer, initial_network, loss, train
from ddnn.training.exchange import Silent
from ddnn.training.run import Checkpoint

SMALL: dict[str, Any] = {
    "network": {
        "device": {"filters": [4], "widths": [8], "cut_filters": 2, "cut_width": 16},
        "edge": {"filters": [8], "widths": [16], "cut_filters": 4, "cut_width": 16},
        "cloud": {"filters": [8], "widths": [16]},
    },
    "training": {"epochs": 4, "batch": 32, "learning_rate": 0.01},
}


def small(**training: Any) -> Config:
    return Config.of(SMALL).changed(**training)


@pytest.fixture(scope="module")
def scene() -> Dataset:
    return load("synthetic")


def same(first: DDNN, other: DDNN) -> bool:
    mine, theirs = first.state_dict(), other.state_dict()
    return all(torch.equal(mine[name], theirs[name]) for name in mine)


class Interrupted(Silent):
    """Someone presses Ctrl-C in the middle of an epoch."""

    def __init__(self, epoch: int) -> None:
        self.when = epoch

    def step(self, epoch: int, done: int, steps: int) -> None:
        if epoch == self.when and done == steps // 2:
            raise KeyboardInterrupt


def test_a_resumed_run_gives_the_same_network_as_an_uninterrupted_one(tmp_path: Path, scene: Dataset) -> None:
    whole = train(small(), scene, seed=1, run=Run(tmp_path / "whole"))
    halves = Run(tmp_path / "halves")
    for epoch, resume in ((0, False), (2, True)):
        with pytest.raises(KeyboardInterrupt):
            train(small(), scene, seed=1, run=halves, resume=resume, watcher=Interrupted(epoch))
    resumed = train(halves.config(), scene, seed=1, run=halves, resume=True)
    assert same(whole, resumed)
    metrics = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "halves")]
    assert metrics[0] == metrics[1]
    assert [json.loads(line)["epoch"] for line in metrics[0].splitlines()] == [0, 1, 2, 3]


def test_a_run_whose_optimizer_kept_other_weights_is_not_resumed(tmp_path: Path, scene: Dataset) -> None:
    run = Run(tmp_path / "run")
    train(small(epochs=1), scene, seed=1, run=run)
    kept = run.load()
    run.save(Checkpoint({**kept.tensors, "optimizer.0.exp_avg": torch.zeros(3)}, kept.state), [])
    with pytest.raises(BadConfig, match=r"another version of ddnn; start again with --force"):
        Trainer(run.config(), scene, seed=1, run=run, resume=True)


def test_a_run_says_how_fast_it_learnt_and_goes_on_with_as_many_threads(tmp_path: Path, scene: Dataset) -> None:
    run = Run(tmp_path / "run")
    train(small(epochs=1), scene, seed=1, run=run)
    speed = run.summary()["speed"]
    assert speed["events_per_s"] > 0
    assert speed["threads"] == torch.get_num_threads()
    resumed = Trainer(run.config(), scene, seed=1, run=run, resume=True)
    assert resumed.speed == speed


def test_many_validation_events_share_the_devices_they_lose(scene: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(small(epochs=1), scene, seed=1)
    events = len(trainer.validate()["cloud_one_lost"]) * (scene.split == "validation").sum()
    judged, above = list[int](), DDNN.above

    def counted(self: DDNN, *given: torch.Tensor, still: Still = None) -> Scored:
        judged.append(len(given[0]))
        return above(self, *given, still=still)

    monkeypatch.setattr(DDNN, "above", counted)
    trainer.validate()
    assert sum(judged[1:]) <= events
    monkeypatch.setattr(loss, "PAIRS", int(events) // 3)
    judged.clear()
    assert len(trainer.validate()["cloud_one_lost"]) == scene.devices
    assert sum(judged[1:]) <= events / 2


def test_a_seed_makes_the_network_and_leaves_other_chance_alone(scene: Dataset) -> None:
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    first, again, other = (train(small(epochs=1), scene, seed=seed) for seed in (0, 0, 1))
    assert torch.rand(1) == before
    assert same(first, again)
    assert not same(first, other)


@pytest.mark.parametrize("blocks", ["float", "binary"])
def test_it_learns(scene: Dataset, blocks: str) -> None:
    config = Config.of({**SMALL, "network": {**SMALL["network"], "blocks": blocks}}).changed(epochs=6)
    losses = Losses()
    train(config, scene, seed=0, watcher=losses)
    assert losses.seen[-1] < 0.8 * losses.seen[0]


class Losses(Silent):
    """Keeps each epoch's loss."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def epoch(self, record: Mapping[str, Any]) -> None:
        self.seen.append(record["loss"])


@pytest.mark.parametrize(
    "shapes",
    [[(6,)] * 3, [(2, 12)] * 2, [(1, 8, 8), (2, 12), (5,)], [(4,)]],
    ids=["vectors", "series", "unequal", "one device"],
)
def test_every_kind_of_view_trains(shapes: list[tuple[int, ...]]) -> None:
    network = train(small(epochs=1), sample_data(shapes), seed=0)
    assert all(weight.isfinite().all() for weight in network.parameters())


def test_several_edges_and_hidden_devices_train() -> None:
    data = sample_data([(6,)] * 4)
    data.present[::2, :2] = False  # the first edge sees nothing of every other event
    config = Config.of({**SMALL, "network": {**SMALL["network"], "edges": [[0, 1], [2, 3]]}}).changed(epochs=1)
    network = train(config, data, seed=0)
    assert all(weight.isfinite().all() for weight in network.parameters())


def test_input_normalisation_is_of_the_training_events_that_were_seen() -> None:
    data = sample_data([(3, 10)])
    data.views[0][data.split != "train"] += 1e6
    data.present[0] = False
    data.views[0][0] = -1e6
    seen = data.views[0][(data.split == "train") & data.present[:, 0]]
    (normalise,) = initial_network(small(), data, 0).inputs
    np.testing.assert_allclose(normalise.mean[:, 0], seen.mean(axis=(0, 2)), rtol=1e-4)
    np.testing.assert_allclose(normalise.spread[:, 0], seen.std(axis=(0, 2)), rtol=1e-4)


def test_it_stops_early_when_told_to(tmp_path: Path, scene: Dataset) -> None:
    run = Run(tmp_path / "run")
    train(small(epochs=30, patience=1, learning_rate=0.0), scene, seed=0, run=run)
    assert run.summary()["epochs"] < 8


def test_a_run_of_other_data_or_another_seed_is_not_resumed(tmp_path: Path, scene: Dataset) -> None:
    run = Run(tmp_path / "run")
    train(small(epochs=1), scene, seed=0, run=run)
    with pytest.raises(BadConfig, match=r"synthetic is not the data that .*run was started with: seed is 1, it was 0"):
        train(small(epochs=1), scene, seed=1, run=run, resume=True)
    with pytest.raises(BadConfig, match=r"synthetic is not the data .*: its content differs"):
        train(small(epochs=1), load("synthetic", seed=8), seed=0, run=run, resume=True)


def test_a_run_of_another_split_of_the_same_data_is_not_resumed(tmp_path: Path) -> None:
    path, y = tmp_path / "mine.npz", np.arange(60) % 3
    np.savez(path, X=np.zeros((60, 2, 4), np.float32), y=y, walk=np.arange(60) // 15)
    first, other = (load(str(path), group_by="walk", test_groups=[walk]) for walk in "03")
    assert first.fingerprint == other.fingerprint
    run = Run(tmp_path / "run")
    train(small(epochs=1), first, seed=0, run=run)
    with pytest.raises(
        BadConfig, match=r"mine.npz is not .*: its split differs: test_groups is \['3'\], it was \['0'\]"
    ):
        train(small(epochs=1), other, seed=0, run=run, resume=True)
    with pytest.raises(BadConfig, match=r"its split differs$"):
        train(small(epochs=1), replace(other, source=first.source), seed=0, run=run, resume=True)
    moved = load(str(path.rename(tmp_path / "moved.npz")), group_by="walk", test_groups=["0"])
    train(small(epochs=1), moved, seed=0, run=run, resume=True)


def test_a_run_is_made_by_one_process_at_a_time(tmp_path: Path, scene: Dataset) -> None:
    run, same = Run(tmp_path / "run"), Run(tmp_path / "run")
    with run.alone():
        train(small(epochs=1), scene, seed=0, run=run)
        with pytest.raises(BadInput, match=r"another process is at work on .*run; wait for its end"), same.alone():
            pass
    with same.alone():
        assert same.unfinished


def test_holding_a_run_that_never_starts_leaves_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    with pytest.raises(BadConfig, match="impossible"), run.alone():
        raise BadConfig("impossible")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("in the way")
    with pytest.raises(BadInput, match="run cannot be made"), Run(tmp_path / "run").alone():
        pass


def test_a_run_that_is_not_there_or_damaged_is_named(tmp_path: Path, scene: Dataset) -> None:
    with pytest.raises(BadInput, match="holds no run to resume"):
        Run(tmp_path / "none").config()
    run = Run(tmp_path / "run")
    train(small(epochs=1), scene, seed=0, run=run)
    checkpoint = run.path / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    with pytest.raises(BadConfig, match=r"checkpoint\.safetensors cannot be read"):
        train(small(epochs=1), scene, seed=0, run=run, resume=True)


def test_a_loss_without_any_weight_is_one_sentence(scene: Dataset) -> None:
    nothing = dict.fromkeys(("device_weight", "local_weight", "edge_weight", "cloud_weight"), 0.0)
    with pytest.raises(BadConfig, match="the weights of all exits that the network has are 0"):
        train(small(epochs=1, **nothing), scene, seed=0)


@pytest.mark.parametrize("exit", ["device", "local", "edge"])
def test_the_best_epoch_is_chosen_by_the_last_exit_that_learns(tmp_path: Path, scene: Dataset, exit: str) -> None:
    weights = dict.fromkeys(("device_weight", "local_weight", "edge_weight", "cloud_weight"), 0.0)
    run = Run(tmp_path / "run")
    train(small(epochs=1, **{**weights, f"{exit}_weight": 1.0}), scene, seed=0, run=run)
    (found,) = run.load().state["metrics"]
    if exit == "device":
        assert found["score"] == pytest.approx(sum(found["device"]) / len(found["device"]))
    else:  # half of the score is with all devices, the rest with one lost
        assert 0 <= 2 * found["score"] - found[exit] <= 1
        assert found["score"] != pytest.approx((found["cloud"] + sum(found["cloud_one_lost"]) / scene.devices) / 2)


class Records(Silent):
    """Keeps what each epoch told."""

    def __init__(self) -> None:
        self.told: list[Mapping[str, Any]] = []

    def epoch(self, record: Mapping[str, Any]) -> None:
        self.told.append(record)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_lost_devices_choose_the_epoch_only_of_a_network_that_learns_to_lose_them(
    dropout: float, scene: Dataset
) -> None:
    records = Records()
    train(small(epochs=2, device_dropout=dropout), scene, seed=0, watcher=records)
    for told in records.told:
        lost = np.mean(told["cloud_one_lost"])
        assert lost != told["cloud"]
        assert told["score"] == pytest.approx((told["cloud"] + lost) / 2 if dropout else told["cloud"])
