"""The queue before a section: what waits goes through together, slow sections run beside the loop."""

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from ddnn.policy import Policy, Thresholds
from ddnn.serving.batching import Outputs, SectionQueue
from ddnn.serving.case import Case, Terms, no_answer
from ddnn.types import Answer, Exit
from ddnn_lab.in_process import Fleet

SURE = Answer(1, np.ones(2, np.float32), Exit.EDGE, 1.0, np.ones(1, np.bool_), 1)


def case(left: float = 60.0) -> Case:
    loop = asyncio.get_running_loop()
    nothing = no_answer(2, 1, 1, need_features=False)
    terms = Terms(deadline=loop.time() + left)
    return Case(None, Policy(bundle="b"), terms, {}, np.ones(1, np.bool_), nothing, loop.create_future())


class Section:
    """Notes its runs; takes as long as `gate` is closed."""

    def __init__(self, *, most: int = 64, delay_s: float = 0.0) -> None:
        self.runs: list[int] = []
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()
        self.queue = SectionQueue(self.run, self.decide, most=most, delay_s=delay_s)

    def run(self, cases: Sequence[Case]) -> Outputs:
        self.runs.append(len(cases))
        self.threads.add(threading.get_ident())
        self.begun.set()
        assert self.gate.wait(30)
        return {}

    def decide(self, cases: Sequence[Case], outputs: Outputs, seconds: float) -> None:
        for each in cases:
            each.settle(SURE)

    async def in_thread(self) -> asyncio.Task[None]:
        """A run that is under way on the thread and stays there until the gate opens."""
        self.queue.slow = True
        self.gate.clear()
        first = asyncio.create_task(self.queue.visit([case()]))
        await asyncio.to_thread(self.begun.wait, 30)
        return first


async def test_what_comes_in_one_turn_of_the_loop_goes_through_in_one_run() -> None:
    section = Section()
    await asyncio.gather(*(section.queue.visit([case()]) for _ in range(5)))
    assert section.runs == [5]
    await section.queue.visit([case(), case()])
    assert section.runs == [5, 2]


async def test_a_run_has_at_most_so_many_events_and_nobody_is_left() -> None:
    section = Section(most=4)
    cases = [case() for _ in range(10)]
    await asyncio.gather(section.queue.visit(cases[:7]), section.queue.visit(cases[7:]))
    assert section.runs == [4, 4, 2]
    assert all(each.outcome.done() for each in cases)


async def test_a_free_section_waits_for_more_only_where_it_is_told_to_and_not_once_it_is_full() -> None:
    section = Section(most=3, delay_s=3600)
    visits = [asyncio.create_task(section.queue.visit([case()])) for _ in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert section.runs == []
    await asyncio.gather(*visits, section.queue.visit([case()]))
    assert section.runs == [3]


async def test_while_a_slow_section_is_at_it_others_gather_for_its_next_run() -> None:
    section = Section()
    first = await section.in_thread()
    visits = [asyncio.create_task(section.queue.visit([case()])) for _ in range(6)]
    await asyncio.sleep(0)
    assert threading.get_ident() not in section.threads
    section.gate.set()
    await asyncio.gather(first, *visits)
    assert section.runs == [1, 6]
    section.queue.close()


async def test_a_section_whose_runs_are_all_slow_goes_to_the_thread_and_comes_back() -> None:
    queue = SectionQueue(lambda cases: {}, lambda cases, outputs, seconds: None)
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
    answered, expired, wanted = case(), case(left=-1), case()
    left = asyncio.create_task(section.queue.visit([case()]))
    visit = asyncio.create_task(section.queue.visit([answered, wanted]))
    late = asyncio.create_task(section.queue.visit([expired]))
    await asyncio.sleep(0)
    left.cancel()
    answered.settle(SURE)
    section.gate.set()
    await asyncio.gather(first, visit, late)
    assert section.runs == [1, 1]
    assert wanted.outcome.result() is SURE
    assert expired.outcome.result().degraded_reason == "deadline"
    section.queue.close()


async def test_nobody_waits_for_a_slow_section_past_the_deadline() -> None:
    section = Section()
    hurried = case(left=0.01)
    first = await section.in_thread()
    await section.queue.visit([hurried])
    assert hurried.outcome.result().degraded_reason == "deadline"
    section.gate.set()
    await first
    assert section.runs[0] == 1
    section.queue.close()


async def test_the_wait_grows_with_the_queue_and_is_nothing_when_nobody_is_there() -> None:
    section = Section()
    assert section.queue.wait_s == 0
    section.queue._learn(2.0, 4)
    first = await section.in_thread()
    alone = section.queue.wait_s
    visits = [asyncio.create_task(section.queue.visit([case()])) for _ in range(4)]
    await asyncio.sleep(0)
    assert section.queue.wait_s == pytest.approx(alone + 4 * 0.5, abs=0.5)
    assert 0 < alone <= 2.0
    section.gate.set()
    await asyncio.gather(first, *visits)
    assert section.queue.wait_s == 0
    section.queue.close()


@pytest.mark.parametrize("slow", [False, True])
async def test_what_a_section_raises_is_raised_where_its_events_came_from_and_the_next_run_is_fine(slow: bool) -> None:
    runs: list[int] = []

    def run(cases: Sequence[Case]) -> Outputs:
        runs.append(len(cases))
        if len(runs) == 1:
            raise RuntimeError("out of memory")
        return {}

    queue = SectionQueue(run, lambda cases, outputs, seconds: None)
    queue.slow = slow
    for result in await asyncio.gather(queue.visit([case()]), queue.visit([case()]), return_exceptions=True):
        assert isinstance(result, RuntimeError)
    await queue.visit([case()])
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
    edge.engine._observe = batches.append
    answers = await asyncio.gather(*(fleet.infer("edge", given, device=0) for given in inputs))
    assert {row.exit for (row,) in answers} == {Exit.LOCAL, Exit.EDGE}
    assert [row.exit is Exit.LOCAL for (row,) in answers] == [1 - each.confidence < middle for each in first]
    assert batches == [8, 4]
