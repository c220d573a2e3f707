"""CPU time of processes in nanoseconds, where Linux tells it: a cloud that has little to do uses less than a tick."""

from dataclasses import dataclass
from pathlib import Path

import psutil

from ddnn_lab.load import Processes
from ddnn_lab.load.processes import Used

__all__ = ["FineProcesses", "cpu_s"]


@dataclass(frozen=True)
class FineProcesses(Processes):
    """The same, told more finely; threads that have ended are no longer counted."""

    def read(self) -> Used:
        """What each has used until now."""
        used = super().read()
        fine = {name: cpu_s(number) for name, number in self.ids.items()}
        used.cpu_s.update({name: seconds for name, seconds in fine.items() if seconds is not None})
        return used


def cpu_s(number: int) -> float | None:
    """Seconds on a core of all living threads of a process and of its children; None where nobody says."""
    try:
        family = [number, *(child.pid for child in psutil.Process(number).children(recursive=True))]
        tasks = [task for each in family for task in Path(f"/proc/{each}/task").glob("*/schedstat")]
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9 if tasks else None
    except (OSError, psutil.NoSuchProcess, ValueError, IndexError):
        return None
