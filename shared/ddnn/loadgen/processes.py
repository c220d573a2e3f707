"""What processes use: CPU and memory of the servers, by their ids, and of the load generator itself."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from ddnn.errors import BadInput

__all__ = ["CLIENT", "Processes", "Used"]

CLIENT = "client"
"""Name of the load generator among the processes."""


@dataclass(frozen=True, slots=True)
class Used:
    """By process name."""

    cpu_s: dict[str, float]
    """CPU seconds since the process began, with those of its children."""
    bytes: dict[str, int]
    """Resident memory."""


@dataclass(frozen=True)
class Processes:
    """Processes by name; a name's children, a server's workers for example, count as it."""

    ids: Mapping[str, int] = field(default_factory=dict)

    def read(self) -> Used:
        """What each has used until now. A process that is gone has used nothing."""
        used = Used({CLIENT: time.process_time()}, {})
        if not self.ids:
            return used
        try:
            import psutil
        except ImportError as error:
            raise BadInput("reading the CPU of processes needs psutil; pip install 'ddnn[bench]'") from error
        for name, number in self.ids.items():
            used.cpu_s[name], used.bytes[name] = 0.0, 0
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
                        used.cpu_s[name] += times.user + times.system
                        used.bytes[name] += each.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
        return used
