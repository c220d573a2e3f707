"""Callers that leave: what no caller wants goes no further, and nothing waits for a caller that is gone."""

import pytest

from ddnn.policy import Thresholds
from ddnn.serving.event import State
from event_bench import DEVICES, FEATURES, Bench, answer, expire, turn


async def test_what_nobody_waits_for_any_more_goes_no_further() -> None:
    bench = Bench()
    for reply in [bench.reply(b"e", child) for child in range(2)]:
        reply.leave()
    assert bench.collector.pending == 1  # the third child may still want it
    bench.collector.give_up()
    await turn()
    assert (bench.events, bench.collector.pending, bench.collector.held) == ([], 0, 0)


async def test_an_event_goes_on_while_one_of_its_callers_waits_or_a_later_one_comes() -> None:
    bench = Bench()
    bench.reply(b"e", 0).leave()
    bench.offer(b"e", 1)
    bench.offer(b"e", 2)
    await turn()
    assert len(bench.events) == 1


async def test_an_event_that_is_on_its_way_ends_when_the_last_caller_leaves() -> None:
    bench = Bench()
    replies = [bench.reply(b"e", child) for child in range(DEVICES)]
    await turn()
    (event,) = bench.events
    for reply in replies[:2]:
        reply.leave()
    assert event.state is State.DECIDING
    replies[2].leave()
    assert event.answer
    assert (event.answer.label, bench.collector.pending) == (-1, 0)


async def test_an_event_that_a_sure_child_told_of_is_answered_without_callers() -> None:
    bench = Bench(thresholds=Thresholds(device=1.0))
    bench.reply(b"e", 0).leave()
    bench.offer(b"e", 1, answered=True)
    bench.collector.give_up()
    await turn()
    assert (bench.collector.pending, bench.collector.held) == (0, 1)


async def test_features_are_not_waited_for_longer_because_a_caller_has_left() -> None:
    bench = Bench(wait_ms=1)
    bench.offer(b"e", 0)
    gone = bench.reply(b"e", 1)
    await expire(bench, 1)
    event = bench.events[0]
    event.best = answer()
    gone.leave()
    bench.collector.ask(event)
    bench.collector.delivered(event, 0)
    bench.offer(b"e", 0, features=FEATURES)
    await expire(bench, 2)  # not after half of what is left of a minute
    assert event.devices.tolist() == [True, False, False]


async def test_a_row_is_answered_once_and_a_move_off_the_table_is_an_error() -> None:
    bench = Bench()
    replies = [bench.reply(b"e", child) for child in range(DEVICES)]
    await turn()
    bench.events[0].settle(answer())
    with pytest.raises(AssertionError, match="no way from held to answered"):
        bench.events[0].settle(answer())
    with pytest.raises(AssertionError, match="once"):
        replies[0].give(0, answer())
