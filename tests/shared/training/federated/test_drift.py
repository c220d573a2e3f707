"""What keeps sites from drifting apart: SCAFFOLD's corrections, and batch norms that stay as they are."""

import pytest
import torch

from ddnn.training.distributed.arithmetic import mean
from ddnn.training.distributed.cost import averaged
from ddnn.training.distributed.vector import Vector
from ddnn.training.federated import Federated
from ddnn.training.federated.drift import Drift
from ddnn.training.federated.wire import HEAD_BYTES, Parcel
from ddnn_lab.benchmarks.sites import report
from federated_sites import federated
from joined_workers import STEADY, config

TARGETS = 0.6, -0.4, 1.0, -0.2
CURVES = 1.0, 0.2, 2.0, 0.5


def rounds(method: str, count: int) -> float:
    """w after so many rounds of five steps of rate .1 at four sites with aₖ (w − cₖ)²/2 of unlike curvature aₖ."""
    weights = [torch.zeros(1) for _ in TARGETS]
    sites = [Drift(Federated(method=method)) for _ in TARGETS]  # type: ignore[arg-type]
    for site, weight in zip(sites, weights, strict=True):
        site.of(Vector([weight]))
    sent, others = torch.zeros(1), torch.zeros(sites[0].count)
    for round in range(count):
        told = []
        for site, weight, target, curve in zip(sites, weights, TARGETS, CURVES, strict=True):
            weight.copy_(sent)
            site.begin_round(round, others)
            for _ in range(5):
                weight.grad = curve * (weight - target)
                site.gradients()
                weight.sub_(0.1 * weight.grad)
            told.append(site.end_round())
        sent, others = mean([weight.clone() for weight in weights]), mean(told)
    return float(sent)


def test_scaffold_comes_to_the_optimum_of_all_where_averages_do_not() -> None:
    best = sum(a * c for a, c in zip(CURVES, TARGETS, strict=True)) / sum(CURVES)
    assert rounds("scaffold", 60) == pytest.approx(best, abs=1e-4)
    assert abs(rounds("fedavg", 60) - best) > 0.02
    assert rounds("scaffold", 1) == pytest.approx(rounds("fedavg", 1), abs=1e-9)  # nothing is known yet


def test_a_site_that_was_away_corrects_nothing() -> None:
    site, weight = Drift(Federated(method="scaffold")), torch.zeros(1)
    site.of(Vector([weight]))
    for round, corrected in ((0, False), (1, True), (3, False)):
        site.begin_round(round, torch.full((1,), 0.5))
        weight.grad = torch.ones(1)
        site.gradients()
        assert weight.grad.item() == (0.5 if corrected else 1.0)
        assert site.end_round().item() == 1.0


def test_scaffold_sends_a_gradient_of_each_weight_besides_in_the_open_or_not() -> None:
    wanted = config({}, **STEADY)
    for secret in (False, True):
        trainer, heard, federation = federated(Federated(rounds=2, method="scaffold", secret=secret), wanted)
        count = heard.sites["site-0"].count
        assert count == federation._vector.count + len(federation._drifts) > federation._vector.count
        predicted, told = averaged(2, count, secret=secret).times(2), trainer.metrics[-1]["exchanged"]
        assert (told["sent"], told["received"]) == (predicted.sent, predicted.received)
        assert federation._drifts.any()


def test_norms_gather_until_they_are_to_stay_as_they_are() -> None:
    trainer, heard, federation = federated(Federated(rounds=4, steady=0.5), config({}, norms="learn"))
    size = federation._vector.count
    sent = [Parcel.unpacked(body, size) for body in heard.bodies if len(body) == HEAD_BYTES + 4 * size]
    learning = federation._mover._learning.count
    moments = federation._moments.count
    kept = {each.round: each.vector[learning : size - moments] for each in sent[::4]}
    assert not torch.equal(kept[0], kept[1])
    assert not torch.equal(kept[1], kept[2])
    assert torch.allclose(kept[2], kept[3], atol=1e-6)
    assert len(trainer.metrics) == 4


def test_the_benchmark_tells_how_far_sites_are_from_one_process() -> None:
    exits = {"device": 0.5, "local": 0.8, "edge": 0.9}
    own = {"seconds": 1.0, **exits}
    rows = [{"seed": seed, "way": "one process, all events", "counted": 0, "predicted": 0, "cloud": 0.95, **own}
            for seed in (0, 1)]  # fmt: skip
    rows += [{"seed": seed, "way": "fedavg, iid", "counted": 9, "predicted": 9, "cloud": cloud, **own}
             for seed, cloud in ((0, 0.94), (1, 0.96))]  # fmt: skip
    assert "+0.0 (-1.0, +1.0)" in report(rows)
