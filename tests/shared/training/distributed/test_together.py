"""Two processes over gloo: what they learn together is what one learns from the batches of both."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from ddnn.bundle import Bundle
from ddnn.cli.app import main
from ddnn.errors import BadConfig, BadInput, WorkerLost
from ddnn.training import Loader, Trainer
from ddnn.training.distributed import Group, exchange_of, joined
from ddnn.training.distributed.analysis import model_of
from ddnn.training.distributed.cost import Exchanged, exchanged
from ddnn.training.distributed.replica import Replica
from ddnn.training.distributed.vector import Vector
from ddnn.training.distributed.workers import learning, statistics
from ddnn.training.loss import validate
from joined_workers import (
    BATCH,
    CONFIGS,
    REPLICAS,
    STEPS,
    alone,
    be_replicas,
    command,
    config,
    events,
    furthest,
    go_through,
    learnt,
)

pytestmark = pytest.mark.slow

EPOCHS = 2


@dataclass
class Went:
    """What this process, the first of two, has been through."""

    trainers: dict[str, Trainer]
    replicas: dict[str, Trainer]
    end: str
    """What it said when the other one died."""


@pytest.fixture(scope="module")
def went(tmp_path_factory: pytest.TempPathFactory) -> Went:
    folder, of_replicas = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("replicas")
    with joined(CONFIGS["sync"], command(folder, of_replicas)) as (group, _):
        trainers = go_through(group, folder)
        replicas = be_replicas(group, of_replicas)
        with pytest.raises(WorkerLost) as end:
            learnt(CONFIGS["sync"], exchange_of(group, CONFIGS["sync"].workers))
        return Went(trainers, replicas, str(end.value))


@pytest.mark.parametrize("mode", ["sync", "average"])
def test_two_workers_with_plain_sgd_are_one_process_with_the_double_batch(went: Went, mode: str) -> None:
    one = alone(CONFIGS[mode])
    assert furthest(one, went.trainers[mode].state()) < 1e-6
    start = Trainer(CONFIGS[mode], went.trainers[mode]._data, seed=5).state()
    assert furthest(one, start) > 1e-2


def test_bytes_handed_to_the_transport_are_those_of_the_vectors(went: Went) -> None:
    def exchanged(name: str) -> tuple[int, int]:
        record = went.trainers[name].metrics[-1]["exchanged"]
        assert record["sent"] == record["received"]
        return record["messages"], record["sent"]

    counts = {name: Vector(learning(trainer)).count for name, trainer in went.trainers.items()}
    # The group is one for the three trainings: its counts go on.
    steps = EPOCHS * STEPS
    sync = 4 * counts["sync"] * steps
    assert exchanged("sync") == (steps, sync)
    assert exchanged("average") == (2 * steps, 2 * sync)
    rounds = EPOCHS * 3  # after 4, 8 and the last of 10 steps
    seldom = 4 * rounds * (3 * counts["seldom"] + Vector(statistics(went.trainers["seldom"])).count)
    assert exchanged("seldom") == (2 * steps + rounds, 2 * sync + seldom)


def test_a_resumed_average_goes_on_as_if_it_had_never_stopped(went: Went) -> None:
    assert furthest(went.trainers["resumed"].state(), went.trainers["whole"].state()) == 0


@pytest.mark.parametrize("name", ["burning in", "of no weight", "same events"])
def test_a_replica_that_does_not_listen_is_bit_for_bit_a_training_of_its_own(went: Went, name: str) -> None:
    data, wanted = events(), REPLICAS[name]
    own = None
    if wanted.workers.events == "apart":
        own = Loader(data, np.flatnonzero(data.split == "train")[::2], batch=BATCH)
    plain = Trainer(wanted, data, seed=5, batches=own)
    while not plain.over:
        plain.epoch()
    assert furthest(plain.state(), went.replicas[name].state()) == 0
    assert furthest(plain.state(averaged=True), went.replicas[name].state(averaged=True)) == 0
    assert furthest(plain.state(), went.replicas["taught"].state()) > 1e-4


def test_a_replica_listens_to_others_that_learn_nothing_of_it(went: Went) -> None:
    exchange = went.replicas["taught"]._exchange
    assert isinstance(exchange, Replica)
    (other,) = exchange.others
    assert all(not weight.requires_grad and weight.grad is None for weight in other.parameters())
    assert furthest(other.state_dict(), went.replicas["taught"].state()) > 1e-2  # it began elsewhere


def test_what_replicas_send_is_what_was_told_before(went: Went) -> None:
    before, after = (went.replicas[name].metrics[-1]["exchanged"] for name in ("same events", "taught"))
    counted = Exchanged(*(after[key] - before[key] for key in ("messages", "sent", "received")))
    model, steps = model_of(went.replicas["taught"].network), len(went.replicas["taught"].batches)
    assert counted == exchanged(REPLICAS["taught"].workers, model, steps)  # one epoch of the two is past the burn-in
    assert counted == Exchanged(2 * 3, 3 * 4 * model.values, 3 * 4 * model.values)  # before steps 0, 2 and 4 of 5
    assert went.replicas["burning in"].metrics[-1]["exchanged"]["sent"] == before["sent"]


def test_resumed_replicas_go_on_as_if_they_had_never_stopped(went: Went) -> None:
    assert furthest(went.replicas["resumed"].state(), went.replicas["taught"].state()) == 0
    assert went.replicas["resumed"].metrics[-1]["replicas"] == went.replicas["taught"].metrics[-1]["replicas"]


def test_the_replica_that_validates_best_is_kept(went: Went) -> None:
    slow = went.replicas["slow"]
    assert slow._exchange is not None
    told = slow._exchange.document()
    assert (told["kept"], told["scores"][0]) == (1, max(record["score"] for record in slow.metrics))
    assert slow.validate()["score"] < told["scores"][1]
    slow.network.to(slow.place)
    judged = validate(slow.network, slow._validation)
    assert judged["score"] == pytest.approx(told["scores"][1])


@pytest.mark.parametrize(
    ("keys", "training", "sentence"),
    [
        ({"count": 1}, {}, "workers.count is 1 to codistill; expected two replicas or more"),
        ({"burn_in": 2}, {}, "workers.burn_in is 2 of 2 epochs, after which nothing is learnt; expected fewer"),
        ({}, {"patience": 3}, "training.patience is 3; expected 0"),
    ],
)
def test_what_replicas_cannot_have_is_refused(keys: dict[str, int], training: dict[str, int], sentence: str) -> None:
    with pytest.raises(BadConfig, match=sentence), joined(config({"mode": "codistill"} | keys, **training), []):
        raise AssertionError("they met")


def test_a_worker_that_dies_is_named(went: Went) -> None:
    assert went.end == "worker 1 of 2 ended or fell silent, and the others cannot go on"


def test_a_command_trains_a_bundle_with_two_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "tiny.toml"
    config.write_text("[network.device]\nfilters = [4]\n[network.edge]\nwidths = [8]\n[network.cloud]\nwidths = [8]\n")
    wishes = ["--config", str(config), "--epochs", "1", "--workers", "2", "--mode", "average", "--no-yardstick"]
    monkeypatch.setattr(sys, "argv", ["ddnn", "train", "synthetic", "--out", str(tmp_path / "b"), *wishes])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    bundle = Bundle.open(tmp_path / "b")
    bundle.verify()
    told = bundle.manifest.training.data["workers"]
    assert (told["mode"], told["workers"]) == ("average", 2)
    assert told["exchanged"]["sent"] > 0
    assert bundle.manifest.training.config["workers"]["count"] == 2


@pytest.mark.long
def test_a_command_keeps_the_better_of_two_replicas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "tiny.toml"
    config.write_text("[network.device]\nfilters = [4]\n[network.edge]\nwidths = [8]\n[network.cloud]\nwidths = [8]\n")
    wishes = ["--config", str(config), "--epochs", "2", "--codistill", "2", "--every", "3", "--no-yardstick"]
    monkeypatch.setattr(sys, "argv", ["ddnn", "train", "synthetic", "--out", str(tmp_path / "b"), *wishes])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    bundle = Bundle.open(tmp_path / "b")
    bundle.verify()
    told = bundle.manifest.training.data["workers"]
    assert (told["mode"], told["workers"]) == ("codistill", 2)
    assert told["scores"][told["kept"]] == max(told["scores"])
    assert f"replica {told['kept']} is kept, the best by validation" in capsys.readouterr().err


def test_workers_that_end_before_they_meet_are_named() -> None:
    with (
        pytest.raises(WorkerLost, match="worker 1 ended with exit code 3 before all had met"),
        joined(config({}), ["sh", "-c", "exit 3"]),
    ):
        raise AssertionError("they met")


def test_a_part_of_a_batch_has_two_events_at_least() -> None:
    with (
        pytest.raises(BadConfig, match="batch is 16 for 9 workers; expected at least 18, two each"),
        joined(config({"count": 9}), []),
    ):
        raise AssertionError("they met")


def test_half_of_what_torchrun_sets_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    with (
        pytest.raises(BadInput, match="RANK set, but not WORLD_SIZE, MASTER_ADDR, MASTER_PORT"),
        joined(config({}), []),
    ):
        raise AssertionError("they met")


def test_a_group_of_another_size_than_the_workers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BadInput, match="WORLD_SIZE is 3 with 2 workers; expected 2"), joined(config({}), []):
        raise AssertionError("they met")


def test_what_the_first_says_is_heard_and_a_sum_is_of_all() -> None:
    from torch._C._distributed_c10d import HashStore

    group = Group(HashStore(), 0, 1, 5.0)
    assert group.tell(b"start") == b"start"
    vector = torch.tensor([1.0, 2.0])
    group.sum(vector)
    assert (vector.tolist(), group.traffic.sent, group.traffic.control) == ([1.0, 2.0], 8, 13)
    group.close()
    with pytest.raises(WorkerLost, match="this process has left"):
        group.sum(vector)
