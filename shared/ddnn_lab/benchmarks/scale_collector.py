"""The collector alone while events wait in it: memory, and time for a contribution."""

import asyncio
import gc
from collections.abc import Sequence
from time import perf_counter
from typing import Any, Final

import numpy as np
import psutil

from ddnn.policy import Policy
from ddnn.serving.collector import Children, Collector
from ddnn.serving.control import PolicyControl
from ddnn.serving.engine import Engine
from ddnn.serving.event import Contribution, Event, Reply
from ddnn.serving.metrics import Metrics
from ddnn.serving.request import RequestOptions
from ddnn.settings import CollectorSettings
from ddnn.types import Answer, Exit

__all__ = ["pending"]

DEVICES: Final = 6
CLASSES: Final = 10
PART: Final = 500
"""Contributions timed at each number of waiting events."""


class _Complete(Engine):
    """Keeps what is complete."""

    def __init__(self) -> None:
        super().__init__([])
        self.events: list[Event] = []

    def start(self, events: Sequence[Event]) -> None:
        self.events += events


def pending(most: int) -> dict[str, Any]:
    """What it costs to hold 100 … `most` events for which one of six devices has not come; run in a fresh process.

    `first_us`: a contribution that opens an event, `next_us`: one to an event that waits, `last_us`: one that
    completes it, answer and all.
    """
    return asyncio.run(_pending(most))


async def _pending(most: int) -> dict[str, Any]:
    policy, complete = Policy(bundle="b", wait_ms=60_000, adaptive_wait=False), _Complete()
    places = [slice(n, n + 1) for n in range(DEVICES)]
    collector = Collector(
        Children(places, DEVICES, range(DEVICES), DEVICES * CLASSES * 4),
        complete,
        PolicyControl(policy, classes=CLASSES, devices=DEVICES),
        Metrics(Exit, range(DEVICES)),
        CollectorSettings(events=most + 10 * PART, bytes=1 << 34),
    )
    deadline = asyncio.get_running_loop().time() + 3600
    answer = Answer(1, np.full(CLASSES, 0.1, np.float32), Exit.LOCAL, 0.5, np.ones(DEVICES, np.bool_), 1)

    def offer(number: int, child: int) -> None:
        # New objects each, as each request makes them.
        scores: dict[str, Any] = {"scores": np.zeros((1, CLASSES), np.float32)}
        mine = np.arange(DEVICES) == child
        reply = Reply(RequestOptions(deadline, wait_ms=600_000), 1, child)
        collector.offer(b"%032d" % number, Contribution(child, scores, np.ones(1, np.bool_), mine), reply, 0)

    def microseconds(child: int, numbers: range) -> float:
        begin = perf_counter()
        for number in numbers:
            offer(number, child)
        return 1e6 * (perf_counter() - begin) / len(numbers)

    async def last(numbers: range) -> float:
        begin = perf_counter()
        for number in numbers:
            offer(number, DEVICES - 1)
        while collector.pending > before:
            await asyncio.sleep(0)
            for event in complete.events:
                event.settle(answer)
            complete.events.clear()
        return 1e6 * (perf_counter() - begin) / len(numbers)

    process, rows, before = psutil.Process(), [], 0
    gc.collect()
    empty = process.memory_info().rss
    levels = [size for size in (100, 1_000, 10_000, 30_000, 100_000) if size <= most]
    for level in levels:
        for number in range(before, level):
            for child in range(DEVICES - 1):
                offer(number, child)
        before = level
        gc.collect()
        memory = process.memory_info().rss - empty
        fresh = range(10 * most + level, 10 * most + level + PART)
        first = microseconds(0, fresh)
        later = [microseconds(child, fresh) for child in range(1, DEVICES - 1)]
        row = {"waiting": level, "first_us": first, "next_us": float(np.mean(later)), "last_us": await last(fresh)}
        rows.append({**row, "memory_bytes": memory, "bytes_per_event": memory / level})
    collector.close()
    return {"devices": DEVICES, "contributed": DEVICES - 1, "levels": rows}
