"""What load has shown: counts, percentiles, goodput, and what it cost."""

import multiprocessing
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import uvloop

from ddnn.errors import DDNNError
from ddnn_lab.load.drive import CLIENT, Arrivals, Closed, Driven, Processes, Sample, Target, Used, Window, drive

__all__ = ["PERCENTILES", "Measured", "measure", "measure_async", "percentiles"]

PERCENTILES: Final = (50, 90, 95, 99)
_BUSY: Final = 0.85  #: share of a core from which on the load generator may be what is slow
_LATE: Final = 0.25
"""The same of the time that events waited to be sent, in what they waited in all (p95), but not below …"""
_LATE_MS: Final = 5.0  #: … this, which is how exactly processes on a busy machine wake up


def percentiles(seconds: Sequence[float]) -> dict[str, float] | None:
    """p50, p90, p95, p99, max and mean in milliseconds; None of nothing.

    Each percentile is a value that was seen, the one above where it falls between two: never flattering.
    """
    if not seconds:
        return None
    values = 1000 * np.asarray(seconds)
    found = np.percentile(values, PERCENTILES, method="higher")
    return {f"p{percent}": float(value) for percent, value in zip(PERCENTILES, found, strict=True)} | {
        "max": float(values.max()),
        "mean": float(values.mean()),
    }


@dataclass(frozen=True)
class Measured:
    """One load on one target: what counted was due in the window (closed loop: ended in it)."""

    arrivals: Arrivals
    seconds: float  #: length of the window
    deadline_s: float
    events: int  #: events that count
    answered: int  #: those with an answer in the right format
    in_time: int  #: those answered within the deadline, counted from when they were due
    degraded: int
    reasons: Mapping[str, int]  #: of degraded answers
    errors: Mapping[str, int]  #: requests that failed, by code; an event is several requests
    labelled: int  #: answered events whose true label is known
    right: int
    exits: Mapping[str, int]
    bytes_up: int  #: payload sent up for the answered events
    latency_ms: Mapping[str, float] | None  #: of answered events, from when they were due
    latency_by_exit_ms: Mapping[str, Mapping[str, float]]  #: the same, by the exit that answered
    late_ms: Mapping[str, float] | None
    """How much later than due events were sent: the load generator's own part of the latency."""
    cpu_s: Mapping[str, float]  #: CPU seconds in the window by process, `client` is the load generator
    memory_bytes: Mapping[str, int]  #: resident memory at the window's end
    passed: Mapping[str, tuple[int, int]]  #: bytes in the window by link, up and down, heads and all
    workers: int = 1  #: processes of the load generator

    @classmethod
    def of(
        cls, driven: Sequence[Driven], arrivals: Arrivals, window: Window, deadline_s: float, *, workers: int = 1
    ) -> "Measured":
        """Count what all processes of a load generator saw."""
        whole = [sample for each in driven for sample in each.samples]
        counted = [sample for sample in whole if window.start <= _moment(sample, arrivals) < window.end]
        good = [sample for sample in counted if sample.outcome.ok]
        told = [sample.outcome for sample in good]
        cpu: Counter[str] = Counter()
        for each in driven:
            cpu.update({name: used - each.before.cpu_s.get(name, 0.0) for name, used in each.after.cpu_s.items()})
        exits = Counter(outcome.exit for outcome in told if outcome.exit)
        return cls(
            arrivals=arrivals,
            seconds=window.seconds,
            deadline_s=deadline_s,
            events=len(counted),
            answered=len(good),
            in_time=sum(sample.ended - sample.due <= deadline_s for sample in good),
            degraded=sum(outcome.degraded for outcome in told),
            reasons=Counter(outcome.reason for outcome in told if outcome.degraded),
            errors=Counter(code for sample in counted for code in sample.outcome.errors),
            labelled=sum(outcome.right is not None for outcome in told),
            right=sum(outcome.right is True for outcome in told),
            exits=exits,
            bytes_up=sum(outcome.bytes_up for outcome in told),
            latency_ms=percentiles([sample.ended - sample.due for sample in good]),
            latency_by_exit_ms={
                exit: percentiles([each.ended - each.due for each in good if each.outcome.exit == exit]) or {}
                for exit in exits
            },
            late_ms=percentiles([sample.sent - sample.due for sample in counted]),
            cpu_s=dict(cpu),
            memory_bytes={name: size for each in driven for name, size in each.after.memory.items()},
            passed={
                name: (up - each.before.passed[name][0], down - each.before.passed[name][1])
                for each in driven
                for name, (up, down) in each.after.passed.items()
            },
            workers=workers,
        )

    @property
    def goodput(self) -> float:
        """Answers in the right format within the deadline, a second."""
        return self.in_time / self.seconds

    @property
    def offered(self) -> float:
        """Events a second that came."""
        return self.events / self.seconds

    @property
    def accuracy(self) -> float | None:
        """Share of the labelled answers that are right, 0 to 1."""
        return self.right / self.labelled if self.labelled else None

    @property
    def client_busy(self) -> float:
        """Share of a core that each process of the load generator used, 0 to 1."""
        return self.cpu_s.get(CLIENT, 0.0) / self.seconds / self.workers

    @property
    def client_was_the_limit(self) -> bool:
        """Whether the load generator was so busy, or got so little of the machine, that the figures may be its own."""
        late, whole = (self.late_ms or {}).get("p95", 0.0), (self.latency_ms or {}).get("p95", 0.0)
        return self.client_busy > _BUSY or late > max(_LATE_MS, _LATE * whole)

    def cpu_ms_per_event(self, *names: str) -> float | None:
        """CPU of these processes, by default of all but the client, in milliseconds for an answered event."""
        wanted = names or [name for name in self.cpu_s if name != CLIENT]
        return 1000 * sum(self.cpu_s[name] for name in wanted) / self.answered if self.answered and wanted else None

    def share(self, exit: str) -> float:
        """Share of the answered events that `exit` answered, 0 to 1."""
        return self.exits.get(exit, 0) / self.answered if self.answered else 0.0

    def document(self) -> dict[str, Any]:
        """As JSON; times in ms, shares 0 to 1, None where nothing is known."""
        each = self.answered or 1  # divided by, not multiplied with its inverse: 49 * (1 / 49) is not 1
        return {
            "arrivals": self.arrivals.document(),
            "seconds": self.seconds,
            "deadline_ms": 1000 * self.deadline_s,
            "events": self.events,
            "answered": self.answered,
            "in_time": self.in_time,
            "offered_per_s": self.offered,
            "goodput_per_s": self.goodput,
            "latency_ms": self.latency_ms,
            "latency_by_exit_ms": dict(self.latency_by_exit_ms),
            "late_ms": self.late_ms,
            "accuracy": self.accuracy,
            "degraded_share": self.degraded / each,
            "degraded_reasons": dict(self.reasons),
            "errors": dict(self.errors),
            "exit_share": {exit: self.share(exit) for exit in self.exits},
            "bytes_up_per_event": self.bytes_up / each if self.answered else None,
            "passed_per_event": {
                name: {"up": up / each, "down": down / each} for name, (up, down) in self.passed.items()
            },
            "cpu_s": dict(self.cpu_s),
            "cpu_ms_per_event": self.cpu_ms_per_event(),
            "memory_bytes": dict(self.memory_bytes),
            "client": {"workers": self.workers, "busy": self.client_busy, "was_the_limit": self.client_was_the_limit},
        }


def _moment(sample: Sample, arrivals: Arrivals) -> float:
    return sample.ended if isinstance(arrivals, Closed) else sample.due


if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_TOGETHER_S: Final = 0.1  #: time for all processes to hear when they begin
Progress = Callable[[float, int], object]


def measure(
    target: Target,
    arrivals: Arrivals,
    *,
    seconds: float,
    warm_up_s: float = 1.0,
    deadline_s: float = 2.0,
    processes: Processes | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Measured:
    """Load `target` and return what was measured after the warm-up, with the CPU of `processes`.

    `workers` is the number of processes that make the load; with more than one, `target` must not have been called yet.
    `progress` hears the seconds passed and the events ended, of a single worker.
    """
    if workers == 1:
        timing = {"seconds": seconds, "warm_up_s": warm_up_s, "deadline_s": deadline_s}
        return uvloop.run(measure_async(target, arrivals, **timing, processes=processes, progress=progress))
    parts = [(place, part) for place in range(workers) if (part := arrivals.part(place, workers))]
    spawn, read = multiprocessing.get_context("spawn"), (processes or Processes()).read
    with ExitStack() as stack:
        pipes = []
        for place, part in parts:
            here, there = spawn.Pipe()
            worker = spawn.Process(target=_work, args=(there, target, part, (place, workers)), daemon=True)
            worker.start()
            there.close()
            stack.callback(_end, worker)
            pipes.append(here)
        for pipe in pipes:
            _hear(pipe)  # it has imported what it needs
        window = Window(monotonic() + _TOGETHER_S, warm_up_s, seconds)
        for pipe in pipes:
            pipe.send(window)
        whole = Driven([], _at(window.start, read), _at(window.end, read))
        found = [_hear(pipe) for pipe in pipes]
        return Measured.of([whole, *found], arrivals, window, deadline_s, workers=len(parts))


async def measure_async(
    target: Target,
    arrivals: Arrivals,
    *,
    seconds: float,
    warm_up_s: float = 1.0,
    deadline_s: float = 2.0,
    processes: Processes | None = None,
    progress: Progress | None = None,
) -> Measured:
    """`measure` in a loop that runs already; closes `target` at the end."""
    window, ended = Window(monotonic(), warm_up_s, seconds), 0

    def done() -> None:
        nonlocal ended
        ended += 1
        if progress:
            progress(monotonic() - window.begin, ended)

    try:
        driven = await drive(target, arrivals, window, (processes or Processes()).read, done=done)
    finally:
        await target.aclose()
    return Measured.of([driven], arrivals, window, deadline_s)


def _work(pipe: "Connection[Any, Any]", target: Target, arrivals: Arrivals, numbers: tuple[int, int]) -> None:
    async def job() -> Driven:
        try:
            return await drive(target, arrivals, window, Processes().read, numbers=numbers)
        finally:
            await target.aclose()

    pipe.send("ready")
    window: Window = pipe.recv()
    pipe.send(uvloop.run(job()))


def _at(moment: float, read: Callable[[], Used]) -> Used:
    sleep(max(0.0, moment - monotonic()))
    return read()


def _hear(pipe: "Connection[Any, Any]") -> Any:
    try:
        return pipe.recv()
    except EOFError as error:
        raise DDNNError("a process of the load generator ended before its work did") from error


def _end(worker: BaseProcess) -> None:
    worker.terminate()
    worker.join()
