"""What looks like a repeat of an answered event: that, or of another scene that begins under its id."""

import pytest

from event_bench import DEVICES, SCORES, Bench, answer, turn


@pytest.mark.parametrize("blind", range(DEVICES))
async def test_a_child_that_sees_the_same_in_another_scene_is_of_that_scene_whenever_it_comes(blind: int) -> None:
    bench = Bench()
    for child in range(DEVICES):
        bench.offer(b"e", child)
    await turn()
    bench.events[0].settle(answer(1))
    anew = [bench.offer(b"e", child, scores=SCORES + (child != blind)) for child in range(DEVICES)]
    await turn()
    assert bench.events[1].devices.all()
    bench.events[1].settle(answer(3))
    assert [(await each).label for each in anew] == [3] * DEVICES
    assert bench.reused() == (3, 0)


async def test_a_repeat_is_given_the_answer_while_its_time_lasts_and_later_is_of_another_event() -> None:
    bench = Bench(late_s=0)
    for child in range(DEVICES):
        bench.offer(b"e", child)
    await turn()
    bench.events[0].settle(answer(1))
    bench.events[0].held_since -= 1
    again = [bench.offer(b"e", child) for child in range(DEVICES)]
    await turn()
    bench.events[1].settle(answer(3))
    assert [(await each).label for each in again] == [3] * DEVICES


async def test_repeats_whose_caller_has_left_or_that_are_closed_are_of_no_event() -> None:
    bench = Bench()
    for child in range(DEVICES):
        bench.offer(b"e", child)
    await turn()
    bench.events[0].settle(answer(1))
    bench.reply(b"e", 0).leave()
    bench.offer(b"e", 1, scores=SCORES + 1)
    bench.offer(b"e", 2, scores=SCORES + 1)
    await turn()
    assert (len(bench.events), bench.collector.pending) == (1, 1)
    bench.collector.close()
