"""Events on a bench: a collector whose complete events wait for the test, and events of no tier at all."""

import asyncio
import selectors
from collections.abc import Sequence
from typing import Any

import numpy as np

from ddnn.exits import Rule
from ddnn.policy import Policy, Thresholds
from ddnn.serving.collector import Children, Collector
from ddnn.serving.control import PolicyControl
from ddnn.serving.engine import Engine
from ddnn.serving.event import Contribution, Event, Reply, no_answer
from ddnn.serving.metrics import Metrics
from ddnn.serving.request import RequestOptions
from ddnn.settings import CollectorSettings
from ddnn.types import Answer, Array, Exit

__all__ = [
    "CLASSES",
    "DEVICES",
    "EVENT_BYTES",
    "FEATURES",
    "SCORES",
    "Bench",
    "Kept",
    "Loop",
    "answer",
    "expire",
    "make_event",
    "make_options",
    "turn",
]

DEVICES = 3
CLASSES = 4
SCORES = np.arange(CLASSES, dtype=np.float32)
FEATURES = np.arange(5, dtype=np.uint8)
EVENT_BYTES = DEVICES * (SCORES.nbytes + FEATURES.nbytes)


def make_options(left: float = 60.0, **asked: float) -> RequestOptions:
    return RequestOptions(deadline=asyncio.get_running_loop().time() + left, **asked)  # type: ignore[arg-type]


class _Nobody:
    """Holds events that belong to no tier."""

    def ask(self, event: Event, what: str) -> None:
        raise AssertionError("features are missing")

    def settled(self, event: Event) -> None:
        pass

    def failed(self, event: Event, error: Exception) -> None:
        event.fail(error)


def make_event(left: float = 60.0, *, policy: Policy | None = None, threshold: float | None = None) -> Event:
    """An event of its own over two devices and four classes, which one caller waits for, with so much time left."""
    options = make_options(left)
    options.threshold = threshold
    policy = policy or Policy(bundle="b")
    nothing = no_answer(4, 2, policy.version)
    event = Event(None, Rule(policy, 2), options, {}, np.ones(2, np.bool_), nothing, _Nobody())
    event.wait_for(Reply(options, 1), 0)
    return event


def answer(label: int = 1, bytes_up: int = 0) -> Answer:
    p = np.full(CLASSES, 0.25, np.float32)
    return Answer(label, p, Exit.LOCAL, 0.5, np.ones(DEVICES, np.bool_), 1, bytes_up=bytes_up)


class Kept(Engine):
    """An engine that keeps what comes for the test to settle."""

    def __init__(self) -> None:
        super().__init__([], Metrics(Exit, ()))
        self.batches: list[list[Event]] = []
        self.came = asyncio.Event()

    def _go_on(self, events: Sequence[Event]) -> None:
        self.batches.append(list(events))
        self.came.set()


class Bench:
    """A collector whose complete events are kept for the test to settle."""

    def __init__(self, *, wait_ms: float = 60_000, thresholds: Thresholds | None = None, **bounds: float) -> None:
        self.kept = Kept()
        policy = Policy(bundle="b", wait_ms=wait_ms, adaptive_wait=False, thresholds=thresholds or Thresholds())
        self.control = PolicyControl(policy, classes=CLASSES, devices=DEVICES)
        self.collector = Collector(
            Children([slice(n, n + 1) for n in range(DEVICES)], DEVICES, range(DEVICES), EVENT_BYTES),
            self.kept,
            self.control,
            Metrics(Exit, range(DEVICES)),
            CollectorSettings.model_validate(bounds),
        )

    def offer(
        self,
        id: bytes,
        child: int,
        *,
        options: RequestOptions | None = None,
        answered: bool = False,
        version: int | None = None,
        **inputs: Array,
    ) -> asyncio.Task[Answer]:
        reply = self.reply(id, child, options=options, answered=answered, version=version, **inputs)
        return asyncio.ensure_future(self._answer(reply))

    def reply(
        self,
        id: bytes,
        child: int,
        *,
        options: RequestOptions | None = None,
        answered: bool = False,
        version: int | None = None,
        **inputs: Array,
    ) -> Reply:
        """The same, as the reply that waits; who makes it says that it is delivered, or that its caller leaves."""
        reply = Reply(options or make_options(), 1, child)
        self.collector.offer(id, self.part(child, answered=answered, version=version, **inputs), reply, 0)
        return reply

    @staticmethod
    async def _answer(reply: Reply) -> Answer:
        return (await reply.wait())[0]

    def part(self, child: int, *, answered: bool = False, version: int | None = None, **inputs: Array) -> Contribution:
        inputs = {name: row[None] for name, row in (inputs or {"scores": SCORES}).items()}
        return Contribution(
            child,
            inputs,
            np.ones(1, np.bool_),
            np.arange(DEVICES) == child,
            answered=Exit.DEVICE if answered else None,
            policy_version=version,
            second="scores" not in inputs,
        )

    def reused(self) -> tuple[float, float]:
        """How many ids were used again for another event, and how many refused."""
        count = self.collector._metrics.reused
        return count.labels("new_event")._value.get(), count.labels("refused")._value.get()

    @property
    def events(self) -> list[Event]:
        return [event for batch in self.kept.batches for event in batch]


async def turn() -> None:
    """Let everything that is due run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def expire(bench: Bench, count: int) -> None:
    """Let the waits of `count` events run out."""
    async with asyncio.timeout(30):
        while len(bench.events) < count:
            bench.kept.came.clear()
            await bench.kept.came.wait()


class Clock(selectors.DefaultSelector):
    """Time passes when everything waits, and then at once."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout:
            self.now += timeout
        return ready


class Loop(asyncio.SelectorEventLoop):
    """A loop by that clock; what goes wrong in a callback is kept."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.problems: list[dict[str, Any]] = []
        super().__init__(self.clock)
        self.set_exception_handler(lambda loop, context: self.problems.append(context))

    def time(self) -> float:
        return self.clock.now
