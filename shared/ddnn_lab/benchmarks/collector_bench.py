"""A collector on a bench: what becomes complete is kept for the test to settle."""

import asyncio

import numpy as np

from ddnn.policy import Policy
from ddnn.serving.case import Case, Contribution, Terms
from ddnn.serving.collector import Collector
from ddnn.settings import CollectorSettings
from ddnn.types import Answer, Array, Exit

__all__ = ["CLASSES", "DEVICES", "EVENT_BYTES", "FEATURES", "SCORES", "Bench", "answer", "expire", "make_terms", "turn"]

DEVICES = 3
CLASSES = 4
SCORES = np.arange(CLASSES, dtype=np.float32)
FEATURES = np.arange(5, dtype=np.uint8)
EVENT_BYTES = DEVICES * (SCORES.nbytes + FEATURES.nbytes)


def make_terms(**asked: float) -> Terms:
    return Terms(deadline=asyncio.get_running_loop().time() + 60, **asked)  # type: ignore[arg-type]


def answer(label: int = 1, bytes_up: int = 0) -> Answer:
    p = np.full(CLASSES, 0.25, np.float32)
    return Answer(label, p, Exit.LOCAL, 0.5, np.ones(DEVICES, np.bool_), 1, bytes_up=bytes_up)


class Bench:
    """A collector whose complete events are kept for the test to settle."""

    def __init__(self, *, wait_ms: float = 60_000, **bounds: float) -> None:
        self.batches: list[list[Case]] = []
        self.came = asyncio.Event()
        policy = Policy(bundle="b", wait_ms=wait_ms, adaptive_wait=False)
        self.collector = Collector(
            [slice(n, n + 1) for n in range(DEVICES)],
            width=DEVICES,
            devices=DEVICES,
            classes=CLASSES,
            event_bytes=EVENT_BYTES,
            policy=lambda: policy,
            advance=self._advance,
            settings=CollectorSettings.model_validate(bounds),
        )

    def _advance(self, cases: list[Case]) -> None:
        self.batches.append(cases)
        self.came.set()

    def offer(
        self, event: bytes | None, child: int, *, terms: Terms | None = None, answered: bool = False, **inputs: Array
    ) -> asyncio.Future[Answer]:
        return self.collector.offer(event, self.part(child, terms=terms, answered=answered, **inputs)).future

    def part(self, child: int, *, terms: Terms | None = None, answered: bool = False, **inputs: Array) -> Contribution:
        inputs = {name: row[None] for name, row in (inputs or {"scores": SCORES}).items()}
        return Contribution(
            child,
            terms or make_terms(),
            inputs,
            np.ones(1, np.bool_),
            np.arange(DEVICES) == child,
            answered=Exit.DEVICE if answered else None,
            second="scores" not in inputs,
        )

    @property
    def cases(self) -> list[Case]:
        return [case for batch in self.batches for case in batch]


async def turn() -> None:
    """Let everything that is due run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def expire(bench: Bench, count: int) -> None:
    """Let the waits of `count` events run out."""
    async with asyncio.timeout(30):
        while len(bench.cases) < count:
            bench.came.clear()
            await bench.came.wait()
