"""Split training: what one process would learn, no view on the way, bytes as predicted, devices that are lost."""

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ddnn.bundle import Bundle
from ddnn.cli.app import main
from ddnn.data import Dataset
from ddnn.errors import BadConfig, BadData, BadInput, WorkerLost
from ddnn.export import sample_data
from ddnn.topology import View
from ddnn.training import Config, Run, Trainer
from ddnn.training.federated.served import server_data
from ddnn.training.split import Device, Simulated, Split, refuse_unsplit
from ddnn.training.split.device import alone_of, cut_of
from ddnn.training.split.wire import LEARN, Answer, Cut, Order
from joined_workers import BATCH, NETWORK, STEADY, STEPS, config, furthest

EVENTS = BATCH * STEPS


def events(shapes: tuple[tuple[int, ...], ...] = ((5,), (5,))) -> Dataset:
    """Ten batches of training events, the second device missing some, and events to validate and test on."""
    data = sample_data(list(shapes), events=EVENTS + 60)
    at = np.arange(len(data))
    split = np.where(at < EVENTS, "train", np.where(at < EVENTS + 40, "validation", "test"))
    present = np.ones((len(data), len(shapes)), np.bool_)
    present[:EVENTS:7, -1] = False
    return replace(data, split=split.astype("<U10"), present=present)


def devices_of(data: Dataset, wanted: Config) -> list[Device]:
    shapes = [View.of(view) for view in data.views]
    own: dict[str, Any] = {"shapes": shapes, "classes": len(data.classes), "seed": 5}
    return [Device(wanted, index, *alone_of(data, index), **own) for index in range(data.devices)]


class Heard(Simulated):
    """A simulation that keeps what travels, and loses a device at one of its turns, once."""

    def __init__(self, devices: list[Device], *, lose: int | None = None, at: int = 0, back: bool = True) -> None:
        super().__init__(devices)
        self.up, self.down = list[bytes](), list[bytes]()
        self._lose, self._at, self._back, self._turns, self._times = lose, at, back, 0, 0
        self._gone = False

    def there(self) -> Mapping[int, int]:
        if self._gone and self._back:
            self._gone, self._times = False, 1
        there = dict(super().there())
        if self._lose is not None:
            there[self._lose] = self._times
            if self._gone:
                del there[self._lose]
        return there

    def ask(self, orders: Mapping[int, bytes]) -> Mapping[int, bytes]:
        self._turns += 1
        if self._lose is not None and self._turns >= self._at and not self._times:
            self._gone = True
        orders = {index: body for index, body in orders.items() if not (self._gone and index == self._lose)}
        answers = super().ask(orders)
        self.down += orders.values()
        self.up += answers.values()
        return answers


def learnt(data: Dataset, wanted: Config, heard: Heard, run: Run | None = None, *, resume: bool = False) -> Trainer:
    trainer = Trainer(wanted, server_data(data), seed=5, exchange=Split(heard, data), run=run, resume=resume)
    while not trainer.over:
        trainer.epoch()
    return trainer


@pytest.mark.parametrize("codec", ["bits1", "bits4", "float32"])
@pytest.mark.parametrize("norms", ["keep", "learn"])
def test_split_learns_what_one_process_does(codec: str, norms: str) -> None:
    wanted = config({}, norms=norms, **STEADY)
    device = {"widths": [4], "cut_width": 8, "cut_codec": codec}
    wanted = Config.of({**wanted.model_dump(mode="json"), "network": {**NETWORK, "device": device}})
    data = events()
    split = learnt(data, wanted, Heard(devices_of(data, wanted)))
    alone = Trainer(wanted, data, seed=5)
    while not alone.over:
        alone.epoch()
    assert furthest(split.state(), alone.state()) < 1e-5
    assert furthest(alone.state(), Trainer(wanted, data, seed=5).state()) > 1e-3  # it has learnt something


def test_what_travels_is_rows_gradients_scores_and_features_and_bytes_are_those_predicted() -> None:
    wanted, data = config({}), events()
    devices = devices_of(data, wanted)
    heard = Heard(devices)
    trainer = learnt(data, wanted, heard)
    cut = cut_of(trainer.network, 0)
    predicted = cut.exchanged(STEPS, EVENTS).times(2 * wanted.training.epochs)
    told = trainer.metrics[-1]["exchanged"]
    assert (told["received"], told["sent"], told["messages"]) == (
        predicted.sent,
        predicted.received,
        predicted.messages,
    )
    assert told["control"] + told["received"] == sum(map(len, heard.up))
    assert told["sent"] == sum(map(len, heard.down))
    for view in data.views:
        for row in view[:EVENTS]:
            assert not any(row.tobytes() in body for body in heard.up)


def test_a_device_has_no_labels_and_the_server_looks_at_no_training_view() -> None:
    wanted, data = config({}), events()
    blank = tuple(np.where((data.split == "train")[:, None], np.nan, view).astype(np.float32) for view in data.views)
    unlabelled = replace(data, y=np.zeros_like(data.y), y_dev=np.zeros_like(data.y_dev))
    apart = learnt(replace(data, views=blank), wanted, Heard(devices_of(unlabelled, wanted)))
    assert furthest(apart.state(), learnt(data, wanted, Heard(devices_of(data, wanted))).state()) == 0


def test_a_device_lost_in_a_step_is_left_out_of_it_and_comes_back_with_the_weights_that_the_server_has() -> None:
    wanted, data = config({}, epochs=3), events()
    devices = devices_of(data, wanted)
    trainer = learnt(data, wanted, Heard(devices, lose=1, at=STEPS + 5))
    lost = [record["lost"] for record in trainer.metrics]
    assert lost == [[], [1], []]
    assert all(torch.isfinite(tensor).all() for tensor in trainer.state().values())
    own = devices[1]._section.state_dict()
    assert furthest(own, trainer.network.devices[1].state_dict()) == 0


def test_a_device_that_never_comes_back_is_named_and_without_any_training_ends() -> None:
    wanted, data = config({}, epochs=2), events()
    trainer = learnt(data, wanted, Heard(devices_of(data, wanted), lose=0, at=3, back=False))
    assert [record["lost"] for record in trainer.metrics] == [[0], [0]]
    alone = events(((5,),))
    with pytest.raises(WorkerLost, match="no device is there any more"):
        learnt(alone, wanted, Heard(devices_of(alone, wanted), lose=0, at=3, back=False))


@pytest.mark.parametrize("answer", [b"", b"garbage", Answer(LEARN, 1, b"too few").packed()])
def test_a_device_that_answers_what_is_none_is_lost_and_the_others_go_on(answer: bytes) -> None:
    wanted, data = config({}, epochs=2), events()

    class Lying(Heard):
        def ask(self, orders: Mapping[int, bytes]) -> Mapping[int, bytes]:
            return {index: answer if index == 1 else body for index, body in super().ask(orders).items()}

    trainer = learnt(data, wanted, Lying(devices_of(data, wanted)))
    assert [record["lost"] for record in trainer.metrics] == [[1], [1]]
    assert all(torch.isfinite(tensor).all() for tensor in trainer.state().values())


def test_devices_of_unequal_views_learn_split() -> None:
    wanted, data = config({}), events(((5,), (3,)))
    trainer = learnt(data, wanted, Heard(devices_of(data, wanted)))
    assert trainer.metrics[-1]["cloud"] > 0


def test_it_is_resumed_after_the_last_whole_epoch(tmp_path: Path) -> None:
    wanted, data = config({}, **STEADY), events()
    learnt(data, wanted.changed(epochs=1), Heard(devices_of(data, wanted)), Run(tmp_path / "run"))
    again = learnt(data, wanted, Heard(devices_of(data, wanted)), Run(tmp_path / "run"), resume=True)
    whole = learnt(data, wanted, Heard(devices_of(data, wanted)))
    assert furthest(again.state(), whole.state()) < 1e-6


@pytest.mark.parametrize(
    ("network", "says"),
    [
        ({"shared_weights": True}, "a section of each device's own"),
        ({"device_section": False}, "views stay at their devices"),
    ],
)
def test_networks_that_cannot_be_split_are_refused(network: dict[str, Any], says: str) -> None:
    with pytest.raises(BadConfig, match=says):
        refuse_unsplit(Config.of({"network": network}))


def test_what_is_no_order_and_no_answer_is_refused() -> None:
    cut = Cut(3, (8,), "bits1")
    order = Order(LEARN, 7, 0.5, torch.arange(22.0), torch.tensor([3, 1])).packed()
    read = Order.unpacked(order)
    assert read.rows is not None
    assert (read.turn, read.rate, read.rows.tolist()) == (7, 0.5, [3, 1])
    for body in (b"", order[:-1], order + b"x", b"X" + order[1:], order[:4] + b"\x09" + order[5:]):
        with pytest.raises(BadInput, match="order"):
            Order.unpacked(body)
    for body in (b"", Answer(LEARN, 1, b"abc").packed()[:-1]):
        with pytest.raises(BadInput, match="answer"):
            Answer.unpacked(body)
    scores, features = torch.randn(2, 3), torch.tensor([1.0, -1.0] * 8).reshape(2, 8)
    up = cut.packed(scores, features)
    assert len(up) == 2 * cut.up == 2 * (12 + 1)
    assert all(torch.equal(one, other) for one, other in zip(cut.unpacked(up, 2), (scores, features), strict=True))
    with pytest.raises(BadInput, match="no numbers"):
        cut.unpacked(b"\xff" * len(up), 2)
    with pytest.raises(BadInput, match="expected 13"):
        cut.unpacked(up, 1)


def test_a_device_refuses_rows_and_gradients_that_are_not_its_own() -> None:
    wanted, data = config({}), events()
    device = devices_of(data, wanted)[0]
    with pytest.raises(BadInput, match=f"this device has {EVENTS}"):
        device.obey(Order(LEARN, 1, 0.1, None, torch.tensor([EVENTS])).packed())
    with pytest.raises(BadInput, match="gradients came for 0 events"):
        device.obey(Order(LEARN, 1, 0.1, torch.zeros(11), torch.tensor([0])).packed())
    with pytest.raises(BadData, match="expected some of"):
        Device(
            wanted, 0, np.zeros((4, 6), np.float32), np.ones(4, np.bool_), shapes=[View.of(data.views[0])], classes=3,
            seed=0,
        )  # fmt: skip


def test_the_command_makes_a_bundle_that_can_be_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.toml").write_text("[network.device]\nfilters = [4]\n[network.edge]\nwidths = [8]\n")
    words = ["split", "simulate", "synthetic", "--config", f"{tmp_path / 'tiny.toml'}", "--epochs", "1", "--json"]
    monkeypatch.setattr(sys, "argv", ["ddnn", *words, "--out", str(tmp_path / "b")])
    with pytest.raises(SystemExit, match="0"):
        main()
    told = json.loads(capsys.readouterr().out)
    assert told["workers"]["mode"] == "split"
    assert Bundle.open(tmp_path / "b").manifest.training.data["workers"]["exchanged"]["received"] > 0
