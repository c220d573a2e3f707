"""The collector: who is waited for, what a repeat or a latecomer gets, and what bounds it."""

import asyncio

import numpy as np
import pytest

from ddnn.errors import Overloaded
from ddnn.policy import Policy
from ddnn.serving.case import Case, Contribution, Terms
from ddnn.serving.collector import Collector
from ddnn.settings import CollectorSettings
from ddnn_lab.benchmarks.collector_bench import (
    CLASSES,
    DEVICES,
    EVENT_BYTES,
    FEATURES,
    SCORES,
    Bench,
    answer,
    expire,
    make_terms,
    turn,
)


async def test_an_event_is_complete_when_every_living_child_contributed() -> None:
    bench = Bench()
    for child in range(DEVICES):
        assert not bench.cases
        bench.offer(b"e", child)
        await turn()
    (case,) = bench.cases
    assert case.inputs["present"].tolist() == [True] * DEVICES
    assert case.inputs["scores"].shape == (DEVICES, CLASSES)
    assert "features" not in case.inputs


async def test_events_that_become_complete_together_are_decided_together() -> None:
    bench = Bench()
    for child in range(DEVICES):
        for event in (b"e", b"f"):
            bench.offer(event, child)
    await turn()
    assert [len(batch) for batch in bench.batches] == [2]


async def test_the_wait_closes_an_event_with_who_is_here() -> None:
    bench = Bench(wait_ms=1)
    bench.offer(b"e", 2)
    await expire(bench, 1)
    assert bench.cases[0].devices.tolist() == [False, False, True]
    assert not bench.cases[0].inputs["scores"][:2].any()


async def test_a_repeat_changes_nothing_and_is_answered_too() -> None:
    bench = Bench()
    first = bench.offer(b"e", 0)
    again = bench.offer(b"e", 0, scores=SCORES + 1)
    assert bench.collector.pending == 1
    for child in (1, 2):
        bench.offer(b"e", child)
    await turn()
    assert (bench.cases[0].inputs["scores"][0] == SCORES).all()
    bench.cases[0].settle(answer(3))
    assert (await first).label == (await again).label == 3


async def test_a_latecomer_gets_the_answer_already_given_and_is_alive_again() -> None:
    bench = Bench(wait_ms=1, alive_events=1)
    bench.offer(b"e", 0)
    await expire(bench, 1)
    bench.cases[0].settle(answer(2, bytes_up=70))
    await turn()
    assert bench.collector.waits.alive == [True, False, False]
    late = await bench.offer(b"e", 1)
    assert (late.label, late.bytes_up) == (2, 0)
    assert bench.collector.waits.alive == [True, True, False]


async def test_nobody_waits_for_the_dead_after_a_few_events() -> None:
    bench = Bench(wait_ms=1, alive_events=2)
    for n in range(2):
        for child in (0, 1):
            bench.offer(b"%d" % n, child)
        await expire(bench, n + 1)
    for child in (0, 1):
        bench.offer(b"next", child)
    await turn()
    assert len(bench.cases) == 3


async def test_a_request_may_wait_for_every_child_alive_or_not() -> None:
    bench = Bench(wait_ms=1, alive_events=1)
    bench.offer(b"e", 0)
    await expire(bench, 1)
    patient = make_terms(wait_ms=60_000)
    for child in range(DEVICES):
        assert len(bench.cases) == 1
        bench.offer(b"f", child, scores=SCORES, terms=patient)
        await turn()
    assert len(bench.cases) == 2


async def test_only_those_who_took_part_are_asked_for_features() -> None:
    bench = Bench(wait_ms=1)
    replies = [bench.offer(b"e", child) for child in (0, 2)]
    await expire(bench, 1)
    case = bench.cases[0]
    case.best = answer()
    bench.collector.ask(case)
    assert [(await reply).need_features for reply in replies] == [True, True]
    stranger = await bench.offer(b"e", 1, features=FEATURES)
    assert (stranger.need_features, stranger.label) == (False, -1)


async def test_features_of_all_who_took_part_complete_the_second_stage() -> None:
    bench = Bench()
    for child in range(DEVICES):
        bench.offer(b"e", child)
    await turn()
    case = bench.cases[0]
    case.best = answer()
    bench.collector.ask(case)
    replies = [bench.offer(b"e", child, features=FEATURES) for child in range(DEVICES)]
    await turn()
    assert len(bench.cases) == 2
    assert (case.inputs["features"] == FEATURES).all()
    case.settle(answer(bytes_up=8))
    await turn()
    assert [reply.result().bytes_up for reply in replies] == [3, 3, 2]


async def test_missing_features_degrade_the_answer_of_the_local_exit() -> None:
    bench = Bench(wait_ms=1)
    bench.offer(b"e", 0)
    await expire(bench, 1)
    case = bench.cases[0]
    case.best = answer(2)
    bench.collector.ask(case)
    bench.collector.delivered(case, 0)
    given = await case.outcome
    assert (given.label, given.degraded, given.degraded_reason) == (2, True, "no_features")


async def test_features_of_an_event_nobody_holds_are_told_so() -> None:
    reply = await Bench().offer(b"e", 0, features=FEATURES)
    assert (reply.label, reply.need_features) == (-1, False)


async def test_an_event_of_its_own_waits_for_nobody() -> None:
    bench = Bench()
    bench.offer(None, 1, scores=SCORES, features=FEATURES)
    bench.offer(None, 1, scores=SCORES, features=FEATURES)
    await turn()
    assert len(bench.cases) == 2
    assert bench.collector.waits.alive == [True] * DEVICES
    assert bench.cases[0].devices.tolist() == [False, True, False]


async def test_a_child_that_answered_is_told_at_once_and_nothing_is_fused() -> None:
    bench = Bench()
    told = bench.offer(b"e", 1, scores=SCORES, answered=True)
    assert told.result().label == -1
    replies = [bench.offer(b"e", child) for child in (0, 2)]
    await turn()
    (case,) = bench.cases
    assert [part.child for part in case.answered] == [1]
    assert not case.inputs
    case.settle(answer(bytes_up=7))  # which the callers who wait share
    await turn()
    assert [reply.result().bytes_up for reply in replies] == [4, 3]


async def test_an_event_that_failed_begins_anew() -> None:
    bench = Bench(wait_ms=1)
    first = bench.offer(b"e", 0)
    await expire(bench, 1)
    bench.cases[0].degrade("unreachable")
    assert (await first).degraded_reason == "unreachable"
    bench.offer(b"e", 0)
    assert (bench.collector.pending, bench.collector.held) == (1, 0)


async def test_a_child_may_have_several_places() -> None:
    batches: list[list[Case]] = []
    collector = Collector(
        [np.array([0, 3]), np.array([1, 2])],
        width=4,
        devices=4,
        classes=CLASSES,
        event_bytes=4,
        policy=lambda: Policy(bundle="b"),
        advance=batches.append,
        settings=CollectorSettings(),
    )
    for child, mine in enumerate(([0, 3], [1, 2])):
        views = {"view": np.array([[10 * child], [10 * child + 1]])}
        here = np.array([True, child == 0])
        seen = np.isin(np.arange(4), np.array(mine)[here])
        collector.offer(b"e", Contribution(child, make_terms(), views, here, seen))
    await turn()
    ((case,),) = batches
    assert case.inputs["view"][:, 0].tolist() == [0, 10, 11, 1]
    assert case.inputs["present"].tolist() == case.devices.tolist() == [True, True, False, True]


async def test_a_full_collector_forgets_answered_events_first_and_then_refuses() -> None:
    bench = Bench(wait_ms=1, events=2)
    bench.offer(b"old", 0)
    await expire(bench, 1)
    bench.cases[0].settle(answer())
    await turn()
    bench.collector._policy = lambda: Policy(bundle="b", wait_ms=60_000)
    bench.offer(b"e", 0)
    bench.offer(b"f", 0)
    assert (bench.collector.held, bench.collector.pending) == (0, 2)
    with pytest.raises(Overloaded, match="2 events are waiting"):
        bench.offer(b"g", 0)


async def test_room_for_all_of_an_event_is_kept_from_its_first_contribution_on() -> None:
    bench = Bench(bytes=EVENT_BYTES)
    bench.offer(b"e", 0)
    with pytest.raises(Overloaded, match="1 events are waiting"):
        bench.offer(b"f", 0)
    for child in (1, 2):
        bench.offer(b"e", child)
    await turn()
    bench.cases[0].settle(answer())
    await turn()
    assert bench.collector.pending == 0
    bench.offer(b"f", 0)


async def test_features_are_waited_for_from_when_the_last_has_heard_that_they_are_wanted() -> None:
    bench = Bench(wait_ms=1)
    for child in (0, 1):
        bench.offer(b"e", child)
    await expire(bench, 1)
    case = bench.cases[0]
    case.best = answer()
    bench.collector.ask(case)
    bench.collector.delivered(case, 0)
    bench.offer(b"e", 0, features=FEATURES)
    timer = bench.collector._waiting[b"e"].timer
    assert timer
    assert timer.when() - asyncio.get_running_loop().time() > 10  # child 1 has not heard yet
    bench.collector.delivered(case, 1)
    await expire(bench, 2)
    assert case.devices.tolist() == [True, False, False]


async def test_giving_up_waits_for_nobody_any_more() -> None:
    bench = Bench()
    bench.offer(b"e", 0)
    bench.collector.give_up()
    await turn()
    (case,) = bench.cases
    case.best = answer(2)
    bench.collector.ask(case)
    assert (await case.outcome).degraded_reason == "draining"


async def test_the_most_patient_caller_sets_the_deadline() -> None:
    bench = Bench()
    now = asyncio.get_running_loop().time()
    bench.offer(b"e", 0, scores=SCORES, terms=Terms(deadline=now + 1))
    bench.offer(b"e", 1, scores=SCORES, terms=Terms(deadline=now + 100))
    bench.collector.give_up()
    await turn()
    assert bench.cases[0].left() > 50


async def test_answered_events_are_forgotten_when_they_are_old() -> None:
    bench = Bench(wait_ms=0, hold_s=1e-9)
    bench.offer(b"e", 0)
    await expire(bench, 1)
    bench.cases[0].settle(answer())
    await turn()
    bench.offer(b"f", 0)
    assert bench.collector.held == 0


async def test_what_is_complete_too_late_is_not_decided() -> None:
    bench = Bench()
    terms = make_terms()
    terms.deadline = asyncio.get_running_loop().time() - 1
    told = bench.offer(None, 0, terms=terms)
    assert ((await told).degraded_reason, bench.cases) == ("deadline", [])
