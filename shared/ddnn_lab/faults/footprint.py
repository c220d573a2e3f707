"""What a tier holds on to: memory, open files and connections, threads."""

from collections.abc import Iterable
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Final

import psutil

from ddnn.fleet.processes import LocalFleet

__all__ = ["Footprint", "footprints", "leaks"]

_SPARE_FILES: Final = 10
"""Connections that each tier below may keep open: it asks for the policy on each of them in turn."""
_PATIENCE_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Footprint:
    """Of one process, at one moment."""

    pid: int
    memory: int
    """Resident, in bytes."""
    files: int
    """Open files, connections among them."""
    threads: int


def footprints(fleet: LocalFleet) -> dict[str, Footprint]:
    """Of every tier that runs."""
    return {name: _of(fleet.pid(name)) for name, member in fleet.members.items() if member.running}


def leaks(fleet: LocalFleet, before: dict[str, Footprint]) -> list[str]:
    """What tiers hold more than `before` and do not let go of; idle connections have seconds to close."""
    until = monotonic() + _PATIENCE_S
    while (found := list(_more(fleet, footprints(fleet), before))) and monotonic() < until:
        sleep(0.2)
    return found


def _more(fleet: LocalFleet, now: dict[str, Footprint], before: dict[str, Footprint]) -> Iterable[str]:
    for name, was in before.items():
        files, threads = now[name].files - was.files, now[name].threads - was.threads
        if files > _SPARE_FILES * (2 + len(fleet.below(fleet.members[name]))):
            yield f"{name} has {files} more open files"
        if threads > 2:
            yield f"{name} has {threads} more threads"


def _of(pid: int) -> Footprint:
    process = psutil.Process(pid)
    with process.oneshot():
        return Footprint(pid, process.memory_info().rss, process.num_fds(), process.num_threads())
