"""Two processes over gloo: what they learn together is what one learns from the batches of both."""

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from ddnn.bundle import Bundle
from ddnn.cli.app import main
from ddnn.errors import BadConfig, BadInput, WorkerLost
from ddnn.training import Trainer
from ddnn.training.distributed import Group, exchange_of, joined
from ddnn.training.distributed.vector import Vector
from ddnn.training.distributed.workers import learning, statistics
from joined_workers import CONFIGS, STEPS, alone, command, config, furthest, go_through, learnt

pytestmark = pytest.mark.slow

EPOCHS = 2


@dataclass
class Went:
    """What this process, the first of two, has been through."""

    trainers: dict[str, Trainer]
    end: str
    """What it said when the other one died."""


@pytest.fixture(scope="module")
def went(tmp_path_factory: pytest.TempPathFactory) -> Went:
    folder = tmp_path_factory.mktemp("run")
    with joined(CONFIGS["sync"], command(folder)) as (group, _):
        trainers = go_through(group, folder)
        with pytest.raises(WorkerLost) as end:
            learnt(CONFIGS["sync"], exchange_of(group, CONFIGS["sync"].workers))
        return Went(trainers, str(end.value))


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
