"""The collector: who is waited for, what a repeat or a latecomer gets, and what bounds it."""

import asyncio

import numpy as np
import pytest

from ddnn.errors import Overloaded
from ddnn.policy import Policy, Thresholds
from ddnn.serving.collector import Children, Collector
from ddnn.serving.control import PolicyControl
from ddnn.serving.event import Contribution, Reply
from ddnn.serving.metrics import Metrics
from ddnn.settings import CollectorSettings
from ddnn.types import Array, Exit
from event_bench import (
    CLASSES,
    DEVICES,
    EVENT_BYTES,
    FEATURES,
    SCORES,
    Bench,
    Kept,
    answer,
    expire,
    make_options,
    turn,
)


async def test_an_event_is_complete_when_every_living_child_contributed() -> None:
    bench = Bench()
    for child in range(DEVICES):
        assert not bench.events
        bench.offer(b"e", child)
        await turn()
    (event,) = bench.events
    assert event.inputs["present"].tolist() == [True] * DEVICES
    assert event.inputs["scores"].shape == (DEVICES, CLASSES)
    assert "features" not in event.inputs


async def test_events_that_become_complete_together_are_decided_together() -> None:
    bench = Bench()
    for child in range(DEVICES):
        for event in (b"e", b"f"):
            bench.offer(event, child)
    await turn()
    assert [len(batch) for batch in bench.kept.batches] == [2]


async def test_the_wait_closes_an_event_with_who_is_here() -> None:
    bench = Bench(wait_ms=1)
    bench.offer(b"e", 2)
    await expire(bench, 1)
    assert bench.events[0].devices.tolist() == [False, False, True]
    assert not bench.events[0].inputs["scores"][:2].any()


async def test_a_repeat_changes_nothing_and_is_answered_too() -> None:
    bench = Bench()
    first = bench.offer(b"e", 0)
    again = bench.offer(b"e", 0)
    assert bench.collector.pending == 1
    for child in (1, 2):
        bench.offer(b"e", child)
    await turn()
    bench.events[0].settle(answer(3))
    assert (await first).label == (await again).label == 3
    assert (await bench.offer(b"e", 0)).label == 3


async def test_an_id_used_again_for_something_else_is_refused_until_it_is_answered() -> None:
    bench = Bench()
    bench.offer(b"e", 0)
    refused = await bench.offer(b"e", 0, scores=SCORES + 1)
    assert (refused.label, refused.degraded_reason, bench.reused()) == (-1, "reused", (0, 1))
    for child in (1, 2):
        bench.offer(b"e", child)
    await turn()
    assert (bench.events[0].inputs["scores"][0] == SCORES).all()


async def test_an_id_used_again_for_something_else_is_another_event_once_it_is_answered() -> None:
    bench = Bench()
    for child in range(DEVICES):
        bench.offer(b"e", child)
    await turn()
    bench.events[0].settle(answer(1))
    anew = [bench.offer(b"e", child, scores=SCORES + 1) for child in range(2)]
    assert (bench.collector.pending, bench.reused()) == (1, (2, 0))
    anew.append(bench.offer(b"e", 2, scores=SCORES + 1))
    await turn()
    bench.events[1].settle(answer(3))
    assert [(await each).label for each in anew] == [3] * 3
    assert (await bench.offer(b"e", 0, scores=SCORES + 1)).label == 3


async def test_a_latecomer_gets_the_answer_already_given_once_and_is_alive_again() -> None:
    bench = Bench(wait_ms=1, alive_events=1)
    for child in (0, 1):
        bench.offer(b"e", child)
    await expire(bench, 1)
    bench.events[0].settle(answer(2, bytes_up=70))
    await turn()
    assert bench.collector.stragglers.alive == [True, True, False]
    late = await bench.offer(b"e", 2)
    assert (late.label, late.bytes_up) == (2, 0)
    assert bench.collector.stragglers.alive == [True] * 3
    bench.offer(b"e", 2, scores=SCORES + 1)
    assert (bench.collector.pending, bench.reused()) == (1, (1, 0))


async def test_what_comes_too_late_is_another_event() -> None:
    bench = Bench(wait_ms=1, late_s=0)
    for child in (0, 1):
        bench.offer(b"e", child)
    await expire(bench, 1)
    bench.events[0].settle(answer())
    await turn()
    bench.offer(b"e", 2)
    assert (bench.collector.pending, bench.reused()) == (1, (1, 0))


async def test_the_answer_of_one_child_alone_is_not_given_to_the_others() -> None:
    bench = Bench(wait_ms=1)
    bench.offer(b"e", 0)
    await expire(bench, 1)
    bench.events[0].settle(answer(2))
    await turn()
    assert (await bench.offer(b"e", 0)).label == 2
    bench.offer(b"e", 1)
    assert bench.collector.pending == 1


async def test_an_event_closed_with_one_child_alone_gathers_on_for_the_others_who_get_its_answer_never() -> None:
    bench = Bench(wait_ms=1)
    asked = bench.offer(b"e", 0)
    await expire(bench, 1)
    (alone,) = bench.events
    alone.best = answer(2)
    bench.collector.ask(alone)
    assert (await asked).need_features
    others = [bench.offer(b"e", child) for child in (1, 2)]
    await turn()
    assert bench.events[1].devices.all()  # what the first has said counts as one of three
    first = bench.offer(b"e", 0, features=FEATURES)
    await turn()
    assert bench.events[2] is alone
    alone.settle(answer(2))
    assert (bench.collector.pending, bench.collector.held) == (1, 0)
    bench.events[1].settle(answer(3))
    assert [(await each).label for each in (first, *others)] == [2, 3, 3]
    assert (bench.collector.pending, bench.collector.held, bench.collector._places.held) == (0, 1, 0)
    assert (await bench.offer(b"e", 0)).label == 3


async def test_nobody_waits_for_the_dead_after_a_few_events() -> None:
    bench = Bench(wait_ms=1, alive_events=2)
    for n in range(2):
        for child in (0, 1):
            bench.offer(b"%d" % n, child)
        await expire(bench, n + 1)
    for child in (0, 1):
        bench.offer(b"next", child)
    await turn()
    assert len(bench.events) == 3


async def test_a_request_may_wait_for_every_child_alive_or_not() -> None:
    bench = Bench(wait_ms=1, alive_events=1)
    for child in (0, 1):
        bench.offer(b"e", child)
    await expire(bench, 1)
    patient = make_options(wait_ms=60_000)
    for child in range(DEVICES):
        assert len(bench.events) == 1
        bench.offer(b"f", child, scores=SCORES, options=patient)
        await turn()
    assert len(bench.events) == 2


async def test_only_those_who_took_part_are_asked_for_features() -> None:
    bench = Bench(wait_ms=1)
    replies = [bench.offer(b"e", child) for child in (0, 2)]
    await expire(bench, 1)
    event = bench.events[0]
    event.best = answer()
    bench.collector.ask(event)
    assert [(await reply).need_features for reply in replies] == [True, True]
    stranger = await bench.offer(b"e", 1, features=FEATURES)
    assert (stranger.need_features, stranger.label) == (False, -1)


async def test_features_of_all_who_took_part_complete_the_second_stage() -> None:
    bench = Bench()
    for child in range(DEVICES):
        bench.offer(b"e", child)
    await turn()
    event = bench.events[0]
    event.best = answer()
    bench.collector.ask(event)
    replies = [bench.offer(b"e", child, features=FEATURES) for child in range(DEVICES)]
    await turn()
    assert len(bench.events) == 2
    assert (event.inputs["features"] == FEATURES).all()
    event.settle(answer(bytes_up=8))
    await turn()
    assert [reply.result().bytes_up for reply in replies] == [3, 3, 2]


async def test_missing_features_degrade_the_answer_of_the_local_exit() -> None:
    bench = Bench(wait_ms=1)
    for child in (0, 2):
        bench.offer(b"e", child)
    await expire(bench, 1)
    event = bench.events[0]
    event.best = answer(2)
    bench.collector.ask(event)
    for child in (0, 2):
        bench.collector.delivered(event, child)
    given = await bench.offer(b"e", 1)
    assert (given.label, given.degraded, given.degraded_reason) == (2, True, "no_features")


async def test_features_of_an_event_nobody_holds_are_told_so() -> None:
    reply = await Bench().offer(b"e", 0, features=FEATURES)
    assert (reply.label, reply.need_features) == (-1, False)


async def test_an_event_of_its_own_waits_for_nobody() -> None:
    bench = Bench()
    parts = [(None, bench.part(1, scores=SCORES, features=FEATURES)) for _ in range(2)]
    waiting = asyncio.create_task(bench.collector.answer(parts, make_options()))
    await turn()
    assert len(bench.events) == 2
    assert (bench.collector.pending, bench.collector.stragglers.alive) == (0, [True] * DEVICES)
    assert bench.events[0].devices.tolist() == [False, True, False]
    for event in bench.events:
        event.settle(answer(bytes_up=7))
    assert [(given.label, given.bytes_up) for given in await waiting] == [(1, 7)] * 2


async def test_a_child_that_answered_is_told_at_once_and_its_answer_is_the_events() -> None:
    bench = Bench(thresholds=Thresholds(device=0.5))
    sure = bench.offer(b"e", 1, scores=9 * SCORES, answered=True)
    assert (await sure).label == -1
    replies = [bench.offer(b"e", child) for child in (0, 2)]
    given = [await reply for reply in replies]
    assert {(row.label, row.exit, row.degraded) for row in given} == {(3, Exit.DEVICE, False)}
    assert all(row.devices.tolist() == [False, True, False] for row in given)
    assert bench.events == []  # nothing is fused


@pytest.mark.parametrize(
    ("why", "threshold", "scores", "version"),
    [
        ("exit_off", 0.0, 9 * SCORES, None),
        ("unsure", 0.5, 0.1 * SCORES, None),
        ("other_policy", 0.5, 9 * SCORES, 999),
    ],
)
async def test_what_a_child_says_it_answered_is_an_ordinary_contribution_unless_the_policy_backs_it(
    why: str, threshold: float, scores: Array, version: int | None
) -> None:
    bench = Bench(thresholds=Thresholds(device=threshold))
    sure = bench.offer(b"e", 1, scores=scores, answered=True, version=version)
    assert (await sure).label == -1
    for child in (0, 2):
        bench.offer(b"e", child)
    await turn()
    assert len(bench.events) == 1
    assert bench.collector._metrics.unbacked.labels(why)._value.get() == 1


async def test_an_event_that_failed_begins_anew() -> None:
    bench = Bench(wait_ms=1)
    first = bench.offer(b"e", 0)
    await expire(bench, 1)
    bench.events[0].degrade("unreachable")
    assert (await first).degraded_reason == "unreachable"
    bench.offer(b"e", 0)
    assert (bench.collector.pending, bench.collector.held) == (1, 0)


async def test_a_child_may_have_several_places() -> None:
    kept, control = Kept(), PolicyControl(Policy(bundle="b"), classes=CLASSES, devices=4)
    children = Children([np.array([0, 3]), np.array([1, 2])], 4, range(4), 4)
    collector = Collector(children, kept, control, Metrics(Exit, range(4)), CollectorSettings())
    for child, mine in enumerate(([0, 3], [1, 2])):
        views = {"view": np.array([[10 * child], [10 * child + 1]])}
        here = np.array([True, child == 0])
        seen = np.isin(np.arange(4), np.array(mine)[here])
        collector.offer(b"e", Contribution(child, views, here, seen), Reply(make_options(), 1, child), 0)
    await turn()
    ((event,),) = kept.batches
    assert event.inputs["view"][:, 0].tolist() == [0, 10, 11, 1]
    assert event.inputs["present"].tolist() == event.devices.tolist() == [True, True, False, True]


async def test_a_full_collector_forgets_answered_events_first_and_then_refuses() -> None:
    bench = Bench(wait_ms=1, events=2)
    bench.offer(b"old", 0)
    await expire(bench, 1)
    bench.events[0].settle(answer())
    await turn()
    bench.control.swap(Policy(bundle="b", wait_ms=60_000), "admin")
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
    bench.events[0].settle(answer())
    await turn()
    assert bench.collector.pending == 0
    bench.offer(b"f", 0)


async def test_features_are_waited_for_from_when_the_last_has_heard_that_they_are_wanted() -> None:
    bench = Bench(wait_ms=1)
    for child in (0, 1):
        bench.offer(b"e", child)
    await expire(bench, 1)
    event = bench.events[0]
    event.best = answer()
    bench.collector.ask(event)
    bench.collector.delivered(event, 0)
    bench.offer(b"e", 0, features=FEATURES)
    assert event.timer
    assert event.timer.when() - asyncio.get_running_loop().time() > 10  # child 1 has not heard yet
    bench.collector.delivered(event, 1)
    await expire(bench, 2)
    assert event.devices.tolist() == [True, False, False]


async def test_giving_up_waits_for_nobody_any_more() -> None:
    bench = Bench()
    waiting = bench.offer(b"e", 0)
    bench.collector.give_up()
    await turn()
    (event,) = bench.events
    event.best = answer(2)
    bench.collector.ask(event)
    assert (await waiting).degraded_reason == "draining"


async def test_the_most_patient_caller_sets_the_deadline() -> None:
    bench = Bench()
    bench.offer(b"e", 0, options=make_options(1))
    bench.offer(b"e", 1, options=make_options(100))
    bench.collector.give_up()
    await turn()
    assert bench.events[0].left() > 50


async def test_a_caller_gets_the_best_there_is_by_its_own_deadline_and_the_others_wait_on() -> None:
    bench = Bench(wait_ms=0)
    hurried, patient = bench.offer(b"e", 0, options=make_options(0.01)), bench.offer(b"e", 1)
    await expire(bench, 1)
    (event,) = bench.events
    event.best = answer(2)
    given = await hurried
    assert (given.label, given.degraded_reason) == (2, "deadline")
    event.settle(answer(3))
    assert (await patient).label == 3


async def test_answered_events_are_forgotten_when_they_are_old() -> None:
    bench = Bench(wait_ms=0, hold_s=1e-9)
    bench.offer(b"e", 0)
    await expire(bench, 1)
    bench.events[0].settle(answer())
    await turn()
    bench.offer(b"f", 0)
    assert bench.collector.held == 0


async def test_what_is_complete_too_late_is_not_decided() -> None:
    bench = Bench(wait_ms=0)
    late = bench.offer(b"e", 0, options=make_options(-1))
    assert ((await late).degraded_reason, bench.events) == ("deadline", [])
    await turn()
    assert bench.collector.pending == 0
