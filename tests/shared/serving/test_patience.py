"""A loop that is behind has not read all that has come: callers wait on, and not for ever."""

import asyncio

from ddnn.serving.event import Event, Reply
from ddnn.serving.patience import Patience
from event_bench import Loop, make_event, make_options


def gathering(deadline_s: float, wait_ms: float | None = None) -> Event:
    event = make_event(deadline_s)
    event.wait_s, event.replies = 0.15, []
    options = make_options(deadline_s) if wait_ms is None else make_options(deadline_s, wait_ms=wait_ms)
    event.wait_for(Reply(options, 1), 0)
    event.due = Patience(1).due(event, event.replies[0][0])
    return event


def test_a_look_in_time_closes_and_a_late_one_waits_twice_as_long_at_most() -> None:
    async def look() -> list[bool]:
        event, patience = gathering(60.0), Patience(1)
        return [patience.behind(event, event.due + late) for late in (0.001, 0.01, 0.14, 0.16)]

    with asyncio.Runner(loop_factory=Loop) as runner:
        assert runner.run(look()) == [False, True, True, False]


def test_no_more_than_half_of_the_time_that_is_left_and_nothing_for_who_waits_for_no_one() -> None:
    async def look() -> list[bool]:
        hurried, at_once, patience = gathering(0.25), gathering(60.0, wait_ms=0), Patience(1)
        assert hurried.due - hurried.opened > 0
        return [
            patience.behind(hurried, hurried.due + 0.05),  # of 0.25 s it waits 0.125, and half of the rest is 0.0625
            patience.behind(hurried, hurried.due + 0.07),
            patience.behind(at_once, at_once.due + 0.05),
        ]

    with asyncio.Runner(loop_factory=Loop) as runner:
        assert runner.run(look()) == [True, False, False]


def test_nobody_waits_for_an_event_that_all_have_left() -> None:
    async def look() -> bool:
        event = gathering(60.0)
        event.replies = []
        return Patience(1).behind(event, event.due + 0.05)

    with asyncio.Runner(loop_factory=Loop) as runner:
        assert not runner.run(look())
