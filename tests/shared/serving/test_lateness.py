"""Late is told: who came after an event was closed, how late, what it costs, and in the answers made without them."""

import asyncio
from typing import Any

import numpy as np

from ddnn.bundle import Training
from ddnn.serving.children import Children
from ddnn.serving.event import Event
from ddnn.serving.lateness import Lateness
from ddnn.serving.metrics import Metrics
from ddnn.types import Exit
from event_bench import DEVICES, Bench, Loop, answer, expire, make_event, make_options, turn

TRAINING = Training(
    command="",
    config={},
    seed=0,
    data={},
    test={"overall": {"accuracy": 0.9}, "missing": {"one": {"each": [0.8, 0.7, 0.6]}, "subsets": {"0": 0.3}}},
    versions={},
)


def counted(bench: Bench) -> dict[str, int]:
    text = bench.collector._metrics.text().decode().splitlines()
    lines = [line for line in text if line.startswith("ddnn_fusion_late_total{")]
    return {line.split('"')[1]: int(float(line.split()[-1])) for line in lines}


async def test_a_device_that_comes_after_the_end_is_late_and_the_answer_says_without_whom_it_was_made() -> None:
    bench = Bench(wait_ms=1)
    first = [bench.offer(b"e", 0), bench.offer(b"e", 1)]
    await expire(bench, 1)
    bench.events[0].settle(answer(3))
    assert [(await each).late for each in first] == [(2,), (2,)]
    assert not (await first[0]).degraded
    late = await bench.offer(b"e", 2)
    assert (late.label, late.late) == (3, (2,))
    assert counted(bench) == {"0": 0, "1": 0, "2": 1}
    told = bench.collector.lateness.document(TRAINING, 1.0)
    assert told is not None
    (row,) = told["children"]
    assert (row["devices"], row["late"], row["of"], row["accuracy_without"]) == ([2], 1, 1, 0.6)
    assert (told["accuracy"], told["accuracy_without"], told["wait_ms"]) == (0.9, 0.6, 1.0)
    assert row["keeps_ms"] >= 10


async def test_who_is_in_time_is_not_told() -> None:
    bench = Bench()
    for child in range(DEVICES):
        bench.offer(b"e", child)
    await turn()
    bench.events[0].settle(answer(3))
    await bench.offer(b"e", 1)  # a repeat
    assert counted(bench) == {"0": 0, "1": 0, "2": 0}
    assert bench.collector.lateness.document(TRAINING, 1.0) is None
    assert bench.events[0].late == ()


async def test_a_child_that_has_not_come_for_long_is_dead_and_not_late() -> None:
    bench = Bench(wait_ms=1, alive_events=2)
    for n in range(4):
        offered = [bench.offer(b"%d" % n, child) for child in (0, 1)]
        await expire(bench, n + 1)
        bench.events[-1].settle(answer(3))
        expected = (2,) if n < 2 else ()
        assert (await offered[0]).late == expected


def test_devices_that_come_one_by_one_each_after_the_last_ones_wait_are_late_by_the_first_ones() -> None:
    """Each begins another event under the same id, as one child alone is no witness."""
    lateness = Lateness(CHILDREN, metrics := Metrics(Exit, range(3)), 10, 30.0)

    async def come() -> list[tuple[int, ...]]:
        seen = []
        for child in range(3):
            lateness.came(b"e", child)
            await asyncio.sleep(0.15)
            seen.append(lateness.closed(event(b"e"), [True] * 3))
            await asyncio.sleep(0.05)
        return seen

    with asyncio.Runner(loop_factory=Loop) as runner:
        assert runner.run(come()) == [(1, 2), (2,), ()]
    told = lateness.document(TRAINING, 150)
    assert told is not None
    rows: list[dict[str, Any]] = told["children"]
    assert [(row["devices"], row["p50_ms"], row["keeps_ms"]) for row in rows] == [([1], 50, 210), ([2], 250, 410)]
    assert told["accuracy_without"] == 0.3
    assert metrics.lateness.labels().count == 2


def test_ids_are_known_for_a_while_and_so_many_of_them() -> None:
    lateness = Lateness(CHILDREN, Metrics(Exit, range(3)), 2, 1.0)

    async def come() -> None:
        for id in (b"a", b"b", b"c"):
            lateness.came(id, 0)
            lateness.closed(event(id), [True] * 3)
        lateness.came(b"a", 1)  # forgotten for room: another event
        await asyncio.sleep(2)
        lateness.came(b"c", 1)  # too old

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(come())
    assert lateness.document(TRAINING, 150) is None


async def test_an_edge_that_is_late_is_told_by_its_devices() -> None:
    children = Children([slice(0, 1), slice(1, 2)], 2, range(3), 0, 2, below=[(0, 2), (1,)])
    lateness = Lateness(children, Metrics(Exit, range(3)), 10, 30.0)
    lateness.came(b"e", 1)
    assert lateness.closed(event(b"e"), [True, True]) == (0, 2)
    lateness.came(b"e", 0)
    told = lateness.document(TRAINING, 150)
    assert told is not None
    assert told["children"][0]["devices"] == [0, 2]


async def test_a_caller_that_waits_less_hears_without_whom() -> None:
    bench = Bench()
    hasty = bench.offer(b"e", 0, options=make_options(wait_ms=0))
    await expire(bench, 1)
    bench.events[0].settle(answer(2))
    assert (await hasty).late == (1, 2)


CHILDREN = Children([slice(n, n + 1) for n in range(3)], 3, range(3), 0)


def event(id: bytes) -> Event:
    made = make_event()
    made.id = id
    return made


def test_the_cost_of_devices_that_the_training_did_not_note_is_not_told() -> None:
    assert TRAINING.accuracy_without((0, 1)) is None
    assert TRAINING.accuracy_without((5,)) is None
    assert np.isclose(TRAINING.accuracy_without((1, 2)) or 0, 0.3)
