"""A server of the weights and two workers over gloo."""

from dataclasses import dataclass

import pytest
import torch

from ddnn.training import Trainer
from ddnn.training.distributed import joined
from ddnn.training.distributed.cost import Model, served
from ddnn.training.distributed.vector import Vector
from ddnn.training.distributed.workers import learning, statistics
from joined_workers import STEPS, alone, furthest
from served_workers import CONFIGS, LAST, ONE, command, go_through, last

pytestmark = pytest.mark.slow

EPOCHS = 2


@dataclass
class Went:
    """What the server, which is this process, has been through."""

    trainers: dict[str, Trainer]
    survived: Trainer


@pytest.fixture(scope="module")
def went() -> Went:
    with joined(CONFIGS["soft"], command()) as (group, _):
        return Went(go_through(group), last(group))


def test_soft_synchronisation_of_all_workers_is_one_process_with_the_double_batch(went: Went) -> None:
    assert furthest(alone(CONFIGS["soft"]), went.trainers["soft"].state()) < 1e-6
    assert went.trainers["soft"].metrics[-1]["staleness"]["by"] == {"0": 2 * STEPS}


def test_downpour_with_one_worker_and_periods_of_one_is_sgd(went: Went) -> None:
    assert furthest(alone(ONE), went.trainers["one"].state()) < 1e-6


def test_staleness_of_naive_asynchrony_is_about_the_number_of_the_others(went: Went) -> None:
    for record in went.trainers["hasty"].metrics:
        told = record["staleness"]
        assert told["updates"] == sum(told["by"].values()) == 2 * STEPS
        assert 0 < told["mean"] <= 2


def test_a_bound_of_staleness_is_never_passed_and_what_was_refused_is_told(went: Went) -> None:
    for record in went.trainers["bounded"].metrics:
        told = record["staleness"]
        assert told["most"] <= 1
        assert told["updates"] + told["refused"] == 2 * STEPS / 2


def test_a_consensus_learns_and_its_residuals_are_told(went: Went) -> None:
    first, second = went.trainers["agreeing"].metrics
    assert second["loss"] < first["loss"]
    assert 0 < second["residuals"]["primal"] < 10
    assert 0 < second["residuals"]["dual"] < 10


@pytest.mark.parametrize("name", ["soft", "hasty", "agreeing", "one"])
def test_what_is_predicted_is_what_the_server_counts(went: Went, name: str) -> None:
    trainer, wanted = went.trainers[name], (CONFIGS | {"one": ONE})[name]
    model = Model(Vector(learning(trainer)).count, Vector(statistics(trainer)).count)
    predicted = served(wanted.workers, model, STEPS).times(EPOCHS).document()
    before = {"messages": 0, "sent": 0, "received": 0}
    if name not in ("soft", "one"):  # the group's counts go on from training to training
        earlier = list(CONFIGS)[list(CONFIGS).index(name) - 1]
        before = went.trainers[earlier].metrics[-1]["exchanged"]
    after = trainer.metrics[-1]["exchanged"]
    assert {key: after[key] - before[key] for key in predicted} == predicted


def test_a_compressed_push_is_smaller(went: Went) -> None:
    after, before = (went.trainers[name].metrics[-1]["exchanged"]["received"] for name in ("bounded", "hasty"))
    trainer = went.trainers["bounded"]
    pushes = EPOCHS * 2 * STEPS // 2
    assert after - before < pushes * 4 * Vector(learning(trainer)).count


def test_a_worker_that_dies_is_survived_and_told(went: Went) -> None:
    records = went.survived.metrics
    assert [record["lost"] for record in records] == [[], [1], [1]]
    assert went.survived.speed["events_per_s"] > 0
    assert all(torch.isfinite(tensor).all() for tensor in went.survived.state().values() if tensor.is_floating_point())
    assert len(records) == LAST.training.epochs
