"""What is used while load is made: CPU and memory of processes, the load generator's too, and bytes on links."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ddnn.data.advice import needed_for

__all__ = ["CLIENT", "Processes", "Used"]

CLIENT = "client"
"""Name of the load generator among the processes."""


@dataclass(frozen=True, slots=True)
class Used:
    """By process name."""

    cpu_s: dict[str, float]
    """CPU seconds since the process began, with those of its children."""
    memory: dict[str, int]
    """Resident bytes."""
    passed: dict[str, tuple[int, int]]
    """Bytes by link, up and down."""


@dataclass(frozen=True)
class Processes:
    """Processes by name; a name's children, a server's workers for example, count as it."""

    ids: Mapping[str, int] = field(default_factory=dict)
    links: Mapping[str, Callable[[], tuple[int, int]]] = field(default_factory=dict)
    """By name, what tells how many bytes have passed up and down."""

    def read(self) -> Used:
        """What each has used until now. A process that is gone has used nothing."""
        used = Used({CLIENT: time.process_time()}, {}, {name: passed() for name, passed in self.links.items()})
        if not self.ids:
            return used
        with needed_for("reading the CPU of processes", extra="lab"):
            import psutil
        for name, number in self.ids.items():
            used.cpu_s[name], used.memory[name] = 0.0, 0
            try:
                process = psutil.Process(number)
                # A client that is also a parent, of a fleet for example, must not count itself.
                family = [each for each in (process, *process.children(recursive=True)) if each.pid != os.getpid()]
            except psutil.NoSuchProcess:
                continue
            for each in family:
                try:
                    with each.oneshot():
                        times = each.cpu_times()
                        used.cpu_s[name] += max(times.user + times.system, _fine(each.pid))
                        used.memory[name] += each.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
        return used


def _fine(process: int) -> float:
    """CPU seconds of the threads that live, in nanoseconds where Linux tells; 0 where nobody does.

    psutil's figure counts threads that have ended too, but in ticks of 10 ms, too coarse for a tier with little to do.
    """
    try:
        threads = Path(f"/proc/{process}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
