"""Who answers, against a plain loop over events, and against what a tier says of one."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from ddnn.client import join
from ddnn.evaluation import NOBODY, Scores, decide, judge
from ddnn.evaluation.decide import thresholds as limits_of
from ddnn.exits import Rule
from ddnn.policy import Policy, Temperatures, Thresholds
from ddnn.serving.engine import Engine, judge_events
from ddnn.serving.event import Event, no_answer
from ddnn.serving.metrics import Metrics
from ddnn.serving.request import RequestOptions
from ddnn.task import CRITERIA, probabilities, uncertainty
from ddnn.topology import Features, Topology, View
from ddnn.types import Answer, Array, Exit

CLASSES = 3


def topology(edges: Sequence[Sequence[int]], section: bool = True) -> Topology:
    devices = sum(map(len, edges))
    view, cut = View(shape=(4,), dtype="FP32"), Features(shape=(9,)) if section else None
    return Topology.tiered([view] * devices, edges, Features(shape=(20,)), cut)


def random_scores(edges: Sequence[Sequence[int]], events: int = 200, section: bool = True, seed: int = 0) -> Scores:
    rng = np.random.default_rng(seed)
    devices, width = sum(map(len, edges)), len(edges)

    def draw(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return (3 * rng.normal(size=(events, *shape, CLASSES))).astype(np.float32)

    return Scores(
        device=draw(devices),
        local=draw(width),
        edge=draw(width) if section else None,
        cloud=draw(),
        present=(rng.random((events, devices)) < 0.7) & (np.arange(events) > 0)[:, None],  # nobody sees the first
        y=rng.integers(CLASSES, size=events),
        y_dev=rng.integers(-1, CLASSES, size=(events, devices)),
        topology=topology(edges, section),
        source={"data": "random", "fingerprint": "f", "split": "test"},
    )


def answer_one(scores: Scores, policy: Policy, n: int) -> tuple[int, int, float, tuple[int, ...]]:
    """The rules, one event, caller by caller: label, exit, criterion, who took part."""

    def said(values: Array, exit: Exit, who: Sequence[int]) -> tuple[Answer, float]:
        p = probabilities(values, policy.judging(exit, len(who)).temperatures.of(exit))
        fused = exit in (Exit.LOCAL, Exit.EDGE)
        votes = (scores.of(Exit.DEVICE)[n, who], np.ones(len(who), np.bool_)) if fused else None
        u = float(uncertainty(policy.criterion, p, votes))
        devices = np.isin(np.arange(scores.present.shape[1]), who)
        return Answer(int(p.argmax()), p, exit, float(np.float32(1 - u)), devices, policy_version=1, bytes_up=0), u

    callers: list[Answer | None] = [None] * scores.present.shape[1]
    unsure, settled = [], []
    for e, edge in enumerate(scores.topology.edges):
        here = [i for i in edge.devices if scores.present[n, i]]
        told = {i: said(scores.of(Exit.DEVICE)[n, i], Exit.DEVICE, [i]) for i in here}
        sure = {i: given for i, given in told.items() if given[1] < policy.thresholds.device}
        answer = min(sure.values(), key=lambda given: given[1], default=None)
        for exit in (Exit.LOCAL, Exit.EDGE):
            if here and answer is None and exit in scores.topology.exits:
                given = said(scores.of(exit)[n, e], exit, here)
                answer = given if given[1] < policy.judging(exit, len(here)).thresholds.of(exit) else None
        for i in here:
            callers[i] = sure[i][0] if i in sure else answer[0] if answer else None
        unsure += here if answer is None else []
        settled += [answer] if answer else []
    everyone = np.flatnonzero(scores.present[n]).tolist()
    if not everyone:
        return NOBODY, NOBODY, np.inf, ()
    cloud = said(scores.cloud[n], Exit.CLOUD, everyone)
    for i in unsure:
        callers[i] = min(settled, key=lambda given: given[1], default=cloud)[0]
    best = callers[join(callers)]
    assert best is not None
    return best.label, best.exit.rank, 1 - best.confidence, tuple(map(int, np.flatnonzero(best.devices)))


LAYOUTS: list[tuple[tuple[tuple[int, ...], ...], bool]] = [
    (((0,),), True),
    (((0, 1, 2),), True),
    (((0, 1, 2),), False),
    (((0, 2), (1, 3)), True),
    (((0,), (1, 2), (3, 4)), False),
]


@pytest.mark.parametrize(("edges", "section"), LAYOUTS)
@pytest.mark.parametrize("criterion", CRITERIA)
def test_all_events_at_once_are_answered_as_one_by_one(
    edges: tuple[tuple[int, ...], ...], section: bool, criterion: str
) -> None:
    scores = random_scores(edges, events=80, section=section)
    seen = set()
    for device, local, edge in product((0.0, 0.2), (0.0, 0.3, 1.0), (0.0, 0.4)):
        policy = Policy.model_validate(
            {
                "bundle": "b",
                "criterion": criterion,
                "thresholds": Thresholds(device=device, local=local, edge=edge),
                "temperatures": Temperatures(device=2, local=0.7, edge=1.5, cloud=3),
                "live": {
                    2: {
                        "thresholds": Thresholds(device=1, local=local / 2, edge=edge + 0.1),
                        "temperatures": Temperatures(device=9, local=1.1, edge=0.6, cloud=2),
                    }
                },
            }
        )
        got = decide(scores, policy)
        for n in range(len(scores)):
            label, rank, u, who = answer_one(scores, policy, n)
            assert (got.label[n], got.exit[n]) == (label, rank)
            assert got.uncertainty[n] == pytest.approx(u, abs=1e-6)
            assert tuple(np.flatnonzero(got.devices[n])) == who
            seen.add(rank)
    assert seen == {exit.rank for exit in scores.topology.exits} | {NOBODY}


@pytest.mark.parametrize(("edges", "section"), LAYOUTS)
@pytest.mark.parametrize("criterion", CRITERIA)
async def test_a_tier_judges_each_event_as_all_are_judged_at_once(
    edges: tuple[tuple[int, ...], ...], section: bool, criterion: str
) -> None:
    """The same numbers to the last bit: served and offline are one rule."""
    scores = random_scores(edges, events=60, section=section)
    judged_by = Policy.model_validate(
        {
            "bundle": "b",
            "criterion": criterion,
            "thresholds": Thresholds(device=0.3, local=0.4, edge=0.6),
            "temperatures": Temperatures(device=2, local=0.7, edge=1.5, cloud=3),
            "live": {2: {"thresholds": Thresholds(local=0.2, edge=0.7), "temperatures": Temperatures(local=1.1)}},
        }
    )

    def event(devices: Array, inputs: dict[str, Array]) -> Event:
        best = no_answer(CLASSES, len(devices), 1)
        return Event(
            None,
            Rule(judged_by, len(devices)),
            RequestOptions(deadline=0),
            inputs,
            devices,
            best,
            Engine([], Metrics(Exit, ())),
        )

    for exit in scores.topology.exits:
        expected, limits = judge(scores, judged_by, exit), limits_of(scores, judged_by, exit)
        for n, *place in np.argwhere(scores.there(exit)).tolist():
            row = (n, *place)
            devices, inputs = scores.present[n], {}
            if exit is Exit.DEVICE:
                devices = np.arange(len(devices)) == place[0]
            elif exit is not Exit.CLOUD:
                mine = list(edges[place[0]])
                inputs = {"scores": scores.of(Exit.DEVICE)[n, mine], "present": devices[mine]}
                devices = devices & np.isin(np.arange(len(devices)), mine)
            ((answer, _, limit),) = judge_events(exit, scores.of(exit)[row][None], [event(devices, inputs)])
            uncertainty = np.float32(1 - answer.confidence)
            assert (answer.label, uncertainty) == (expected.labels[row], expected.uncertainty[row])
            assert (answer.probabilities == expected.probabilities[row]).all()
            assert limit == limits[row]


def tiny(device: list[list[float]], local: list[float], edge: list[float], cloud: list[float]) -> Scores:
    """One event, two classes, scores given as log-probabilities."""
    logs = [np.log(np.array(values, np.float32)) for values in (device, [local], [edge], cloud)]
    return Scores(
        device=logs[0][None],
        local=logs[1][None],
        edge=logs[2][None],
        cloud=logs[3][None],
        present=np.ones((1, len(device)), np.bool_),
        y=np.zeros(1, np.int64),
        y_dev=np.zeros((1, len(device)), np.int64),
        topology=topology([range(len(device))]),
        source={},
    )


def policy(device: float, local: float, edge: float) -> Policy:
    thresholds = Thresholds(device=device, local=local, edge=edge)
    return Policy(bundle="b", criterion="max_probability", thresholds=thresholds)


def test_the_first_sure_exit_answers() -> None:
    scores = tiny([[0.6, 0.4], [0.3, 0.7]], [0.8, 0.2], [0.1, 0.9], [0.95, 0.05])
    expected = {
        (0.35, 0.5, 0.5): (1, Exit.DEVICE),
        (0.25, 0.25, 0.5): (0, Exit.LOCAL),
        (0.0, 0.15, 0.15): (1, Exit.EDGE),
        (0.0, 0.15, 0.05): (0, Exit.CLOUD),
        (0.0, 0.0, 0.0): (0, Exit.CLOUD),
    }
    for thresholds, (label, exit) in expected.items():
        decisions = decide(scores, policy(*thresholds))
        assert (decisions.label[0], decisions.exit[0]) == (label, exit.rank)


def test_of_two_equally_sure_devices_the_lower_index_answers() -> None:
    decisions = decide(tiny([[0.2, 0.8], [0.8, 0.2]], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1]), policy(0.5, 0.5, 0.5))
    assert (decisions.label[0], decisions.devices[0].tolist()) == (1, [True, False])
    assert decisions.sure[0].all()


def test_a_threshold_of_zero_is_off_even_for_certainty() -> None:
    scores = tiny([[1.0, 1e-30]], [1.0, 1e-30], [1.0, 1e-30], [0.5, 0.5])
    assert decide(scores, policy(0.0, 0.0, 0.0)).exit[0] == Exit.CLOUD.rank


def test_probabilities_are_at_the_answering_exits_temperature() -> None:
    scores = tiny([[0.5, 0.5]], [0.5, 0.5], [0.5, 0.5], [0.9, 0.1])
    warm = policy(0.0, 0.0, 0.0).model_copy(update={"temperatures": Temperatures(cloud=2.0)})
    np.testing.assert_allclose(decide(scores, warm).probabilities[0], [0.75, 0.25], atol=1e-6)


def test_the_latest_exit_of_several_edges_answers_and_then_most_devices() -> None:
    """Edge 0 is very sure locally; edge 1 is sure at its own exit, or locally with more devices."""
    scores = tiny([[0.5, 0.5]] * 3, [0.99, 0.01], [0.6, 0.4], [0.5, 0.5])
    two = replace(
        scores,
        local=np.log(np.array([[[0.99, 0.01], [0.3, 0.7]]], np.float32)),
        edge=np.log(np.array([[[0.6, 0.4], [0.2, 0.8]]], np.float32)),
        topology=topology([[0], [1, 2]]),
    )
    by_edge = decide(two, policy(0.0, 0.1, 0.3))
    assert (by_edge.label[0], by_edge.exit[0], by_edge.devices[0].tolist()) == (1, Exit.EDGE.rank, [False, True, True])
    both_local = decide(two, policy(0.0, 0.4, 0.3))
    assert (both_local.label[0], both_local.exit[0]) == (1, Exit.LOCAL.rank)
    one_local = decide(two, policy(0.0, 0.1, 0.1))
    assert (one_local.label[0], one_local.devices[0].tolist()) == (0, [True, False, False])


def test_without_exits_below_it_the_cloud_answers_everything() -> None:
    scores = tiny([[0.9, 0.1]], [0.9, 0.1], [0.9, 0.1], [0.2, 0.8])
    bare = Topology.tiered([View(shape=(4,), dtype="FP32")], [(0,)], None)
    raw = replace(scores, device=None, local=None, edge=None, topology=bare)
    decisions = decide(raw, policy(0.9, 0.9, 0.9))
    assert (decisions.label[0], decisions.exit[0], decisions.devices[0].tolist()) == (1, Exit.CLOUD.rank, [True])
    assert not decisions.sure.any()


def test_an_event_that_nobody_sees_is_not_answered_and_counts_as_wrong() -> None:
    seen = tiny([[0.9, 0.1]], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1])
    blind = replace(seen, present=np.zeros((1, 1), np.bool_))
    decisions = decide(blind, policy(0.9, 0.9, 0.9))
    assert (decisions.label[0], decisions.exit[0]) == (NOBODY, NOBODY)
    assert decisions.accuracy(blind.y) == 0
