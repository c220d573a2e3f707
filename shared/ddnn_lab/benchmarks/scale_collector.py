"""The collector alone while events wait in it: memory, and time for a contribution."""

import asyncio
import gc
from time import perf_counter
from typing import Any, Final

import numpy as np
import psutil

from ddnn.policy import Policy
from ddnn.serving.case import Case, Contribution, Terms
from ddnn.serving.collector import Collector
from ddnn.settings import CollectorSettings
from ddnn.types import Answer, Exit

__all__ = ["pending"]

DEVICES: Final = 6
CLASSES: Final = 10
PART: Final = 500
"""Contributions timed at each number of waiting events."""


def pending(most: int) -> dict[str, Any]:
    """What it costs to hold 100 … `most` events for which one of six devices has not come; run in a fresh process.

    `first_us`: a contribution that opens an event, `next_us`: one to an event that waits, `last_us`: one that
    completes it, answer and all.
    """
    return asyncio.run(_pending(most))


async def _pending(most: int) -> dict[str, Any]:
    policy, complete = Policy(bundle="b", wait_ms=60_000, adaptive_wait=False), list[Case]()
    places = [slice(n, n + 1) for n in range(DEVICES)]
    collector = Collector(
        places,
        width=DEVICES,
        devices=DEVICES,
        classes=CLASSES,
        event_bytes=DEVICES * CLASSES * 4,
        policy=lambda: policy,
        advance=complete.extend,
        settings=CollectorSettings(events=most + 10 * PART, bytes=1 << 34),
    )
    deadline = asyncio.get_running_loop().time() + 3600
    answer = Answer(1, np.full(CLASSES, 0.1, np.float32), Exit.LOCAL, 0.5, np.ones(DEVICES, np.bool_), 1)

    def offer(number: int, child: int) -> None:
        # New objects each, as each request makes them.
        scores: dict[str, Any] = {"scores": np.zeros((1, CLASSES), np.float32)}
        mine = np.arange(DEVICES) == child
        collector.offer(
            b"%032d" % number, Contribution(child, Terms(deadline, wait_ms=600_000), scores, np.ones(1, np.bool_), mine)
        )

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
            for case in complete:
                case.outcome.set_result(answer)
            complete.clear()
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
