"""Thresholds and temperatures from a validation split."""

import math
from dataclasses import replace

import numpy as np
import pytest

from ddnn.bundle import Cut, DeviceSpec, EdgeSpec, Topology, View
from ddnn.errors import BadData, BadInput, Infeasible
from ddnn.evaluation import Scores, decide
from ddnn.policy import Policy, Thresholds
from ddnn.tier import Exit
from ddnn.tuning import figures, fit_temperature, tune
from ddnn.tuning.pairs import best_pair, candidates, split_between
from ddnn.types import Floats

CLASSES = 4
POLICY = Policy(bundle="b", version=7)


def topology(devices: int, edges: int, section: bool) -> Topology:
    groups = np.array_split(np.arange(devices), edges)
    return Topology(
        devices=tuple(DeviceSpec(view=View(shape=(4,), dtype="FP32"), section="d.onnx") for _ in range(devices)),
        device_cut=Cut(shape=(20,)),
        edges=tuple(
            EdgeSpec(devices=tuple(group.tolist()), local="l.onnx", section="e.onnx" if section else None)
            for group in groups
        ),
        edge_cut=Cut(shape=(9,)) if section else None,
        cloud="c.onnx",
        fusion={},
    )


def make_scores(
    events: int, *, devices: int = 2, edges: int = 1, section: bool = True, seed: int = 0, strength: float = 1.0
) -> Scores:
    """Scores that know the class better the higher the exit, and are surer where they are right."""
    rng = np.random.default_rng(seed)
    y = rng.integers(CLASSES, size=events)
    hard = rng.random(events)[:, None]

    def at(width: int, skill: float) -> Floats:
        noise = rng.normal(size=(events, width, CLASSES))
        signal = np.eye(CLASSES)[y][:, None] * skill * strength * 4 * (1 - hard[..., None])
        return (noise + signal).astype(np.float32)

    return Scores(
        device=at(devices, 0.5),
        local=at(edges, 0.8),
        edge=at(edges, 1.0) if section else None,
        cloud=at(1, 1.5)[:, 0],
        present=np.ones((events, devices), np.bool_),
        y=y,
        y_dev=np.repeat(y[:, None], devices, axis=1),
        topology=topology(devices, edges, section),
        source={"data": "made", "fingerprint": "f", "split": "validation"},
    )


@pytest.mark.parametrize("seed", range(25))
def test_the_best_pair_is_the_one_brute_force_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 14))
    first, second = (rng.integers(0, 8, size=n).astype(np.float32) / np.float32(10) for _ in range(2))
    right = tuple(rng.random(n) < share for share in (0.6, 0.7, 0.9))
    most_wrong = int(rng.integers(0, 4))
    found = []
    for a in candidates(first):
        for b in candidates(second):
            at_first = first < a
            at_second = ~at_first & (second < b)
            label_right = np.where(at_first, right[0], np.where(at_second, right[1], right[2]))
            if (~label_right).sum() <= most_wrong:
                up = int((~at_first & ~at_second).sum())
                found.append((up, int((~at_first).sum()), int((~label_right).sum()), a, b))
    choice = best_pair(first, second, (right[0], right[1], right[2]), most_wrong)
    if choice is None:
        assert not found
    else:
        best = min(found)
        assert (choice.to_cloud, choice.past_first, choice.wrong, choice.first, choice.second) == best


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
    assert told["exit_share"]["cloud"] < 1


def test_no_threshold_on_a_fine_grid_sends_fewer_events_up() -> None:
    scores = make_scores(60, seed=3)
    tuned = tune(scores, POLICY, max_accuracy_drop=0.02)
    floor = (
        decide(scores, tuned.model_copy(update={"thresholds": Thresholds(local=0, edge=0)})).accuracy(scores.y) - 0.02
    )
    fewest = min(
        decisions.share(Exit.CLOUD)
        for local in np.linspace(0, 1, 21)
        for edge in np.linspace(0, 1, 21)
        if (decisions := decide(scores, tuned.model_copy(update={"thresholds": Thresholds(local=local, edge=edge)})))
        .accuracy(scores.y) >= floor
    )  # fmt: skip
    assert decide(scores, tuned).share(Exit.CLOUD) <= fewest


def test_a_larger_margin_never_sends_more_events_up() -> None:
    scores = make_scores(200)
    shares = [
        figures(scores, tune(scores, POLICY, max_accuracy_drop=drop))["exit_share"]["cloud"]
        for drop in (0.0, 0.01, 0.05, 0.5)
    ]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == 0


def test_the_policy_says_what_it_was_tuned_on() -> None:
    tuned = tune(make_scores(80), POLICY, criterion="margin")
    assert (tuned.version, tuned.criterion, tuned.bundle) == (8, "margin", "b")
    assert tuned.tuned is not None
    assert {key: tuned.tuned[key] for key in ("data", "fingerprint", "split", "events", "objective")} == {
        "data": "made",
        "fingerprint": "f",
        "split": "validation",
        "events": 80,
        "objective": {"minimise": "events to the cloud", "max_accuracy_drop": 0.005},
    }
    assert set(tuned.tuned["validation"]) == {"events", "accuracy", "cloud_accuracy", "exit_share"}


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
    for bad in (math.nan, 2.0):
        with pytest.raises(BadInput, match="max_accuracy_drop"):
            tune(make_scores(60), POLICY, max_accuracy_drop=bad)


def test_beating_the_cloud_exit_by_too_much_is_infeasible() -> None:
    with pytest.raises(Infeasible, match="no thresholds reach an accuracy of"):
        tune(make_scores(100), POLICY, max_accuracy_drop=-0.9)


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


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (0.3, 0.31), (1e-12, 3e-12), (0.5, 0.5 + 2**-23)]
)  # the last: neighbours
def test_a_threshold_divides_two_neighbours_in_single_precision_too(low: float, high: float) -> None:
    cut = split_between(low, high)
    assert low < cut <= high
    assert np.float32(low) < np.float32(cut) <= np.float32(high)


def test_a_network_without_an_exit_below_the_cloud_has_nothing_to_tune() -> None:
    scores = make_scores(100)
    bare = scores.topology.model_copy(update={"device_cut": None, "edge_cut": None})
    with pytest.raises(BadInput, match="no exit below the cloud"):
        tune(replace(scores, device=None, local=None, edge=None, topology=bare), POLICY)
