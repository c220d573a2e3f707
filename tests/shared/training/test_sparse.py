"""Dense layers of which some weights do not exist: drawn by chance, kept at zero, and fewer late."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ddnn.data import Dataset
from ddnn.export import sample_data
from ddnn.training import Config, Run, Trainer
from ddnn.training.sparse import exists

NETWORK = {"device": {"widths": [40], "cut_width": 16}, "edge": {"widths": [40], "cut_width": 16}}


def config(**training: float) -> Config:
    return Config.of({"network": NETWORK, "training": {"epochs": 4, "batch": 16, **training}})


def events() -> Dataset:
    data = sample_data([(30,)] * 2, events=120)
    split = np.where(np.arange(120) < 80, "train", "validation")
    return replace(data, split=split.astype("<U10"))


def dense(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of a state, the weights of dense layers."""
    return {name: tensor for name, tensor in state.items() if name.endswith(".weight") and tensor.dim() == 2}


def missing(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight == 0 for name, weight in dense(state).items()}


def test_weights_exist_with_the_chance_of_an_erdos_renyi_graph() -> None:
    assert exists(0.0, 40, 30) == 1
    assert exists(10.0, 40, 30) == pytest.approx(10 * 70 / 1200)
    assert exists(1e6, 40, 30) == 1
    trainer = Trainer(config(sparse=8.0), events(), seed=3)
    there = {name: 1 - float(each.float().mean()) for name, each in missing(trainer.state()).items()}
    for name, weight in dense(trainer.state()).items():
        assert there[name] == pytest.approx(exists(8.0, *weight.shape), abs=0.1), name
    assert any(share < 0.7 for share in there.values())


def test_what_does_not_exist_stays_at_zero_in_what_learns_and_in_what_is_kept_and_all_else_learns() -> None:
    trainer = Trainer(config(sparse=8.0), events(), seed=3)
    before, first = missing(trainer.state()), dense(trainer.state())
    while not trainer.over:
        trainer.epoch()
    for state in (trainer.state(), trainer.state(averaged=True), dict(trainer.best().state_dict())):
        for name, gone in missing(state).items():
            assert torch.equal(gone, before[name]), name
    moved = [float((trainer.state()[name] - weight).abs().max()) for name, weight in first.items()]
    assert min(moved) > 0


def test_the_nearest_to_zero_are_removed_after_three_quarters_of_the_epochs() -> None:
    trainer = Trainer(config(sparse=8.0, remove=0.25), events(), seed=3)
    shares = []
    while not trainer.over:
        before = dense(trainer.state())
        trainer.epoch()
        after = missing(trainer.state())
        shares.append({name: float((gone & (before[name] != 0)).sum()) for name, gone in after.items()})
    existed = {name: float((weight != 0).sum()) for name, weight in before.items()}
    assert all(value == 0 for share in shares[:3] for value in share.values())
    for name, value in shares[3].items():
        assert value == int(0.25 * existed[name]), name
    assert sum(float(each.sum()) for each in missing(trainer.state(averaged=True)).values()) == sum(
        float(each.sum()) for each in missing(trainer.state()).values()
    )


def test_a_sparse_training_is_resumed_bit_for_bit(tmp_path: Path) -> None:
    wanted, data = config(sparse=8.0, remove=0.25), events()
    whole = Trainer(wanted, data, seed=3, run=Run(tmp_path / "whole"))
    half = Trainer(wanted, data, seed=3, run=Run(tmp_path / "half"))
    half.epoch()
    again = Trainer(wanted, data, seed=3, run=Run(tmp_path / "half"), resume=True)
    for trainer in (whole, again):
        while not trainer.over:
            trainer.epoch()
    assert all(torch.equal(tensor, again.state()[name]) for name, tensor in whole.state().items())


def test_with_all_weights_nothing_is_different() -> None:
    plain, all_there = (Trainer(config(**keys), events(), seed=3) for keys in ({}, {"sparse": 1e6}))
    for trainer in (plain, all_there):
        trainer.epoch()
    assert all(torch.equal(tensor, all_there.state()[name]) for name, tensor in plain.state().items())
