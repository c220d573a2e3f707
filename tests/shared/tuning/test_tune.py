"""Thresholds and temperatures from a validation split."""

import json
import math
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest

import made_scores
from ddnn.errors import BadData, BadInput, Infeasible
from ddnn.evaluation import Scores
from ddnn.evaluation.temperature import fit_temperature
from ddnn.policy import Policy, Thresholds
from ddnn.topology import Topology
from ddnn.tuning import CostModel, Objective, Sample, choose, points, tune
from ddnn.tuning.cost import Links
from ddnn.tuning.objective import parse_shares
from ddnn.types import Exit

POLICY = Policy(bundle="b", version=7)


make_scores = partial(made_scores.make_scores, bits=(640, 960))


def figures(scores: Scores, policy: Policy, cost: CostModel | None = None) -> dict[str, Any]:
    sample = Sample(scores, cost)
    return sample.figures(sample.outcome(policy))


@pytest.fixture(autouse=True)
def few_plays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points, "PLAYS", 150)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("drop", [0.0, 0.005, 0.05])
@pytest.mark.parametrize(("devices", "edges", "section"), [(2, 1, True), (2, 1, False), (1, 1, True), (4, 2, True)])
def test_accuracy_on_validation_stays_within_the_margin(
    seed: int, drop: float, devices: int, edges: int, section: bool
) -> None:
    scores = make_scores(120, devices=devices, edges=edges, section=section, seed=seed)
    tuned = tune(scores, POLICY, max_accuracy_drop=drop)
    told = figures(scores, tuned)
    assert told["accuracy"] >= told["cloud_accuracy"] - drop - 1e-12
    assert tuned.tuned is not None
    assert tuned.tuned["validation"] == told
    assert tuned.tuned["criterion"] == tuned.criterion
    assert told["exit_share"]["cloud"] < 1


@pytest.mark.parametrize(("devices", "section"), [(2, True), (2, False), (1, True)])
def test_no_threshold_on_a_fine_grid_costs_less(devices: int, section: bool) -> None:
    scores = make_scores(60, devices=devices, section=section, seed=3)
    tuned = tune(scores, POLICY, max_accuracy_drop=0.02)
    told = figures(scores, tuned)
    least = math.inf
    for first, edge in product(np.linspace(0, 1, 21), repeat=2):
        thresholds = (
            Thresholds(device=first, local=0, edge=edge) if devices == 1 else Thresholds(local=first, edge=edge)
        )
        other = figures(scores, tuned.model_copy(update={"thresholds": thresholds}))
        if other["accuracy"] >= other["cloud_accuracy"] - 0.02 - 1e-12:
            least = min(least, other["cost"]["mean"])
    assert told["cost"]["mean"] <= least + 1e-9


@pytest.mark.parametrize("edges", [1, 2])
def test_a_larger_margin_never_costs_more(edges: int) -> None:
    scores = make_scores(200, devices=4, edges=edges)
    told = [figures(scores, tune(scores, POLICY, max_accuracy_drop=drop)) for drop in (0.0, 0.01, 0.05, 0.5)]
    means = [each["cost"]["mean"] for each in told]
    assert means == sorted(means, reverse=True)
    assert told[-1]["exit_share"]["cloud"] == 0


@pytest.mark.parametrize("edges", [1, 2])
def test_within_a_budget_the_best_accuracy_is_chosen(edges: int) -> None:
    scores = make_scores(150, devices=4, edges=edges, seed=4)
    told = [
        figures(scores, choose(Sample(scores), POLICY, Objective(None, max_cost=cost)).policy)
        for cost in (100, 300, 500, 900)
    ]
    assert all(each["cost"]["mean"] <= cost for each, cost in zip(told, (100, 300, 500, 900), strict=True))
    accuracies = [each["accuracy"] for each in told]
    assert accuracies == sorted(accuracies)
    assert accuracies[0] < accuracies[-1]
    both = Objective(0.01, max_cost=900, max_share={Exit.CLOUD: 0.9})
    assert figures(scores, choose(Sample(scores), POLICY, both).policy)["accuracy"] == accuracies[-1]


@pytest.mark.parametrize("edges", [1, 2])
@pytest.mark.parametrize(("exit", "share"), [(Exit.CLOUD, 0.1), (Exit.LOCAL, 0.2), (Exit.EDGE, 0.05)])
def test_no_exit_answers_more_than_its_cap(edges: int, exit: Exit, share: float) -> None:
    scores = make_scores(150, devices=4, edges=edges, seed=5)
    told = figures(scores, choose(Sample(scores), POLICY, Objective(0.3, max_share={exit: share})).policy)
    assert told["exit_share"][exit] <= share
    assert told["accuracy"] >= told["cloud_accuracy"] - 0.3


def test_several_edges_say_how_much_was_searched() -> None:
    chosen = choose(Sample(make_scores(100, devices=4, edges=2)), POLICY)
    search = (chosen.policy.tuned or {})["search"]
    assert (search["exact"], search["largest_loss"]) == (False, {"wrong_answers": None, "cost": None})
    assert 50 < search["looked_at"] <= 150 < search["combinations"]
    found = chosen.points.frontier()
    assert (np.diff(found.cost) > 0).all()
    assert (np.diff(found.wrong) < 0).all()


def test_the_lowest_latency_is_a_cost_too() -> None:
    scores, cost = make_scores(100), CostModel("latency", links=Links.parse(["edge-cloud=40ms,10mbit"]))
    tuned = tune(scores, POLICY, max_accuracy_drop=0.02, cost=cost)
    told, cloud = (figures(scores, each, cost)["cost"] for each in (tuned, _all_to_cloud(tuned)))
    assert (told["kind"], told["unit"]) == ("latency", "seconds")
    assert told["mean"] < cloud["mean"]


def _all_to_cloud(policy: Policy) -> Policy:
    return policy.model_copy(update={"thresholds": Thresholds(local=0, edge=0)})


def test_the_policy_says_what_it_was_tuned_on() -> None:
    tuned = tune(make_scores(80), POLICY, criterion="margin")
    assert (tuned.version, tuned.criterion, tuned.bundle) == (8, "margin", "b")
    assert tuned.tuned is not None
    assert {key: tuned.tuned[key] for key in ("data", "fingerprint", "split", "events", "objective")} == {
        "data": "made",
        "fingerprint": "f",
        "split": "validation",
        "events": 80,
        "objective": {"minimise": "cost", "max_accuracy_drop": 0.005, "max_cost": None, "max_share": {}}
        | {"min_recall": {}, "balanced": False},
    }
    assert set(tuned.tuned["validation"]) == {"events", "accuracy", "cloud_accuracy", "exit_share", "cost"}
    assert tuned.tuned["cost"] == {"kind": "payload", "unit": "bytes", "over": "all"}
    assert tuned.tuned["search"]["exact"]
    assert tuned.promise is not None
    assert (tuned.promise.confidence, tuned.promise.events) == (0.95, 80)
    assert json.loads(json.dumps(tuned.model_dump(mode="json")))["tuned"] == tuned.tuned


def test_the_device_exit_is_off_in_a_group_and_is_the_local_exit_when_alone() -> None:
    group, alone = (tune(make_scores(100, devices=devices), POLICY).thresholds for devices in (3, 1))
    assert (group.device, group.local > 0) == (0, True)
    assert (alone.local, alone.device > 0) == (0, True)


def test_too_little_to_tune_on_is_refused_with_a_sentence() -> None:
    with pytest.raises(BadData, match="there are 49 events to tune on; expected at least 50"):
        tune(make_scores(49), POLICY)
    scores = make_scores(60)
    scores.y[:] = 2  # fresh arrays: nobody else sees it
    with pytest.raises(BadData, match="all 60 events to tune on are of class 2"):
        tune(scores, POLICY)
    for bad in (math.nan, 2.0, -0.1):
        with pytest.raises(BadInput, match="max_accuracy_drop"):
            tune(make_scores(60), POLICY, max_accuracy_drop=bad)


def test_what_comes_nearest_gives_up_one_limit_and_keeps_the_others() -> None:
    scores = make_scores(100)
    with pytest.raises(
        Infeasible, match=r"reach an accuracy of .* and cost at most 100\.0 payload bytes .* at cloud"
    ) as told:
        choose(Sample(scores), POLICY, Objective(0.0, max_cost=100, max_share={Exit.CLOUD: 0.5}))
    near = {each["without"]: each for each in told.value.nearest}
    assert set(near) == {"accuracy", "cost"}
    assert near["accuracy"]["cost"]["mean"] <= 100 < near["cost"]["cost"]["mean"]
    assert near["cost"]["accuracy"] >= near["cost"]["cloud_accuracy"] > near["accuracy"]["accuracy"]


def test_an_objective_that_makes_no_sense_is_refused() -> None:
    scores = make_scores(100)
    for arguments, sentence in (
        ({"max_accuracy_drop": None}, "neither max_accuracy_drop nor max_cost"),
        ({"max_cost": -1.0}, "max_cost is -1.0"),
        ({"max_share": {Exit.CLOUD: 1.5}}, "max_share of cloud is 1.5"),
        (
            {"max_share": {Exit.DEVICE: 0.5}},
            "max_share names the device exit; the exits that are asked are local, edge",
        ),
    ):
        with pytest.raises(BadInput, match=sentence):
            choose(Sample(scores), POLICY, Objective(**arguments))
    assert parse_shares(["cloud=0.1", "local=1"]) == {Exit.CLOUD: 0.1, Exit.LOCAL: 1.0}
    for bad in ("cloud", "moon=0.1", "cloud=x"):
        with pytest.raises(BadInput, match="max-share is"):
            parse_shares([bad])
    with pytest.raises(BadInput, match="given twice"):
        parse_shares(["cloud=0.1", "cloud=0.2"])


def test_scores_that_are_not_finite_are_refused() -> None:
    scores = make_scores(60)
    scores.cloud[3, 1] = np.nan
    with pytest.raises(BadData, match="cloud is not finite in row 3"):
        tune(scores, POLICY)


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_labels_is_found(true: float) -> None:
    rng = np.random.default_rng(0)
    scores = (4 * rng.normal(size=(20_000, 5))).astype(np.float32)
    p = np.exp(scores / true)
    p /= p.sum(axis=1, keepdims=True)
    y = (p.cumsum(axis=1) < rng.random((len(p), 1))).sum(axis=1)
    assert fit_temperature(scores, y) == pytest.approx(true, rel=0.05)


def test_scores_that_are_never_wrong_do_not_drive_the_temperature_to_zero() -> None:
    assert fit_temperature(np.eye(3, dtype=np.float32), np.arange(3)) == pytest.approx(1 / 16, rel=1e-2)
    assert fit_temperature(np.zeros((0, 3), np.float32), np.zeros(0, np.int64)) == 1


def test_a_network_without_an_exit_below_the_cloud_has_nothing_to_tune() -> None:
    scores = make_scores(100)
    bare = Topology.tiered([spec.view for spec in scores.topology.devices], [(0, 1)], None)
    with pytest.raises(BadInput, match="no exit below the cloud"):
        tune(replace(scores, device=None, local=None, edge=None, topology=bare), POLICY)
