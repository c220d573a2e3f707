"""The queue before a section: what waits goes through together, slow sections run beside the loop."""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from types import SimpleNamespace

import numpy as np
import pytest

from ddnn.policy import Thresholds
from ddnn.serving.batching import Outputs, SectionQueue
from ddnn.serving.event import Event
from ddnn.types import Answer, Exit
from ddnn_lab.in_process import Fleet
from event_bench import make_event, turn

DEVICES = [0]
SURE = Answer(1, np.ones(2, np.float32), Exit.EDGE, 1.0, np.ones(1, np.bool_), 1)


class Section:
    """Notes its runs; takes as long as `gate` is closed."""

    def __init__(self, *, most: int = 64, delay_s: float = 0.0, at_once: int = 1) -> None:
        self.runs: list[int] = []
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()
        self.queue = SectionQueue(self.run, self.decide, most=most, delay_s=delay_s, at_once=at_once)

    def run(self, events: Sequence[Event]) -> Outputs:
        self.runs.append(len(events))
        self.threads.add(threading.get_ident())
        self.begun.set()
        assert self.gate.wait(30)
        return {}

    def decide(self, events: Sequence[Event], outputs: Outputs, seconds: float) -> None:
        for event in events:
            if event.answer is None:
                event.settle(SURE)

    async def in_thread(self) -> Event:
        """An event in a run that is under way on the thread and stays there until the gate opens."""
        self.queue.slow = True
        self.gate.clear()
        first = make_event()
        self.queue.put([first])
        await asyncio.to_thread(self.begun.wait, 30)
        return first

    def put(self, count: int) -> list[Event]:
        """So many events, one at a time."""
        events = [make_event() for _ in range(count)]
        for event in events:
            self.queue.put([event])
        return events


def answered(*events: Event) -> Coroutine[None, None, None]:
    """Wait for their callers to have an answer, or raise what they hear instead."""
    replies = [reply for event in events for reply, _ in event.replies]

    async def wait() -> None:
        for reply in replies:
            await reply.wait()

    return wait()


async def test_what_comes_in_one_turn_of_the_loop_goes_through_in_one_run() -> None:
    section = Section()
    await answered(*section.put(5))
    assert section.runs == [5]
    section.queue.put(pair := [make_event(), make_event()])
    await answered(*pair)
    assert section.runs == [5, 2]


async def test_a_run_has_at_most_so_many_events_and_none_is_left() -> None:
    section = Section(most=4)
    events = [make_event() for _ in range(10)]
    section.queue.put(events[:7])
    section.queue.put(events[7:])
    await answered(*events)
    assert section.runs == [4, 4, 2]


async def test_events_that_came_together_go_on_together_once_all_are_through() -> None:
    section, onward = Section(most=2), list[int]()
    section.queue._decide = lambda events, outputs, seconds: events[0].settle(SURE)
    section.queue._onward = lambda events: onward.append(len(events))
    section.queue.put([make_event() for _ in range(5)])
    section.queue.put([make_event()])
    await turn()
    assert (section.runs, onward) == ([2, 2, 2], [2, 1])  # one of each run is answered


async def test_a_free_section_waits_for_more_only_where_it_is_told_to_and_not_once_it_is_full() -> None:
    section = Section(most=3, delay_s=3600)
    waiting = section.put(2)
    await turn()
    assert section.runs == []
    await answered(*waiting, *section.put(1))
    assert section.runs == [3]


async def test_while_a_slow_section_is_at_it_others_gather_for_its_next_run() -> None:
    section = Section()
    first = await section.in_thread()
    waiting = section.put(6)
    await asyncio.sleep(0)
    assert threading.get_ident() not in section.threads
    section.gate.set()
    await answered(first, *waiting)
    assert section.runs == [1, 6]
    section.queue.close()


async def test_a_section_whose_runs_are_all_slow_goes_to_the_thread_and_comes_back() -> None:
    queue = SectionQueue(lambda events: {}, lambda events, outputs, seconds: None)
    for seconds in (*(0.5,) * 7, 0.00001):  # one quick run of the last ones: the machine was busy
        queue._learn(seconds, 1)
    assert not queue.slow
    for _ in range(8):
        queue._learn(0.0025, 1)
    assert queue.slow
    queue._learn(0.0015, 1)  # quicker than what makes a section slow, not as quick as what brings it back
    assert queue.slow
    queue._learn(0.0005, 1)
    assert not queue.slow


async def test_answered_and_expired_events_and_those_of_callers_who_left_are_dropped_before_the_run() -> None:
    section = Section()
    first = await section.in_thread()
    early, expired, wanted, left = make_event(), make_event(left=-1), make_event(), make_event()
    for events in ([left], [early, wanted], [expired]):
        section.queue.put(events)
    left.forget(left.replies[0][0])
    early.settle(SURE)
    section.gate.set()
    await answered(first, wanted, expired)
    assert section.runs == [1, 1]
    assert wanted.answer is SURE
    assert expired.answer
    assert expired.answer.degraded_reason == "deadline"
    section.queue.close()


async def test_no_caller_waits_for_a_slow_section_past_the_deadline() -> None:
    section = Section()
    hurried, first = make_event(left=0.01), await section.in_thread()
    section.queue.put([hurried])
    await answered(hurried)
    assert hurried.answer
    assert hurried.answer.degraded_reason == "deadline"
    section.gate.set()
    await answered(first)
    assert section.runs[0] == 1
    section.queue.close()


async def test_the_wait_grows_with_the_queue_and_is_nothing_when_it_is_empty() -> None:
    section = Section()
    assert section.queue.wait_s == 0
    section.queue._learn(2.0, 4)
    first = await section.in_thread()
    alone = section.queue.wait_s
    waiting = section.put(4)
    assert section.queue.wait_s == pytest.approx(alone + 4 * 0.5, abs=0.5)
    assert 0 < alone <= 2.0
    section.gate.set()
    await answered(first, *waiting)
    assert section.queue.wait_s == 0
    section.queue.close()


async def test_a_section_that_works_elsewhere_has_several_runs_under_way_and_no_more() -> None:
    section = Section(at_once=2)
    section.gate.clear()
    first = section.put(1)
    await asyncio.to_thread(section.begun.wait, 30)
    section.begun.clear()
    second = section.put(1)
    await asyncio.to_thread(section.begun.wait, 30)
    others = section.put(3)
    await turn()
    assert section.runs == [1, 1]
    assert section.queue.waiting == 3
    section.gate.set()
    await answered(*first, *second, *others)
    assert section.runs == [1, 1, 3]
    assert section.queue.slow  # whatever its runs took: it is waited for, on threads
    assert section.queue.wait_s == 0
    section.queue.close()


@pytest.mark.parametrize("slow", [False, True])
async def test_what_a_section_raises_is_raised_where_its_events_came_from_and_the_next_run_is_fine(slow: bool) -> None:
    runs: list[int] = []

    def run(events: Sequence[Event]) -> Outputs:
        runs.append(len(events))
        if len(runs) == 1:
            raise RuntimeError("out of memory")
        return {}

    def decide(events: Sequence[Event], outputs: Outputs, seconds: float) -> None:
        for event in events:
            event.settle(SURE)

    def failed(events: Sequence[Event], error: Exception) -> None:
        for event in events:
            event.fail(error)

    queue = SectionQueue(run, decide, failed=failed)
    queue.slow = slow
    both = [make_event(), make_event()]
    for event in both:
        queue.put([event])
    for result in await asyncio.gather(*map(answered, both), return_exceptions=True):
        assert isinstance(result, RuntimeError)
    queue.put([after := make_event()])
    await answered(after)
    assert runs == [2, 1]
    queue.close()


async def test_requests_that_come_together_share_a_run_and_each_gets_its_own_answer(fleet: Fleet) -> None:
    """As alone: labels and exits are the same; floats may differ in their last bits with the size of the batch."""
    cloud, golden = fleet.switch.apps["cloud"].state.service, fleet.bundle.golden
    rows = len(golden["edge_features"])
    inputs = [
        {"features": golden["edge_features"][n : n + 1, 0], "present": np.ones((1, 6), np.bool_)} for n in range(rows)
    ]
    alone = [(await fleet.infer("cloud", given))[0] for given in inputs]
    sizes = cloud.metrics.batch_size.labels()
    events, runs = sizes.total, sizes.count
    together = [row for (row,) in await asyncio.gather(*(fleet.infer("cloud", given) for given in inputs))]
    assert sizes.total - events == rows
    assert sizes.count - runs < rows / 2
    for one, other in zip(alone, together, strict=True):
        assert (one.label, one.exit) == (other.label, other.exit)
        assert np.allclose(one.probabilities, other.probabilities, atol=1e-5)
        assert one.confidence == pytest.approx(other.confidence, abs=1e-5)


async def test_in_a_batch_sure_rows_leave_and_the_rest_go_on_together(fleet: Fleet) -> None:
    golden = fleet.bundle.golden
    inputs = [
        {"scores": golden["device_scores"][n : n + 1, 0], "features": golden["device_features"][n : n + 1, 0]}
        for n in range(8)
    ]
    first = [(await fleet.infer("edge", given, device=0, max_exit="local"))[0] for given in inputs]
    middle = float(np.median([1 - answer.confidence for answer in first]))
    fleet.use(thresholds=Thresholds(local=middle, edge=1.0))
    batches: list[int] = []
    edge = fleet.switch.apps["edge"].state.service
    edge.engine._batch_size = SimpleNamespace(observe=batches.append)
    answers = await asyncio.gather(*(fleet.infer("edge", given, device=0) for given in inputs))
    assert {row.exit for (row,) in answers} == {Exit.LOCAL, Exit.EDGE}
    assert [row.exit is Exit.LOCAL for (row,) in answers] == [1 - each.confidence < middle for each in first]
    assert batches == [8, 4]
